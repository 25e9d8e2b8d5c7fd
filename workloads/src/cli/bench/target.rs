//! What `assay bench` drives: a cluster that it starts, or a store that runs already.

use super::session::reach;
use crate::{
    cli::Failure,
    cluster::{Cluster, Kind, ProcessState, Spec, System, etcd_dir},
    load::{Endpoint, Security, Watched},
    nemesis::{self, FaultSet},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What is to be driven.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A cluster to be started on this machine.
    Start {
        /// What its nodes run.
        system: System,
        /// How many there are.
        nodes: usize,
    },
    /// Something that runs.
    Running(Vec<Endpoint>),
}

impl Target {
    /// Reads `assay`, `assay:PROGRAM`, `etcd` (with the folder in `etcd_bin`), `etcd:FOLDER` or `endpoints:URL,URL`.
    pub(super) fn parse(
        flag: &str,
        text: &str,
        etcd_bin: Option<&Path>,
        nodes: usize,
    ) -> Result<Target, Failure> {
        if !(1..=9).contains(&nodes) {
            return Err(Failure::Usage(format!("--nodes {nodes}: choose 1 to 9")));
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let system = match (kind, rest) {
            ("assay", "") => System::Assay { program: std::env::current_exe()?, plant: None },
            ("assay", program) => System::Assay { program: PathBuf::from(program), plant: None },
            ("etcd", "") => match etcd_bin {
                Some(path) => System::Etcd { dir: etcd_dir(path) },
                None => {
                    return Err(Failure::Usage(format!(
                        "{flag} etcd needs --etcd-bin PATH, the folder that holds `etcd`"
                    )));
                }
            },
            ("etcd", folder) => System::Etcd { dir: etcd_dir(Path::new(folder)) },
            ("endpoints", urls) => {
                let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
                return Target::running(&urls, &Security::default());
            }
            _ => {
                return Err(Failure::Usage(format!(
                    "{flag}: there is no system `{text}`; write assay, etcd, etcd:FOLDER, assay:PROGRAM or \
                     endpoints:URL,URL"
                )));
            }
        };
        // Asked before anything is made for the run.
        system.version().map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Target::Start { system, nodes })
    }

    /// A store that runs already.
    pub(super) fn running(urls: &[String], security: &Security) -> Result<Target, Failure> {
        let endpoints: Result<Vec<Endpoint>, String> =
            urls.iter().map(|url| Endpoint::secure(url, security)).collect();
        let endpoints = endpoints.map_err(|error| Failure::Usage(format!("--endpoints: {error}")))?;
        reach(&endpoints)?;
        Ok(Target::Running(endpoints))
    }

