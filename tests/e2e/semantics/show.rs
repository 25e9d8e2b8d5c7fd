//! Answers as short texts, without what is each store's own.

use crate::{random::call::Said, transcript};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use server::proto::mvccpb::KeyValue;
use tonic::Code;

/// What each store has of its own; shown is only whether there is something.
const OWN: &[&str] = &[
    "dbSize",
    "dbSizeInUse",
    "hash",
    "leader",
    "raftAppliedIndex",
    "raftIndex",
    "raftTerm",
    "peerURLs",
    "clientURLs",
];

/// An answer, or a refusal with its code.
pub fn said(said: &Said) -> String {
    match said {
        Said::Yes(answer) => {
            let text = show(answer);
            text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(&text).to_string()
        }
        Said::No(code, text) => format!("{:?}: {text}", Code::from(*code)),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.contains_key("mod_revision") => {
            let pair: KeyValue = serde_json::from_value(value.clone()).expect("a pair");
            transcript::pair(&pair)
        }
        Value::Object(fields) => format!("{{{}}}", object(fields).join(", ")),
        Value::Array(items) => format!("[{}]", list(items).join(", ")),
        Value::String(text) => text.clone(),
        plain => plain.to_string(),
    }
}

/// Items, many equal ones as one.
fn list(items: &[Value]) -> Vec<String> {
    let runs = items.chunk_by(|a, b| a == b);
    let shown = runs.flat_map(|run| match run {
        [first, _, _, ..] => vec![format!("{} times {}", run.len(), show(first))],
        few => few.iter().map(show).collect(),
    });
    shown.collect()
}

fn object(fields: &Map<String, Value>) -> Vec<String> {
    let header = fields.get("header").and_then(|header| header.get("revision"));
    let mut shown: Vec<String> =
        header.map(|revision| format!("rev {}", show(revision))).into_iter().collect();
    for (name, field) in fields {
        let text = match name.as_str() {
            "header" => continue,
            own if OWN.contains(&own) => "some".to_string(),
            // How much of it has passed is a matter of time.
            "TTL" if fields.contains_key("grantedTTL") => nearly(field, &fields["grantedTTL"]),
            // In no order.
            "keys" => {
                let mut keys: Vec<String> = field.as_array().into_iter().flatten().map(text).collect();
                keys.sort_unstable();
                format!("[{}]", keys.join(", "))
            }
            "members" => {
                let count = field.as_array().map_or(0, Vec::len);
                format!("{count} of them")
            }
            // That of a store; those of keys have no dots.
            "version" => show(field).split('.').next().expect("a part").to_string(),
            _ => show(field),
        };
        shown.push(format!("{name}: {text}"));
    }
    shown
}

fn nearly(left: &Value, granted: &Value) -> String {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok()).expect("a number");
    if (number(granted) - 5..=number(granted)).contains(&number(left)) {
        "nearly all".into()
    } else {
        show(left)
    }
}

fn text(bytes: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(bytes.as_str().expect("a text")).expect("base64");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line of what came over HTTP: of JSON, what is each store's own is masked.
///
/// # Panics
/// If `errors_twice`, and a refusal does not say its text under both names.
pub fn json(line: &str, errors_twice: bool) -> String {
    // Go's library for protobuf varies its blanks from build to build, lest anybody compare its texts.
    let line = line.replace('\u{a0}', " ");
    let Ok(mut value) = serde_json::from_str::<Value>(&line) else { return line };
    if let Some(fields) = value.as_object_mut().filter(|fields| fields.contains_key("code")) {
        let twice = fields.contains_key("message") && fields.get("error") == fields.get("message");
        assert!(twice || !errors_twice, "{line}");
        // Releases differ in this one.
        fields.remove("error");
    }
    mask(&mut value);
    value.to_string()
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(granted) = fields.get("grantedTTL").cloned() {
                let left =
                    fields.get("TTL").map_or_else(|| "none".to_string(), |left| nearly(left, &granted));
                fields.insert("TTL".into(), left.into());
            }
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    "cluster_id" | "member_id" | "raft_term" | "etcdserver" => *field = "#".into(),
                    own if OWN.contains(&own) => *field = "#".into(),
                    // That of a store; those of keys have no dots.
                    "version" if field.as_str().is_some_and(|text| text.matches('.').count() == 2) => {
                        let text = field.as_str().expect("a text");
                        *field = format!("{}.#", text.rsplit_once('.').expect("dots").0).into();
                    }
                    "members" => {
                        let members = field.as_array_mut().into_iter().flatten();
                        members.for_each(|member| member["ID"] = "#".into());
                        mask(field);
                    }
                    // The key of a lock ends with its lease, which the store has chosen.
                    "key" if field.is_string() => {
                        let key = text(field);
                        let is_own = |lease: &str| lease.len() > 12 && i64::from_str_radix(lease, 16).is_ok();
                        if let Some((name, _)) = key.rsplit_once('/').filter(|(_, lease)| is_own(lease)) {
                            *field = format!("{name}/#").into();
                        }
                    }
                    _ => mask(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
