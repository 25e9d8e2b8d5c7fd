//! Protobuf's JSON mapping, as grpc-gateway reads and writes it.

mod read;
mod scan;

use crate::proto::etcdserverpb;
use http::StatusCode;
use prost::{Message, Name};
use serde::Serialize;
use tonic::{Code, Status};

/// Reads a message. An empty body is an empty message; what follows the first JSON value is ignored.
///
/// # Errors
/// `InvalidArgument`, with the place of the mistake.
pub(super) fn decode<T: Message + Name + Default>(body: &[u8]) -> Result<T, Status> {
    Ok(next(body)?.map_or_else(T::default, |(message, _)| message))
}

/// Reads all messages of a body, one after the other. An empty body is one empty message, as with
/// [`decode`].
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_all<T: Message + Name + Default>(mut body: &[u8]) -> Result<Vec<T>, Status> {
    let mut messages = Vec::new();
    while let Some((message, rest)) = next(body)? {
        messages.push(message);
        body = rest;
    }
    if messages.is_empty() {
        messages.push(T::default());
    }
    Ok(messages)
}

/// The first message, and what comes after it.
fn next<T: Message + Name + Default>(body: &[u8]) -> Result<Option<(T, &[u8])>, Status> {
    let Some(value) = scan::first(body).map_err(Status::invalid_argument)? else { return Ok(None) };
    let rest = &body[value.end..];
    let message = read::message(&body[value]).map_err(Status::invalid_argument)?;
    Ok(Some((message, rest)))
}

/// Writes a message.
///
/// # Errors
/// `Internal`, for an enumerator without a name; no answer has one.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(message).map_err(|error| Status::internal(error.to_string()))
}

/// Writes an answer of a stream.
///
/// # Errors
/// As [`encode`].
pub(super) fn encode_result<T: Serialize>(message: &T) -> Result<Vec<u8>, Status> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        result: &'a T,
    }
    encode(&Line { result: message })
}

/// The end of a stream by an error, with the fields that clients of old and of new etcd releases read.
pub(super) fn stream_error(code: Code, http: StatusCode, message: &str) -> Vec<u8> {
    let code = code as i32;
    let (http_code, http_status) = (http.as_u16(), http.canonical_reason().unwrap_or_default());
    serde_json::json!({ "error": {
        "code": code,
        "grpc_code": code,
        "http_code": http_code,
        "http_status": http_status,
        "message": message,
    } })
    .to_string()
    .into_bytes()
}

/// The body of a refusal, with the fields that clients of old and of new etcd releases read.
pub(super) fn refusal(code: Code, message: &str) -> Vec<u8> {
    serde_json::json!({ "error": message, "code": code as i32, "message": message }).to_string().into_bytes()
}

