//! Operations, requests and answers in a few words.

use serde::Deserialize;
use serde_json::Value;

use crate::decode::error_text;
use crate::history::{Operation, Outcome};
use crate::spec::kv_types::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, RangeRequest, Request, Response,
};

/// Text that is longer is cut.
const CHARS_MAX: usize = 160;

/// `process 3 on n1`.
pub fn who(operation: &Operation) -> String {
    match &operation.node {
        Some(node) => format!("process {} on {node}", operation.process),
        None => format!("process {}", operation.process),
    }
}

/// A time since the start of the run, in seconds.
pub fn moment(t_ns: u64) -> String {
    format!("{}.{:06} s", t_ns / 1_000_000_000, t_ns % 1_000_000_000 / 1_000)
}

/// What was asked: `write k1 5`.
pub fn invocation(operation: &Operation) -> String {
    let mut text = match Request::deserialize(&operation.value) {
        Ok(asked) => request(&asked),
        Err(_) => {
            let mut words = vec![operation.f.clone()];
            words.extend(operation.key.clone());
            if !operation.value.is_null() {
                words.push(plain(&operation.value));
            }
            words.join(" ")
        }
    };
    cut(&mut text);
    text
}

/// What was answered: `5 (mod 7, version 2), revision 9`.
pub fn answer(operation: &Operation) -> String {
    let mut text = match &operation.outcome {
        Outcome::Ok { value, rev, .. } => {
            let text = match Response::deserialize(value) {
                Ok(answered) => response(&answered),
                Err(_) => found(operation, value),
            };
            match rev {
                Some(rev) => format!("{text}, revision {rev}"),
                None => text,
            }
        }
        Outcome::Fail { error, .. } => format!("failed: {}", error_text(error)),
        Outcome::Info { error: Some(error), .. } => format!("unknown: {}", error_text(error)),
        Outcome::Info { error: None, .. } => "unknown: the history ends first".to_owned(),
    };
    cut(&mut text);
    text
}

/// One operation in a line: who, what, when.
pub fn line(operation: &Operation) -> String {
    let from = moment(operation.invoked.t);
    let to = operation.ended().map_or("...".to_owned(), |at| moment(at.t));
    let id = operation.id.to_string();
    format!(
        "{id:>6}  {}  {} -> {}  [{from} .. {to}]",
        who(operation),
        invocation(operation),
        answer(operation)
    )
}

fn found(operation: &Operation, value: &Value) -> String {
    match value {
        Value::Null if operation.f == "read" => "absent".to_owned(),
        Value::Null => "ok".to_owned(),
        Value::Object(fields) => match (fields.get("value"), fields.get("swapped")) {
            (Some(value), _) => {
                let part = |name: &str, label: &str| {
                    fields.get(name).map(|value| format!("{label} {value}")).unwrap_or_default()
                };
                let parts = [part("mod_revision", "mod"), part("version", "version")];
                let parts: Vec<&str> =
                    parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
                if parts.is_empty() {
                    plain(value)
                } else {
                    format!("{} ({})", plain(value), parts.join(", "))
                }
            }
            (None, Some(Value::Bool(true))) => "swapped".to_owned(),
            (None, Some(Value::Bool(false))) => "not swapped".to_owned(),
            (None, _) => plain(value),
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A request: `txn if version(a) = 0 then [put a=1] else [range a]`.
pub fn request(request: &Request) -> String {
    match request {
        Request::Range(range) => describe_range(range),
        Request::Put(put) => format!("put {}={}", put.key, put.value),
        Request::Delete(delete) => format!("delete {}", describe_keys(&delete.keys)),
        Request::Txn(txn) => {
            let compares: Vec<String> = txn.compare.iter().map(describe_compare).collect();
            let branch = |requests: &[Request]| {
                let all: Vec<String> = requests.iter().map(self::request).collect();
                all.join("; ")
            };
            let condition = if compares.is_empty() { "true".to_owned() } else { compares.join(" and ") };
            format!("txn if {condition} then [{}] else [{}]", branch(&txn.success), branch(&txn.failure))
        }
        Request::Compact { revision } => format!("compact {revision}"),
    }
}

fn describe_range(range: &RangeRequest) -> String {
    let RangeRequest { keys, limit, revision, serializable, count_only, keys_only } = range;
    let mut text = format!("range {}", describe_keys(keys));
    if *revision > 0 {
        text.push_str(&format!(" at {revision}"));
    }
    if *limit > 0 {
        text.push_str(&format!(" limit {limit}"));
    }
    for (set, word) in [(serializable, " serializable"), (count_only, " count"), (keys_only, " keys")] {
        if *set {
            text.push_str(word);
        }
    }
    text
}

fn describe_keys(keys: &KeyRange) -> String {
    match keys.end.as_deref() {
        None | Some("") => keys.key.clone(),
        Some("\0") => format!("[{}, ...)", keys.key),
        Some(end) => format!("[{}, {end})", keys.key),
    }
}

fn describe_compare(compare: &Compare) -> String {
    let op = match compare.op {
        CompareOp::Equal => "=",
        CompareOp::NotEqual => "!=",
        CompareOp::Greater => ">",
        CompareOp::Less => "<",
    };
    let keys = describe_keys(&compare.keys);
    match &compare.target {
        CompareTarget::Version(operand) => format!("version({keys}) {op} {operand}"),
        CompareTarget::CreateRevision(operand) => format!("create({keys}) {op} {operand}"),
        CompareTarget::ModRevision(operand) => format!("mod({keys}) {op} {operand}"),
        CompareTarget::Value(operand) => format!("value({keys}) {op} {operand}"),
        CompareTarget::Lease(operand) => format!("lease({keys}) {op} {operand}"),
    }
}

/// A response: `a=1 (mod 4, create 2, version 2)`.
pub fn response(response: &Response) -> String {
    match response {
        Response::Range { kvs, count, more } => {
            let pairs: Vec<String> = kvs.iter().map(describe_pair).collect();
            let held = match (kvs.is_empty(), *count) {
                (true, 0) => "nothing".to_owned(),
                (true, count) => format!("count {count}"),
                (false, count) if count == kvs.len() as i64 => pairs.join(", "),
                (false, count) => format!("{} of {count}", pairs.join(", ")),
            };
            if *more { format!("{held}, more") } else { held }
        }
        Response::Put { prev: None } => "ok".to_owned(),
        Response::Put { prev: Some(prev) } => format!("ok, before {}", describe_pair(prev)),
        Response::Delete { deleted, prevs } if prevs.is_empty() => format!("deleted {deleted}"),
        Response::Delete { deleted, prevs } => {
            let pairs: Vec<String> = prevs.iter().map(describe_pair).collect();
            format!("deleted {deleted}: {}", pairs.join(", "))
        }
        Response::Txn { succeeded, responses } => {
            let all: Vec<String> = responses.iter().map(self::response).collect();
            format!("{}: [{}]", if *succeeded { "then" } else { "else" }, all.join("; "))
        }
        Response::Compact {} => "ok".to_owned(),
    }
}

fn describe_pair(pair: &KeyValue) -> String {
    let KeyValue { key, value, create_revision, mod_revision, version, .. } = pair;
    format!("{key}={value} (mod {mod_revision}, create {create_revision}, version {version})")
}

fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push_str("...");
    }
}
