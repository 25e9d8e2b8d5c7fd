//! How a node is set up, and what it starts from.

#[cfg(feature = "plant")]
use crate::mutation::Mutation;
use crate::{
    log::Log,
    types::{Entry, HardState, LogIndex, Membership, NodeId, SnapshotMeta, Term},
};
use std::fmt;

/// The parameters of one node. [`Config::new`] gives defaults; [`Raft::new`](crate::Raft::new) validates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node; not 0.
    pub id: NodeId,
    /// A follower that hears nothing campaigns after a random number of ticks, at least this and less than
    /// twice this. More than `heartbeat_ticks`; ten times that is usual.
    pub election_ticks: u32,
    /// A leader sends heartbeats every so many ticks; at least 1.
    pub heartbeat_ticks: u32,
    /// Ask whether an election could be won before raising the term. Raft thesis, section 9.6.
    pub pre_vote: bool,
    /// A leader that does not hear from a majority within `election_ticks` steps down, and who hears from a
    /// leader does not vote for others. Raft thesis, sections 6.2 and 4.2.3.
    pub check_quorum: bool,
    /// Bytes per append message, at least 1: payloads, and 16 for each entry. A single larger entry still
    /// travels, alone.
    pub max_append_bytes: usize,
    /// Append messages with entries that may be unanswered per peer; at least 1.
    pub max_inflight: usize,
    /// Bytes that a leader holds uncommitted before it refuses proposals, at least 1, counted likewise. A
    /// single larger entry is still taken when nothing else waits.
    pub max_uncommitted_bytes: usize,
    /// Seed of the election timeouts. The node's id is mixed in, so a cluster may share one seed.
    pub seed: u64,
    /// A mistake to make.
    #[cfg(feature = "plant")]
    pub mutation: Option<Mutation>,
}

impl Config {
    /// Usual parameters: an election timeout of 10 ticks, a heartbeat every tick, all protections on.
    pub fn new(id: NodeId, seed: u64) -> Config {
        Config {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            check_quorum: true,
            max_append_bytes: 1 << 20,
            max_inflight: 256,
            max_uncommitted_bytes: 64 << 20,
            seed,
            #[cfg(feature = "plant")]
            mutation: None,
        }
    }

    /// Whether the parameters make sense together.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        let (election, heartbeat) = (self.election_ticks, self.heartbeat_ticks);
        let mut errors = Vec::new();
        if self.id.0 == 0 {
            errors.push(ConfigError::IdZero);
        }
        if heartbeat == 0 || election <= heartbeat || election > ELECTION_TICKS_MAX {
            errors.push(ConfigError::Ticks { election, heartbeat });
        }
        for (name, value) in [
            ("max_append_bytes", self.max_append_bytes),
            ("max_inflight", self.max_inflight),
            ("max_uncommitted_bytes", self.max_uncommitted_bytes),
        ] {
            if value == 0 {
                errors.push(ConfigError::Zero { name });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    #[cfg(feature = "plant")]
    pub(crate) fn plants(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

/// Twice this still fits the timers.
const ELECTION_TICKS_MAX: u32 = 1 << 30;

/// A mistake in a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The id 0 is nobody's.
    IdZero,
    /// The election timeout must be longer than the heartbeat interval, which must be at least 1.
    Ticks {
        /// `election_ticks` as given.
        election: u32,
        /// `heartbeat_ticks` as given.
        heartbeat: u32,
    },
    /// A limit that must be at least 1.
    Zero {
        /// The parameter.
        name: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::IdZero => write!(f, "id: must not be 0"),
            ConfigError::Ticks { election, heartbeat } => write!(
                f,
                "election_ticks: {election} must be more than heartbeat_ticks ({heartbeat}), which must be at \
                 least 1, and at most {ELECTION_TICKS_MAX}"
            ),
            ConfigError::Zero { name } => write!(f, "{name}: must be at least 1"),
        }
    }
}

/// What a node finds on its disk when it starts.
///
/// A node that joins a running cluster starts from `Durable::default()`: it has no membership until a leader
/// sends it one, and never campaigns before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// The newest hard state that was written.
    pub hard_state: HardState,
    /// The newest state image; its state is what `committed` entries are applied on top of.
    pub snapshot: Option<SnapshotMeta>,
    /// The log, consecutive. It may begin before the snapshot's end (entries kept for slow followers), and
    /// may end before it or contradict it (the image was stored, then the node crashed before it wrote that
    /// the image replaced the log): what contradicts an image is dropped.
    pub entries: Vec<Entry>,
}

impl Durable {
    /// What every first member of a brand-new cluster starts from; all must be given the same membership.
    pub fn bootstrap(membership: Membership) -> Durable {
        let snapshot = SnapshotMeta { index: LogIndex::ZERO, term: Term::ZERO, membership };
        Durable { snapshot: Some(snapshot), ..Durable::default() }
    }

