//! `txn` on registers: `["w", key, value]` and `["r", key, found]`, where what is found is a value, null, or
//! `{"value": .., "mod_revision": ..}` of a store with revisions.

use std::sync::Arc;

use serde_json::Value;

use super::append::{parts, steps};
use super::{REVISIONS, unknown, wrong};
use crate::history::event::CLOCK_SESSIONS;
use crate::history::lint::{Problem, ProblemKind};
use crate::history::{History, Operation, Outcome};
use crate::isolation::registers::{OnRegister, Registers};
use crate::isolation::txns::{NEVER, Span};

/// Reads a history of transactions on registers.
///
/// # Errors
/// What does not fit.
pub fn registers(history: &History) -> Result<Registers, Vec<Problem>> {
    let mut registers = Registers::new(history.header().clock == CLOCK_SESSIONS);
    let mut problems = Vec::new();
    for operation in history.operations() {
        if let Err(kind) = operation_on(operation, &mut registers) {
            problems.push(Problem { line: None, kind });
        }
    }
    if problems.is_empty() { Ok(registers) } else { Err(problems) }
}

fn operation_on(operation: &Operation, registers: &mut Registers) -> Result<(), ProblemKind> {
    if operation.f != "txn" {
        return Err(unknown(operation));
    }
    let asked = steps(operation, &operation.value)?;
    let answered = match &operation.outcome {
        Outcome::Ok { value, .. } => Some(steps(operation, value)?),
        Outcome::Fail { .. } | Outcome::Info { .. } => None,
    };
    if answered.is_some_and(|answered| answered.len() != asked.len()) {
        return Err(wrong(operation, "the answer has another number of steps"));
    }
    let rev = operation.rev().unwrap_or(0);
    if rev != 0 && !REVISIONS.contains(&rev) {
        return Err(wrong(operation, format!("{rev} is no revision")));
    }
    if !operation.is_fail() {
        let span = Span {
            id: operation.id,
            process: operation.process,
            invoked: operation.invoked.i,
            returned: operation.returned().map_or(NEVER, |moment| moment.i),
        };
        registers.begin(span, rev);
    }
    for (index, step) in asked.iter().enumerate() {
        let answer = answered.map(|answered| &answered[index]);
        step_on(operation, step, answer, registers)?;
    }
    Ok(())
}

fn step_on(
    operation: &Operation,
    asked: &Value,
    answered: Option<&Value>,
    registers: &mut Registers,
) -> Result<(), ProblemKind> {
    let (name, key, argument) = parts(operation, asked)?;
    let answer = match answered.map(|answered| (answered, parts(operation, answered))) {
        Some((_, Ok((other, same, answer)))) if (other, same) == (name, key) => Some(answer),
        Some((answered, Ok(_))) => return Err(wrong(operation, format!("{answered} answers {asked}"))),
        Some((_, Err(kind))) => return Err(kind),
        None => None,
    };
    let key = registers.txns.key(&Arc::from(key));
    match (name, answer) {
        ("w", _) => {
            let value = argument.as_i64().ok_or_else(|| wrong(operation, "a value is a whole number"))?;
            if answer.is_some_and(|answer| answer.as_i64() != Some(value)) {
                return Err(wrong(operation, format!("the answer writes something else than {value}")));
            }
            if operation.is_fail() {
                registers.aborted.push((key, value, operation.id));
            } else {
                registers.txns.step(OnRegister::Write { key, value });
            }
        }
        ("r", None) => {}
        ("r", Some(answer)) => {
            let (found, rev) = found(operation, answer)?;
            registers.txns.step(OnRegister::Read { key, found, rev });
        }
        _ => return Err(wrong(operation, format!("no step is called `{name}`"))),
    }
    Ok(())
}

/// A value and the revision that it was written at, 0 where the answer does not say.
fn found(operation: &Operation, answer: &Value) -> Result<(Option<i64>, i64), ProblemKind> {
    let read = match answer {
        Value::Null => Some((None, 0)),
        Value::Number(value) => value.as_i64().map(|value| (Some(value), 0)),
        Value::Object(fields) => {
            let field = |name: &str| fields.get(name).and_then(Value::as_i64);
            let rev = field("mod_revision").filter(|rev| REVISIONS.contains(rev));
            field("value").and_then(|value| Some((Some(value), rev?)))
        }
        Value::Bool(_) | Value::String(_) | Value::Array(_) => None,
    };
    read.ok_or_else(|| {
        wrong(operation, format!("a read finds a value, with its revision or not, not {answer}"))
    })
}
