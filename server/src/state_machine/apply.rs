//! Applying the log's entries, one by one and in order.

#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::{
    cluster::Roster,
    error::ApiError,
    lease::Leases,
    mvcc::{Scrub, Store},
    proto::{
        etcdserverpb::{CompactionResponse, DeleteRangeResponse, PutResponse, TxnResponse},
        internal::{Command, command::Request},
    },
};
use raft::types::{LogIndex, NodeId};

/// What a command came to. An error proves that nothing was written.
pub type Outcome = Result<Response, ApiError>;

/// The answer to a command. Of the headers inside only `revision` is filled in: the rest is not part of the
/// replicated state.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction: it is in force, though superseded versions may still take up memory
    /// ([`StateMachine::scrub`]).
    Compaction(CompactionResponse),
    /// To a change of the roster.
    Members,
}

/// The replicated state of one member.
#[derive(Debug, Default)]
pub struct StateMachine {
    pub(super) applied: LogIndex,
    pub(super) kv: Store,
    pub(super) leases: Leases,
    pub(super) roster: Roster,
    /// Counts the changes of the roster in this process.
    pub(super) roster_version: u64,
}

impl StateMachine {
    /// The state before the first entry.
    pub fn new() -> StateMachine {
        StateMachine::default()
    }

    /// The state before the first entry, in a cluster that begins with these members.
    pub fn of_new_cluster(roster: Roster) -> StateMachine {
        StateMachine { roster, ..StateMachine::default() }
    }

    /// Applies the command of the entry at `index`, which must be the next one. Total: whatever the command
    /// holds, the outcome is an answer, or a refusal without effect.
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Outcome {
        self.note_applied(index);
        self.carry_out(command)
    }

    /// Notes that the entry at `index`, the next one, carries no command.
    pub fn note_applied(&mut self, index: LogIndex) {
        assert!(index == self.applied.next(), "entry {index} follows {} in the state", self.applied);
        self.applied = index;
    }

    /// Index of the newest entry that the state holds.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The keys and values.
    pub fn kv(&self) -> &Store {
        &self.kv
    }

    /// Who shall take part.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Differs whenever the roster does, within the life of this value.
    pub fn roster_version(&self) -> u64 {
        self.roster_version
    }

    /// Frees up to `budget` versions that a compaction superseded; see [`Store::scrub`]. No answer, hash or
    /// image depends on how much of it was done.
    pub fn scrub(&mut self, budget: usize) -> Scrub {
        self.kv.scrub(budget)
    }

    fn carry_out(&mut self, command: &Command) -> Outcome {
        let leases = &self.leases;
        let lease_exists = |id| leases.contains(id);
        match &command.request {
            Some(Request::Put(request)) => self.kv.put(request, &lease_exists).map(Response::Put),
            Some(Request::DeleteRange(request)) => self.kv.delete_range(request).map(Response::DeleteRange),
            Some(Request::Txn(request)) => self.kv.txn(request, &lease_exists).map(Response::Txn),
            Some(Request::Compaction(request)) => self.kv.compact(request.revision).map(Response::Compaction),
            Some(Request::MemberAttributes(told)) => self.change_roster(|roster| {
                roster.publish(NodeId(told.member_id), &told.name, &told.client_urls);
                Ok(())
            }),
            Some(Request::MemberAdd(add)) => {
                self.change_roster(|roster| roster.add(NodeId(add.member_id), &add.peer_urls, add.is_learner))
            }
            Some(Request::MemberRemove(remove)) => {
                self.change_roster(|roster| roster.remove(NodeId(remove.member_id)))
            }
            Some(Request::MemberUpdate(update)) => {
                self.change_roster(|roster| roster.update(NodeId(update.member_id), &update.peer_urls))
            }
            Some(Request::MemberPromote(promote)) => {
                self.change_roster(|roster| roster.promote(NodeId(promote.member_id)))
            }
            // As etcd calls an operation that says nothing.
            None => Err(ApiError::KeyNotFound),
        }
    }

    fn change_roster(&mut self, change: impl FnOnce(&mut Roster) -> Result<(), ApiError>) -> Outcome {
        change(&mut self.roster)?;
        self.roster_version += 1;
        Ok(Response::Members)
    }
}

#[cfg(feature = "plant")]
impl StateMachine {
    /// Chooses the planted bug of this state machine. A restored one has none.
    pub fn set_plant(&mut self, plant: Option<Plant>) {
        self.kv.set_plant(plant);
    }

    /// Applies a command without moving the applied index: what the planted bug
    /// [`Plant::ApplyTwiceAfterRestart`] needs.
    pub fn apply_again(&mut self, command: &Command) -> Outcome {
        self.carry_out(command)
    }
}
