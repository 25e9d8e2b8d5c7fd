//! The cluster itself.

use super::{
    Block, ClusterError, Cuts, Disturbed, Hindrance, Kind, Link, MemberStatus, Node, NodeIndex, Probe, Spec,
    clocks, netns::Why, network::Network, node_process::NodeProcess, process::Process, status::MemberClient,
};
use nix::sys::statvfs::statvfs;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    sync::{Mutex as StdMutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::Mutex,
    time::{sleep, timeout},
};

/// How often something that is being waited for is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How long a member may take to say whom it takes for the leader: one that is paused never does.
const LEADER_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn lock<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Free space, in bytes, without which a run is not begun: histories, logs and data of a few minutes.
const DISK_FREE_MIN: u64 = 256 << 20;

/// Finds out before anything is started that there is no room for what a run writes.
fn enough_disk(dir: &Path) -> Result<(), ClusterError> {
    let looking = || ClusterError::io(format!("looking for room in {}", dir.display()));
    let disk = statvfs(dir).map_err(|error| looking()(error.into()))?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free >= DISK_FREE_MIN {
        return Ok(());
    }
    Err(looking()(std::io::Error::other(format!(
        "only {} MiB are free, of {} that a run may need: make room, or take a folder on another disk",
        free >> 20,
        DISK_FREE_MIN >> 20
    ))))
}

/// Removes a node's data, where there is any.
pub(super) fn remove_data(node: &Node) -> Result<(), ClusterError> {
    match fs::remove_dir_all(&node.data) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(ClusterError::io(format!("clearing {}", node.data.display()))(e))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a node's process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It was stopped by [`Cluster::pause`].
    Paused {
        /// Its process id.
        pid: u32,
    },
    /// It was ended by [`Cluster::kill`].
    Killed,
    /// It ended by itself: nobody asked it to.
    Exited {
        /// How it ended.
        status: String,
    },
}

/// A process that was ended on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Its process id.
    pub pid: u32,
    /// How it ended, as the kernel tells its parent.
    pub status: String,
}

/// A process that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// The node's name.
    pub node: String,
    /// How it ended.
    pub status: String,
    /// The last lines that it wrote, when this was noticed.
    pub log_tail: String,
}

/// A running cluster. Its processes die with it, and with this process, however that ends.
///
/// Calls on different nodes, and on nodes and links, may overlap.
#[derive(Debug)]
pub struct Cluster {
    spec: Spec,
    version: String,
    nodes: Vec<Node>,
    pub(super) processes: Vec<Mutex<NodeProcess>>,
    clients: Vec<MemberClient>,
    /// A member that was replaced has a new identity: the old ones stay known.
    member_ids: StdMutex<BTreeMap<u64, NodeIndex>>,
    /// Nodes that joined a cluster which was there before them.
    joined: StdMutex<BTreeSet<NodeIndex>>,
    /// Nodes whose next process begins on a machine that has been up for longer, and by how much.
    pub(super) uptimes: StdMutex<BTreeMap<NodeIndex, Duration>>,
    cuts: Mutex<Cuts>,
    pub(super) network: Network,
}

impl Cluster {
    /// Starts a cluster with clean data, and waits until every node answers a linearizable read.
    ///
    /// For a `netns` cluster the process must have called [`enter`](super::netns::enter).
    ///
    /// # Errors
    /// Whatever keeps a node from serving. Nothing is left running then.
    pub async fn start(spec: Spec) -> Result<Cluster, ClusterError> {
        if !(1..=Spec::NODES_MAX).contains(&spec.nodes) {
            return Err(ClusterError::Spec(format!(
                "a cluster has 1 to {} nodes, not {}",
                Spec::NODES_MAX,
                spec.nodes
            )));
        }
        let making = || ClusterError::io(format!("creating {}", spec.dir.display()));
        fs::create_dir_all(&spec.dir).map_err(making())?;
        let dir = spec.dir.canonicalize().map_err(making())?;
        if spec.kind == Kind::Netns && dir.starts_with("/run") {
            return Err(ClusterError::Namespaces(Why::Hidden { path: dir }));
        }
        enough_disk(&dir)?;
        let (network, addresses) = Network::build(&spec).await?;
        let version = network.version(&spec.system).await?;
        let nodes: Vec<Node> = addresses.into_iter().map(|address| address.into_node(&spec.dir)).collect();
        let clients = nodes
            .iter()
            .map(|node| MemberClient::new(&node.client_url).map_err(ClusterError::Spec))
            .collect::<Result<Vec<_>, _>>()?;
        let processes = network.processes(spec.nodes, &spec.system).into_iter().map(Mutex::new).collect();
        let mut cluster = Cluster {
            spec,
            version,
            nodes,
            processes,
            clients,
            member_ids: StdMutex::default(),
            joined: StdMutex::default(),
            uptimes: StdMutex::default(),
            cuts: Mutex::new(Cuts::default()),
            network,
        };
        match cluster.bring_up().await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.stop().await;
                Err(error)
            }
        }
    }

    async fn bring_up(&mut self) -> Result<(), ClusterError> {
        for node in &self.nodes {
            remove_data(node)?;
            self.start_node(node.index).await?;
        }
        self.wait_ready(self.spec.start_timeout).await?;
        for node in &self.nodes {
            let status =
                self.status(node.index).await.map_err(|e| self.not_ready(node, Duration::ZERO, e))?;
            self.know(status.member_id, node.index);
        }
        Ok(())
    }
}

