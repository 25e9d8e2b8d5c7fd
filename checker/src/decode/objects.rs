//! Queues, stacks, locks, counters, sets by element, logs, strings, and registers that are accessed several at
//! once. Without a key there is one object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Answered, Decoded, Typed, decode, unknown, wrong};
use crate::history::lint::ProblemKind;
use crate::history::{History, Operation};
use crate::spec::counter::{CounterAction, CounterOp};
use crate::spec::log::{LogAction, LogOp};
use crate::spec::members::{MembersAction, MembersOp};
use crate::spec::multi_register::{MultiRegister, MultiRegisterOp, MultiRegisterStep};
use crate::spec::mutex::{MutexAction, MutexOp};
use crate::spec::queue::{QueueAction, QueueOp};
use crate::spec::strings::{StringAction, StringOp};

fn op<Op>(op: Op) -> Result<Typed<Op>, ProblemKind> {
    Ok(Typed { op, serializable: false })
}

fn key(operation: &Operation) -> Arc<str> {
    Arc::from(operation.key.as_deref().unwrap_or_default())
}

fn number(operation: &Operation, value: &Value) -> Result<i64, ProblemKind> {
    value.as_i64().ok_or_else(|| wrong(operation, format!("{value} is not a whole number of 64 bits")))
}

/// Reads a history of queues or stacks: `enqueue` or `push`, `dequeue` or `pop`, which answers `null` where there
/// was nothing.
pub fn queue(history: &History) -> Decoded<QueueOp> {
    decode(history, |operation, answered| {
        let action = match operation.f.as_str() {
            "enqueue" | "push" => QueueAction::Put(number(operation, &operation.value)?),
            "dequeue" | "pop" => match answered {
                Answered::No => QueueAction::TakeUnknown,
                Answered::Ok { value: Value::Null, .. } => QueueAction::Take(None),
                Answered::Ok { value, .. } => QueueAction::Take(Some(number(operation, value)?)),
            },
            _ => return Err(unknown(operation)),
        };
        op(QueueOp { key: key(operation), action })
    })
}

/// Reads a history of locks: `acquire` and `release`.
pub fn mutex(history: &History) -> Decoded<MutexOp> {
    decode(history, |operation, _| {
        let action = match operation.f.as_str() {
            "acquire" => MutexAction::Acquire,
            "release" => MutexAction::Release,
            _ => return Err(unknown(operation)),
        };
        op(MutexOp { key: key(operation), action })
    })
}

/// Reads a history of counters: `add` and `read`.
pub fn counter(history: &History) -> Decoded<CounterOp> {
    decode(history, |operation, answered| {
        let action = match (operation.f.as_str(), answered) {
            ("add", _) => CounterAction::Add(number(operation, &operation.value)?),
            ("read", Answered::Ok { value, .. }) => CounterAction::Read(number(operation, value)?),
            ("read", Answered::No) => CounterAction::Read(0),
            _ => return Err(unknown(operation)),
        };
        op(CounterOp { key: key(operation), action })
    })
}

/// Reads a history of sets by element: `add` and `remove`, which may answer whether they changed something, and
/// `contains`.
pub fn members(history: &History) -> Decoded<MembersOp> {
    decode(history, |operation, answered| {
        let changed = match answered {
            Answered::Ok { value: Value::Bool(changed), .. } => Some(*changed),
            Answered::Ok { value: Value::Null | Value::Number(_), .. } | Answered::No => None,
            Answered::Ok { value, .. } => {
                return Err(wrong(operation, format!("the answer is true, false or nothing, not {value}")));
            }
        };
        let action = match (operation.f.as_str(), changed) {
            ("add", changed) => MembersAction::Add(changed),
            ("remove", changed) => MembersAction::Remove(changed),
            ("contains", Some(found)) => MembersAction::Contains(found),
            ("contains", None) if !operation.is_ok() => MembersAction::Contains(false),
            ("contains", None) => return Err(wrong(operation, "`contains` answers true or false")),
            _ => return Err(unknown(operation)),
        };
        let element = number(operation, &operation.value)?;
        op(MembersOp { element: format!("{}{element}", key(operation)), action })
    })
}

