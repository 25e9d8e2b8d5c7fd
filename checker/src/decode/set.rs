//! `add` and `read` on one set.

use super::{Answered, Decoded, Typed, decode, unknown, wrong};
use crate::history::History;
use crate::spec::set::SetOp;

/// Reads a history of the `set` workload. What a read found keeps its order and its duplicates.
pub fn set(history: &History) -> Decoded<SetOp> {
    decode(history, |operation, answered| {
        let op = match operation.f.as_str() {
            "add" => {
                let element = operation.value.as_i64();
                SetOp::Add(element.ok_or_else(|| wrong(operation, "an element is a whole number"))?)
            }
            "read" => match answered {
                Answered::No => SetOp::Read(Vec::new()),
                Answered::Ok { value, .. } => {
                    let found =
                        value.as_array().ok_or_else(|| wrong(operation, "a read answers an array"))?;
                    let elements: Option<Vec<i64>> = found.iter().map(serde_json::Value::as_i64).collect();
                    SetOp::Read(elements.ok_or_else(|| wrong(operation, "elements are whole numbers"))?)
                }
            },
            _ => return Err(unknown(operation)),
        };
        Ok(Typed { op, serializable: false })
    })
}