/// What the cluster is.
impl Cluster {
    /// What it was made from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The version that the system's program tells of itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every node, by index.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every node's index, in order.
    pub fn indexes(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.nodes.len()).map(NodeIndex)
    }

    /// One node.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.0]
    }

    /// The node whose member identity is, or was, `member_id`.
    pub fn node_of(&self, member_id: u64) -> Option<NodeIndex> {
        lock(&self.member_ids).get(&member_id).copied()
    }
}

/// Processes.
impl Cluster {
    /// Starts a node's process, on the data it has. A process that runs already is left alone.
    ///
    /// # Errors
    /// When the program cannot be run. A program that runs and then ends shows in [`Cluster::state`].
    pub async fn start_node(&self, index: NodeIndex) -> Result<u32, ClusterError> {
        let node = self.node(index);
        let mut process = self.processes[index.0].lock().await;
        process.start(node, || self.command(node), &self.network).await
    }

    fn command(&self, node: &Node) -> Result<Command, ClusterError> {
        let Spec { system, token, tuning, clocks, .. } = &self.spec;
        let joins = lock(&self.joined).contains(&node.index);
        let mut command = system.node_command(node, &self.nodes, token, tuning, joins);
        if *clocks {
            clocks::follow_file(&mut command, node)?;
        }
        if let Some(&by) = lock(&self.uptimes).get(&node.index) {
            clocks::begin_later(&mut command, by);
        }
        Ok(command)
    }

    /// Asks a node's process to end with SIGTERM, and waits until it is gone.
    ///
    /// Returns the process that ended; `None` when there was none.
    ///
    /// # Errors
    /// When the process does not end within ten seconds.
    pub async fn terminate(&self, index: NodeIndex) -> Result<Option<Ended>, ClusterError> {
        let node = self.node(index);
        self.processes[index.0].lock().await.terminate(node).await
    }

    /// Says that a node's process may end by itself, for a fault is about to see to it. An end from here to
    /// the next [`Cluster::start_node`] is no crash, and shows as [`ProcessState::Killed`].
    pub async fn expect_end(&self, index: NodeIndex) {
        self.processes[index.0].lock().await.expect_end();
    }

    /// How a process ended whose end was expected, once it has.
    pub async fn expected_end(&self, index: NodeIndex) -> Option<Ended> {
        self.processes[index.0].lock().await.expected_end().await
    }

