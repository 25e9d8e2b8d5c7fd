//! What members say to each other beside raft's own messages: a follower hands on proposals and reads.
//!
//! Raft's messages may be lost, doubled and reordered. These may be lost and reordered, but whoever carries
//! them must not double a [`PeerMessage::Propose`]: it would be applied twice.

use bytes::Bytes;
use raft::{
    message::Message,
    types::{LogIndex, NodeId, Term},
};

/// One message, from one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Raft's own.
    Raft(Message),
    /// Propose this command, if you lead this term. No answer unless it is refused: who asked sees it come
    /// back in the log, or sees a later term's entry there and knows that it never will.
    Propose {
        /// Names the request.
        tag: Tag,
        /// The term that the receiver is thought to lead.
        term: Term,
        /// An encoded `internal::Command`.
        command: Bytes,
    },
    /// The command was not proposed, and never will be.
    ProposeRefused {
        /// Names the request.
        tag: Tag,
        /// Why.
        refusal: Refusal,
    },
    /// From which index on is a read linearizable?
    ReadIndex {
        /// Names the read.
        tag: Tag,
    },
    /// The answer to `ReadIndex`.
    ReadIndexed {
        /// Names the read.
        tag: Tag,
        /// `None`: not known here; ask again under another number.
        index: Option<LogIndex>,
    },
    /// When do leases run out? To be asked of the leader. Nothing for a replica: whoever carries messages
    /// answers it.
    LeaseQuery {
        /// Names the question.
        tag: Tag,
        /// An encoded `internal::LeaseQuery`.
        query: Bytes,
    },
    /// The answer to `LeaseQuery`.
    LeaseAnswer {
        /// Names the question.
        tag: Tag,
        /// An encoded `internal::LeaseAnswer`.
        answer: Bytes,
    },
}

/// Names a request of one member within one of its lives: an answer to an earlier life's request is never
/// taken for an answer to this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Drawn at random when the member started.
    pub epoch: u64,
    /// Never used twice within the epoch.
    pub number: u64,
}

/// Why a command was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The receiver does not lead, or is handing leadership over.
    NotLeader,
    /// The leader has too much to do.
    Busy,
}

/// A message with its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The receiver.
    pub to: NodeId,
    /// What is said.
    pub message: PeerMessage,
}
