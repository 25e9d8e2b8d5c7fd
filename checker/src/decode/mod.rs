//! From the JSON of a history to the typed operations of its workload. What does not fit is a
//! [`Problem`], and a history with problems is never called valid.
mod append;
mod kv;
mod objects;
mod register;
mod registers;
mod set;

use serde::Deserialize;
use serde_json::Value;

pub use append::append;
pub(crate) use append::steps_of;
pub use kv::kv;
pub(crate) use kv::kv_op;
pub use objects::{counter, log, members, multi_register, mutex, queue, strings};
pub use register::register;
pub(crate) use register::register_op;
pub use registers::registers;
pub use set::set;

use crate::history::event::OpError;
use crate::history::lint::{Problem, ProblemKind};
use crate::history::{History, Operation, Outcome};
use crate::linearizability::Call;
use crate::spec::kv_types::Request;

/// Revisions that a store can reach; arithmetic on them does not overflow.
const REVISIONS: std::ops::Range<i64> = 1..1 << 60;

/// The operations of a history, typed.
#[derive(Clone, Debug)]
pub struct Decoded<Op> {
    /// Linearizable operations that took effect or may have.
    pub calls: Vec<Call<Op>>,
    /// Serializable reads that were answered: they may be stale.
    pub serializable: Vec<Call<Op>>,
    /// Operations that failed for certain.
    pub failed: Vec<Call<Op>>,
    /// What does not fit.
    pub problems: Vec<Problem>,
}

/// What became of an operation, as decoding needs it.
enum Answered<'a> {
    Ok { value: &'a Value, rev: Option<i64> },
    No,
}

/// Whether one member may answer an operation from its own state, without a majority: a serializable read, or a watch.
/// Its success does not show that the store serves.
pub(crate) fn served_by_one(operation: &Operation) -> bool {
    match operation.f.as_str() {
        "read" => register::asks_serializable(operation).unwrap_or(false),
        "range" | "txn" => {
            Request::deserialize(&operation.value).is_ok_and(|request| kv::serializable(&request))
        }
        "watch" => true,
        _ => false,
    }
}

/// An operation's content, and whether it is a serializable read.
struct Typed<Op> {
    op: Op,
    serializable: bool,
}

fn decode<Op>(
    history: &History,
    mut typed: impl FnMut(&Operation, Answered<'_>) -> Result<Typed<Op>, ProblemKind>,
) -> Decoded<Op> {
    let mut decoded =
        Decoded { calls: Vec::new(), serializable: Vec::new(), failed: Vec::new(), problems: Vec::new() };
    for operation in history.operations() {
        let answered = answered(operation);
        if let Some(rev) = operation.rev().filter(|rev| !REVISIONS.contains(rev)) {
            let kind = wrong(operation, format!("{rev} is no revision"));
            decoded.problems.push(Problem { line: None, kind });
            continue;
        }
        let typed = match typed(operation, answered) {
            Ok(typed) => typed,
            Err(kind) => {
                decoded.problems.push(Problem { line: None, kind });
                continue;
            }
        };
        let call = Call::new(operation, typed.op);
        match &operation.outcome {
            Outcome::Fail { .. } => decoded.failed.push(call),
            Outcome::Ok { .. } if typed.serializable => decoded.serializable.push(call),
            Outcome::Info { .. } if typed.serializable => {}
            Outcome::Ok { .. } | Outcome::Info { .. } => decoded.calls.push(call),
        }
    }
    decoded
}

fn answered(operation: &Operation) -> Answered<'_> {
    match &operation.outcome {
        Outcome::Ok { value, rev, .. } => Answered::Ok { value, rev: *rev },
        Outcome::Fail { .. } | Outcome::Info { .. } => Answered::No,
    }
}

fn wrong(operation: &Operation, why: impl Into<String>) -> ProblemKind {
    ProblemKind::WrongValue { op: operation.id, why: why.into() }
}

fn unknown(operation: &Operation) -> ProblemKind {
    ProblemKind::UnknownFunction { f: operation.f.clone() }
}

/// The text of an error, for a witness.
pub fn error_text(error: &OpError) -> String {
    if error.text.is_empty() { error.kind.clone() } else { format!("{}: {}", error.kind, error.text) }
}
