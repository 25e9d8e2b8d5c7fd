//! The host's end of a run: `assay run --cluster compose` starts over in a container on the nodes' network.
//!
//! Here it only looks whether all that is needed is there, has compose make machines and harness, shows what
//! the harness writes, passes Ctrl-C on, and removes everything in the end. It never dials a node.

use super::{
    super::{images::Image, inside},
    docker::{Compose, docker, docker_beside},
    owner::{self, Owner},
    project::Project,
    subnet::{self, Subnet},
    watchdog,
};
use crate::cluster::{ClusterError, System};
use nix::sys::statvfs::statvfs;
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
};

/// What docker must have left for images, disks and logs.
const DISK_FREE_MIN: u64 = 1 << 30;

/// Subnets that are tried, when somebody else is faster.
const SUBNETS_TRIED: usize = 5;

/// How long the end of a log may take to be shown once its container has ended.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// A run to be started over in a container.
#[derive(Debug)]
pub struct Front {
    /// The arguments of this program, without its name: the harness gets the same.
    pub arguments: Vec<OsString>,
    /// What the user calls this program.
    pub program: String,
    /// What the servers will be.
    pub system: System,
    /// How many nodes.
    pub nodes: usize,
    /// The folder that the run writes into, or whose subfolders it writes into.
    pub store: PathBuf,
    /// When this program was built, in UTC as RFC 3339 has it, where that is known: an image that is older is
    /// worth a word.
    pub built: Option<String>,
}

impl Front {
    /// Runs it, and returns the exit status of the harness.
    ///
    /// # Errors
    /// Whatever kept the harness from running; nothing is left behind then.
    pub async fn run(self) -> Result<u8, ClusterError> {
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(ClusterError::io("waiting for Ctrl-C"))?;
        let mut terminate =
            signal(SignalKind::terminate()).map_err(ClusterError::io("waiting for SIGTERM"))?;
        let compose = Compose::find().await?;
        let socket = socket().await?;
        for image in [Image::harness(), Image::of(&self.system)] {
            self.look_at(&image).await?;
        }
        enough_disk().await?;
        let owner = Owner::own()?;
        owner::sweep(&owner).await?;
        fs::create_dir_all(&self.store)
            .map_err(ClusterError::io(format!("creating {}", self.store.display())))?;

        let project = Project::new(compose);
        let watchdog = watchdog::post(&project)?;
        // A signal meanwhile is for the harness: compose, cut short, would leave what nobody knows of.
        let outcome = match self.start(&project, &owner, &socket).await {
            Ok(()) => follow(&project, &mut interrupt, &mut terminate).await,
            Err(error) => Err(error),
        };
        let cleared = project.remove().await;
        watchdog.dismiss();
        if let Err(error) = cleared {
            let _ = writeln!(io::stderr(), "assay: something of {} may be left: {error}", project.name());
        }
        outcome
    }

    /// Makes machines and harness, on a subnet that is free.
    async fn start(&self, project: &Project, owner: &Owner, socket: &str) -> Result<(), ClusterError> {
        let used = used_subnets().await?;
        let nodes: Vec<String> = (1..=self.nodes).map(|number| format!("n{number}")).collect();
        let mut arguments = vec!["up", "--detach", "--no-deps"];
        arguments.extend(nodes.iter().map(String::as_str));
        arguments.push("harness");
        let mut outcome = Err(ClusterError::Docker {
            doing: "looking for a free subnet".to_owned(),
            message: format!("all are taken: {used:?}"),
            remedy: "remove docker networks that nobody uses (docker network prune)".to_owned(),
        });
        for subnet in subnet::free(&used, u64::from(std::process::id())).take(SUBNETS_TRIED) {
            outcome = project.compose(&self.variables(owner, subnet, socket)?, &arguments).await.map(drop);
            match &outcome {
                Err(ClusterError::Tool(tool)) if tool.message.to_lowercase().contains("overlap") => {}
                Ok(()) | Err(_) => break,
            }
        }
        outcome
    }

    /// What docker-compose.yml is to be filled in with. The folders have the same names inside as out here:
    /// what the harness says of them holds for both.
    fn variables(
        &self,
        owner: &Owner,
        subnet: Subnet,
        socket: &str,
    ) -> Result<Vec<(&'static str, String)>, ClusterError> {
        let absolute = |path: &Path| {
            let path = std::path::absolute(path).map_err(ClusterError::io("looking for the folder"))?;
            path.into_os_string().into_string().map_err(|path| {
                ClusterError::Spec(format!("{}: compose takes only names in UTF-8", path.display()))
            })
        };
        let words: Option<Vec<String>> =
            self.arguments.iter().map(|word| word.to_str().map(quoted)).collect();
        let Some(words) = words else {
            return Err(ClusterError::Spec("compose takes only arguments in UTF-8".to_owned()));
        };
        // Two variables, of which neither may be empty, or compose would fill in the other way to run.
        let (first, rest) = words
            .split_first()
            .map_or(("run".to_owned(), String::new()), |(first, rest)| (first.clone(), rest.join(" ")));
        let store = absolute(&self.store)?;
        Ok(vec![
            ("ASSAY_OWNER", owner.label()),
            ("ASSAY_SUBNET", subnet.prefix()),
            ("ASSAY_COMMAND", first),
            ("ASSAY_ARGS", rest),
            (inside::PROGRAM, self.program.clone()),
            ("ASSAY_DIR", absolute(Path::new("."))?),
            ("ASSAY_STORE", store.clone()),
            ("ASSAY_STORE_INSIDE", store),
            ("DOCKER_SOCKET", socket.to_owned()),
        ])
    }

