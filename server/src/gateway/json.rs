//! Protobuf's JSON mapping, as grpc-gateway reads and writes it.

use crate::proto::etcdserverpb;
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Deserializer, Error, Value, error::Category};
use tonic::{Code, Status};

/// Reads a message. An empty body is an empty message; what follows the first JSON value is ignored.
///
/// # Errors
/// `InvalidArgument`, with the place of the mistake.
pub(super) fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    first_value(body).or_else(|error| {
        let Some(mut value) = lenient(body, &error) else { return Err(invalid(body, &error)) };
        normalize(&mut value);
        T::deserialize(value).map_err(|_| invalid(body, &error))
    })
}

/// Reads all messages of a body, one after the other. An empty body is one empty message, as with
/// [`decode`].
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_all<T: DeserializeOwned + Default>(body: &[u8]) -> Result<Vec<T>, Status> {
    let mut values = Deserializer::from_slice(body).into_iter::<Value>();
    let mut messages = Vec::new();
    loop {
        let start = values.byte_offset();
        let Some(value) = values.next() else { break };
        if let Err(error) = value {
            return Err(invalid(body, &error));
        }
        messages.push(decode(&body[start..values.byte_offset()])?);
    }
    if messages.is_empty() {
        messages.push(T::default());
    }
    Ok(messages)
}

fn first_value<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    T::deserialize(&mut Deserializer::from_slice(body))
}

/// The body as a JSON value, if a field's value is all that is wrong with it.
fn lenient(body: &[u8], error: &Error) -> Option<Value> {
    if error.classify() != Category::Data || error.to_string().starts_with("duplicate field") {
        return None;
    }
    first_value(body).ok()
}

/// Brings what the mapping allows, and the generated decoders do not, into a form that they take: a null
/// stands for the default, and a whole number may be written as a fraction or with an exponent.
fn normalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Number(number) => {
            // Up to 2^53 every whole number has its own float.
            let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0);
            if let Some(whole) = whole.filter(|_| number.is_f64()) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn invalid(body: &[u8], error: &Error) -> Status {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let why = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    Status::invalid_argument(match error.classify() {
        Category::Eof => "unexpected EOF".to_string(),
        Category::Syntax => format!("proto: syntax error (line {line}:{column}): {why}"),
        Category::Data | Category::Io => {
            no_base64(body, error, why).unwrap_or_else(|| format!("proto: (line {line}:{column}): {why}"))
        }
    })
}

/// What etcd says of a text that is no base64: the field, and where its value begins. `None` if that is not what is
/// wrong, or the text has escapes.
fn no_base64(body: &[u8], error: &Error, why: &str) -> Option<String> {
    let complaints = ["Invalid symbol", "Invalid last symbol", "Invalid padding", "Invalid input length"];
    if !complaints.iter().any(|complaint| why.starts_with(complaint)) {
        return None;
    }
    // The error stands at the end of the value.
    let line = body.split(|&byte| byte == b'\n').nth(error.line().checked_sub(1)?)?;
    let line = std::str::from_utf8(line.get(..error.column())?).ok()?;
    let (before, value) = line.strip_suffix('"')?.rsplit_once('"')?;
    let (_, field) = before.trim_end().strip_suffix(':')?.trim_end().strip_suffix('"')?.rsplit_once('"')?;
    let (number, column) = (error.line(), before.len() + 1);
    let field = lower_camel(field);
    let is_plain = !value.contains('\\') && !field.contains('\\');
    is_plain.then(|| {
        format!("proto: (line {number}:{column}): invalid value for bytes field {field}: \"{value}\"")
    })
}

