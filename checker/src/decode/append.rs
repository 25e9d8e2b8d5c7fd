//! `txn`: reads and appends on lists by key.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{Answered, Decoded, Typed, decode, unknown, wrong};
use crate::history::lint::ProblemKind;
use crate::history::{History, Operation};
use crate::spec::append::{ListStep, ListTxn};

/// Reads a history of the `append` workload.
pub fn append(history: &History) -> Decoded<ListTxn> {
    let mut keys: FxHashMap<String, Arc<str>> = FxHashMap::default();
    decode(history, |operation, answered| {
        if operation.f != "txn" {
            return Err(unknown(operation));
        }
        let asked = steps(operation, &operation.value)?;
        let answered = match answered {
            Answered::Ok { value, .. } => Some(steps(operation, value)?),
            Answered::No => None,
        };
        if answered.is_some_and(|answered| answered.len() != asked.len()) {
            return Err(wrong(operation, "the answer has another number of steps"));
        }
        let mut txn = Vec::with_capacity(asked.len());
        for (index, step) in asked.iter().enumerate() {
            txn.push(typed_step(operation, step, answered.map(|steps| &steps[index]), &mut keys)?);
        }
        Ok(Typed { op: ListTxn(txn), serializable: false })
    })
}

pub(super) fn steps<'a>(operation: &Operation, value: &'a Value) -> Result<&'a [Value], ProblemKind> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(operation, "a transaction is an array of steps"))
}

fn typed_step(
    operation: &Operation,
    asked: &Value,
    answered: Option<&Value>,
    keys: &mut FxHashMap<String, Arc<str>>,
) -> Result<ListStep, ProblemKind> {
    let (name, key, argument) = parts(operation, asked)?;
    let interned = match keys.get(key) {
        Some(interned) => interned.clone(),
        None => keys.entry(key.to_owned()).or_insert_with(|| Arc::from(key)).clone(),
    };
    let answer = match answered {
        Some(answered) => {
            let (answered_name, answered_key, answer) = parts(operation, answered)?;
            if (answered_name, answered_key) != (name, key) {
                return Err(wrong(operation, format!("{answered} answers {asked}")));
            }
            Some(answer)
        }
        None => None,
    };
    match name {
        "append" => {
            let element = argument.as_i64();
            let element = element.ok_or_else(|| wrong(operation, "an element is a whole number"))?;
            if answer.is_some_and(|answer| answer.as_i64() != Some(element)) {
                return Err(wrong(operation, format!("the answer appends something else than {element}")));
            }
            Ok(ListStep::Append { key: interned, element })
        }
        "r" => Ok(ListStep::Read {
            key: interned,
            found: answer.map(|list| found(operation, list)).transpose()?,
        }),
        _ => Err(wrong(operation, format!("no step is called `{name}`"))),
    }
}

pub(super) fn parts<'a>(
    operation: &Operation,
    step: &'a Value,
) -> Result<(&'a str, &'a str, &'a Value), ProblemKind> {
    match step.as_array().map(Vec::as_slice) {
        Some([Value::String(name), Value::String(key), argument]) => Ok((name, key, argument)),
        Some(_) | None => Err(wrong(operation, format!("a step is [name, key, argument], not {step}"))),
    }
}

fn found(operation: &Operation, list: &Value) -> Result<Vec<i64>, ProblemKind> {
    // An absent list is an empty one.
    let elements = match list {
        Value::Null => Some(Vec::new()),
        Value::Array(elements) => elements.iter().map(Value::as_i64).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    };
    elements.ok_or_else(|| wrong(operation, format!("a read finds an array of whole numbers, not {list}")))
}

/// The steps of a transaction: name, key and argument of each.
pub(crate) fn steps_of<'a>(
    operation: &Operation,
    value: &'a Value,
) -> Result<Vec<(&'a str, &'a str, &'a Value)>, ProblemKind> {
    steps(operation, value)?.iter().map(|step| parts(operation, step)).collect()
}