    /// The flags that name it.
    pub(super) fn config(&self) -> BTreeMap<String, String> {
        let pairs = match self {
            Target::Start { system: System::Etcd { dir }, nodes } => {
                vec![("system", format!("etcd:{}", dir.display())), ("nodes", nodes.to_string())]
            }
            Target::Start { system: System::Assay { program, .. }, nodes } => {
                let own = std::env::current_exe().is_ok_and(|own| own == *program);
                let system = if own { "assay".to_owned() } else { format!("assay:{}", program.display()) };
                vec![("system", system), ("nodes", nodes.to_string())]
            }
            Target::Running(endpoints) => {
                let urls: Vec<&str> = endpoints.iter().map(|endpoint| &*endpoint.url).collect();
                vec![("endpoints", urls.join(","))]
            }
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// What is driven.
pub(super) enum Place {
    /// A cluster that was started.
    Cluster(Arc<Cluster>),
    /// Something that ran already.
    Running(Vec<Endpoint>),
}

impl Place {
    /// Starts what is to be started, with its files below `dir`: on a network on which these faults can strike it, or
    /// without any in between.
    pub(super) async fn make(
        target: &Target,
        dir: &Path,
        faults: Option<(Kind, &FaultSet)>,
        stop: &AtomicBool,
    ) -> Result<Place, Failure> {
        let (system, nodes) = match target {
            Target::Running(endpoints) => return Ok(Place::Running(endpoints.clone())),
            Target::Start { system, nodes } => (system, *nodes),
        };
        let nodes_dir = dir.join("nodes");
        let nodes_dir = std::path::absolute(&nodes_dir).unwrap_or(nodes_dir);
        let kind = faults.map_or(Kind::Local, |(kind, _)| kind);
        let mut spec = Spec { direct: faults.is_none(), ..Spec::new(kind, system.clone(), nodes, nodes_dir) };
        nemesis::prepare(&mut spec, faults.iter().flat_map(|(_, faults)| faults.iter()));
        let told = async {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let cluster = tokio::select! {
            cluster = Cluster::start(spec) => cluster,
            () = told => return Err(Failure::Unknown("told to stop before the cluster had started".into())),
        };
        let cluster = cluster.map_err(|error| Failure::Unknown(error.to_string()))?;
        Ok(Place::Cluster(Arc::new(cluster)))
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Cluster(cluster) => {
                let (system, nodes) = (&cluster.spec().system, cluster.spec().nodes);
                format!("{system} {}, {nodes} node(s) on this machine", cluster.version())
            }
            Place::Running(endpoints) => {
                endpoints.iter().map(|endpoint| &*endpoint.url).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// Where load goes: to every node, or to the leader alone.
    pub(super) async fn endpoints(&self, leader_only: bool) -> Result<Vec<Endpoint>, Failure> {
        let all: Vec<Endpoint> = match self {
            Place::Running(endpoints) => endpoints.clone(),
            Place::Cluster(cluster) => {
                let parsed = cluster.nodes().iter().map(|node| Endpoint::parse(&node.client_url));
                parsed.collect::<Result<_, _>>().map_err(Failure::Unknown)?
            }
        };
        if !leader_only {
            return Ok(all);
        }
        let mut found = None;
        for endpoint in &all {
            if endpoint.leads().await {
                found = Some(endpoint.clone());
            }
        }
        found
            .map(|leader| vec![leader])
            .ok_or_else(|| Failure::Unknown("--target-leader: no endpoint says that it is the leader".into()))
    }

    /// Servers whose use of the machine can be seen.
    pub(super) async fn watched(&self) -> Vec<Watched> {
        match self {
            Place::Running(endpoints) => endpoints
                .iter()
                .map(|endpoint| Watched {
                    name: endpoint.url.clone(),
                    pid: None,
                    // The sampler speaks plainly.
                    address: Some(endpoint.address).filter(|_| endpoint.encryption.is_none()),
                    data: None,
                })
                .collect(),
            Place::Cluster(cluster) => {
                let mut watched = Vec::new();
                for node in cluster.nodes() {
                    let pid = match cluster.state(node.index).await {
                        ProcessState::Running { pid } | ProcessState::Paused { pid } => Some(pid),
                        ProcessState::Killed | ProcessState::Exited { .. } => None,
                    };
                    watched.push(Watched {
                        name: node.name.clone(),
                        pid,
                        address: Endpoint::parse(&node.client_url).ok().map(|endpoint| endpoint.address),
                        data: Some(node.data.clone()),
                    });
                }
                watched
            }
        }
    }

    /// Ends what was started. Tells which processes had ended by themselves.
    pub(super) async fn end(self) -> Vec<String> {
        match self {
            Place::Running(_) => Vec::new(),
            Place::Cluster(cluster) => {
                let crashes = cluster.crashes().await;
                // Whoever else had it, as faults do, has ended.
                if let Some(cluster) = Arc::into_inner(cluster) {
                    cluster.stop().await;
                }
                let tell = |crash: crate::cluster::Crash| {
                    format!("node {} ended by itself: {}\n{}", crash.node, crash.status, crash.log_tail)
                };
                crashes.into_iter().map(tell).collect()
            }
        }
    }
}
