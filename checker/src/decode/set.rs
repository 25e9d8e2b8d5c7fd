//! `add` and `read` on sets by key; without a key there is one set.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Answered, Decoded, Typed, decode, unknown, wrong};
use crate::history::History;
use crate::spec::set::{SetAction, SetOp};

/// Reads a history of the `set` workload. What a read found keeps its order and its duplicates.
pub fn set(history: &History) -> Decoded<SetOp> {
    let mut keys: FxHashMap<String, Arc<str>> = FxHashMap::default();
    decode(history, |operation, answered| {
        let action = match operation.f.as_str() {
            "add" => {
                let element = operation.value.as_i64();
                SetAction::Add(element.ok_or_else(|| wrong(operation, "an element is a whole number"))?)
            }
            "read" => match answered {
                Answered::No => SetAction::Read(Vec::new()),
                Answered::Ok { value, .. } => {
                    let found =
                        value.as_array().ok_or_else(|| wrong(operation, "a read answers an array"))?;
                    let elements: Option<Vec<i64>> = found.iter().map(serde_json::Value::as_i64).collect();
                    SetAction::Read(elements.ok_or_else(|| wrong(operation, "elements are whole numbers"))?)
                }
            },
            _ => return Err(unknown(operation)),
        };
        let name = operation.key.as_deref().unwrap_or_default();
        let key = match keys.get(name) {
            Some(key) => key.clone(),
            None => keys.entry(name.to_owned()).or_insert_with(|| Arc::from(name)).clone(),
        };
        Ok(Typed { op: SetOp { key, action }, serializable: false })
    })
}
