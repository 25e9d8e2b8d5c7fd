//! Applying the log's entries, one by one and in order.

use crate::{
    error::ApiError,
    lease::Leases,
    mvcc::Store,
    proto::{
        etcdserverpb::{CompactionResponse, DeleteRangeResponse, PutResponse, TxnResponse},
        internal::{Command, MemberAttributes, command::Request},
    },
};
use raft::types::LogIndex;
use std::collections::BTreeMap;

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
    /// To a compaction: it is in force, though the superseded revisions may still take up memory.
    Compaction(CompactionResponse),
    /// To a member's attributes.
    MemberAttributes,
}

/// The replicated state of one member.
#[derive(Debug, Default)]
pub struct StateMachine {
    applied: LogIndex,
    kv: Store,
    leases: Leases,
    attributes: BTreeMap<u64, MemberAttributes>,
}

impl StateMachine {
    /// The state before the first entry.
    pub fn new() -> StateMachine {
        StateMachine::default()
    }

    /// Applies the command of the entry at `index`, which must be the next one. Total: whatever the command
    /// holds, the outcome is an answer or a refusal without effect.
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Outcome {
        self.note_applied(index);
        match command.request.as_ref() {
            Some(Request::Put(request)) => {
                let leases = &self.leases;
                self.kv.put(request, &|id| leases.contains(id)).map(Response::Put)
            }
            Some(Request::MemberAttributes(attributes)) => {
                self.attributes.insert(attributes.member_id, attributes.clone());
                Ok(Response::MemberAttributes)
            }
            Some(Request::DeleteRange(_) | Request::Txn(_) | Request::Compaction(_)) | None => {
                Err(ApiError::KeyNotFound)
            }
        }
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

    /// What the members have told of themselves, by member id.
    pub fn member_attributes(&self) -> &BTreeMap<u64, MemberAttributes> {
        &self.attributes
    }
}
