//! A whole key-value store with revisions, as etcd defines it: puts, deletes, ranges at any revision, nested
//! transactions, compaction.
//!
//! Every answer is compared field by field, with the revision that came with it. Left out: leases (a put
//! never names one here) and watches.
mod apply;
mod duplicates;
mod store;

pub use apply::{Refused, Reply};
pub use store::{Mark, Pair, Store, covers};

use super::SequentialSpec;
use super::kv_types::{Request, Response};

/// The store as one whole: transactions, ranges and revisions tie all keys together.
#[derive(Clone, Copy, Debug)]
pub struct Kv {
    /// The revision of the empty store that it begins with.
    pub revision: i64,
}

impl Default for Kv {
    fn default() -> Kv {
        Kv { revision: 1 }
    }
}

/// A request, with its answer where there was one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvOp {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: Option<Answer>,
}

/// An answer and its header's revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The answer.
    pub response: Response,
    /// The header's revision, where it is known.
    pub rev: Option<i64>,
}

impl SequentialSpec for Kv {
    type State = Store;
    type Op = KvOp;

    fn init(&self) -> Store {
        Store::at(self.revision)
    }

    fn step(&self, state: &Store, op: &KvOp) -> Option<Store> {
        let mut next = state.clone();
        let reply = next.apply(&op.request);
        let Some(answer) = &op.answer else { return Some(next) };
        let reply = reply.ok()?;
        (reply.response == answer.response && header_fits(&op.request, reply.rev, answer.rev)).then_some(next)
    }

    fn read_only(&self, op: &KvOp) -> bool {
        match &op.answer {
            Some(answer) => {
                !mutates(&op.request, &answer.response) && !matches!(op.request, Request::Compact { .. })
            }
            None => matches!(op.request, Request::Range(_)),
        }
    }

    fn touches<'a>(&self, _op: &'a KvOp, _parts: &mut Vec<&'a str>) -> bool {
        // Revisions tie all keys together.
        false
    }

    fn observes(&self, op: &KvOp, write: &KvOp) -> bool {
        // Every answer carries the revision, which counts every write.
        op.answer.is_some() && !self.read_only(write)
    }

    fn describe(&self, state: &Store) -> String {
        state.describe()
    }
}

/// Whether an answer's header fits a store at `rev`. A compaction's header is filled after it was applied,
/// outside the log's order: it may be later.
fn header_fits(request: &Request, rev: i64, header: Option<i64>) -> bool {
    match (request, header) {
        (_, None) => true,
        (Request::Compact { .. }, Some(header)) => header >= rev,
        (Request::Range(_) | Request::Put(_) | Request::Delete(_) | Request::Txn(_), Some(header)) => {
            header == rev
        }
    }
}

/// Whether a request that was answered so made a new revision.
pub fn mutates(request: &Request, response: &Response) -> bool {
    match (request, response) {
        (Request::Put(_), _) => true,
        (Request::Delete(_), Response::Delete { deleted, .. }) => *deleted > 0,
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            branch.iter().zip(responses).any(|(request, response)| mutates(request, response))
        }
        (Request::Range(_) | Request::Delete(_) | Request::Txn(_) | Request::Compact { .. }, _) => false,
    }
}

/// Whether a request could make a new revision.
pub fn may_mutate(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::Delete(_) => true,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(may_mutate),
        Request::Range(_) | Request::Compact { .. } => false,
    }
}
