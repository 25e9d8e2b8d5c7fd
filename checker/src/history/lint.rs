//! Assumptions that every check makes of a history, checked before any verdict: a history that breaks one
//! is never called valid.

use std::fmt;

use serde::Serialize;

use super::event::ProcessId;
use super::operation::OpId;

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