/// Reads whatever bytes as requests, of several kinds; for fuzzing.
///
/// # Panics
/// If what was read does not survive being written and read again.
pub(crate) fn fuzz(bytes: &[u8]) {
    fn twice<T: Message + Name + Serialize + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        let Ok(read) = decode::<T>(bytes) else { return };
        // Numbers without a name are read, and cannot be written.
        let Ok(written) = encode(&read) else { return };
        assert_eq!(decode::<T>(&written).expect("what is written can be read"), read);
    }
    twice::<etcdserverpb::RangeRequest>(bytes);
    twice::<etcdserverpb::TxnRequest>(bytes);
    twice::<etcdserverpb::AuthRoleGrantPermissionRequest>(bytes);
    let _ = decode_all::<etcdserverpb::WatchRequest>(bytes);
    let _ = decode_all::<etcdserverpb::LeaseKeepAliveRequest>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{RangeRequest, TxnRequest, request_op::Request};

    #[test]
    fn what_the_mapping_allows_is_read() {
        let foo = RangeRequest { key: "foo".into(), ..RangeRequest::default() };
        let of = |key: &'static [u8]| RangeRequest { key: key.into(), ..RangeRequest::default() };
        let limit = |limit| RangeRequest { limit, ..foo.clone() };
        for (body, want, why) in [
            ("", RangeRequest::default(), "an empty body is an empty message"),
            (" \n", RangeRequest::default(), "blanks are an empty body"),
            ("{}", RangeRequest::default(), "no fields"),
            (r#"{"key":"Zm9v"}"#, foo.clone(), "bytes are base64"),
            (r#"{"key":"Zm9v"} tail"#, foo.clone(), "only the first value counts"),
            (r#"{"key":"Zm9v","wat":[{"a":null}]}"#, foo.clone(), "unknown fields are ignored"),
            (r#"{"key":"Zm9v","limit":null,"sort_order":null}"#, foo.clone(), "null is the default"),
            (r#"{"key":"Zm9v","limit":7}"#, limit(7), "a number"),
            (r#"{"key":"Zm9v","limit":"7"}"#, limit(7), "a string"),
            (r#"{"key":"Zm9v","limit":-1}"#, limit(-1), "a negative"),
            (r#"{"key":"Zm9v","limit":-9223372036854775808}"#, limit(i64::MIN), "the least"),
            (r#"{"key":"Zm9v","limit":1e2}"#, limit(100), "an exponent"),
            (r#"{"key":"Zm9v","limit":"1200E-2"}"#, limit(12), "a negative one"),
            (r#"{"key":"Zm9v","limit":2.0}"#, limit(2), "a whole fraction"),
            (
                r#"{"key":"Zm9v","limit":9007199254740993.0}"#,
                limit(9_007_199_254_740_993),
                "every digit counts",
            ),
            (r#"{"key":"Zm9v","limit":-0e99999999999}"#, limit(0), "nothing, however it is written"),
            (r#"{"key":"Zm9v","limit":"7 8"}"#, limit(7), "a text's first number"),
            (
                r#"{"key":"Zm9v","sort_order":"DESCEND","sortTarget":3}"#,
                RangeRequest { sort_order: 2, sort_target: 3, ..foo.clone() },
                "names and numbers of enumerators, both spellings of fields",
            ),
            (r#"{"key":"Zm9v","sort_order":"DOWN"}"#, foo.clone(), "an unknown name is none"),
            (r#"{"k\u0065y":"Zm9v"}"#, foo.clone(), "an escape"),
            (r#"{"key":"_-8="}"#, of(b"\xff\xef"), "the alphabet of URLs"),
            (r#"{"key":"Zm9vYg"}"#, of(b"foob"), "no padding"),
            (r#"{"key":"Zm9vYg==\n\n\n\n"}"#, of(b"foob"), "lines"),
        ] {
            assert_eq!(decode::<RangeRequest>(body.as_bytes()).expect(why), want, "{why}: {body}");
        }
    }

    #[test]
    fn messages_lie_in_each_other() {
        let body =
            br#"{"success":[{"requestTxn":{"compare":[{"version":0}],"failure":[{}]}},{"request_put":{}}]}"#;
        let txn = decode::<TxnRequest>(body).expect("a transaction");
        let [inner, put] = &txn.success[..] else { panic!("{txn:?}") };
        let Some(Request::RequestTxn(inner)) = &inner.request else { panic!("{txn:?}") };
        assert!(inner.compare[0].target_union.is_some(), "one that is nothing is set all the same: {txn:?}");
        assert_eq!((inner.failure.len(), inner.success.len()), (1, 0));
        assert!(matches!(put.request, Some(Request::RequestPut(_))), "{txn:?}");
        let many = decode_all::<RangeRequest>(br#" {"limit":1}{"limit":2} "#).expect("two");
        assert_eq!(many.iter().map(|range| range.limit).collect::<Vec<_>>(), [1, 2]);
    }

    /// In the words of etcd 3.5.30; the script `json` of tests/e2e/semantics has more.
    #[test]
    fn what_it_does_not_allow_is_an_invalid_argument() {
        for (body, want) in [
            (r#"{"key":"#, "unexpected EOF"),
            (r#"{"key":"Zm9v""#, "unexpected EOF"),
            (r#"{"key":"!!"}"#, r#"proto: (line 1:8): invalid value for bytes field key: "!!""#),
            (r#"{"key":"YQ="}"#, r#"proto: (line 1:8): invalid value for bytes field key: "YQ=""#),
            (r#"{"key":5}"#, "proto: (line 1:8): invalid value for bytes field key: 5"),
            ("\n {\"limit\":\n  {}}", "proto: (line 2:3): invalid value for int64 field limit: {"),
            (r#"{"limit":"7x"}"#, r#"proto: (line 1:10): invalid value for int64 field limit: "7x""#),
            (r#"{"limit":1e-1}"#, "proto: (line 1:10): invalid value for int64 field limit: 1e-1"),
            (r#"{"limit":1e300}"#, "proto: (line 1:10): invalid value for int64 field limit: 1e300"),
            ("[]", "proto: syntax error (line 1:1): unexpected token ["),
            ("null", "proto: syntax error (line 1:1): unexpected token null"),
            ("wat", "invalid character 'w' looking for beginning of value"),
            ("{\"key\":\"\u{1}\"}", r"invalid character '\x01' in string literal"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
            (r#"{"key":"Zm9v","key":"Zm9v"}"#, r#"proto: (line 1:15): duplicate field "key""#),
            (r#"{"x":["\ud800"]}"#, "proto: unexpected EOF"),
            (
                r#"{"x":"\ud800abcdef"}"#,
                "proto: syntax error (line 1:6): invalid escape code \"abcdef\" in string",
            ),
        ] {
            let status = decode::<RangeRequest>(body.as_bytes()).expect_err(body);
            assert_eq!((status.code(), status.message()), (Code::InvalidArgument, want), "{body}");
        }
        let status = decode::<RangeRequest>(b"{\"key\":\"\xff\"}").expect_err("no text");
        assert_eq!(status.message(), "proto: syntax error (line 1:8): invalid UTF-8 in string");
    }

    #[test]
    fn depth_has_a_bound() {
        let within = |open: &str, close: &str, depth| open.repeat(depth) + "5" + &close.repeat(depth);
        let read = |body: String| decode::<TxnRequest>(body.as_bytes());
        assert_eq!(read(within("{\"a\":", "}", 10_000)).map(|_| ()).map_err(|status| status.code()), Ok(()));
        let status = read(within("{\"a\":", "}", 10_001)).expect_err("deep");
        assert_eq!(status.message(), "invalid character '{' exceeded max depth");
        let nested = |depth| within("{\"success\":[{\"requestTxn\":", "}]}", depth).replace('5', "{}");
        assert!(read(nested(40)).is_ok());
        assert_eq!(read(nested(3000)).expect_err("deep").code(), Code::InvalidArgument);
    }
}