    /// Removes a node's data, and has it join the cluster that is there at its next start. Its process must
    /// not run, and it must be no member.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub async fn wipe(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.network.wipe(self.node(index)).await?;
        lock(&self.joined).insert(index);
        Ok(())
    }

    /// Notes a node's member identity.
    pub fn know(&self, member_id: u64, index: NodeIndex) {
        lock(&self.member_ids).insert(member_id, index);
    }

    /// Ends a node's process with SIGKILL, paused or not, and waits until it is gone. What it had not
    /// written to a file is lost.
    ///
    /// Returns the process that was ended; `None` when there was none to end.
    ///
    /// # Errors
    /// When the process does not end.
    pub async fn kill(&self, index: NodeIndex) -> Result<Option<Ended>, ClusterError> {
        let node = self.node(index);
        let mut process = self.processes[index.0].lock().await;
        process.kill(node).await
    }

    /// Stops a node's process with SIGSTOP, and waits until the kernel says that it is stopped. Its
    /// connections stay open and its kernel goes on acknowledging.
    ///
    /// # Errors
    /// When it does not run, or does not stop.
    pub async fn pause(&self, index: NodeIndex) -> Result<ProcessState, ClusterError> {
        let mut process = self.processes[index.0].lock().await;
        process.pause().await
    }

    /// Lets a paused process run on with SIGCONT. One that is not paused is left alone.
    ///
    /// # Errors
    /// When it stays stopped.
    pub async fn resume(&self, index: NodeIndex) -> Result<ProcessState, ClusterError> {
        let mut process = self.processes[index.0].lock().await;
        process.resume().await
    }

    /// What shows what a node's process is doing, for a proof: what the kernel says of a process, or docker
    /// of a container.
    pub async fn evidence(&self, index: NodeIndex, state: &ProcessState) -> serde_json::Value {
        self.processes[index.0].lock().await.evidence(state)
    }

    /// What a node's process is doing now.
    pub async fn state(&self, index: NodeIndex) -> ProcessState {
        self.processes[index.0].lock().await.state().await
    }

    /// Every process that has ended by itself since the start, whether or not it was started again since.
    /// A server that crashes is a finding, whatever the histories say.
    pub async fn crashes(&self) -> Vec<Crash> {
        let mut all = Vec::new();
        for (node, process) in self.nodes.iter().zip(&self.processes) {
            all.extend(process.lock().await.crashes(node).await);
        }
        all
    }

    /// Whether the node's client port refuses connections, as one does that nobody listens on.
    pub async fn refuses(&self, index: NodeIndex) -> bool {
        let address = self.node(index).client_url.trim_start_matches("http://");
        match timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            Ok(Err(e)) => e.kind() == std::io::ErrorKind::ConnectionRefused,
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// Whether a connection to the node's client port comes about within 300 ms.
    pub async fn connects(&self, index: NodeIndex) -> bool {
        let address = self.node(index).client_url.trim_start_matches("http://");
        matches!(timeout(Duration::from_millis(300), TcpStream::connect(address)).await, Ok(Ok(_)))
    }

    /// Undoes every fault: opens all links, resumes what is paused, starts what does not run. Safe to call
    /// at any time, and again.
    ///
    /// # Errors
    /// The first that came up; everything was tried.
    pub async fn heal(&self) -> Result<(), ClusterError> {
        let mut outcome = self.mend_all().await;
        lock(&self.uptimes).clear();
        for index in self.indexes() {
            if self.spec.clocks {
                outcome = outcome.and(self.set_time_of_day(index, 0));
            }
            outcome = outcome.and(self.unlimit_memory(index).await);
            outcome = outcome.and(self.resume(index).await.map(drop));
            outcome = outcome.and(self.start_node(index).await.map(drop));
        }
        outcome
    }

    /// Ends every process and the network between them.
    pub async fn stop(self) {
        for (node, process) in self.nodes.iter().zip(&self.processes) {
            if let Err(error) = process.lock().await.end(node).await {
                tracing::warn!(node = node.name, %error, "a node did not end");
            }
        }
    }
}

/// What the members say.
impl Cluster {
    /// Asks a member for its status. Needs no quorum.
    ///
    /// # Errors
    /// The member's own, or that it gave no answer within a second.
    pub async fn status(&self, index: NodeIndex) -> Result<MemberStatus, tonic::Status> {
        self.clients[index.0].status().await
    }

    /// The leader, as the member with the highest term says. `None` when no member knows of one. Takes up to
    /// half a second when a member does not answer.
    pub async fn leader(&self) -> Option<NodeIndex> {
        self.leader_of(&self.statuses().await)
    }

    /// The leader, as the member with the highest term of these says.
    pub fn leader_of(&self, statuses: &BTreeMap<NodeIndex, MemberStatus>) -> Option<NodeIndex> {
        let knowing = statuses.values().filter(|status| status.leader.is_some());
        knowing.max_by_key(|status| status.raft_term)?.leader.and_then(|id| self.node_of(id))
    }

    /// What each member says of itself, of those that answer within half a second.
    pub async fn statuses(&self) -> BTreeMap<NodeIndex, MemberStatus> {
        let mut answers = tokio::task::JoinSet::new();
        for (index, client) in self.clients.iter().enumerate() {
            let client = client.clone();
            answers.spawn(async move {
                let status = timeout(LEADER_TIMEOUT, client.status()).await.ok()?.ok()?;
                Some((NodeIndex(index), status))
            });
        }
        answers.join_all().await.into_iter().flatten().collect()
    }

