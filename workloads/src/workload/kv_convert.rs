//! Between the requests and answers of a `kv` history and those on the wire.
//!
//! Keys and values of the workload are text; bytes that are not, which only a broken store can send, become
//! U+FFFD and so match nothing that was written.

use crate::driver::DriverError;
use checker::spec::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, KeyValue, PutRequest, RangeRequest, Request,
    Response, TxnRequest,
};
use server::proto::{
    etcdserverpb::{
        self as pb,
        compare::{CompareResult, TargetUnion},
        request_op, response_op,
    },
    mvccpb,
};

pub(super) fn range_request(range: &RangeRequest) -> pb::RangeRequest {
    let (key, range_end) = key_range(&range.keys);
    pb::RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        limit: range.limit,
        revision: range.revision,
        serializable: range.serializable,
        count_only: range.count_only,
        keys_only: range.keys_only,
        ..pb::RangeRequest::default()
    }
}

pub(super) fn put_request(put: &PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: put.key.clone().into(),
        value: put.value.clone().into(),
        prev_kv: put.prev_kv,
        ..pb::PutRequest::default()
    }
}

pub(super) fn delete_request(delete: &DeleteRequest) -> pb::DeleteRangeRequest {
    let (key, range_end) = key_range(&delete.keys);
    pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: delete.prev_kv }
}

pub(super) fn txn_request(txn: &TxnRequest) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.success.iter().map(request_op).collect(),
        failure: txn.failure.iter().map(request_op).collect(),
    }
}

fn key_range(keys: &KeyRange) -> (String, String) {
    (keys.key.clone(), keys.end.clone().unwrap_or_default())
}

fn compare(compare: &Compare) -> pb::Compare {
    let (key, range_end) = key_range(&compare.keys);
    let result = match compare.op {
        CompareOp::Equal => CompareResult::Equal,
        CompareOp::NotEqual => CompareResult::NotEqual,
        CompareOp::Greater => CompareResult::Greater,
        CompareOp::Less => CompareResult::Less,
    };
    let (target, operand) = match &compare.target {
        CompareTarget::Version(n) => (pb::compare::CompareTarget::Version, TargetUnion::Version(*n)),
        CompareTarget::CreateRevision(n) => {
            (pb::compare::CompareTarget::Create, TargetUnion::CreateRevision(*n))
        }
        CompareTarget::ModRevision(n) => (pb::compare::CompareTarget::Mod, TargetUnion::ModRevision(*n)),
        CompareTarget::Value(v) => (pb::compare::CompareTarget::Value, TargetUnion::Value(v.clone().into())),
        CompareTarget::Lease(n) => (pb::compare::CompareTarget::Lease, TargetUnion::Lease(*n)),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: range_end.into(),
        target_union: Some(operand),
    }
}

fn request_op(request: &Request) -> pb::RequestOp {
    let request = match request {
        Request::Range(range) => Some(request_op::Request::RequestRange(range_request(range))),
        Request::Put(put) => Some(request_op::Request::RequestPut(put_request(put))),
        Request::Delete(delete) => Some(request_op::Request::RequestDeleteRange(delete_request(delete))),
        Request::Txn(txn) => Some(request_op::Request::RequestTxn(txn_request(txn))),
        // The API has no compaction inside a transaction, and the generator makes none.
        Request::Compact { .. } => None,
    };
    pb::RequestOp { request }
}

pub(super) fn range_response(answer: &pb::RangeResponse) -> Response {
    Response::Range { kvs: answer.kvs.iter().map(pair).collect(), count: answer.count, more: answer.more }
}

pub(super) fn put_response(answer: &pb::PutResponse) -> Response {
    Response::Put { prev: answer.prev_kv.as_ref().map(pair) }
}

pub(super) fn delete_response(answer: &pb::DeleteRangeResponse) -> Response {
    Response::Delete { deleted: answer.deleted, prevs: answer.prev_kvs.iter().map(pair).collect() }
}

pub(super) fn txn_response(answer: &pb::TxnResponse) -> Result<Response, DriverError> {
    let responses: Result<Vec<Response>, DriverError> = answer.responses.iter().map(response_op).collect();
    Ok(Response::Txn { succeeded: answer.succeeded, responses: responses? })
}

fn response_op(op: &pb::ResponseOp) -> Result<Response, DriverError> {
    match &op.response {
        Some(response_op::Response::ResponseRange(range)) => Ok(range_response(range)),
        Some(response_op::Response::ResponsePut(put)) => Ok(put_response(put)),
        Some(response_op::Response::ResponseDeleteRange(delete)) => Ok(delete_response(delete)),
        Some(response_op::Response::ResponseTxn(txn)) => txn_response(txn),
        None => Err(DriverError::Malformed { text: "an empty answer within a transaction's".into() }),
    }
}

fn pair(kv: &mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: String::from_utf8_lossy(&kv.key).into_owned(),
        value: String::from_utf8_lossy(&kv.value).into_owned(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_reaches_the_wire_whole() {
        let keys = KeyRange { key: "kv/a".into(), end: Some("kv/c".into()) };
        let nested = Request::Txn(TxnRequest {
            compare: vec![Compare {
                keys: keys.clone(),
                op: CompareOp::Less,
                target: CompareTarget::ModRevision(9),
            }],
            success: vec![Request::Delete(DeleteRequest { keys: keys.clone(), prev_kv: true })],
            failure: vec![Request::Range(RangeRequest {
                keys,
                limit: 2,
                revision: 5,
                ..RangeRequest::default()
            })],
        });
        let txn = txn_request(&TxnRequest { success: vec![nested], ..TxnRequest::default() });
        let Some(request_op::Request::RequestTxn(inner)) = &txn.success[0].request else {
            panic!("{txn:?}");
        };
        assert_eq!(inner.compare[0].result(), CompareResult::Less);
        assert_eq!(inner.compare[0].target_union, Some(TargetUnion::ModRevision(9)));
        assert_eq!(&inner.compare[0].range_end[..], b"kv/c");
        let Some(request_op::Request::RequestRange(range)) = &inner.failure[0].request else {
            panic!("{inner:?}");
        };
        assert_eq!((range.limit, range.revision), (2, 5));
    }

    #[test]
    fn an_answer_is_recorded_whole_and_an_empty_one_is_an_error() {
        let kv =
            mvccpb::KeyValue { key: "a".into(), value: "\u{1}".into(), version: 3, ..Default::default() };
        let put = pb::PutResponse { header: None, prev_kv: Some(kv) };
        let op = pb::ResponseOp { response: Some(response_op::Response::ResponsePut(put)) };
        let mut answer = pb::TxnResponse { header: None, succeeded: true, responses: vec![op] };
        let Response::Txn { succeeded: true, responses } = txn_response(&answer).unwrap() else {
            panic!("{answer:?}");
        };
        assert!(matches!(&responses[..], [Response::Put { prev: Some(kv) }] if kv.version == 3));
        answer.responses.push(pb::ResponseOp { response: None });
        assert_eq!(txn_response(&answer).unwrap_err().kind(), "malformed");
    }
}
