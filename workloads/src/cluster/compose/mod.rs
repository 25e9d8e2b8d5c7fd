//! Containers on a docker network, ours or real etcd.
//!
//! The file `docker-compose.yml` at the root describes it. A node is two containers: a [machine], which
//! compose makes, and which holds the node's address, disk and rules; and a server, which the harness makes,
//! and which shares the machine's network and disk. The harness is a container on the same network, so that
//! nothing outside ever dials a node: once a docker network is gone, packets to its addresses would leave by
//! the default route. It kills, pauses and starts servers through docker's socket, and has machines cut links
//! and send probes.
//!
//! Every rule is in a machine's own network namespace, and goes with the machine, or as soon as the harness
//! is silent. Nothing on the host is changed beyond what docker does itself.
mod engine;
mod fleet;
mod follower;
mod frames;
mod host;
mod images;
mod inside;
mod labels;
mod leash;
mod machine;
mod protocol;
mod rules;
mod server;

pub(super) use fleet::Fleet;
pub use fleet::NODES_MAX;
pub use host::{Front, WATCHDOG, watch};
pub use inside::{PROGRAM, inside, leave};
pub use machine::machine;
pub(super) use server::Server;
