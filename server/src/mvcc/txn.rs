//! Transactions: conditions, then reads and writes at one revision.
//!
//! Three steps, as in etcd. All conditions, those of nested transactions too, are decided on the state before
//! the transaction: that fixes the path. Then everything on the path that could be refused is checked. Then
//! the path is carried out, which cannot fail, and each operation sees the writes before it.

use super::{
    Store,
    key_range::KeyRange,
    range::{Order, check_range},
    write::{LeaseExists, Write, check_delete, check_put, header},
};
#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::{
    error::ApiError,
    proto::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest,
        TxnResponse, request_op::Request, response_op::Response,
    },
};

/// Whether the transaction cannot write, whatever its conditions come to.
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) => true,
        Some(Request::RequestTxn(nested)) => is_read_only(nested),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

impl Store {
    /// Carries a transaction out, at a new revision if it writes anything.
    ///
    /// # Errors
    /// What refuses one of the operations on the path taken, puts before ranges: nothing is written then.
    pub fn txn(
        &mut self,
        request: &TxnRequest,
        lease_exists: LeaseExists<'_>,
    ) -> Result<TxnResponse, ApiError> {
        let path = self.path(request)?;
        self.check_path(&path, lease_exists)?;
        let mut write = Write::begin(self);
        let mut response = path.write(&mut write);
        response.header = header(write.finish());
        Ok(response)
    }

    /// Evaluates a transaction that only reads. For any other, [`is_read_only`] is false, and the operations
    /// that would write are refused.
    ///
    /// # Errors
    /// As [`Store::txn`]; [`ApiError::KeyNotFound`] for an operation that would write.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, ApiError> {
        let path = self.path(request)?;
        self.check_path(&path, &|_| false)?;
        let mut response = path.read(self)?;
        response.header = header(self.revision());
        Ok(response)
    }

    /// Decides all conditions that matter.
    fn path<'a>(&self, request: &'a TxnRequest) -> Result<Path<'a>, ApiError> {
        if request.compare.iter().any(|compare| compare.key.is_empty()) {
            return Err(ApiError::EmptyKey);
        }
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        #[cfg(feature = "plant")]
        let succeeded = succeeded
            || self.planted(Plant::CasIgnoresCompare)
                && request.success.iter().any(|op| matches!(op.request, Some(Request::RequestPut(_))));
        let ops = if succeeded { &request.success } else { &request.failure };
        let steps = ops.iter().map(|op| self.step(op)).collect::<Result<_, _>>()?;
        Ok(Path { succeeded, steps })
    }

    fn step<'a>(&self, op: &'a RequestOp) -> Result<Step<'a>, ApiError> {
        match &op.request {
            Some(Request::RequestRange(range)) => Ok(Step::Range(range, check_range(range)?)),
            Some(Request::RequestPut(put)) => check_put(put).map(|()| Step::Put(put)),
            Some(Request::RequestDeleteRange(delete)) => check_delete(delete).map(|()| Step::Delete(delete)),
            Some(Request::RequestTxn(nested)) => Ok(Step::Txn(self.path(nested)?)),
            None => Err(ApiError::KeyNotFound),
        }
    }

    /// Refuses what cannot be carried out, so that carrying out cannot fail.
    fn check_path(&self, path: &Path<'_>, lease_exists: LeaseExists<'_>) -> Result<(), ApiError> {
        let mut steps = Vec::new();
        path.flatten(&mut steps);
        for (place, step) in steps.iter().enumerate() {
            let Step::Put(put) = step else { continue };
            if (put.ignore_value || put.ignore_lease) && !self.exists_after(&steps[..place], &put.key) {
                return Err(ApiError::KeyNotFound);
            }
            if put.lease != 0 && !lease_exists(put.lease) {
                return Err(ApiError::LeaseNotFound);
            }
        }
        for step in &steps {
            let Step::Range(range, _) = step else { continue };
            if range.revision > self.revision() {
                return Err(ApiError::FutureRevision);
            }
            // As in etcd: a negative revision is an old one here, where a range by itself takes it for 0.
            if range.revision != 0 && range.revision < self.compact_revision() {
                return Err(ApiError::Compacted);
            }
        }
        Ok(())
    }

    /// Whether the key will exist once the steps are carried out. Only in transactions that break the rules
    /// does a step before a put touch the key.
    fn exists_after(&self, steps: &[&Step<'_>], key: &[u8]) -> bool {
        for step in steps.iter().rev() {
            match step {
                Step::Put(put) if put.key == key => return true,
                Step::Delete(delete) if KeyRange::new(&delete.key, &delete.range_end).contains(key) => {
                    return false;
                }
                Step::Put(_) | Step::Delete(_) | Step::Range(..) | Step::Txn(_) => {}
            }
        }
        self.exists(key)
    }
}

/// A transaction whose conditions are decided.
struct Path<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Range(&'a RangeRequest, Order),
    Put(&'a PutRequest),
    Delete(&'a DeleteRangeRequest),
    Txn(Path<'a>),
}

impl<'a> Path<'a> {
    /// All steps but the nested transactions, in the order in which they are carried out.
    fn flatten<'b>(&'b self, into: &mut Vec<&'b Step<'a>>) {
        for step in &self.steps {
            match step {
                Step::Range(..) | Step::Put(_) | Step::Delete(_) => into.push(step),
                Step::Txn(nested) => nested.flatten(into),
            }
        }
    }

    fn write(&self, write: &mut Write<'_>) -> TxnResponse {
        let responses = self.steps.iter().map(|step| match step {
            Step::Range(range, order) => {
                let current = write.revision();
                let at = if range.revision > 0 { range.revision } else { current };
                #[cfg(feature = "plant")]
                let at = if write.store().planted(Plant::StaleRange) {
                    at.min(write.store().revision())
                } else {
                    at
                };
                Response::ResponseRange(write.store().read(range, *order, at, current))
            }
            Step::Put(put) => Response::ResponsePut(write.put(put)),
            Step::Delete(delete) => Response::ResponseDeleteRange(write.delete_range(delete)),
            Step::Txn(nested) => Response::ResponseTxn(nested.write(write)),
        });
        let responses = responses.map(|response| ResponseOp { response: Some(response) }).collect();
        self.response(responses)
    }

    fn read(&self, store: &Store) -> Result<TxnResponse, ApiError> {
        let current = store.revision();
        let responses = self.steps.iter().map(|step| match step {
            Step::Range(range, order) => {
                let at = if range.revision > 0 { range.revision } else { current };
                Ok(Response::ResponseRange(store.read(range, *order, at, current)))
            }
            Step::Put(_) | Step::Delete(_) => Err(ApiError::KeyNotFound),
            Step::Txn(nested) => Ok(Response::ResponseTxn(nested.read(store)?)),
        });
        let responses = responses
            .map(|response| response.map(|response| ResponseOp { response: Some(response) }))
            .collect::<Result<_, _>>()?;
        Ok(self.response(responses))
    }

    /// As in etcd, a nested response has a header in which nothing is set.
    fn response(&self, responses: Vec<ResponseOp>) -> TxnResponse {
        TxnResponse { header: Some(ResponseHeader::default()), succeeded: self.succeeded, responses }
    }
}
