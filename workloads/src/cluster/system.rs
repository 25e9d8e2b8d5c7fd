//! What a node runs: how each system is started, and what its program must be.

use super::{ClusterError, Node, Tuning};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// A system under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// Our own server.
    Assay {
        /// The program: `assay-server`, or `assay`, which is the same when called by that name.
        program: PathBuf,
        /// A bug to plant, by name.
        plant: Option<String>,
    },
    /// Real etcd.
    Etcd {
        /// The folder that holds the program `etcd`.
        dir: PathBuf,
    },
}

/// The name by which a program that is both the harness and the server is called to be the server.
pub const SERVER_ARGV0: &str = "assay-server";

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            System::Assay { .. } => "assay",
            System::Etcd { .. } => "etcd",
        })
    }
}

impl System {
    /// The program that a node runs.
    pub fn program(&self) -> PathBuf {
        match self {
            System::Assay { program, .. } => program.clone(),
            System::Etcd { dir } => dir.join("etcd"),
        }
    }

    /// Asks the program for its version: `3.5.30`. Takes as long as the program does.
    ///
    /// # Errors
    /// [`ClusterError::Program`] when it is missing, cannot be run, or says something else.
    pub fn version(&self) -> Result<String, ClusterError> {
        let program = self.program();
        let fault = |message: String| ClusterError::Program {
            program: program.clone(),
            message,
            remedy: self.remedy(),
        };
        let output =
            self.command().arg("--version").output().map_err(|e| fault(format!("cannot be run: {e}")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(fault(format!("--version ended with {}: {}", output.status, said.trim())));
        }
        System::version_in(&text)
            .ok_or_else(|| fault(format!("--version says {:?} instead of a version", text.trim())))
    }

    /// The version in what a program says of itself: the first word of "etcd Version: 3.5.30" or
    /// "assay-server 0.1.0" that starts with a digit.
    pub(super) fn version_in(said: &str) -> Option<String> {
        let mut words = said.lines().next().unwrap_or_default().split_whitespace();
        words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
    }

    fn remedy(&self) -> String {
        match self {
            System::Assay { .. } => "give the path of a program built from this repository".to_owned(),
            System::Etcd { dir } => format!(
                "put a release of etcd that runs on this machine into {}, or name its folder with --etcd-bin",
                dir.display()
            ),
        }
    }

    /// The program with nothing of the caller's settings in its environment.
    fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        match self {
            System::Assay { .. } => {
                use std::os::unix::process::CommandExt;
                command.arg0(SERVER_ARGV0);
            }
            System::Etcd { .. } => {}
        }
        // Both systems read ETCD_* variables, where they would quietly join in.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD"))
        {
            command.env_remove(name);
        }
        command
    }

    /// The command that runs `node` as a member of the cluster `token` of `nodes`, new or as its data
    /// directory says.
    pub fn node_command(&self, node: &Node, nodes: &[Node], token: &str, tuning: &Tuning) -> Command {
        let members: Vec<String> = nodes.iter().map(|n| format!("{}={}", n.name, n.peer_url)).collect();
        let mut command = self.command();
        let mut flag = |name: &str, value: &str| {
            command.arg(format!("--{name}={value}"));
        };
        flag("name", &node.name);
        flag("listen-client-urls", &node.client_url);
        flag("advertise-client-urls", &node.client_url);
        flag("listen-peer-urls", &node.peer_listen_url);
        flag("initial-advertise-peer-urls", &node.peer_url);
        flag("initial-cluster", &members.join(","));
        flag("initial-cluster-state", "new");
        flag("initial-cluster-token", token);
        flag("heartbeat-interval", &tuning.heartbeat.as_millis().to_string());
        flag("election-timeout", &tuning.election.as_millis().to_string());
        if let Some(count) = tuning.snapshot_count {
            flag("snapshot-count", &count.to_string());
        }
        if let System::Assay { plant: Some(plant), .. } = self {
            flag("plant", plant);
        }
        command.arg("--data-dir").arg(&node.data);
        command
    }
}

/// Finds the folder of etcd's programs in a path that names either the folder or the program itself.
pub fn etcd_dir(path: &Path) -> PathBuf {
    match path.file_name() {
        Some(name) if name == "etcd" && path.is_file() => {
            path.parent().unwrap_or(Path::new(".")).to_path_buf()
        }
        _ => path.to_path_buf(),
    }
}
