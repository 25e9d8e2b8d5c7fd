//! The machines of a run, as the harness sees them from among them.

use super::{
    engine::{Engine, Inspection},
    inside::inside,
    labels,
    leash::{Leash, ask_once},
    protocol::{Answer, Ask},
    server::{self, Server},
};
use crate::cluster::{Block, ClusterError, Hindrance, Link, NodeIndex, Probe, System, network::Address};
use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// The most nodes: for so many docker-compose.yml has machines.
pub const NODES_MAX: usize = 5;

/// How long the machines may take until they answer. Compose starts them before the harness.
const MACHINES_TIMEOUT: Duration = Duration::from_secs(20);

/// A container that holds a node's network and disk.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The node's name.
    pub(super) node: String,
    /// The container's id.
    pub(super) id: String,
    /// The container's name.
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

/// The machines of a run.
#[derive(Debug)]
pub(in crate::cluster) struct Fleet {
    engine: Engine,
    project: String,
    owner: String,
    machines: Vec<Machine>,
    leashes: Vec<Arc<Leash>>,
    probes: AtomicU64,
    /// The harness's own address, which clients have.
    own: Ipv4Addr,
}

impl Fleet {
    /// Finds the machines for `nodes` nodes in this container's own compose project, removes what an earlier
    /// run left in it, and empties the machines' disks.
    pub(in crate::cluster) async fn muster(nodes: usize) -> Result<(Fleet, Vec<Address>), ClusterError> {
        if nodes > NODES_MAX {
            return Err(ClusterError::Spec(format!(
                "a compose cluster has 1 to {NODES_MAX} nodes, not {nodes}"
            )));
        }
        if !inside() {
            return Err(ClusterError::Spec("a compose cluster is run from among its machines".to_owned()));
        }
        let engine = Engine::mounted();
        let own = own_container(&engine).await?;
        let project = project_of(&own)?;
        server::remove_leftovers(&engine, &project).await?;
        let mut machines = Vec::new();
        for index in (0..nodes).map(NodeIndex) {
            machines.push(find(&engine, &project, index).await?);
        }
        for machine in &machines {
            empty(machine).await?;
        }
        let addresses = machines.iter().enumerate().map(|(index, machine)| {
            let peer_url = format!("http://{}:2380", machine.address);
            Address {
                index: NodeIndex(index),
                client_url: format!("http://{}:2379", machine.address),
                peer_listen_url: peer_url.clone(),
                peer_url,
                // On the machine's disk, which this container does not see.
                data: Some(PathBuf::from("/data").join(&machine.node)),
            }
        });
        let addresses = addresses.collect();
        let leash = |machine: &Machine| Arc::new(Leash::new(machine.node.clone(), machine.address));
        let leashes = machines.iter().map(leash).collect();
        let owner = own.label(labels::OWNER).unwrap_or("compose").to_owned();
        let own = own.address().ok_or_else(|| {
            ClusterError::Spec("the harness's container must be on just one network, the nodes'".to_owned())
        })?;
        let probes = AtomicU64::new(0);
        Ok((Fleet { engine, project, owner, machines, leashes, probes, own }, addresses))
    }

    /// The version that a system's program tells of itself, in the image that it will run from.
    pub(in crate::cluster) async fn version(&self, system: &System) -> Result<String, ClusterError> {
        server::version(&self.engine, &self.labels(), system).await
    }