/// A field's name as JSON has it.
fn lower_camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |name, part| {
        let (head, tail) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        name + &head.to_uppercase() + tail
    })
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
    fn twice<T: DeserializeOwned + Serialize + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
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
    use crate::proto::etcdserverpb::RangeRequest;

    #[test]
    fn what_the_mapping_allows_is_read() {
        let foo = RangeRequest { key: "foo".into(), ..RangeRequest::default() };
        for (body, want, why) in [
            ("", RangeRequest::default(), "an empty body is an empty message"),
            (" \n", RangeRequest::default(), "blanks are an empty body"),
            ("{}", RangeRequest::default(), "no fields"),
            (r#"{"key":"Zm9v"}"#, foo.clone(), "bytes are base64"),
            (r#"{"key":"Zm9v"} tail"#, foo.clone(), "only the first value counts"),
            (r#"{"key":"Zm9v","wat":[{"a":null}]}"#, foo.clone(), "unknown fields are ignored"),
            (r#"{"key":"Zm9v","limit":null,"sort_order":null}"#, foo.clone(), "null is the default"),
            (r#"{"key":"Zm9v","limit":7}"#, RangeRequest { limit: 7, ..foo.clone() }, "a number"),
            (r#"{"key":"Zm9v","limit":"7"}"#, RangeRequest { limit: 7, ..foo.clone() }, "a string"),
            (r#"{"key":"Zm9v","limit":-1}"#, RangeRequest { limit: -1, ..foo.clone() }, "a negative"),
            (r#"{"key":"Zm9v","limit":1e2}"#, RangeRequest { limit: 100, ..foo.clone() }, "an exponent"),
            (r#"{"key":"Zm9v","limit":2.0}"#, RangeRequest { limit: 2, ..foo.clone() }, "a whole fraction"),
            (
                r#"{"key":"Zm9v","sort_order":"DESCEND","sortTarget":3}"#,
                RangeRequest { sort_order: 2, sort_target: 3, ..foo.clone() },
                "names and numbers of enumerators, both spellings of fields",
            ),
            (
                r#"{"key":"_-8="}"#,
                RangeRequest { key: vec![0xff, 0xef].into(), ..RangeRequest::default() },
                "URL",
            ),
            (
                r#"{"key":"Zm9vYg"}"#,
                RangeRequest { key: "foob".into(), ..RangeRequest::default() },
                "no padding",
            ),
        ] {
            assert_eq!(decode::<RangeRequest>(body.as_bytes()).expect(why), want, "{why}: {body}");
        }
    }

    #[test]
    fn what_it_does_not_allow_is_an_invalid_argument() {
        for (body, want) in [
            (r#"{"key":"#, "unexpected EOF"),
            (r#"{"key":"Zm9v""#, "unexpected EOF"),
            (r#"{"key":"!!"}"#, r#"proto: (line 1:8): invalid value for bytes field key: "!!""#),
            (r#"{"key":5}"#, "proto: (line 1:8): invalid type: integer `5`, expected a base64 string"),
            ("[]", "proto: (line 1:2): invalid type: sequence, expected struct etcdserverpb.RangeRequest"),
            ("null", "proto: (line 1:4): invalid type: null, expected struct etcdserverpb.RangeRequest"),
            ("wat", "proto: syntax error (line 1:1): expected value"),
            (r#"{"key":"Zm9v","key":"Zm9v"}"#, "proto: (line 1:19): duplicate field `key`"),
        ] {
            let status = decode::<RangeRequest>(body.as_bytes()).expect_err(body);
            assert_eq!((status.code(), status.message()), (Code::InvalidArgument, want), "{body}");
        }
        for body in [
            r#"{"key":"Zm9v","limit":1.5}"#,
            r#"{"key":"Zm9v","limit":"99999999999999999999"}"#,
            r#"{"key":"Zm9v","limit":1e300}"#,
            r#"{"key":"Zm9v","serializable":"true"}"#,
            r#"{"key":"Zm9v","rangeEnd":"Zm9w","range_end":"Zm9w"}"#,
            "\"\\ud800",
            "{\"key\":\"\u{fffd}\"}",
        ] {
            let status = decode::<RangeRequest>(body.as_bytes()).expect_err(body);
            assert_eq!(status.code(), Code::InvalidArgument, "{body}");
        }
        let deep = "{\"a\":".repeat(10_000);
        assert_eq!(decode::<RangeRequest>(deep.as_bytes()).expect_err("deep").code(), Code::InvalidArgument);
    }
}
