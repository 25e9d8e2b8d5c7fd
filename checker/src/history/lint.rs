//! Assumptions that every check makes of a history, checked before any verdict: a history that breaks one
//! is never called valid.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::History;
use super::event::ProcessId;
use super::operation::{OpId, Operation};

/// Whether the history begins with an empty store: no answer that came before the first write began shows
/// anything. In a store that is `shared`, revisions may be others'.
pub fn check(history: &History, shared: bool) -> Vec<Problem> {
    let operations = history.operations();
    let writes = |operation: &&Operation| !matches!(operation.f.as_str(), "read" | "range");
    // What failed for certain wrote nothing.
    let first = operations.iter().filter(writes).find(|operation| !operation.is_fail());
    let first_write = first.map_or(u64::MAX, |operation| operation.invoked.i);
    let early = operations.iter().take_while(|operation| operation.invoked.i < first_write);
    let shows = early.filter(|operation| operation.returned().is_some_and(|at| at.i < first_write));
    let base = history.base_revision().unwrap_or(1);
    let problem = |operation: &Operation| {
        let saw = match operation.rev() {
            Some(rev) if rev > base && !shared => format!("revision {rev}"),
            Some(_) | None => content(operation.answer()?)?,
        };
        // That it saw what failed for certain is for the checks to say.
        if operations
            .iter()
            .any(|other| other.is_fail() && writes(&other) && would_write(other) == operation.answer())
        {
            return None;
        }
        Some(Problem { line: None, kind: ProblemKind::StartsNonEmpty { op: operation.id, saw } })
    };
    shows.filter_map(problem).take(1).collect()
}

/// Functions whose answers show something of the store.
const SHOWING: [&str; 8] = ["read", "range", "txn", "watch", "lease", "campaign", "observe", "generate"];

/// Whether so few operations succeeded that nothing follows from their being right.
pub fn too_few(history: &History, ok_min: u64) -> Vec<Problem> {
    let ok = || history.operations().iter().filter(|operation| operation.is_ok());
    let reads = ok().filter(|operation| SHOWING.contains(&operation.f.as_str())).count() as u64;
    let all = ok().count() as u64;
    let few = |what: &str, found: u64, least: u64| {
        let kind = ProblemKind::TooFew { what: what.to_owned(), found, least };
        (found < least).then_some(Problem { line: None, kind })
    };
    let all = few("operations that succeeded", all, ok_min);
    all.or(few("reads that succeeded", reads, ok_min.min(1))).into_iter().collect()
}

/// The value that a write of a register would have written.
fn would_write(operation: &Operation) -> Option<&Value> {
    match operation.value.as_array() {
        Some(pair) => pair.get(1),
        None => Some(&operation.value),
    }
}

/// What a read shows, if it shows anything.
fn content(answer: &Value) -> Option<String> {
    match answer {
        Value::Null | Value::Bool(_) => None,
        Value::Array(elements) if elements.is_empty() => None,
        // Steps of a transaction: its own check knows what was written.
        Value::Array(elements) if elements.iter().all(Value::is_array) => None,
        Value::Object(fields) => match fields.get("range") {
            Some(range) => (range.get("count").and_then(Value::as_i64) > Some(0)).then(|| range.to_string()),
            None => fields.contains_key("value").then(|| answer.to_string()),
        },
        Value::Number(_) | Value::String(_) | Value::Array(_) => Some(answer.to_string()),
    }
}

/// One assumption that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line of the file, from 1, where the problem is one line's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum ProblemKind {
    /// `i` does not count on: events are missing or out of order.
    Gap {
        /// The position that the event has.
        want: u64,
        /// The position that it claims.
        found: u64,
    },
    /// `t` is less than before.
    TimeGoesBack {
        /// The largest time before, ns.
        before_ns: u64,
        /// This time, ns.
        now_ns: u64,
    },
    /// A process invokes while its last operation is open.
    TwoAtOnce {
        /// The process.
        process: ProcessId,
        /// The open operation.
        open: OpId,
    },
    /// A process invokes although nobody knows how its last operation ended.
    ActsAfterInfo {
        /// The process.
        process: ProcessId,
        /// The line of its `info`.
        since_line: u64,
    },
    /// A completion of nothing.
    CompletionWithoutInvocation {
        /// The process.
        process: ProcessId,
    },
    /// A completion says another function or key than the invocation.
    CompletesAnother {
        /// The process.
        process: ProcessId,
        /// Function and key of the invocation.
        invoked: String,
        /// Function and key of the completion.
        completed: String,
    },
    /// A fault ends that never started.
    FaultEndsUnstarted {
        /// Its number.
        fault: u64,
    },
    /// The header names a workload that no check knows.
    UnknownScenario {
        /// Its name.
        scenario: String,
    },
    /// The workload has no such function.
    UnknownFunction {
        /// The function.
        f: String,
    },
    /// An argument or an answer is not what the function takes or gives.
    WrongValue {
        /// The operation.
        op: OpId,
        /// What is wrong.
        why: String,
    },
    /// The store held something before the first write began.
    StartsNonEmpty {
        /// The operation that saw it.
        op: OpId,
        /// What it saw.
        saw: String,
    },
    /// So few operations succeeded that nothing follows from them.
    TooFew {
        /// What there is too little of.
        what: String,
        /// How many there are.
        found: u64,
        /// How many it takes.
        least: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { want, found } => write!(f, "event {found} stands where event {want} should"),
            Self::TimeGoesBack { before_ns, now_ns } => {
                write!(f, "time goes back from {before_ns} ns to {now_ns} ns")
            }
            Self::TwoAtOnce { process, open } => {
                write!(f, "process {process} invokes while its operation {open} is open")
            }
            Self::ActsAfterInfo { process, since_line } => write!(
                f,
                "process {process} acts again after line {since_line}, where its operation ended in info"
            ),
            Self::CompletionWithoutInvocation { process } => {
                write!(f, "process {process} completes an operation that it has not invoked")
            }
            Self::CompletesAnother { process, invoked, completed } => {
                write!(f, "process {process} invoked `{invoked}` and completes `{completed}`")
            }
            Self::FaultEndsUnstarted { fault } => write!(f, "fault {fault} ends and never started"),
            Self::UnknownScenario { scenario } => write!(f, "no check knows the workload `{scenario}`"),
            Self::UnknownFunction { f: name } => write!(f, "the workload has no function `{name}`"),
            Self::WrongValue { op, why } => write!(f, "operation {op}: {why}"),
            Self::StartsNonEmpty { op, saw } => {
                write!(f, "the store was not empty at the start: operation {op} saw {saw}")
            }
            Self::TooFew { what, found, least } => {
                write!(f, "only {found} {what}, at least {least} are needed for a verdict")
            }
        }
    }
}