    /// A server for each node; none of them runs yet.
    pub(in crate::cluster) fn servers(&self, system: &System) -> Vec<Server> {
        let server =
            |machine: &Machine| Server::new(self.engine.clone(), machine.clone(), self.labels(), system);
        self.machines.iter().map(server).collect()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (labels::PROJECT.to_owned(), self.project.clone()),
            (labels::OWNER.to_owned(), self.owner.clone()),
        ])
    }

    /// Makes `blocked` all that is blocked: on each machine in one step, on all of them at the same time.
    pub(in crate::cluster) async fn apply(&self, all: &Hindrance) -> Result<(), ClusterError> {
        let mut changes = JoinSet::new();
        for (index, leash) in self.leashes.iter().enumerate() {
            let into = all.links.iter().filter(|(link, _)| link.to.0 == index);
            let mut rules: BTreeMap<Ipv4Addr, Block> =
                into.map(|(link, &block)| (self.machines[link.from.0].address, block)).collect();
            if all.unreachable.contains(&NodeIndex(index)) {
                // The harness asks the machine itself through another port.
                rules.insert(self.own, Block::ClientPort);
            }
            let leash = Arc::clone(leash);
            changes.spawn(async move { leash.block(&rules).await });
        }
        // Every machine is tried, whatever becomes of another.
        changes.join_all().await.into_iter().collect()
    }

    /// Packets that were dropped on each link since the machines started.
    pub(in crate::cluster) async fn dropped(&self) -> Result<BTreeMap<Link, u64>, ClusterError> {
        let mut dropped = BTreeMap::new();
        for (to, leash) in self.leashes.iter().enumerate() {
            for (address, packets) in leash.dropped().await? {
                let from = self.machines.iter().position(|machine| machine.address == address);
                dropped.extend(from.map(|from| (Link::new(NodeIndex(from), NodeIndex(to)), packets)));
            }
        }
        Ok(dropped)
    }

    /// Empties a machine's disk.
    pub(in crate::cluster) async fn wipe(&self, node: NodeIndex) -> Result<(), ClusterError> {
        empty(&self.machines[node.0]).await
    }

    /// Sends a few bytes from one machine to another.
    pub(in crate::cluster) async fn probe(&self, link: Link) -> Result<Probe, ClusterError> {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let (from, to) = (self.machines[link.from.0].address, self.machines[link.to.0].address);
        let probe = async {
            if !is(ask_once(from, Ask::Send { to, number }).await?)? {
                return Ok(Probe::NotConnected);
            }
            let arrived = is(ask_once(to, Ask::Arrived(number)).await?)?;
            Ok(if arrived { Probe::Arrived } else { Probe::Lost })
        };
        probe.await.map_err(ClusterError::io(format!("probing {link}")))
    }
}

fn is(answer: Answer) -> io::Result<bool> {
    match answer {
        Answer::Is(yes) => Ok(yes),
        Answer::Failed(message) => Err(io::Error::other(message)),
        other => Err(io::Error::other(format!("an answer to another question: {other:?}"))),
    }
}

/// The compose project that this process is in.
pub(super) async fn own_project(engine: &Engine) -> Result<String, ClusterError> {
    project_of(&own_container(engine).await?)
}

fn project_of(container: &Inspection) -> Result<String, ClusterError> {
    let project = container.label(labels::COMPOSE_PROJECT).map(str::to_owned);
    project.ok_or_else(|| ClusterError::Spec("this container was not made by compose".to_owned()))
}

/// The container that this process is in.
async fn own_container(engine: &Engine) -> Result<Inspection, ClusterError> {
    let hostname = "/etc/hostname";
    let name = fs::read_to_string(hostname).map_err(ClusterError::io(format!("reading {hostname}")))?;
    engine.inspect(name.trim()).await.map_err(|e| e.during("looking for the harness's own container"))
}

/// The machine of a node, once it runs.
async fn find(engine: &Engine, project: &str, index: NodeIndex) -> Result<Machine, ClusterError> {
    let node = index.to_string();
    let labels =
        [format!("{}={project}", labels::COMPOSE_PROJECT), format!("{}={node}", labels::COMPOSE_SERVICE)];
    let begin = Instant::now();
    loop {
        let looking = || format!("looking for the machine of {node}");
        for id in engine.list(&labels).await.map_err(|e| e.during(looking()))? {
            let found = engine.inspect(&id).await.map_err(|e| e.during(looking()))?;
            if found.state.running
                && let Some(address) = found.address()
            {
                let name = found.name.trim_start_matches('/').to_owned();
                return Ok(Machine { node, id: found.id, name, address });
            }
        }
        if begin.elapsed() > MACHINES_TIMEOUT {
            return Err(ClusterError::Docker {
                doing: looking(),
                message: format!("none runs in project {project}"),
                remedy: format!("see `docker ps -a`, and `docker logs` of the container of {node}"),
            });
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Empties a machine's disk, once it answers.
async fn empty(machine: &Machine) -> Result<(), ClusterError> {
    let begin = Instant::now();
    loop {
        let error = match ask_once(machine.address, Ask::Clear).await {
            Ok(Answer::Done) => return Ok(()),
            Ok(Answer::Failed(message)) => {
                return Err(ClusterError::io(format!("emptying the disk of {}", machine.node))(
                    io::Error::other(message),
                ));
            }
            Ok(other) => io::Error::other(format!("an answer to another question: {other:?}")),
            Err(error) => error,
        };
        if begin.elapsed() > MACHINES_TIMEOUT {
            return Err(ClusterError::Docker {
                doing: format!("waiting for the machine of {}", machine.node),
                message: error.to_string(),
                remedy: format!("see `docker logs {}`", machine.name),
            });
        }
        sleep(Duration::from_millis(50)).await;
    }
}