    /// Checks what was read, and makes the parts of a node from it.
    pub(crate) fn recover(self) -> Result<(HardState, SnapshotMeta, Log), DurableError> {
        self.check_entries()?;
        let Durable { mut hard_state, snapshot, entries } = self;
        let snapshot = snapshot.unwrap_or_else(|| SnapshotMeta {
            index: LogIndex::ZERO,
            term: Term::ZERO,
            membership: Membership::default(),
        });
        if let Some(first) = entries.first()
            && first.index > snapshot.index.next()
        {
            return Err(DurableError::Gap { snapshot: snapshot.index, first: first.index });
        }
        let log = Log::recover(&snapshot, entries);
        if hard_state.commit > log.last_index() {
            return Err(DurableError::CommitLost { commit: hard_state.commit, last: log.last_index() });
        }
        // An image may be stored before the term that came with it.
        if snapshot.term > hard_state.term {
            hard_state = HardState { term: snapshot.term, vote: None, commit: hard_state.commit };
        }
        // A planted bug leaves a disk without a term.
        let has_term = cfg!(not(feature = "plant")) || hard_state.term > Term::ZERO;
        if has_term && log.last_term() > hard_state.term {
            return Err(DurableError::TermLost { term: hard_state.term, last_term: log.last_term() });
        }
        hard_state.commit = hard_state.commit.max(snapshot.index);
        Ok((hard_state, snapshot, log))
    }

    fn check_entries(&self) -> Result<(), DurableError> {
        if let Some(first) = self.entries.first()
            && (first.index == LogIndex::ZERO || first.term == Term::ZERO)
        {
            return Err(DurableError::Disorder { index: first.index });
        }
        for pair in self.entries.windows(2) {
            if pair[0].index.0.checked_add(1) != Some(pair[1].index.0) || pair[0].term > pair[1].term {
                return Err(DurableError::Disorder { index: pair[1].index });
            }
        }
        Ok(())
    }
}

/// Why what was found on disk cannot be a node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableError {
    /// Entries are missing between the image and the log.
    Gap {
        /// Last entry of the image.
        snapshot: LogIndex,
        /// First entry of the log.
        first: LogIndex,
    },
    /// The entry does not follow on the one before it.
    Disorder {
        /// The entry's index.
        index: LogIndex,
    },
    /// Entries that were known to be committed are gone.
    CommitLost {
        /// The commit index as written.
        commit: LogIndex,
        /// The last entry that is there.
        last: LogIndex,
    },
    /// The log is of a newer term than the hard state.
    TermLost {
        /// The term as written.
        term: Term,
        /// The last entry's term.
        last_term: Term,
    },
}

impl fmt::Display for DurableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DurableError::Gap { snapshot, first } => {
                write!(f, "entries are missing: the snapshot ends at {snapshot}, the log begins at {first}")
            }
            DurableError::Disorder { index } => {
                write!(f, "entry {index} does not follow on the one before it")
            }
            DurableError::CommitLost { commit, last } => {
                write!(f, "committed entries are missing: commit is {commit}, the log ends at {last}")
            }
            DurableError::TermLost { term, last_term } => {
                write!(f, "the hard state's term {term} is behind the log's last term {last_term}")
            }
        }
    }
}

/// Why a node could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The parameters are wrong.
    Config(Vec<ConfigError>),
    /// The state found on disk is damaged.
    Durable(DurableError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(errors) => {
                let errors: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
                f.write_str(&errors.join("; "))
            }
            StartError::Durable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for DurableError {}
impl std::error::Error for StartError {}
