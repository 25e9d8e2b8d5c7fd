//! Labels of containers, networks and volumes.

/// Who made it: `compose` for what somebody's own use of compose made, else a process, see
/// [`Owner`](super::host). On everything that docker-compose.yml declares, and on every server.
pub(super) const OWNER: &str = "assay.owner";

/// On every container that the harness makes: the compose project that it belongs to.
pub(super) const PROJECT: &str = "assay.project";

/// Compose's own, of both its generations: the project and the service of a container.
pub(super) const COMPOSE_PROJECT: &str = "com.docker.compose.project";
pub(super) const COMPOSE_SERVICE: &str = "com.docker.compose.service";