    /// Whether an image is there, as far as it is ours to make.
    async fn look_at(&self, image: &Image) -> Result<(), ClusterError> {
        let Some(build) = image.build else { return Ok(()) };
        let created = docker(["image", "inspect", "--format", "{{.Created}}", &image.name]).await;
        let Ok(created) = created else { return Err(image.missing()) };
        // Both in UTC and from the largest unit to the smallest: as texts they compare as times.
        let built = self.built.as_deref().and_then(|built| built.get(..19));
        if created.get(..19).zip(built).is_some_and(|(created, built)| created < built) {
            let name = &image.name;
            let _ = writeln!(
                io::stderr(),
                "assay: image {name} is older than this program; {build} makes it anew"
            );
        }
        Ok(())
    }
}

/// Shows what the harness writes until it ends, and returns its exit status.
async fn follow(
    project: &Project,
    interrupt: &mut tokio::signal::unix::Signal,
    terminate: &mut tokio::signal::unix::Signal,
) -> Result<u8, ClusterError> {
    let harness = project.harness();
    let mut log = docker_beside(&["logs", "--follow", &harness])?;
    let waiting = docker(["wait", &harness]);
    tokio::pin!(waiting);
    let status = loop {
        tokio::select! {
            status = &mut waiting => break status?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // It heals, ends its servers and writes down what it has. It may have ended by itself.
        let _ = docker(["kill", "--signal", "INT", &harness]).await;
    };
    shown(&mut log).await;
    let status = status.trim();
    match status.parse::<u8>() {
        Ok(code) if code <= 3 => Ok(code),
        Ok(_) | Err(_) => Err(ClusterError::Docker {
            doing: "waiting for the harness".to_owned(),
            message: format!("it ended with status {status}"),
            remedy: "see its last words above".to_owned(),
        }),
    }
}

async fn shown(log: &mut Child) {
    if tokio::time::timeout(LOG_TIMEOUT, log.wait()).await.is_err() {
        tracing::warn!("the end of the harness's log is missing");
    }
}

/// Where the docker daemon listens on this machine.
async fn socket() -> Result<String, ClusterError> {
    if let Ok(socket) = env::var("DOCKER_SOCKET") {
        return Ok(socket);
    }
    let host = docker(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).await?;
    match host.trim().strip_prefix("unix://") {
        Some(path) => Ok(path.to_owned()),
        None => Err(ClusterError::Docker {
            doing: "looking for docker's socket".to_owned(),
            message: format!("the daemon is at {}", host.trim()),
            remedy: "a compose cluster needs the daemon of this machine: unset DOCKER_HOST, docker context use default"
                .to_owned(),
        }),
    }
}

async fn enough_disk() -> Result<(), ClusterError> {
    let root = docker(["info", "--format", "{{.DockerRootDir}}"]).await?;
    // A daemon in a virtual machine has a disk that is not to be seen from here.
    let Ok(disk) = statvfs(root.trim()) else { return Ok(()) };
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free >= DISK_FREE_MIN {
        return Ok(());
    }
    Err(ClusterError::Docker {
        doing: format!("looking at {}", root.trim()),
        message: format!("only {} MiB are free, of {} that a run may need", free >> 20, DISK_FREE_MIN >> 20),
        remedy: "make room (docker system prune)".to_owned(),
    })
}

/// What is taken by docker's networks and by this machine's routes.
async fn used_subnets() -> Result<Vec<Subnet>, ClusterError> {
    let networks = docker(["network", "ls", "--quiet"]).await?;
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let inspect = ["network", "inspect", "--format", format].into_iter().chain(networks.split_whitespace());
    let subnets = docker(inspect).await?;
    let mut used: Vec<Subnet> = subnets.split_whitespace().filter_map(Subnet::parse).collect();
    used.extend(subnet::routed(&fs::read_to_string("/proc/net/route").unwrap_or_default()));
    Ok(used)
}

/// A word as compose takes it back out of a line.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_gets_the_same_arguments_and_folders() {
        let front = Front {
            arguments: ["run", "--cluster", "compose", "--out", "it's here"].map(OsString::from).to_vec(),
            program: "target/release/assay".to_owned(),
            system: System::Etcd { dir: PathBuf::new() },
            nodes: 3,
            store: PathBuf::from("/var/tmp/it's here"),
            built: None,
        };
        let owner = Owner::own().unwrap();
        let subnet = Subnet::parse("10.213.9.0/24").unwrap();
        let variables = front.variables(&owner, subnet, "/run/docker.sock").unwrap();
        let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(value("ASSAY_COMMAND"), Some("'run'"));
        assert_eq!(value("ASSAY_ARGS"), Some("'--cluster' 'compose' '--out' 'it'\\''s here'"));
        assert_eq!(value("ASSAY_SUBNET"), Some("10.213.9"));
        assert_eq!(value("ASSAY_STORE"), Some("/var/tmp/it's here"));
        assert_eq!(value("ASSAY_STORE"), value("ASSAY_STORE_INSIDE"));
        assert_eq!(value("ASSAY_DIR"), env::current_dir().unwrap().to_str());
    }
}
