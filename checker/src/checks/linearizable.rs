//! Linearizability by an exact search, or by stateright's tester.

use std::time::Duration;

use super::{Context, REPORTED_MAX, Running};
use crate::check::Engine;
use crate::history::OpId;
use crate::linearizability::{
    Call, Decision, Layer, Part, Stuck, decide_parts, longest_order, search, split, stateright,
};
use crate::render::{answer, invocation, who};
use crate::spec::SequentialSpec;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Progress, Verdict, Why};
use crate::witness::{circumstances, shrink, witness};

/// Time for making a witness small.
const SHRINK_TIME: Duration = Duration::from_secs(3);
/// Steps for the longest legal order of a witness.
const ORDER_STEPS: usize = 20_000;
/// Calls of a witness for which a longest legal order is looked for.
const ORDER_CALLS: usize = 40;
/// States that are told of.
const STATES_TOLD: usize = 5;

/// Decides with the engine that the options ask for.
pub(super) fn exact<S: SequentialSpec>(
    context: Context<'_>,
    spec: &S,
    calls: Vec<Call<S::Op>>,
    mut running: Running,
) -> CheckResult {
    running.count("operations", calls.len());
    let parts = split(spec, calls);
    running.count("parts", parts.len());
    match context.options.engine {
        Engine::Assay => {
            let decisions = decide_parts(spec, &parts, context.options.threads, context.budget);
            // The costliest layer that was needed names the whole.
            let by = decisions.iter().map(|decided| decided.by).max().unwrap_or(Layer::Search);
            let verdict = parts.iter().zip(decisions).fold(Verdict::Valid, |verdict, (part, decided)| {
                verdict.merge(judge(context, spec, part, decided.decision))
            });
            running.end(by.name(), few(verdict))
        }
        Engine::Stateright => {
            let verdicts = parts.iter().map(|part| ask_stateright(context, spec, part));
            let verdict = verdicts.fold(Verdict::Valid, Verdict::merge);
            running.end("stateright", few(verdict))
        }
    }
}

/// Decides with the own engine whether there is an order.
pub(super) fn order<S: SequentialSpec>(context: Context<'_>, spec: &S, calls: Vec<Call<S::Op>>) -> Verdict {
    let parts = split(spec, calls);
    let decisions = decide_parts(spec, &parts, context.options.threads, context.budget);
    let verdicts = parts.iter().zip(decisions);
    few(verdicts.fold(Verdict::Valid, |verdict, (part, decided)| {
        verdict.merge(judge(context, spec, part, decided.decision))
    }))
}

fn few(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Anomaly(mut anomalies) => {
            anomalies.truncate(REPORTED_MAX);
            Verdict::Anomaly(anomalies)
        }
        verdict @ (Verdict::Valid | Verdict::Unknown(_)) => verdict,
    }
}

fn judge<S: SequentialSpec>(
    context: Context<'_>,
    spec: &S,
    part: &Part<S::Op>,
    decision: Decision<S::State>,
) -> Verdict {
    match decision {
        Decision::Legal => Verdict::Valid,
        Decision::Undecided { stop, done } => {
            Verdict::unknown(context.budget.why(stop, progress(part, done)))
        }
        Decision::Illegal(stuck) => Verdict::of(vec![explain(context, spec, part, stuck)]),
    }
}

fn ask_stateright<S: SequentialSpec>(context: Context<'_>, spec: &S, part: &Part<S::Op>) -> Verdict {
    match stateright::decide(spec, &part.calls, context.budget) {
        Ok(true) => Verdict::Valid,
        Ok(false) => {
            // It names no operation: our search says where, and must agree that there is something to name.
            match search(spec, &part.calls, context.budget) {
                decision @ Decision::Illegal(_) => judge(context, spec, part, decision),
                Decision::Legal | Decision::Undecided { .. } => {
                    let name = part.name.as_deref().unwrap_or("the history");
                    let what = format!("stateright's tester finds no order for {name}, the own search does");
                    Verdict::unknown(Why::EngineCannot { what })
                }
            }
        }
        Err(stop) => Verdict::unknown(context.budget.why(stop, progress(part, 0))),
    }
}

fn progress<Op>(part: &Part<Op>, done: u64) -> Progress {
    Progress { part: part.name.clone().unwrap_or_default(), done, of: part.calls.len() as u64 }
}

fn explain<S: SequentialSpec>(
    context: Context<'_>,
    spec: &S,
    part: &Part<S::Op>,
    stuck: Stuck<S::State>,
) -> Anomaly {
    let budget = context.budget.part(SHRINK_TIME);
    let shrunk = shrink(spec, &part.calls, stuck, &budget);
    let failing = context.operation(shrunk.stuck.id);
    let ids: Vec<OpId> = shrunk.calls.iter().map(|call| call.id).collect();
    let name = part.name.as_deref().filter(|name| !name.is_empty());
    let on = name.map(|name| format!(" on {name}")).unwrap_or_default();
    let sentence = format!(
        "operations{on} must appear to happen one at a time, between their call and their answer, but when `{}` \
         of {} was answered `{}` {}, no order of what had been called explains all answers",
        invocation(failing),
        who(failing),
        answer(failing),
        circumstances(context.history, failing),
    );
    let because = vec![format!(
        "{} of {} operations are enough to show it; {} cannot have been answered so",
        shrunk.calls.len(),
        part.calls.len(),
        failing.id
    )];
    let mut witness = witness(context.history, &ids, &[failing.id], because);
    let states = shrunk.stuck.states.iter().take(STATES_TOLD).map(|state| spec.describe(state));
    witness.states = states.collect();
    if shrunk.calls.len() <= ORDER_CALLS {
        witness.legal_prefix = longest_order(spec, &shrunk.calls, ORDER_STEPS).order;
    }
    Anomaly { kind: AnomalyKind::NotLinearizable, sentence, witness }
}
