//! Carrying out what was committed, in order, and knowing whom that answers.

use super::reads::Decided;
use crate::{
    error::ApiError,
    proto::internal::{Command, command::Request},
    state_machine::{Outcome, StateMachine},
};
use prost::Message as _;
use raft::types::{Entry, LogIndex, Membership, NodeId, Payload, SnapshotMeta};
use std::collections::BTreeMap;

/// Answers to requests of this member.
#[derive(Debug, Default)]
pub struct Answers {
    /// Proposals that were applied: the caller's number, and what they came to.
    pub outcomes: Vec<(u64, Outcome)>,
    /// Reads that may be served now.
    pub reads: Vec<u64>,
}

/// Entries made ready for applying, which needs no access to the state.
#[derive(Debug)]
pub struct Batch(Vec<Prepared>);

#[derive(Debug)]
struct Prepared {
    entry: Entry,
    /// `None` for an entry that carries no command, or bytes that are none: no member can apply those.
    command: Option<Command>,
}

impl Batch {
    /// Decodes the commands.
    pub fn prepare(entries: Vec<Entry>) -> Batch {
        let prepare = |entry: Entry| {
            let command = match &entry.payload {
                Payload::Command(bytes) => Command::decode(bytes.clone()).ok(),
                Payload::Empty | Payload::Membership { .. } => None,
            };
            Prepared { entry, command }
        };
        Batch(entries.into_iter().map(prepare).collect())
    }
}

/// Whether a command has no effect because it is not the leader's of the entry's term: somebody who led earlier
/// found that leases had run out, and the finding was handed on to a leader who knows of later renewals.
fn is_void(command: &Command, entry: &Entry) -> bool {
    #[cfg(feature = "plant")]
    if crate::plant::is(crate::plant::Plant::ExpiryOfEarlierTerm) {
        return false;
    }
    matches!(&command.request, Some(Request::LeaseExpire(expire)) if expire.term != entry.term.0)
}

/// What a member knows of its applied state beside the state itself.
#[derive(Debug)]
pub struct Applier {
    id: NodeId,
    epoch: u64,
    /// Names the state: last entry applied, its term, the membership at it.
    meta: SnapshotMeta,
    /// Reads that wait for an index.
    reads: BTreeMap<LogIndex, Vec<u64>>,
    #[cfg(feature = "plant")]
    again: Option<LogIndex>,
}

impl Applier {
    /// Continues from the state that `meta` names. Commands of `id` and `epoch` are answered.
    pub fn new(id: NodeId, epoch: u64, meta: SnapshotMeta) -> Applier {
        Applier {
            id,
            epoch,
            meta,
            reads: BTreeMap::new(),
            #[cfg(feature = "plant")]
            again: None,
        }
    }

    /// Planted bug: the entry at `index` is applied a second time.
    #[cfg(feature = "plant")]
    pub fn apply_again(&mut self, index: LogIndex) {
        self.again = Some(index);
    }

    /// Names the state that was reached.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Last entry applied.
    pub fn applied(&self) -> LogIndex {
        self.meta.index
    }

    /// Last membership applied.
    pub fn membership(&self) -> &Membership {
        &self.meta.membership
    }

    /// Applies entries. Those that the state holds already (an image brought them) are passed over.
    ///
    /// # Panics
    /// If an entry is missing in between: raft hands them out without gaps.
    pub fn apply(&mut self, state: &mut StateMachine, batch: Batch, answers: &mut Answers) {
        for Prepared { entry, command } in batch.0 {
            if entry.index <= self.meta.index {
                continue;
            }
            match command {
                Some(command) => {
                    let outcome = if is_void(&command, &entry) {
                        state.note_applied(entry.index);
                        Err(ApiError::NotLeader)
                    } else {
                        state.apply(entry.index, &command)
                    };
                    #[cfg(feature = "plant")]
                    if self.again == Some(entry.index) {
                        let _ = state.apply_again(&command);
                    }
                    if command.origin == self.id.0 && command.epoch == self.epoch {
                        answers.outcomes.push((command.number, outcome));
                    }
                }
                None => state.note_applied(entry.index),
            }
            #[cfg(feature = "plant")]
            if crate::plant::is(crate::plant::Plant::AnswersSwapped)
                && let [.., (_, one), (_, other)] = &mut answers.outcomes[..]
            {
                std::mem::swap(one, other);
            }
            self.meta.index = entry.index;
            self.meta.term = entry.term;
            if let Payload::Membership { membership, .. } = entry.payload {
                self.meta.membership = membership;
            }
        }
        self.serve_reads(answers);
    }

    /// Serves reads once their index is applied.
    pub fn wait(&mut self, decided: Decided, answers: &mut Answers) {
        let served = decided.index <= self.meta.index;
        #[cfg(feature = "plant")]
        let served = served || crate::plant::is(crate::plant::Plant::ReadBeforeApplied);
        if served {
            answers.reads.extend(decided.numbers);
        } else {
            self.reads.entry(decided.index).or_default().extend(decided.numbers);
        }
    }

    /// An image replaced the state.
    ///
    /// # Panics
    /// If the image is older than the state.
    pub fn installed(&mut self, meta: SnapshotMeta, answers: &mut Answers) {
        let (old, new) = (self.meta.index, meta.index);
        assert!(new >= old, "an image of {new} replaces a state at {old}");
        self.meta = meta;
        self.serve_reads(answers);
    }

    fn serve_reads(&mut self, answers: &mut Answers) {
        while let Some(first) = self.reads.first_entry() {
            if *first.key() > self.meta.index {
                return;
            }
            answers.reads.extend(first.remove());
        }
    }
}
