//! One turn's outputs, with the order "durable before sent" kept by types.
//!
//! A [`Ready`] is what one or more steps produced. Its `messages` may go at once (a leader's entries may
//! travel while its own write is under way: Raft thesis, section 10.2.1). Everything that promises
//! something about this node's disk (votes, acknowledgements of appends and snapshots) is private to the
//! `Ready` until [`Ready::save`] has made the turn durable.

use crate::{
    message::Message,
    types::{Entry, HardState, LogIndex, NodeId, ReadId, Role, SnapshotMeta, Term},
};

/// What a turn must make durable, in this order: image, then entries, then hard state, as one unit.
///
/// A write that a crash cut short must be found whole or not at all when the node starts again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Write {
    /// Replace the state and the whole log by this image, which was delivered beforehand.
    pub install: Option<SnapshotMeta>,
    /// Append these consecutive entries; whatever the log holds from the first one's index on is replaced.
    pub entries: Vec<Entry>,
    /// The new hard state, when it changed.
    pub hard_state: Option<HardState>,
    /// Whether the write must reach the disk before the turn is saved; a mere advance of the commit index
    /// need not.
    pub must_sync: bool,
}

/// Names a turn for `Input::Persisted`: everything up to it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub(crate) u64);

impl Mark {
    /// Counts turns from the node's start; for traces.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadState {
    /// The caller's number.
    pub id: ReadId,
    /// `Some(index)`: serve the read once that index is applied. `None`: leadership was lost, and nothing
    /// is known; ask again under a new number.
    pub index: Option<LogIndex>,
}

/// What may be lost in a crash, as of the end of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftState {
    /// This node's role.
    pub role: Role,
    /// The current term.
    pub term: Term,
    /// The leader of the current term, where known.
    pub leader: Option<NodeId>,
}

/// The outputs of a turn.
///
/// Readies may be made faster than they are saved, but are saved one after the other in the order in which
/// they were made, also those with nothing to write: what such a one holds back may depend on the write
/// before it. If [`Write::install`] is set, the image replaces the state before `committed` is applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ready {
    /// May be sent at once.
    pub messages: Vec<Message>,
    /// Newly committed entries, to be applied in this order. They may be ahead of this node's own disk:
    /// a majority holds them.
    pub committed: Vec<Entry>,
    /// Reads that were decided.
    pub reads: Vec<ReadState>,
    /// Role and leader, when they changed.
    pub soft_state: Option<SoftState>,
    pub(crate) write: Write,
    pub(crate) after: Vec<Message>,
    pub(crate) mark: Mark,
}

/// A turn that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "send the messages and hand the mark back with Input::Persisted"]
pub struct Saved {
    /// May be sent now.
    pub messages: Vec<Message>,
    /// To be handed back by `Input::Persisted`.
    pub mark: Mark,
}

/// Makes turns durable.
pub trait Storage {
    /// Why it could not.
    type Error;

    /// Writes, and where `write.must_sync` says so flushes, one turn. After an error the node must stop:
    /// what reached the disk is unknown.
    fn save(&mut self, write: &Write) -> Result<(), Self::Error>;
}

impl Ready {
    /// Names this turn; equal to the turn before it where there is nothing to write.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What this turn must make durable.
    pub fn write(&self) -> &Write {
        &self.write
    }

    /// Makes the turn durable and sets its messages free.
    ///
    /// # Errors
    /// The storage's own. Nothing may be sent then, and the node must stop.
    pub fn save<S: Storage>(self, storage: &mut S) -> Result<Saved, S::Error> {
        if self.write != Write::default() {
            storage.save(&self.write)?;
        }
        Ok(Saved { messages: self.after, mark: self.mark })
    }
}