    /// Waits until every node answers a linearizable read.
    ///
    /// # Errors
    /// [`ClusterError::Exited`] as soon as a process has ended by itself, [`ClusterError::NotReady`] after
    /// `limit`.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), ClusterError> {
        let start = Instant::now();
        for node in &self.nodes {
            loop {
                self.all_run().await?;
                match self.clients[node.index.0].linearizable_read().await {
                    Ok(()) => break,
                    Err(answer) if start.elapsed() >= limit => {
                        return Err(self.not_ready(node, start.elapsed(), answer));
                    }
                    Err(_) => sleep(POLL).await,
                }
            }
        }
        Ok(())
    }

    /// Sees that no process has ended by itself: the others may be waiting for that one.
    async fn all_run(&self) -> Result<(), ClusterError> {
        for node in &self.nodes {
            if let ProcessState::Exited { status } = self.state(node.index).await {
                let log_tail = Process::log_tail(node);
                return Err(ClusterError::Exited { node: node.name.clone(), status, log_tail });
            }
        }
        Ok(())
    }

    fn not_ready(&self, node: &Node, after: Duration, answer: tonic::Status) -> ClusterError {
        ClusterError::NotReady {
            node: node.name.clone(),
            after,
            last_error: answer.message().to_owned(),
            log_tail: Process::log_tail(node),
        }
    }
}

/// Links.
impl Cluster {
    /// Blocks links on behalf of a fault; what other faults block stays blocked. The new rules take effect
    /// all at once.
    ///
    /// # Errors
    /// When the rules could not be put in place; then they are as before.
    pub async fn cut(&self, fault: u64, links: BTreeMap<Link, Block>) -> Result<(), ClusterError> {
        self.hinder(fault, Hindrance { links, ..Hindrance::default() }).await
    }

    /// Does to the traffic what a fault asks for, in place of what it asked for before; what other faults do
    /// stays. All of it takes effect at once.
    ///
    /// # Errors
    /// When the rules could not be put in place, or this kind of cluster cannot; then they are as before.
    pub async fn hinder(&self, fault: u64, hindrance: Hindrance) -> Result<(), ClusterError> {
        self.change_cuts(|cuts| cuts.insert(fault, hindrance)).await
    }

    /// Takes back what a fault blocked. A link that another fault blocks too stays blocked.
    ///
    /// # Errors
    /// When the rules could not be put in place; then they are as before.
    pub async fn mend(&self, fault: u64) -> Result<(), ClusterError> {
        self.change_cuts(|cuts| cuts.remove(fault)).await
    }

    /// Opens every link.
    ///
    /// # Errors
    /// When the rules could not be put in place; then they are as before.
    pub async fn mend_all(&self) -> Result<(), ClusterError> {
        self.change_cuts(Cuts::clear).await
    }

    async fn change_cuts(&self, change: impl FnOnce(&mut Cuts)) -> Result<(), ClusterError> {
        let mut cuts = self.cuts.lock().await;
        let mut changed = cuts.clone();
        change(&mut changed);
        self.network.apply(&changed.total()).await?;
        *cuts = changed;
        Ok(())
    }

    /// What is blocked now, by all faults together.
    pub async fn blocked(&self) -> BTreeMap<Link, Block> {
        self.cuts.lock().await.total().links
    }

    /// Nodes that no client reaches now.
    pub async fn unreachable(&self) -> BTreeSet<NodeIndex> {
        self.cuts.lock().await.total().unreachable
    }

    /// What became of the packets of disturbed links since the start.
    pub fn disturbed(&self) -> BTreeMap<Link, Disturbed> {
        self.network.disturbed()
    }

    /// Sends a few bytes over a link, and tells what became of them. The system under test has no part in
    /// it: this works beside a process that is paused or gone.
    ///
    /// # Errors
    /// When the probe itself could not be made.
    pub async fn probe(&self, link: Link) -> Result<Probe, ClusterError> {
        self.network.probe(link).await
    }

    /// What has been held back or dropped on each link since the start: packets in a `netns` cluster, bytes
    /// in a `local` one.
    ///
    /// # Errors
    /// When the counters could not be read.
    pub async fn dropped(&self) -> Result<BTreeMap<Link, u64>, ClusterError> {
        self.network.dropped().await
    }
}
