//! The calls of the KV service as functions of octets, for a connection that serves them without a task and a stream
//! for each. What is unusual about a call, be it malformed, compressed or cut, is left to the gRPC library, so that
//! there is one place that words refusals.

use super::{
    Caller, CommonName,
    grpc::{Grpc, is_grpc, wants_leader},
    methods::{self, METHODS},
};
use crate::{
    backend::Backend,
    error::ApiError,
    mvcc::is_read_only,
    proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest},
};
use bytes::Bytes;
use http::{Method, Request};
use prost::Message;
use tonic::{Code, Status};

/// The octets before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What the headers of a call say, for all calls with the same.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its place in [`METHODS`].
    at: usize,
    caller: Caller,
    wants_leader: bool,
}

impl Call {
    /// What a request's headers say; `None` for whatever is not served here.
    pub(super) fn of(request: &Request<()>, name: Option<&CommonName>) -> Option<Call> {
        let headers = request.headers();
        let at = methods::find(request.uri().path())?;
        let served = matches!(METHODS[at].name(), "Range" | "Put" | "DeleteRange" | "Txn");
        let is_plain = request.method() == Method::POST
            && is_grpc(headers)
            && headers.get("grpc-encoding").is_none_or(|encoding| encoding == "identity");
        (served && is_plain).then(|| Call {
            at,
            caller: Caller::client(headers, name),
            wants_leader: wants_leader(headers),
        })
    }
}

/// A call's message.
#[derive(Debug)]
pub(super) enum Unary {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
}

/// Whether these octets are one message with its prefix, not compressed, of at most `limit` bytes.
pub(super) fn is_one_message(octets: &[u8], limit: usize) -> bool {
    let Some((&[0, l0, l1, l2, l3], message)) = octets.split_first_chunk::<PREFIX_BYTES>() else {
        return false;
    };
    message.len() == u32::from_be_bytes([l0, l1, l2, l3]) as usize && message.len() <= limit
}

impl Unary {
    /// Decodes what [`is_one_message`]; `None` if it is malformed.
    pub(super) fn decode(call: &Call, octets: &Bytes) -> Option<Unary> {
        let message = octets.slice(PREFIX_BYTES..);
        match METHODS[call.at].name() {
            "Range" => Some(Unary::Range(RangeRequest::decode(message).ok()?)),
            "Put" => Some(Unary::Put(PutRequest::decode(message).ok()?)),
            "DeleteRange" => Some(Unary::DeleteRange(DeleteRangeRequest::decode(message).ok()?)),
            "Txn" => Some(Unary::Txn(TxnRequest::decode(message).ok()?)),
            _ => None,
        }
    }

    /// Whether it takes little time here, so that others on the connection need not mind.
    pub(super) fn is_quick(&self) -> bool {
        match self {
            Unary::Range(range) => range.range_end.is_empty(),
            Unary::Txn(txn) => !is_read_only(txn),
            // Those who apply it take the time.
            Unary::Put(_) | Unary::DeleteRange(_) => true,
        }
    }
}

impl<B: Backend> Grpc<B> {
    /// Serves a call: the answer's message with its prefix, or the refusal.
    pub(super) async fn unary(&self, call: &Call, unary: Unary) -> Result<Vec<u8>, Status> {
        let mut counted = self.counters.start(call.at);
        self.counters.add_received(call.at, 1);
        let outcome = call.caller.clone().calls(self.answer(call, unary)).await;
        counted.code = match &outcome {
            Ok(_) => {
                counted.add_sent(1);
                Code::Ok
            }
            Err(refusal) => refusal.code(),
        };
        outcome
    }

    async fn answer(&self, call: &Call, unary: Unary) -> Result<Vec<u8>, Status> {
        self.may_begin(call.at, call.wants_leader)?;
        Ok(match unary {
            Unary::Range(request) => framed(&self.api.range(request).await?),
            Unary::Put(request) => framed(&self.api.put(request).await?),
            Unary::DeleteRange(request) => framed(&self.api.delete_range(request).await?),
            Unary::Txn(request) => framed(&self.api.txn(request).await?),
        })
    }

    /// Whether a call of the method `at` is served at all.
    ///
    /// # Errors
    /// [`ApiError::NoLeader`], and [`Api::admit`](super::Api::admit).
    pub(super) fn may_begin(&self, at: usize, wants_leader: bool) -> Result<(), ApiError> {
        if wants_leader && self.api.backend().status().leader.is_none() {
            return Err(ApiError::NoLeader);
        }
        self.api.admit(&METHODS[at])
    }
}

/// A message with its prefix.
fn framed(message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut octets = Vec::with_capacity(PREFIX_BYTES + length);
    octets.push(0);
    octets.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut octets);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_plain_message_is_served_here() {
        for (octets, want) in [
            (&b"\0\0\0\0\x02ab"[..], true),
            (b"\0\0\0\0\0", true),
            (b"\0\0\0\0", false),
            (b"\x01\0\0\0\x02ab", false),
            (b"\0\0\0\0\x02a", false),
            (b"\0\0\0\0\x01ab", false),
            (b"\0\0\0\0\x04abcd", false),
        ] {
            assert_eq!(is_one_message(octets, 3), want, "{octets:?}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_library() {
        let call = |method: &str, path: &str, headers: &[(&'static str, &str)]| {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            Call::of(&request.body(()).unwrap(), None).map(|call| METHODS[call.at].name())
        };
        let grpc = ("content-type", "application/grpc");
        assert_eq!(call("POST", "/etcdserverpb.KV/Put", &[grpc]), Some("Put"));
        assert_eq!(call("POST", "/etcdserverpb.KV/Put", &[grpc, ("grpc-encoding", "identity")]), Some("Put"));
        assert_eq!(call("POST", "/etcdserverpb.KV/Put", &[grpc, ("grpc-encoding", "gzip")]), None);
        assert_eq!(call("POST", "/etcdserverpb.KV/Put", &[]), None);
        assert_eq!(call("GET", "/etcdserverpb.KV/Put", &[grpc]), None);
        assert_eq!(call("POST", "/etcdserverpb.KV/Compact", &[grpc]), None);
        assert_eq!(call("POST", "/v3/kv/put", &[grpc]), None);
    }
}
