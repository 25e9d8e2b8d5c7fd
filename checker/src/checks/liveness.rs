//! Liveness: whenever no fault is active, operations that need a majority succeed within a bound: the first after the
//! faults, and each after the one before.
//!
//! Only what the store owes an answer speaks against it. An operation that fails since others were faster was answered;
//! one that waits for a lease to end, or leads for a while, says nothing until it has failed.

use super::{Context, Running};
use crate::decode::served_by_one;
use crate::history::{Operation, Outcome};
use crate::render::moment;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::witness;

/// How long a store may take to come back, ns: several elections, on a machine that is busy.
const BOUND_NS: u64 = 30_000_000_000;

/// Errors of operations that the store answered, with a no.
const NO_BY_THE_STORE: [&str; 5] = ["taken", "contention", "funds", "guard", "revision"];

/// Functions that take as long as they please, however fast the store is.
const LONG: [&str; 4] = ["lease", "hold", "campaign", "watch"];

/// `None` where there were no faults to come back from.
pub(super) fn check(context: Context<'_>) -> Option<CheckResult> {
    let faults = context.history.faults();
    let mut healed: Vec<u64> = faults.iter().filter_map(|fault| Some(fault.end?.t)).collect();
    healed.retain(|end| {
        faults.iter().all(|fault| !(fault.start.t <= *end && fault.end.is_none_or(|at| at.t > *end)))
    });
    if healed.is_empty() {
        return None;
    }
    healed.sort_unstable();
    let mut running = Running::new("liveness");
    running.count("recoveries", healed.len());
    let operations: Vec<&Operation> =
        context.history.operations().iter().filter(|operation| !served_by_one(operation)).collect();
    let mut answers: Vec<u64> = operations
        .iter()
        .filter(|operation| is_answered(operation))
        .filter_map(|operation| Some(operation.ended()?.t))
        .collect();
    answers.sort_unstable();
    // A history that ends before, as when it was interrupted, does not tell.
    let last = operations.iter().filter_map(|operation| Some(operation.ended()?.t)).max().unwrap_or(0);
    let mut slowest_ms = 0;
    let mut anomalies = Vec::new();
    for from in healed {
        // Faults that follow end the time in which the store had to answer.
        let next_fault = faults.iter().map(|fault| fault.start.t).filter(|start| *start > from).min();
        let until = next_fault.unwrap_or(u64::MAX).min(last);
        let first = answers.partition_point(|answered| *answered < from);
        let here = answers[first..].iter().copied().take_while(|answered| *answered <= until);
        let recovered = here.clone().next().filter(|answered| *answered - from <= BOUND_NS);
        slowest_ms = recovered.map_or(slowest_ms, |answered| slowest_ms.max((answered - from) / 1_000_000));
        let mut before = from;
        let silent = here.map(Some).chain([None]).find_map(|answered| {
            let since = std::mem::replace(&mut before, answered.unwrap_or(until));
            // The next answer of all, be it after faults that follow.
            let forever = answered.is_none() && answers.last().is_none_or(|last| *last <= since);
            silence(context, &operations, since, answered.unwrap_or(until), forever)
        });
        anomalies.extend(silent);
    }
    running.count("slowest_ms", usize::try_from(slowest_ms).unwrap_or(usize::MAX));
    Some(running.end("answers", Verdict::of(anomalies)))
}

/// Whether the store answered, be it with a no.
fn is_answered(operation: &Operation) -> bool {
    match &operation.outcome {
        Outcome::Ok { .. } => true,
        Outcome::Fail { error, .. } => NO_BY_THE_STORE.contains(&error.kind.as_str()),
        Outcome::Info { .. } => false,
    }
}

/// Whether an operation speaks against a store that was silent until a time: it failed by then, or is of those that take
/// no longer than the store does.
fn speaks(operation: &Operation, until: u64) -> bool {
    let over = operation.ended().is_some_and(|ended| ended.t <= until);
    if over { !is_answered(operation) } else { !LONG.contains(&operation.f.as_str()) }
}

/// An anomaly if nothing succeeded for the whole bound, somebody asked in the first half of it, and somebody had no answer
/// in the second; or, where nothing ever succeeds again (`forever`), what is asked after it fails.
fn silence(
    context: Context<'_>,
    operations: &[&Operation],
    from: u64,
    until: u64,
    forever: bool,
) -> Option<Anomaly> {
    if until.saturating_sub(from) < BOUND_NS {
        return None;
    }
    let (half, whole) = (from + BOUND_NS / 2, from + BOUND_NS);
    let within =
        |operation: &&&Operation| (from..whole).contains(&operation.invoked.t) && speaks(operation, whole);
    let after = |operation: &&&Operation| {
        let failed = operation.ended().is_some_and(|ended| ended.t <= until) && !is_answered(operation);
        forever && failed && operation.invoked.t >= whole
    };
    let waits = |operation: &&&Operation| operation.ended().is_none_or(|ended| ended.t >= half);
    let early = operations.iter().filter(within).any(|operation| operation.invoked.t < half);
    let shown = early && operations.iter().filter(within).any(|operation| waits(&operation));
    if !shown && !operations.iter().any(|operation| after(&operation)) {
        return None;
    }
    let asked: Vec<_> = operations.iter().filter(|operation| within(operation) || after(operation)).collect();
    let first = asked.first()?;
    let sentence = format!(
        "a store without faults answers again, but after {} nothing succeeded for {} ms, though {} operations were \
         asked for",
        moment(from),
        BOUND_NS / 1_000_000,
        asked.len()
    );
    let ids = [first.id];
    let witness = witness(context.history, &ids, &ids, Vec::new());
    Some(Anomaly { kind: AnomalyKind::NoRecovery, sentence, witness })
}
