//! Liveness: whenever no fault is active, operations that need a majority succeed again within a bound.

use super::{Context, Running};
use crate::decode::served_by_one;
use crate::history::Operation;
use crate::render::moment;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::witness;

/// How long a store may take to come back, ms: several elections, on a machine that is busy.
const BOUND_MS: u64 = 30_000;

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
    // By the time of the answer.
    let mut answers: Vec<(u64, u64)> = operations
        .iter()
        .filter(|operation| operation.is_ok())
        .filter_map(|operation| Some((operation.ended()?.t, operation.invoked.t)))
        .collect();
    answers.sort_unstable();
    let mut slowest_ms = 0;
    let mut anomalies = Vec::new();
    for from in healed {
        // Faults that follow end the time in which the store had to come back.
        let next_fault = faults.iter().map(|fault| fault.start.t).filter(|start| *start > from).min();
        let until = next_fault.unwrap_or(u64::MAX).min(from.saturating_add(BOUND_MS * 1_000_000));
        let at = answers.partition_point(|(answered, _)| *answered < from);
        match answers.get(at).filter(|(answered, _)| *answered <= until) {
            Some((answered, _)) => slowest_ms = slowest_ms.max((answered - from) / 1_000_000),
            None => {
                let forever = next_fault.is_none() && answers.len() == at;
                anomalies.extend(silence(context, &operations, from, until, forever));
            }
        }
    }
    running.count("slowest_ms", usize::try_from(slowest_ms).unwrap_or(usize::MAX));
    Some(running.end("answers", Verdict::of(anomalies)))
}

/// An anomaly if the whole bound passed, and somebody asked early enough to have to be answered within it; or, where
/// nothing ever succeeds again, asks after it.
fn silence(
    context: Context<'_>,
    operations: &[&Operation],
    from: u64,
    until: u64,
    forever: bool,
) -> Option<Anomaly> {
    let bound = BOUND_MS * 1_000_000;
    // A history that ends before, as when it was interrupted, does not tell.
    let last = operations.iter().filter_map(|operation| Some(operation.ended()?.t)).max()?;
    let whole = until - from >= bound && last >= until;
    let in_time = |t: u64| (from..from + bound / 2).contains(&t) || (forever && t >= from + bound);
    let asked: Vec<_> = operations.iter().filter(|operation| in_time(operation.invoked.t)).collect();
    let first = asked.first().filter(|_| whole)?;
    let sentence = format!(
        "a store without faults answers again, but after {} nothing succeeded for {BOUND_MS} ms, though {} \
         operations were asked for",
        moment(from),
        asked.len()
    );
    let ids = [first.id];
    let witness = witness(context.history, &ids, &ids, Vec::new());
    Some(Anomaly { kind: AnomalyKind::NoRecovery, sentence, witness })
}
