//! What can happen to a node.

use crate::{
    membership::{MembershipChange, MembershipError},
    message::Message,
    ready::Mark,
    types::{LogIndex, NodeId, ReadId, Term},
};
use bytes::Bytes;
use std::fmt;

/// The cause of one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A tick of time went by.
    Tick,
    /// Replicate a command. After `Ok` its entry is `last_index()` of `term()`; whether it commits is known
    /// once an entry with that index is: same term means yes, another term means never.
    Propose(Bytes),
    /// Change the membership. `context` travels in the entry that begins the change; the entry that ends it
    /// has none, and is appended by whoever leads then.
    ProposeMembership {
        /// What to change.
        change: MembershipChange,
        /// Opaque to raft.
        context: Bytes,
    },
    /// Ask from which index on a read would be linearizable.
    Read(ReadId),
    /// A message came.
    Receive(Message),
    /// Everything up to this turn is durable.
    Persisted(Mark),
    /// Hand leadership to this voter. Raft thesis, section 3.10.
    Transfer(NodeId),
    /// Try to become leader now.
    Campaign,
    /// A state image that ends at `index` is durable, so that the log before it may go.
    SnapshotTaken {
        /// Last entry that the image contains; it was handed out in `Ready::committed` before.
        index: LogIndex,
        /// Entries to keep before `index`, for followers that are a little behind.
        keep: u64,
    },
    /// What came of an `InstallSnapshot` message: every one given out must be reported.
    SnapshotReport {
        /// The receiver.
        to: NodeId,
        /// Whether image and message were delivered.
        ok: bool,
    },
    /// A message to this peer could not be delivered.
    Unreachable(NodeId),
}

/// Why a step did nothing. The node is unchanged but for what a message's term did to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepError {
    /// Only a leader can do this.
    NotLeader {
        /// Who leads, where known.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed over; try again at the new leader.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// `max_uncommitted_bytes` would be passed; try again later.
    TooManyUncommitted,
    /// No entry of the current term is committed yet, so the commit index may be out of date. Raft thesis,
    /// section 6.4.
    ReadTooEarly,
    /// No entry of the current term is committed yet.
    ChangeTooEarly,
    /// The previous change of membership is not complete.
    ChangeInProgress,
    /// The change makes no sense on top of the present membership.
    BadChange(MembershipError),
    /// Only a voter can lead.
    NotVoter(NodeId),
    /// The image ends after what was handed out for applying.
    SnapshotAhead {
        /// Where the image ends.
        index: LogIndex,
        /// Last entry handed out.
        applied: LogIndex,
    },
    /// The mark was not given out by this node since it started.
    UnknownMark,
    /// The message contradicts itself or the protocol; it was dropped.
    Malformed {
        /// The sender.
        from: NodeId,
        /// What is wrong.
        why: &'static str,
    },
    /// A second node claims to lead this term: some node's promise was broken. The message was dropped.
    TwoLeaders {
        /// The term.
        term: Term,
        /// The leader known.
        leader: NodeId,
        /// The other.
        other: NodeId,
    },
    /// The leader knows this node to have held entries that it does not hold: its disk was lost or replaced.
    LogLost {
        /// What the leader said is committed here.
        commit: LogIndex,
        /// The last entry held.
        last: LogIndex,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepError::NotLeader { leader: Some(leader) } => write!(f, "not the leader; {leader} is"),
            StepError::NotLeader { leader: None } => write!(f, "not the leader; no leader is known"),
            StepError::Transferring { to } => write!(f, "leadership is being handed to {to}"),
            StepError::TooManyUncommitted => write!(f, "too many bytes wait to be committed"),
            StepError::ReadTooEarly | StepError::ChangeTooEarly => {
                write!(f, "no entry of the current term is committed yet")
            }
            StepError::ChangeInProgress => write!(f, "a change of membership is in progress"),
            StepError::BadChange(error) => error.fmt(f),
            StepError::NotVoter(id) => write!(f, "{id} is not a voter"),
            StepError::SnapshotAhead { index, applied } => {
                write!(f, "snapshot at {index} is ahead of what was handed out, {applied}")
            }
            StepError::UnknownMark => write!(f, "mark of another node or an earlier start"),
            StepError::Malformed { from, why } => write!(f, "malformed message from {from}: {why}"),
            StepError::TwoLeaders { term, leader, other } => {
                write!(f, "both {leader} and {other} claim to lead term {term}")
            }
            StepError::LogLost { commit, last } => {
                write!(f, "{commit} is committed here, says the leader, but the log ends at {last}")
            }
        }
    }
}

impl std::error::Error for StepError {}
