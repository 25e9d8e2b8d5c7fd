//! Objects that only promise to be linearizable: queues, stacks, locks, counters, sets, logs, strings, and
//! registers that are accessed several at once.

use super::linearizable::exact;
use super::{Context, Running, sound};
use crate::decode::{self, Decoded};
use crate::history::lint::{Problem, ProblemKind};
use crate::spec::SequentialSpec;
use crate::spec::counter::Counter;
use crate::spec::log::Log;
use crate::spec::members::Members;
use crate::spec::mutex::Mutex;
use crate::spec::queue::{Discipline, Queue, QueueAction, QueueOp};
use crate::spec::strings::Strings;
use crate::verdict::{CheckResult, Verdict, Why};

/// The workloads that are judged here.
pub(crate) const NAMES: [&str; 9] = [
    "multi-register",
    "fifo-queue",
    "unordered-queue",
    "stack",
    "mutex",
    "linearizable-counter",
    "members",
    "log",
    "strings",
];

/// The check of a workload of [`NAMES`].
pub(super) fn check(context: Context<'_>, scenario: &str) -> Result<CheckResult, Vec<Problem>> {
    let history = context.history;
    match scenario {
        "multi-register" => {
            let (spec, decoded) = decode::multi_register(history);
            judged(context, &spec, decoded)
        }
        "fifo-queue" => queue(context, Discipline::Fifo),
        "unordered-queue" => queue(context, Discipline::Any),
        "stack" => queue(context, Discipline::Lifo),
        "mutex" => judged(context, &Mutex, decode::mutex(history)),
        "linearizable-counter" => judged(context, &Counter, decode::counter(history)),
        "members" => judged(context, &Members, decode::members(history)),
        "log" => judged(context, &Log, decode::log(history)),
        "strings" => {
            let decoded = decode::strings(history);
            judged(context, &Strings::of(decoded.calls.iter().map(|call| &call.op)), decoded)
        }
        _ => {
            let kind = ProblemKind::UnknownScenario { scenario: scenario.to_owned() };
            Err(vec![Problem { line: Some(1), kind }])
        }
    }
}

fn judged<S: SequentialSpec>(
    context: Context<'_>,
    spec: &S,
    decoded: Decoded<S::Op>,
) -> Result<CheckResult, Vec<Problem>> {
    let decoded = sound(decoded)?;
    Ok(exact(context, spec, decoded.calls, Running::new("linearizable")))
}

fn queue(context: Context<'_>, discipline: Discipline) -> Result<CheckResult, Vec<Problem>> {
    let decoded: Decoded<QueueOp> = decode::queue(context.history);
    let unknown = |op: &QueueOp| matches!(op.action, QueueAction::TakeUnknown);
    let unknown_takes = decoded.calls.iter().any(|call| unknown(&call.op));
    let mut result = judged(context, &Queue { discipline }, decoded)?;
    // What an element that was taken out of a bag without an answer was, a step cannot say: it is left in. That
    // only matters to one who found the bag empty.
    if discipline == Discipline::Any && unknown_takes && !result.verdict.is_valid() {
        let what = "which elements were taken by operations without an answer".to_owned();
        result.verdict = Verdict::unknown(Why::NotObserved { what });
    }
    Ok(result)
}
