//! What the threads of a node share.

use super::{lease_loop::LeaseDesk, queue::Queue, waiters::Waiters};
use crate::{
    backend::NodeStatus,
    cluster::Roster,
    metrics::Metrics,
    replica::{Input, Outgoing, PeerMessage},
    state_machine::StateMachine,
    tls::PeerTls,
    watch::Hub,
};
use parking_lot::{Mutex, RwLock};
use raft::types::{LogIndex, Membership, NodeId, Role, Term};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// This member.
    pub id: NodeId,
    /// Its cluster.
    pub cluster_id: u64,
    /// The members that the cluster began with.
    pub roster: Roster,
    /// Members to talk to before the replicated state names them: those that a joining member was told.
    pub contacts: Roster,
    /// A leader's heartbeat interval.
    pub heartbeat: Duration,
    /// A follower that hears nothing for this long, and up to twice this, campaigns.
    pub election: Duration,
    /// Whether most of the first election timeout counts as gone at a start.
    pub election_head_start: bool,
    /// Entries applied between two images.
    pub snapshot_count: u64,
    /// Entries that raft keeps in memory before the newest image, for followers a little behind.
    pub catch_up_entries: u64,
    /// Largest encoded request.
    pub max_request_bytes: usize,
    /// A request whose outcome is not known by then is answered so.
    pub request_timeout: Duration,
    /// Seed of the election timeouts, and of the epoch that tells this life's requests apart.
    pub seed: u64,
    /// Certificates, for peers with https URLs.
    pub peer_tls: Option<Arc<PeerTls>>,
    /// Where large files may lie for a while.
    pub spool_dir: PathBuf,
    /// Where the core's trace is written, if it is.
    pub trace: Option<PathBuf>,
    /// A planted bug.
    #[cfg(feature = "plant")]
    pub plant: Option<crate::plant::Plant>,
}

impl Options {
    /// [`Options::catch_up_entries`] as etcd has it.
    pub const CATCH_UP_ENTRIES: u64 = 5000;
}

/// What the raft thread is told.
#[derive(Debug)]
pub(super) enum Event {
    /// An input for the replica.
    Input(Input),
    /// A message for a peer, which may be lost.
    Send(Outgoing),
    /// The roster changed.
    Roster(Arc<Roster>),
    /// An image is durable; older images up to `oldest` are gone.
    ImageWritten {
        /// Where the image ends.
        index: LogIndex,
        /// Where the oldest image that is kept ends: the log before it may go.
        oldest: LogIndex,
    },
    /// Stop. A graceful stop flushes the log first; a crash, for tests, does not.
    Stop {
        /// Whether to flush.
        graceful: bool,
    },
}

/// What the threads of a node share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) epoch: u64,
    pub(super) next_number: AtomicU64,
    pub(super) events: Queue<Event>,
    pub(super) waiters: Waiters,
    pub(super) state: RwLock<StateMachine>,
    pub(super) status: StatusCell,
    pub(super) membership: watch::Sender<Membership>,
    /// The roster, as applied here.
    pub(super) roster: RwLock<Arc<Roster>>,
    /// Whether callers are asked who they are, as applied here.
    pub(super) auth_enabled: AtomicBool,
    /// Bytes that the store takes, as applied here.
    pub(super) size_bytes: AtomicU64,
    /// On a leader: the learners that hold nearly the whole log.
    pub(super) caught_up: Mutex<BTreeSet<NodeId>>,
    pub(super) leader: watch::Sender<Option<NodeId>>,
    pub(super) metrics: Arc<Metrics>,
    /// Set first when the node stops: nothing that takes long is begun any more.
    pub(super) stopping: AtomicBool,
    /// Why the node had to stop.
    pub(super) failure: watch::Sender<Option<String>>,
    /// Counts the states that images replaced: an image of an earlier state is given up.
    pub(super) generation: AtomicU64,
    /// Where what is applied is told to those who watch.
    pub(super) hub: Arc<Hub>,
    /// When leases run out, and questions about it.
    pub(super) leases: LeaseDesk,
    /// Peers that there is a connection to, and since when.
    pub(super) reachable: Mutex<BTreeMap<NodeId, Instant>>,
}

/// Too much is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Shared {
    /// Hands the raft thread an input, unless so much is queued that the weight would pass `max`. Reads can wait while
    /// the thread expects the end of a round: to wake it for each would cost more than the read.
    pub(super) fn offer(&self, input: Input, weight: usize, max: usize) -> Result<(), Full> {
        let can_wait = matches!(
            input,
            Input::Read { .. } | Input::Receive { message: PeerMessage::ReadIndex { .. }, .. }
        );
        let event = Event::Input(input);
        match can_wait {
            true => self.events.offer_patiently(event, weight, max),
            false => self.events.offer(event, weight, max),
        }
        .map_err(|_| Full)
    }

    /// The cluster goes on without this member.
    pub(super) fn leave(&self) {
        self.fail(
            "this member was removed from the cluster, for good. To let this machine take part again, \
             delete the data directory and add it as a new member"
                .into(),
        );
    }

    /// The node cannot go on.
    pub(super) fn fail(&self, why: String) {
        tracing::error!(error = why, "the node stops");
        self.stopping.store(true, Relaxed);
        self.failure.send_replace(Some(why));
        self.events.push(Event::Stop { graceful: false });
    }
}

/// Raft's view, readable without waiting for the thread that has raft.
#[derive(Debug, Default)]
pub(super) struct StatusCell {
    term: AtomicU64,
    leader: AtomicU64,
    role: AtomicU64,
    /// The term that this member leads, 0 if it leads none: role and term as of one moment.
    leading: AtomicU64,
    committed: AtomicU64,
    applied: AtomicU64,
}

const ROLES: [Role; 4] = [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader];

impl StatusCell {
    pub(super) fn set(&self, raft: &raft::Raft) {
        self.term.store(raft.term().0, Relaxed);
        self.leader.store(raft.leader().map_or(0, |id| id.0), Relaxed);
        self.role.store(ROLES.iter().position(|role| *role == raft.role()).unwrap_or(0) as u64, Relaxed);
        let leading = if raft.role() == Role::Leader { raft.term().0 } else { 0 };
        self.leading.store(leading, Relaxed);
        self.committed.store(raft.commit().0, Relaxed);
    }

    pub(super) fn set_applied(&self, index: LogIndex) {
        self.applied.store(index.0, std::sync::atomic::Ordering::Release);
    }

    /// The term that this member leads, as far as it knows.
    pub(super) fn leading(&self) -> Option<Term> {
        let term = self.leading.load(Relaxed);
        (term != 0).then_some(Term(term))
    }

    pub(super) fn applied(&self) -> LogIndex {
        LogIndex(self.applied.load(std::sync::atomic::Ordering::Acquire))
    }

    /// [`NodeStatus::is_learner`] is a matter of the roster: it is left `false`.
    pub(super) fn get(&self, options: &Options) -> NodeStatus {
        let leader = self.leader.load(Relaxed);
        NodeStatus {
            id: options.id,
            cluster_id: options.cluster_id,
            role: ROLES[self.role.load(Relaxed) as usize],
            term: Term(self.term.load(Relaxed)),
            leader: (leader != 0).then_some(NodeId(leader)),
            committed: LogIndex(self.committed.load(Relaxed)),
            applied: self.applied(),
            is_learner: false,
        }
    }
}
