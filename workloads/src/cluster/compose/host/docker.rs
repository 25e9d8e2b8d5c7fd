//! The docker and compose programs of the host, as the front uses them.

use crate::cluster::{ClusterError, Tool};
use std::{ffi::OsStr, process::Stdio};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// The file that describes machines, network and harness: the one at the root, as it was when this was built.
const FILE: &str = include_str!("../../../../../docker-compose.yml");

/// Compose's own variables, which might point it elsewhere.
const STRAY: [&str; 4] = ["COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "COMPOSE_PATH_SEPARATOR"];

/// Runs docker with these arguments, and returns what it wrote.
///
/// # Errors
/// When it cannot be run, or fails.
pub(super) async fn docker<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, ClusterError> {
    let mut command = Command::new("docker");
    command.args(arguments);
    converse(command, "").await
}

/// Starts docker with these arguments, its output going where this program's goes.
pub(super) fn docker_beside(arguments: &[&str]) -> Result<Child, ClusterError> {
    let mut command = Command::new("docker");
    // In a group of its own: Ctrl-C is the front's to pass on.
    command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.spawn().map_err(|error| missing("docker", &error))
}

/// Runs a command with `input`, and returns what it wrote to standard output.
async fn converse(mut command: Command, input: &str) -> Result<String, ClusterError> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    // Without the variables: there are many, and none that compose would not name in what it says.
    let words = command.as_std().get_args().map(OsStr::to_string_lossy);
    let line = words.fold(program.clone(), |line, word| line + " " + &word);
    tracing::debug!(command = ?command.as_std(), "running");
    let mut child = command.spawn().map_err(|error| missing(&program, &error))?;
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    // A program that ends without reading says why on its way out.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let failed = |message: String| ClusterError::Tool(Tool { command: line.clone(), message });
    let output = child.wait_with_output().await.map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}: {}", output.status, said.trim())))
}

fn missing(program: &str, error: &std::io::Error) -> ClusterError {
    ClusterError::Docker {
        doing: format!("running {program}"),
        message: error.to_string(),
        remedy: "install docker and compose (Debian: docker.io, docker-compose), or use another --cluster"
            .to_owned(),
    }
}

/// Compose, of either generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compose {
    /// `docker compose`.
    Plugin,
    /// `docker-compose`.
    Program,
}

impl Compose {
    /// Finds compose, once the docker daemon answers.
    ///
    /// # Errors
    /// What is missing, with the remedy.
    pub(super) async fn find() -> Result<Compose, ClusterError> {
        if let Err(error) = docker(["version", "--format", "{{.Server.Version}}"]).await {
            return Err(match error {
                ClusterError::Tool(Tool { message, .. }) => ClusterError::Docker {
                    doing: "asking docker for its version".to_owned(),
                    message,
                    remedy:
                        "start the docker daemon (systemctl start docker), see that this user may use it \
                             (group docker), or use another --cluster"
                            .to_owned(),
                },
                other => other,
            });
        }
        for compose in [Compose::Plugin, Compose::Program] {
            if converse(compose.command(["version"]), "").await.is_ok() {
                return Ok(compose);
            }
        }
        Err(ClusterError::Docker {
            doing: "looking for compose".to_owned(),
            message: "neither `docker compose` nor `docker-compose` is there".to_owned(),
            remedy: "install one of them (Debian: docker-compose), or use another --cluster".to_owned(),
        })
    }

    fn command<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = match self {
            Compose::Plugin => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            Compose::Program => Command::new("docker-compose"),
        };
        command.args(arguments);
        for name in STRAY {
            command.env_remove(name);
        }
        command
    }

    /// Runs compose on our file, with these variables set.
    ///
    /// # Errors
    /// What compose said.
    pub(super) async fn run(
        self,
        variables: &[(&str, String)],
        arguments: &[&str],
    ) -> Result<String, ClusterError> {
        let mut command = self.command(["-f", "-"]);
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        converse(command, FILE).await
    }
}
