//! `read`, `write` and `cas` by key.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{Answered, Decoded, Typed, answered, decode, unknown, wrong};
use crate::history::lint::ProblemKind;
use crate::history::{History, Operation};
use crate::spec::register::{Action, Found, RegisterOp};

/// Reads a history of the `register` workload.
pub fn register(history: &History) -> Decoded<RegisterOp> {
    let mut keys: FxHashMap<String, Arc<str>> = FxHashMap::default();
    decode(history, |operation, answered| {
        let name = operation.key.as_deref().ok_or_else(|| wrong(operation, "has no key"))?;
        let key = match keys.get(name) {
            Some(key) => key.clone(),
            None => keys.entry(name.to_owned()).or_insert_with(|| Arc::from(name)).clone(),
        };
        typed(operation, &answered, key)
    })
}

/// One operation on a register; `None` for a serializable read, which need not be linearizable.
///
/// # Errors
/// What does not fit.
pub(crate) fn register_op(operation: &Operation) -> Result<Option<RegisterOp>, ProblemKind> {
    let name = operation.key.as_deref().ok_or_else(|| wrong(operation, "has no key"))?;
    let Typed { op, serializable } = typed(operation, &answered(operation), Arc::from(name))?;
    Ok((!serializable).then_some(op))
}

fn typed(
    operation: &Operation,
    answered: &Answered<'_>,
    key: Arc<str>,
) -> Result<Typed<RegisterOp>, ProblemKind> {
    let action = match operation.f.as_str() {
        "read" => read(operation, answered)?,
        "write" => write(operation, answered)?,
        "cas" => cas(operation, answered)?,
        _ => return Err(unknown(operation)),
    };
    let serializable = operation.f == "read" && asks_serializable(operation)?;
    Ok(Typed { op: RegisterOp { key, action }, serializable })
}

pub(super) fn asks_serializable(operation: &Operation) -> Result<bool, ProblemKind> {
    match &operation.value {
        Value::Null => Ok(false),
        Value::Object(fields) => match fields.get("serializable") {
            None => Ok(false),
            Some(Value::Bool(serializable)) => Ok(*serializable),
            Some(other) => Err(wrong(operation, format!("`serializable` is {other}, not a boolean"))),
        },
        other => Err(wrong(operation, format!("a read takes nothing or an object, not {other}"))),
    }
}

fn read(operation: &Operation, answered: &Answered<'_>) -> Result<Action, ProblemKind> {
    let Answered::Ok { value, .. } = answered else { return Ok(Action::Read(None)) };
    let found = match value {
        Value::Null => None,
        Value::Number(_) => {
            Some(Found { value: number(operation, value)?, mod_revision: None, version: None })
        }
        Value::Object(fields) => {
            let field = |name| fields.get(name).map(|value| number(operation, value)).transpose();
            let value = field("value")?.ok_or_else(|| wrong(operation, "the answer has no `value`"))?;
            Some(Found { value, mod_revision: field("mod_revision")?, version: field("version")? })
        }
        other => return Err(wrong(operation, format!("a read answers null or an object, not {other}"))),
    };
    Ok(Action::Read(found))
}

fn write(operation: &Operation, answered: &Answered<'_>) -> Result<Action, ProblemKind> {
    Ok(Action::Write { value: number(operation, &operation.value)?, rev: rev(answered) })
}

fn cas(operation: &Operation, answered: &Answered<'_>) -> Result<Action, ProblemKind> {
    let Some([old, new]) = operation.value.as_array().map(Vec::as_slice) else {
        return Err(wrong(operation, format!("a cas takes [old, new], not {}", operation.value)));
    };
    let old = if old.is_null() { None } else { Some(number(operation, old)?) };
    let new = number(operation, new)?;
    let swapped = match answered {
        Answered::No => None,
        Answered::Ok { value: Value::Bool(swapped), .. } => Some(*swapped),
        Answered::Ok { value, .. } => match value.get("swapped") {
            Some(Value::Bool(swapped)) => Some(*swapped),
            Some(_) | None => {
                return Err(wrong(operation, format!("a cas answers {{\"swapped\": bool}}, not {value}")));
            }
        },
    };
    // The revision of one that did not swap is the store's, not this register's.
    let rev = if swapped == Some(true) { rev(answered) } else { None };
    Ok(Action::Cas { old, new, swapped, rev })
}

fn rev(answered: &Answered<'_>) -> Option<i64> {
    match answered {
        Answered::Ok { rev, .. } => *rev,
        Answered::No => None,
    }
}

fn number(operation: &Operation, value: &Value) -> Result<i64, ProblemKind> {
    value.as_i64().ok_or_else(|| wrong(operation, format!("{value} is not a whole number of 64 bits")))
}
