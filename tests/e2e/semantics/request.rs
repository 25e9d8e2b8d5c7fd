//! Requests as they stand in a script: YAML of one line, with text where protobuf's JSON has base64.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

/// Fields that hold bytes.
const BYTES: &[&str] = &["key", "range_end", "value"];

/// A request in protobuf's JSON.
///
/// `{times: 3, of: x%}` in a list stands for `x1`, `x2`, `x3`, and in bytes for what these make together.
///
/// # Errors
/// It is no YAML.
pub fn parse(text: &str) -> Result<Value, String> {
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("{text}: {error}"))?;
    Ok(encoded(value))
}

/// With its bytes in base64, and what is repeated written out.
fn encoded(value: Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let value = if BYTES.contains(&name.as_str()) {
                    BASE64_STANDARD.encode(bytes(value)).into()
                } else {
                    encoded(value)
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().flat_map(written_out).map(encoded).collect()),
        plain => plain,
    }
}

fn bytes(value: Value) -> String {
    match value {
        Value::String(text) => text,
        repeated @ Value::Object(_) => written_out(repeated).into_iter().map(bytes).collect(),
        Value::Number(number) => number.to_string(),
        other => panic!("{other} is no text"),
    }
}

fn written_out(value: Value) -> Vec<Value> {
    match repeated(value.as_object()) {
        Some((times, of)) => (1..=times).map(|number| numbered(of, number)).collect(),
        None => vec![value],
    }
}

fn repeated(fields: Option<&Map<String, Value>>) -> Option<(u64, &Value)> {
    let fields = fields?;
    Some((fields.get("times")?.as_u64()?, fields.get("of")?))
}

fn numbered(value: &Value, number: u64) -> Value {
    match value {
        Value::String(text) => text.replace('%', &number.to_string()).into(),
        Value::Array(items) => items.iter().map(|item| numbered(item, number)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), numbered(field, number)));
            Value::Object(fields.collect())
        }
        plain => plain.clone(),
    }
}

#[test]
fn requests_are_written_out() {
    for (text, want) in [
        ("{}", json!({})),
        ("{key: a, value: 1, lease: -5}", json!({"key": "YQ==", "value": "MQ==", "lease": -5})),
        (r#"{key: "\0", serializable: true}"#, json!({"key": "AA==", "serializable": true})),
        ("{value: {times: 3, of: x}}", json!({"value": "eHh4"})),
        (
            "{success: [{times: 2, of: {request_put: {key: k%}}}, {}]}",
            json!({"success": [{"request_put": {"key": "azE="}}, {"request_put": {"key": "azI="}}, {}]}),
        ),
    ] {
        assert_eq!(parse(text), Ok(want), "{text}");
    }
    assert!(parse("{key: [}").is_err());
}
