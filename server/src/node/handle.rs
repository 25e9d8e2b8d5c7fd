//! A node as its API sees it, and as its owner does.

use super::{
    apply_loop::{ApplyLoop, Snapshots, Work},
    images,
    lease_loop::{self, LeaseDesk},
    members::{Members, addresses},
    peers::{Peers, QUEUED_BYTES_MAX, QUEUED_BYTES_MIN},
    questions::Question,
    queue::Queue,
    raft_loop::RaftLoop,
    shared::{Event, Options, Shared, StatusCell},
    waiters::{Waiter, Waiters},
};
use crate::{
    auth::Principal,
    backend::{Backend, LeaseTime, NodeStatus},
    clock::Ticker,
    cluster::Roster,
    disk::{Files, Opened},
    error::ApiError,
    metrics::Metrics,
    net::{self, Network, Port},
    proto::internal::{Command, command::Request},
    replica::{self, Applier, Input, Replica},
    state_machine::{Response, StateMachine},
    trace,
    watch::Hub,
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use raft::{
    Durable, Raft,
    types::{Membership, NodeId, Role},
};
use std::{
    fmt, io,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// Committed entries that may wait to be applied before proposals are refused. As etcd.
const UNAPPLIED_MAX: u64 = 5000;
/// Requests that may wait for a leader.
const PARKED_MAX: usize = 10_000;

/// Why a node could not be started.
#[derive(Debug)]
pub enum StartError {
    /// Raft refused its parameters, or what was found on disk.
    Raft(raft::StartError),
    /// The newest image could not be loaded.
    Image(images::LoadError),
    /// The operating system refused.
    Io(io::Error),
    /// The trace cannot be written.
    Trace(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raft(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Trace(error) => write!(f, "--trace: {error}; name another file"),
        }
    }
}

impl std::error::Error for StartError {}

/// A handle to a running member. The member runs as long as its [`Running`].
#[derive(Clone)]
pub struct Node(pub(super) Arc<Shared>);

/// A running member. Dropping it ends it as a crash would: nothing more is flushed.
pub struct Running {
    shared: Arc<Shared>,
    apply: Arc<Queue<Work>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts a member on what its data directory holds, listening to its peers at `ports`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start<F: Files>(
        options: Options,
        opened: Opened<F>,
        ports: Vec<Port>,
        metrics: Arc<Metrics>,
    ) -> Result<Running, StartError> {
        let Opened { wal, images, image, hard_state, entries, roster: _, restarted } = opened;
        let timing = Timing::of(&options);
        let epoch = epoch(options.seed);
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut state = images::load(&images, image.index, &options.roster).map_err(StartError::Image)?;
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut applier = Applier::new(options.id, epoch, image.clone());
        #[cfg(feature = "plant")]
        plant(&options, &mut state, &mut applier, &entries, hard_state.commit);
        let last = entries.last().map_or(image.index, |entry| entry.index);
        tracing::info!(
            node = options.id.0,
            cluster = options.cluster_id,
            restarted,
            image = image.index.0,
            last = last.0,
            commit = hard_state.commit.0,
            term = hard_state.term.0,
            "starting from disk"
        );
        let durable = Durable { hard_state, snapshot: Some(image.clone()), entries };
        let config = raft_config(&options, &timing);
        let trace = options.trace.as_ref().map(|path| trace::Writer::open(path, &config, &durable));
        let trace = trace.transpose().map_err(StartError::Trace)?;
        let raft = Raft::new(config, durable).map_err(StartError::Raft)?;
        let (leases, questions) = LeaseDesk::new();
        let shared = Arc::new(new_shared(options, epoch, state, metrics, leases));
        shared.status.set(&raft);
        shared.status.set_applied(image.index);
        shared.membership.send_replace(raft.membership().clone());

        let peers = Arc::new(Peers { shared: shared.clone(), images: images.clone() });
        let options = &shared.options;
        let mut network =
            Network::start(net_settings(options, &shared.metrics), ports, peers).map_err(StartError::Io)?;
        let roster = shared.roster.read().clone();
        let members = Members::new(options, roster);
        members.connect(&mut network);

        let work = Arc::new(Queue::new());
        let settings = replica::Settings {
            epoch,
            leader_wait_ticks: 2 * u64::from(timing.election_ticks),
            read_retry_ticks: u64::from(timing.election_ticks) / 2 + 1,
            parked_max: PARKED_MAX,
            remember_ticks: (options.request_timeout.as_nanos() / timing.tick.as_nanos()) as u64 + 1,
        };
        let mut replica = Replica::new(raft, settings, image.index);
        if let Some(trace) = trace {
            replica.record(Box::new(trace));
        }
        let raft_loop = RaftLoop {
            shared: shared.clone(),
            replica,
            wal,
            images: images.clone(),
            network,
            apply: work.clone(),
            head_start_ticks: timing.head_start_ticks(options),
            ticker: Ticker::new(timing.tick, timing.heartbeat_ticks, Instant::now()),
            members,
        };
        let roster_version = shared.state.read().roster_version();
        let snapshots = Snapshots::new(image.index);
        let apply_loop = ApplyLoop {
            shared: shared.clone(),
            applier,
            images,
            work: work.clone(),
            snapshots,
            roster_version,
        };
        let mut running = Running { shared: shared.clone(), apply: work, threads: Vec::new() };
        running.spawn("raft", move || raft_loop.run().map_err(|error| error.to_string()))?;
        running.spawn("apply", move || apply_loop.run().map_err(|error| error.to_string()))?;
        let hub = shared.hub.clone();
        running.spawn("watch", move || {
            hub.run();
            Ok(())
        })?;
        let runtime = lease_loop::runtime().map_err(StartError::Io)?;
        let node = running.node();
        running.spawn("leases", move || {
            runtime.block_on(lease_loop::run(node, questions));
            Ok(())
        })?;
        Ok(running)
    }

    /// A handle for the API.
    pub fn node(&self) -> Node {
        Node(self.shared.clone())
    }

    /// Why the member had to stop, once it had to.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// Stops the member: requests that wait are answered that it stops, and the log is flushed.
    pub fn stop(mut self) {
        self.end(true);
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), StartError> {
        let shared = self.shared.clone();
        let guarded = move || match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => shared.fail(why),
            Err(_) => shared.fail("an invariant is broken; see the message above".into()),
        };
        let thread = thread::Builder::new().name(name.into()).spawn(guarded).map_err(StartError::Io)?;
        self.threads.push(thread);
        Ok(())
    }

    fn end(&mut self, graceful: bool) {
        self.shared.stopping.store(true, Relaxed);
        self.shared.events.push(Event::Stop { graceful });
        self.apply.push(Work::Stop);
        self.shared.hub.stop();
        self.shared.leases.stop();
        for thread in self.threads.drain(..) {
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
        self.shared.waiters.clear();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn new_shared(
    options: Options,
    epoch: u64,
    state: StateMachine,
    metrics: Arc<Metrics>,
    leases: LeaseDesk,
) -> Shared {
    Shared {
        hub: Arc::new(Hub::new(state.kv().revision())),
        leases,
        roster: RwLock::new(Arc::new(state.roster().clone())),
        auth_enabled: AtomicBool::new(state.auth().enabled),
        size_bytes: AtomicU64::new(state.kv().size_bytes()),
        options,
        epoch,
        next_number: AtomicU64::new(1),
        events: Queue::new(),
        waiters: Waiters::default(),
        state: RwLock::new(state),
        status: StatusCell::default(),
        membership: watch::Sender::new(Membership::default()),
        caught_up: Mutex::default(),
        leader: watch::Sender::new(None),
        metrics,
        stopping: AtomicBool::new(false),
        failure: watch::Sender::new(None),
        generation: AtomicU64::new(0),
        reachable: Mutex::default(),
    }
}

fn net_settings(options: &Options, metrics: &Arc<Metrics>) -> net::Settings {
    let own = net::Party { cluster: options.cluster_id, node: options.id };
    let (heartbeat, election) = (options.heartbeat, options.election);
    net::Settings { own, heartbeat, election, tls: options.peer_tls.clone(), metrics: metrics.clone() }
}

/// Mixes the seed into an epoch: two lives with different seeds have different ones (splitmix64).
fn epoch(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Raft's unit of time, and its timeouts in it.
struct Timing {
    tick: Duration,
    heartbeat_ticks: u32,
    election_ticks: u32,
}

impl Timing {
    /// A tenth of a heartbeat, between 1 and 10 ms.
    fn of(options: &Options) -> Timing {
        let tick = (options.heartbeat / 10).clamp(Duration::from_millis(1), Duration::from_millis(10));
        let ticks = |duration: Duration| {
            u32::try_from(duration.as_nanos() / tick.as_nanos()).unwrap_or(u32::MAX).max(1)
        };
        Timing { tick, heartbeat_ticks: ticks(options.heartbeat), election_ticks: ticks(options.election) }
    }

    /// All of an election timeout but two heartbeats, if so much is to count as gone at a start.
    fn head_start_ticks(&self, options: &Options) -> u32 {
        let ticks = self.election_ticks.saturating_sub(2 * self.heartbeat_ticks);
        if options.election_head_start { ticks } else { 0 }
    }
}

fn raft_config(options: &Options, timing: &Timing) -> raft::Config {
    raft::Config {
        election_ticks: timing.election_ticks,
        heartbeat_ticks: timing.heartbeat_ticks,
        #[cfg(feature = "plant")]
        mutation: options.plant.and_then(mutation),
        ..raft::Config::new(options.id, options.seed)
    }
}

#[cfg(feature = "plant")]
fn mutation(plant: crate::plant::Plant) -> Option<raft::Mutation> {
    use crate::plant::Plant;
    [
        (Plant::AckBeforeCommit, raft::Mutation::AckBeforeCommit),
        (Plant::VoteNotPersisted, raft::Mutation::VoteNotPersisted),
        (Plant::AckUnappended, raft::Mutation::AckWithoutAppend),
    ]
    .into_iter()
    .find_map(|(of_the_server, of_the_core)| (of_the_server == plant).then_some(of_the_core))
}

#[cfg(feature = "plant")]
fn plant(
    options: &Options,
    state: &mut StateMachine,
    applier: &mut Applier,
    entries: &[raft::Entry],
    commit: raft::LogIndex,
) {
    state.set_plant(options.plant);
    if options.plant == Some(crate::plant::Plant::ApplyTwiceAfterRestart) {
        let is_command = |entry: &&raft::Entry| matches!(entry.payload, raft::Payload::Command(_));
        let last = entries.iter().rev().filter(|entry| entry.index <= commit).find(is_command);
        if let Some(entry) = last {
            applier.apply_again(entry.index);
        }
    }
}

/// Takes a request back when nobody waits for it any more.
struct Waiting<'a> {
    waiters: &'a Waiters,
    number: u64,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.waiters.remove(self.number);
        }
    }
}

impl Node {
    /// The server's counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Hands leadership to a voter that can be reached, if this member leads: before a planned stop, so that
    /// nobody has to wait for an election. Gives up after an election timeout.
    pub async fn resign(&self) {
        let own = self.0.options.id;
        let to = {
            let (membership, reachable) = (self.0.membership.borrow(), self.0.reachable.lock());
            membership.voters.iter().copied().find(|id| *id != own && reachable.contains_key(id))
        };
        if let Some(to) = to.filter(|_| self.status().role == Role::Leader) {
            let moved = tokio::time::timeout(self.0.options.election, self.move_leader(to)).await;
            tracing::info!(node = %own, %to, moved = matches!(moved, Ok(Ok(()))), "handed leadership over");
        }
    }

    /// Asks a peer something, and waits for the answer.
    ///
    /// # Errors
    /// [`ApiError::Unhealthy`] if it does not answer.
    pub async fn ask(&self, peer: NodeId, question: Question) -> Result<Bytes, ApiError> {
        let shared = self.0.clone();
        let ask = move || {
            let options = &shared.options;
            let urls = shared.roster.read().members.get(&peer).map(|member| member.peer_urls.clone());
            let settings = net_settings(options, &shared.metrics);
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in addresses(&urls.unwrap_or_default()) {
                match net::ask(&address, &settings, Some(peer), question.encode()) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%peer, ?question, %error, "a peer does not answer a question");
                Err(ApiError::Unhealthy)
            }
            Err(_) => Err(ApiError::Stopped),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.0.next_number.fetch_add(1, Relaxed)
    }

    /// Queues a request for the raft thread and waits for its outcome.
    async fn wait<T>(
        &self,
        number: u64,
        waiter: Waiter,
        receiver: oneshot::Receiver<Result<T, ApiError>>,
        input: Input,
        weight: usize,
    ) -> Result<T, ApiError> {
        let shared = &self.0;
        if shared.stopping.load(Relaxed) {
            return Err(ApiError::Stopped);
        }
        shared.waiters.add(number, waiter);
        let mut waiting = Waiting { waiters: &shared.waiters, number, answered: false };
        let weight = weight + QUEUED_BYTES_MIN;
        if shared.offer(input, weight, QUEUED_BYTES_MAX).is_err() {
            return Err(ApiError::TooManyRequests);
        }
        match tokio::time::timeout(shared.options.request_timeout, receiver).await {
            Ok(Ok(outcome)) => {
                waiting.answered = true;
                outcome
            }
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }
}

impl Backend for Node {
    async fn propose_as(&self, request: Request, principal: Principal) -> Result<Response, ApiError> {
        let shared = &self.0;
        let number = self.number();
        let origin = shared.options.id.0;
        let command = Command { origin, epoch: shared.epoch, number, ..replica::command(request, principal) };
        let command = Bytes::from(command.encode_to_vec());
        if command.len() > shared.options.max_request_bytes {
            return Err(ApiError::RequestTooLarge);
        }
        let status = shared.status.get(&shared.options);
        if status.committed.0.saturating_sub(status.applied.0) > UNAPPLIED_MAX {
            return Err(ApiError::TooManyRequests);
        }
        let pending = Pending::new(&shared.metrics);
        let (sender, receiver) = oneshot::channel();
        let weight = command.len();
        let input = Input::Propose { number, command };
        let result = self.wait(number, Waiter::Proposal(sender), receiver, input, weight).await;
        pending.done(&result);
        result
    }

    async fn read_index(&self) -> Result<(), ApiError> {
        #[cfg(feature = "plant")]
        if self.0.options.plant == Some(crate::plant::Plant::LocalRead) {
            return Ok(());
        }
        let number = self.number();
        let (sender, receiver) = oneshot::channel();
        let result = self.wait(number, Waiter::Read(sender), receiver, Input::Read { number }, 0).await;
        if result.is_err() {
            self.0.metrics.read_indexes_failed.inc();
        }
        result
    }

    fn state(&self) -> impl Deref<Target = StateMachine> {
        self.0.state.read()
    }

    fn status(&self) -> NodeStatus {
        let status = self.0.status.get(&self.0.options);
        let is_learner = self.0.roster.read().members.get(&status.id).is_some_and(|own| own.is_learner);
        NodeStatus { is_learner, ..status }
    }

    fn auth_enabled(&self) -> bool {
        self.0.auth_enabled.load(Relaxed)
    }

    fn size_bytes(&self) -> u64 {
        self.0.size_bytes.load(Relaxed)
    }

    fn spool_dir(&self) -> PathBuf {
        self.0.options.spool_dir.clone()
    }

    fn roster(&self) -> Arc<Roster> {
        self.0.roster.read().clone()
    }

    fn connected_since(&self, id: NodeId) -> Option<Instant> {
        self.0.reachable.lock().get(&id).copied()
    }

    async fn membership_becomes(
        &self,
        wanted: impl Fn(&Membership) -> bool + Send + Sync,
    ) -> Result<(), ApiError> {
        let mut membership = self.0.membership.subscribe();
        let becomes = membership.wait_for(|membership| !membership.is_joint() && wanted(membership));
        match tokio::time::timeout(self.0.options.request_timeout, becomes).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }

    async fn has_caught_up(&self, learner: NodeId) -> Result<bool, ApiError> {
        let leader = self.status().leader.ok_or(ApiError::NoLeader)?;
        if leader == self.0.options.id {
            return Ok(self.0.caught_up.lock().contains(&learner));
        }
        let answer = self.ask(leader, Question::CaughtUp(learner)).await?;
        Ok(answer[..] == [1])
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.0.leader.subscribe()
    }

    async fn lease_times(&self, ids: Vec<i64>, renew: bool) -> Result<Vec<Option<LeaseTime>>, ApiError> {
        lease_loop::lease_times(self, ids, renew).await
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), ApiError> {
        let shared = &self.0;
        let status = self.status();
        if status.role != Role::Leader {
            return Err(ApiError::NotLeader);
        }
        if !shared.membership.borrow().voters.contains(&to) {
            return Err(ApiError::BadLeaderTransferee);
        }
        if to == status.id {
            return Ok(());
        }
        let mut leader = shared.leader.subscribe();
        shared.events.push(Event::Input(Input::Transfer(to)));
        let moved = leader.wait_for(|leader| *leader == Some(to));
        match tokio::time::timeout(shared.options.request_timeout, moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }
}

/// Counts a proposal while it waits.
struct Pending<'a>(&'a Metrics);

impl<'a> Pending<'a> {
    fn new(metrics: &'a Metrics) -> Pending<'a> {
        metrics.proposals_pending.inc();
        Pending(metrics)
    }

    fn done(&self, result: &Result<Response, ApiError>) {
        let failed = match result {
            Err(
                ApiError::Timeout
                | ApiError::LeaderChanged
                | ApiError::Stopped
                | ApiError::NoLeader
                | ApiError::TooManyRequests,
            ) => true,
            // Answers of the state machine.
            Ok(_) | Err(_) => false,
        };
        if failed {
            self.0.proposals_failed.inc();
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.proposals_pending.sub(1);
    }
}
