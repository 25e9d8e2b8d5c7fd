//! Starting a node on what its disk holds, and stopping it.

use super::{
    apply_loop::{ApplyLoop, Snapshots, Work},
    handle::Node,
    images,
    lease_loop::{self, LeaseDesk},
    members::Members,
    peers::Peers,
    queue::Queue,
    raft_loop::RaftLoop,
    shared::{Event, Options, Shared, StatusCell},
    waiters::Waiters,
};
use crate::{
    clock::Ticker,
    disk::{Files, Opened},
    metrics::Metrics,
    net::{self, Network, Port},
    replica::{self, Applier, Replica},
    state_machine::StateMachine,
    trace,
    watch::Hub,
};
use parking_lot::{Mutex, RwLock};
use raft::{Durable, Raft, types::Membership};
use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

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

/// What connections to and from peers go by.
pub(super) fn net_settings(options: &Options, metrics: &Arc<Metrics>) -> net::Settings {
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
