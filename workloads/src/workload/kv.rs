//! `kv`: the whole API of the store on ten keys, judged with all its revisions.
//!
//! Puts, deletes, ranges with every option, nested transactions with every kind of comparison, ranges at
//! past, compacted and future revisions (inside transactions too), and now and then a compaction. Requests
//! and answers are recorded whole, in the terms of [`checker::spec::kv_types`]; keys are recorded as they
//! are in the store. The checks count revisions one by one, so nothing else may write to the store while
//! this workload runs: the runner gives it a phase of its own.

use super::{
    Completion, Invocation, Space, Workload, kv_convert as convert,
    kv_generator::{self, Places},
    kv_seen::Seen,
};
use crate::driver::{Client, DriverError, revision};
use checker::spec::kv_types::{Request, Response};
use serde_json::{Value, json};
use server::proto::etcdserverpb::CompactionRequest;
use std::sync::{Arc, Mutex, PoisonError};

pub use kv_generator::KvGenerator;

/// The workload.
#[derive(Clone, Debug)]
pub struct Kv {
    space: Space,
    /// Whether the store holds nothing else: only then may ranges reach beyond the space, and history be
    /// compacted.
    alone: bool,
    revisions: TxnRevisions,
    seen: Arc<Mutex<Seen>>,
}

/// Which transactions may hold ranges at revisions: past, compacted or future ones.
///
/// Such a range fails its whole transaction if the revision is not to be had. etcd (at least up to 3.5.30)
/// leaves ranges out on the members that need not answer, so they carry out what the answering member
/// refused: the members differ from then on, for good (<https://github.com/etcd-io/etcd/issues/18667>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnRevisions {
    /// All.
    Any,
    /// Those that write nothing.
    ReadOnly,
}

impl Kv {
    /// The workload, with its keys in `space`, on a store at revision `base`; `alone` says that the store
    /// held nothing when it began.
    pub fn new(space: Space, alone: bool, base: i64, revisions: TxnRevisions) -> Kv {
        Kv { space, alone, revisions, seen: Arc::new(Mutex::new(Seen::at(base))) }
    }

    async fn send(&self, request: &Request, client: &mut Client) -> Result<(Response, i64), DriverError> {
        match request {
            Request::Range(range) => {
                let answer = client.range(convert::range_request(range)).await?;
                Ok((convert::range_response(&answer), revision(answer.header.as_ref())?))
            }
            Request::Put(put) => {
                let answer = client.put(convert::put_request(put)).await?;
                Ok((convert::put_response(&answer), revision(answer.header.as_ref())?))
            }
            Request::Delete(delete) => {
                let answer = client.delete_range(convert::delete_request(delete)).await?;
                Ok((convert::delete_response(&answer), revision(answer.header.as_ref())?))
            }
            Request::Txn(txn) => {
                let answer = client.txn(convert::txn_request(txn)).await?;
                Ok((convert::txn_response(&answer)?, revision(answer.header.as_ref())?))
            }
            Request::Compact { revision: at } => {
                let request = CompactionRequest { revision: *at, physical: false };
                let answer = client.compact(request).await?;
                Ok((Response::Compact {}, revision(answer.header.as_ref())?))
            }
        }
    }
}

impl Workload for Kv {
    type Op = Request;
    type Generator = KvGenerator;

    fn generator(&self, seed: u64) -> KvGenerator {
        let places = Places { space: self.space.clone(), alone: self.alone, revisions: self.revisions };
        KvGenerator::new(seed, places, Arc::clone(&self.seen))
    }

    fn invocation(&self, op: &Request) -> Invocation {
        let f = match op {
            Request::Range(_) => "range",
            Request::Put(_) => "put",
            Request::Delete(_) => "delete",
            Request::Txn(_) => "txn",
            Request::Compact { .. } => "compact",
        };
        Invocation { f, key: None, value: json!(op) }
    }

    async fn execute(&self, op: &Request, client: &mut Client) -> Completion {
        match self.send(op, client).await {
            Ok((response, rev)) => {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(op, &response, rev);
                let value: Value = json!(response);
                Completion::Ok { value, rev: Some(rev) }
            }
            Err(error) if only_reads(op) => Completion::of_read_error(&error),
            Err(error) => Completion::of_write_error(&error),
        }
    }
}

/// Whether the request cannot change anything, whichever branch is taken.
pub(super) fn only_reads(request: &Request) -> bool {
    match request {
        Request::Range(_) => true,
        Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => false,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).all(only_reads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::spec::kv_types::{PutRequest, RangeRequest, TxnRequest};

    #[test]
    fn a_transaction_only_reads_if_no_branch_writes() {
        let txn = |success, failure| Request::Txn(TxnRequest { compare: Vec::new(), success, failure });
        let range = || Request::Range(RangeRequest::default());
        let put = || Request::Put(PutRequest::default());
        assert!(only_reads(&txn(vec![range()], vec![txn(vec![range()], vec![])])));
        assert!(!only_reads(&txn(vec![range()], vec![txn(vec![], vec![put()])])));
        assert!(!only_reads(&Request::Compact { revision: 1 }));
    }
}