/// Reads a history of logs: `append` of an element answers its offset or nothing, `read` of an offset answers
/// the element or `null`.
pub fn log(history: &History) -> Decoded<LogOp> {
    let offset = |operation: &Operation, value: &Value| {
        value.as_u64().ok_or_else(|| wrong(operation, format!("{value} is no offset, which counts from 0")))
    };
    decode(history, |operation, answered| {
        let answer = match answered {
            Answered::Ok { value: Value::Null, .. } | Answered::No => None,
            Answered::Ok { value, .. } => Some(value),
        };
        let action = match operation.f.as_str() {
            "append" => LogAction::Append {
                element: number(operation, &operation.value)?,
                offset: answer.map(|answer| offset(operation, answer)).transpose()?,
            },
            "read" => LogAction::Read {
                offset: offset(operation, &operation.value)?,
                found: answer.map(|answer| number(operation, answer)).transpose()?,
            },
            _ => return Err(unknown(operation)),
        };
        op(LogOp { key: key(operation), action })
    })
}

/// Reads a history of strings: `get`, `put`, `append`.
pub fn strings(history: &History) -> Decoded<StringOp> {
    let text = |operation: &Operation, value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other => Err(wrong(operation, format!("{other} is not text"))),
    };
    decode(history, |operation, answered| {
        let action = match (operation.f.as_str(), answered) {
            ("get", Answered::Ok { value, .. }) => StringAction::Get(text(operation, value)?),
            ("get", Answered::No) => StringAction::Get(String::new()),
            ("put", _) => StringAction::Put(text(operation, &operation.value)?),
            ("append", _) => StringAction::Append(text(operation, &operation.value)?),
            _ => return Err(unknown(operation)),
        };
        op(StringOp { key: key(operation), action })
    })
}

/// Reads a history of transactions of reads `["r", key, found]` and writes `["w", key, value]`, and what it
/// shows of the beginning: what was read before any write of a register began was there at first.
pub fn multi_register(history: &History) -> (MultiRegister, Decoded<MultiRegisterOp>) {
    let decoded = decode(history, |operation, answered| {
        let steps = match answered {
            Answered::Ok { value, .. } if value.is_array() => value,
            Answered::Ok { .. } | Answered::No => &operation.value,
        };
        let steps = steps.as_array().ok_or_else(|| wrong(operation, "a transaction is an array of steps"))?;
        let answered = operation.is_ok();
        let steps: Result<_, _> = steps.iter().map(|step| register_step(operation, step, answered)).collect();
        op(MultiRegisterOp(steps?))
    });
    let mut initial = BTreeMap::new();
    let mut writing: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for call in &decoded.calls {
        for step in &call.op.0 {
            if let MultiRegisterStep::Write { key, .. } = step {
                let first = writing.entry(key.clone()).or_insert(u64::MAX);
                *first = call.invoked.min(*first);
            }
        }
    }
    for call in &decoded.calls {
        for step in &call.op.0 {
            if let (MultiRegisterStep::Read { key, found: Some(Some(found)) }, Some(returned)) =
                (step, call.returned)
                && writing.get(key).is_none_or(|first| returned < *first)
            {
                initial.entry(key.clone()).or_insert(*found);
            }
        }
    }
    (MultiRegister { initial }, decoded)
}

fn register_step(
    operation: &Operation,
    step: &Value,
    answered: bool,
) -> Result<MultiRegisterStep, ProblemKind> {
    match step.as_array().map(Vec::as_slice) {
        Some([Value::String(name), Value::String(key), value]) if name == "w" => {
            let key = Arc::from(key.as_str());
            Ok(MultiRegisterStep::Write { key, value: number(operation, value)? })
        }
        Some([Value::String(name), Value::String(key), value]) if name == "r" => {
            let key = Arc::from(key.as_str());
            let found = if value.is_null() { None } else { Some(number(operation, value)?) };
            Ok(MultiRegisterStep::Read { key, found: answered.then_some(found) })
        }
        Some(_) | None => {
            Err(wrong(operation, format!("a step is [\"r\" or \"w\", key, value], not {step}")))
        }
    }
}
