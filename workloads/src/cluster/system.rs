//! What a node runs: how each system is started, and what its program must be.

use super::{ClusterError, Node, Tuning};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a program may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

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

    /// Asks the program for its version: `3.5.30`. Blocks for as long as the program takes, at most ten
    /// seconds.
    ///
    /// # Errors
    /// [`ClusterError::Program`] when it is missing, cannot be run, or says something else.
    pub fn version(&self) -> Result<String, ClusterError> {
        let fault = |message: String| ClusterError::Program {
            program: self.program(),
            message,
            remedy: self.remedy(),
        };
        let mut command = self.command();
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| fault(format!("cannot be run: {e}")))?;
        let start = Instant::now();
        while let Ok(None) = child.try_wait() {
            if start.elapsed() > VERSION_TIMEOUT {
                // It may end by itself this very moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err(fault(format!("--version takes longer than {} s", VERSION_TIMEOUT.as_secs())));
            }
            thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().map_err(|e| fault(format!("--version cannot be read: {e}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(fault(format!("--version ended with {}: {}", output.status, said.trim())));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        version_in(&text)
            .ok_or_else(|| fault(format!("--version says {:?} instead of a version", text.trim())))
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
    ///
    /// `joins`: the cluster is there already, and has been told of the node.
    pub fn node_command(
        &self,
        node: &Node,
        nodes: &[Node],
        token: &str,
        tuning: &Tuning,
        joins: bool,
    ) -> Command {
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
        flag("initial-cluster-state", if joins { "existing" } else { "new" });
        flag("initial-cluster-token", token);
        flag("heartbeat-interval", &tuning.heartbeat.as_millis().to_string());
        flag("election-timeout", &tuning.election.as_millis().to_string());
        if let Some(count) = tuning.snapshot_count {
            flag("snapshot-count", &count.to_string());
        }
        match self {
            System::Assay { plant, .. } => {
                if let Some(plant) = plant {
                    flag("plant", plant);
                }
                if tuning.trace {
                    flag("trace", &node.log.with_extension("trace").display().to_string());
                }
            }
            System::Etcd { .. } => {
                // How much of what was applied waits in memory for the back end to write it.
                if let Some(interval) = tuning.batch_interval {
                    flag("backend-batch-interval", &format!("{}ms", interval.as_millis()));
                }
                if let Some(limit) = tuning.batch_limit {
                    flag("backend-batch-limit", &limit.to_string());
                }
            }
        }
        command.arg("--data-dir").arg(&node.data);
        command
    }
}

/// The version in what `--version` prints, such as `etcd Version: 3.5.30`: the first word that starts with a
/// digit, in our own server's line if it has one (its first line is the version of etcd that it stands in
/// for), else in the first line.
pub(super) fn version_in(text: &str) -> Option<String> {
    let own = text.lines().find(|line| line.starts_with(SERVER_ARGV0));
    let mut words = own.or(text.lines().next())?.split_whitespace();
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeIndex;

    #[test]
    fn a_version_is_found_in_what_programs_print() {
        for (text, version) in [
            ("etcd Version: 3.5.30\nGit SHA: 1\nGo Version: go1.22\n", Some("3.5.30")),
            ("etcd Version: 3.5.30\nassay-server Version: 0.1.0\n", Some("0.1.0")),
            ("assay-server 0.1.0\n", Some("0.1.0")),
            ("Git SHA: none\n3.5.30", None),
            ("", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version, "{text:?}");
        }
    }

    fn node(number: usize) -> Node {
        let name = format!("n{number}");
        Node {
            index: NodeIndex(number - 1),
            client_url: format!("http://127.0.0.1:{number}"),
            peer_url: format!("http://127.0.0.1:1{number}"),
            peer_listen_url: format!("http://127.0.0.1:2{number}"),
            log: PathBuf::from(format!("{name}.log")),
            data: PathBuf::from(format!("{name}.data")),
            name,
        }
    }

    #[test]
    fn all_members_are_told_the_same_addresses_and_each_listens_on_its_own() {
        let nodes = [node(1), node(2)];
        let assay = System::Assay { program: "assay".into(), plant: Some("stale-read".to_owned()) };
        let tuning = Tuning { snapshot_count: Some(50), ..Tuning::default() };
        let command = assay.node_command(&nodes[1], &nodes, "token", &tuning, false);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        for word in [
            "--name=n2",
            "--listen-peer-urls=http://127.0.0.1:22",
            "--initial-advertise-peer-urls=http://127.0.0.1:12",
            "--initial-cluster=n1=http://127.0.0.1:11,n2=http://127.0.0.1:12",
            "--initial-cluster-token=token",
            "--heartbeat-interval=100",
            "--election-timeout=1000",
            "--snapshot-count=50",
            "--plant=stale-read",
            "n2.data",
        ] {
            assert!(words.iter().any(|given| given == word), "no {word} in {words:?}");
        }
        let etcd = System::Etcd { dir: "bin".into() };
        let command = etcd.node_command(&nodes[0], &nodes, "token", &Tuning::default(), true);
        assert_eq!(command.get_program(), "bin/etcd");
        assert!(!command.get_args().any(|word| word.to_string_lossy().starts_with("--plant")));
    }
}
