//! `range`, `put`, `delete`, `txn` and `compact` over a whole store.

use serde::Deserialize;

use super::{Answered, Decoded, Typed, answered, decode, unknown, wrong};
use crate::history::lint::ProblemKind;
use crate::history::{History, Operation};
use crate::spec::kv::{Answer, KvOp};
use crate::spec::kv_types::{Request, Response};

/// Reads a history of the `kv` workload.
pub fn kv(history: &History) -> Decoded<KvOp> {
    decode(history, |operation, answered| typed(operation, &answered))
}

/// One operation on a store; `None` for a serializable read, which need not be linearizable.
///
/// # Errors
/// What does not fit.
pub(crate) fn kv_op(operation: &Operation) -> Result<Option<KvOp>, ProblemKind> {
    let Typed { op, serializable } = typed(operation, &answered(operation))?;
    Ok((!serializable).then_some(op))
}

fn typed(operation: &Operation, answered: &Answered<'_>) -> Result<Typed<KvOp>, ProblemKind> {
    if !matches!(operation.f.as_str(), "range" | "put" | "delete" | "txn" | "compact") {
        return Err(unknown(operation));
    }
    let request = Request::deserialize(&operation.value)
        .map_err(|error| wrong(operation, format!("not a request: {error}")))?;
    if name(&request) != operation.f {
        return Err(wrong(operation, format!("the request is a {}", name(&request))));
    }
    let answer = match answered {
        Answered::No => None,
        Answered::Ok { value, rev } => {
            let response = Response::deserialize(*value)
                .map_err(|error| wrong(operation, format!("not a response: {error}")))?;
            if !answers(&request, &response) {
                return Err(wrong(operation, "the response is another request's"));
            }
            Some(Answer { response, rev: *rev })
        }
    };
    let serializable = serializable(&request);
    Ok(Typed { op: KvOp { request, answer }, serializable })
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Range(_) => "range",
        Request::Put(_) => "put",
        Request::Delete(_) => "delete",
        Request::Txn(_) => "txn",
        Request::Compact { .. } => "compact",
    }
}

/// Whether a member may answer from its own state: a serializable range, or a transaction of nothing else.
/// One of nothing at all, which only compares, is such a transaction to etcd.
pub(super) fn serializable(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.serializable,
        Request::Txn(txn) => {
            let mut all = txn.success.iter().chain(&txn.failure);
            all.all(|request| matches!(request, Request::Range(range) if range.serializable))
        }
        Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => false,
    }
}

/// Whether a response has the shape of a request's.
fn answers(request: &Request, response: &Response) -> bool {
    match (request, response) {
        (Request::Range(_), Response::Range { .. })
        | (Request::Put(_), Response::Put { .. })
        | (Request::Delete(_), Response::Delete { .. })
        | (Request::Compact { .. }, Response::Compact {}) => true,
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            branch.len() == responses.len()
                && branch.iter().zip(responses).all(|(request, response)| answers(request, response))
        }
        (
            Request::Range(_)
            | Request::Put(_)
            | Request::Delete(_)
            | Request::Compact { .. }
            | Request::Txn(_),
            Response::Range { .. }
            | Response::Put { .. }
            | Response::Delete { .. }
            | Response::Compact {}
            | Response::Txn { .. },
        ) => false,
    }
}
