//! The words of the protocol as types: ids, terms, indexes, entries, memberships.

use bytes::Bytes;
use std::{collections::BTreeSet, fmt};

/// Identity of a raft participant; never 0, never used again for another participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A leadership term: 0 before any election, then only ever larger. Raft paper, figure 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position in the log: the first entry has index 1; 0 stands for "before the log".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

/// The caller's number for one linearizable read; the caller never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

impl Term {
    /// Before any election.
    pub const ZERO: Term = Term(0);

    /// The term that a candidate campaigns in.
    pub fn next(self) -> Term {
        Term(self.0.checked_add(1).expect("fewer than 2^64 elections"))
    }
}

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: LogIndex = LogIndex(0);

    /// The position after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0.checked_add(1).expect("fewer than 2^64 entries"))
    }

    /// The position before this one, or `None` before the log.
    pub fn previous(self) -> Option<LogIndex> {
        self.0.checked_sub(1).map(LogIndex)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:x}", self.0)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        })
    }
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Term of the leader that created the entry.
    pub term: Term,
    /// Position in the log.
    pub index: LogIndex,
    /// What is replicated.
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: a new leader's first entry. Raft thesis, section 6.4.
    Empty,
    /// A command for the state machine, opaque to raft.
    Command(Bytes),
    /// A membership, in force as soon as it stands in a log. Raft thesis, section 4.1. The first entry of
    /// every log is one, so that what is in force anywhere after it follows from the log alone.
    Membership {
        /// The whole new membership.
        membership: Membership,
        /// What the layers above attach (addresses, the request that asked for it); opaque to raft.
        context: Bytes,
    },
}

/// Who takes part. During a change both majorities are needed (joint consensus, Raft thesis, section 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The voters of the new (or only) configuration.
    pub voters: BTreeSet<NodeId>,
    /// The voters of the old configuration while a change is in progress; empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Receive the log but have no vote.
    pub learners: BTreeSet<NodeId>,
}

/// What must survive a crash beside the log. Raft paper, figure 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Whom this node voted for in `term`.
    pub vote: Option<NodeId>,
    /// Known to be committed. Losing it is safe; keeping it makes a restart quicker.
    pub commit: LogIndex,
}

/// Names a snapshot: the state after applying everything up to `index`. The image itself never passes
/// through raft; whoever drives it stores and streams images.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// Last entry that the image contains.
    pub index: LogIndex,
    /// Term of that entry.
    pub term: Term,
    /// Membership in force at that entry.
    pub membership: Membership,
}

/// A node's part in the current term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Accepts entries from a leader.
    Follower,
    /// Asks whether an election could be won, without raising its term. Raft thesis, section 9.6.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Won the election of its term.
    Leader,
}
