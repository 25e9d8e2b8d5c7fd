//! Short ways to write requests, and to read answers.

use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{
            Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
            RangeResponse, RequestOp, TxnRequest, TxnResponse,
            compare::{CompareResult, CompareTarget, TargetUnion},
            request_op::Request,
            response_op::Response,
        },
        mvccpb::KeyValue,
    },
};
use bytes::Bytes;

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

pub(crate) fn get(key: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), ..RangeRequest::default() }
}

pub(crate) fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { range_end: bytes(end), ..get(key) }
}

pub(crate) fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), ..DeleteRangeRequest::default() }
}

pub(crate) fn delete_range(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { range_end: bytes(end), ..delete(key) }
}

pub(crate) fn compare(key: &str, result: CompareResult, operand: TargetUnion) -> Compare {
    let target = match operand {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        key: bytes(key),
        result: result.into(),
        target: target.into(),
        target_union: Some(operand),
        range_end: Bytes::new(),
    }
}

/// A condition that holds.
pub(crate) fn yes() -> Vec<Compare> {
    Vec::new()
}

/// A condition that does not hold.
pub(crate) fn no() -> Vec<Compare> {
    vec![compare("nowhere", CompareResult::Greater, TargetUnion::Version(0))]
}

pub(crate) fn txn(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

impl From<RangeRequest> for RequestOp {
    fn from(request: RangeRequest) -> RequestOp {
        RequestOp { request: Some(Request::RequestRange(request)) }
    }
}

impl From<PutRequest> for RequestOp {
    fn from(request: PutRequest) -> RequestOp {
        RequestOp { request: Some(Request::RequestPut(request)) }
    }
}

impl From<DeleteRangeRequest> for RequestOp {
    fn from(request: DeleteRangeRequest) -> RequestOp {
        RequestOp { request: Some(Request::RequestDeleteRange(request)) }
    }
}

impl From<TxnRequest> for RequestOp {
    fn from(request: TxnRequest) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(request)) }
    }
}

/// An answer as one line of text.
pub(crate) trait Show {
    fn show(&self) -> String;
}

impl<T: Show> Show for Result<T, ApiError> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|error| format!("{error:?}"), Show::show)
    }
}

impl Show for KeyValue {
    /// `key=value` create revision, mod revision, version, and the lease if there is one.
    fn show(&self) -> String {
        let (key, value) = (String::from_utf8_lossy(&self.key), String::from_utf8_lossy(&self.value));
        let lease = if self.lease == 0 { String::new() } else { format!(" lease{}", self.lease) };
        format!("{key}={value} c{} m{} v{}{lease}", self.create_revision, self.mod_revision, self.version)
    }
}

fn join(kvs: &[KeyValue]) -> String {
    kvs.iter().map(|kv| format!(" [{}]", kv.show())).collect()
}

fn revision(header: Option<crate::proto::etcdserverpb::ResponseHeader>) -> i64 {
    header.expect("every answer has a header").revision
}

impl Show for RangeResponse {
    fn show(&self) -> String {
        let more = if self.more { " more" } else { "" };
        format!("@{} n{}{more}{}", revision(self.header), self.count, join(&self.kvs))
    }
}

impl Show for PutResponse {
    fn show(&self) -> String {
        format!("@{} put{}", revision(self.header), join(self.prev_kv.as_slice()))
    }
}

impl Show for DeleteRangeResponse {
    fn show(&self) -> String {
        format!("@{} deleted {}{}", revision(self.header), self.deleted, join(&self.prev_kvs))
    }
}

impl Show for TxnResponse {
    fn show(&self) -> String {
        let branch = if self.succeeded { "then" } else { "else" };
        let answers: Vec<String> = self
            .responses
            .iter()
            .map(|op| match op.response.as_ref().expect("every operation is answered") {
                Response::ResponseRange(response) => response.show(),
                Response::ResponsePut(response) => response.show(),
                Response::ResponseDeleteRange(response) => response.show(),
                Response::ResponseTxn(response) => response.show(),
            })
            .collect();
        format!("@{} {branch} {{{}}}", revision(self.header), answers.join("; "))
    }
}
