//! Elections: a term has one leader, whoever looks; terms never go back.
//!
//! A term is the revision at which a leader's record was made. `campaign` and `observe` answer with the term and
//! the leader that they saw, by linearizable requests, or with null where there is none.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Context, REPORTED_MAX, Running, not_observed};
use crate::answers::Leader;
use crate::history::OpId;
use crate::history::lint::{Problem, ProblemKind};
use crate::render::who;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::{circumstances, witness};

pub(super) fn check(context: Context<'_>) -> Result<CheckResult, Vec<Problem>> {
    let mut running = Running::new("election");
    let mut seen: BTreeMap<String, Vec<(OpId, Leader)>> = BTreeMap::new();
    for operation in context.history.operations() {
        let wrong = |why: String| {
            vec![Problem { line: None, kind: ProblemKind::WrongValue { op: operation.id, why } }]
        };
        if !matches!(operation.f.as_str(), "campaign" | "observe" | "resign") {
            let kind = ProblemKind::UnknownFunction { f: operation.f.clone() };
            return Err(vec![Problem { line: None, kind }]);
        }
        let election = operation.key.clone().ok_or_else(|| wrong("the election has no name".to_owned()))?;
        let Some(answer) = operation.answer() else { continue };
        let leader: Option<Leader> = Option::deserialize(answer).map_err(|error| wrong(error.to_string()))?;
        seen.entry(election).or_default().extend(leader.map(|leader| (operation.id, leader)));
    }
    running.count("observations", seen.values().map(Vec::len).sum());
    if seen.values().all(Vec::is_empty) {
        return Ok(running.end("terms", not_observed("a single leader")));
    }
    let mut anomalies = Vec::new();
    let mut terms = 0;
    for (election, seen) in &seen {
        terms += judge(context, election, seen, &mut anomalies);
    }
    running.count("terms", terms);
    Ok(running.end("terms", Verdict::of(anomalies)))
}

/// Judges one election, and gives how many terms it had.
fn judge(
    context: Context<'_>,
    election: &str,
    seen: &[(OpId, Leader)],
    anomalies: &mut Vec<Anomaly>,
) -> usize {
    let by = |id: OpId| {
        let operation = context.operation(id);
        format!("{id} of {} ({})", who(operation), circumstances(context.history, operation))
    };
    let mut report = |kind: AnomalyKind, sentence: String, ids: &[OpId]| {
        if anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < REPORTED_MAX {
            anomalies.push(Anomaly {
                kind,
                sentence,
                witness: witness(context.history, ids, ids, Vec::new()),
            });
        }
    };
    let mut leaders: BTreeMap<i64, (OpId, i64)> = BTreeMap::new();
    for (id, Leader { term, leader }) in seen {
        let (first, known) = *leaders.entry(*term).or_insert((*id, *leader));
        if known != *leader {
            let sentence = format!(
                "a term has one leader, but of term {term} of {election} it is {known} for {} and {leader} for {}",
                by(first),
                by(*id)
            );
            report(AnomalyKind::TwoLeaders, sentence, &[first, *id]);
        }
    }
    // By real time: the newest term that had been answered before each invocation.
    let returned = |id: OpId| context.operation(id).returned().map(|returned| returned.i);
    let mut returns: Vec<(u64, i64, OpId)> =
        seen.iter().filter_map(|(id, leader)| Some((returned(*id)?, leader.term, *id))).collect();
    returns.sort_unstable();
    let mut newest: Option<(i64, OpId)> = None;
    let mut next = 0;
    for (id, leader) in seen {
        let began = context.operation(*id).invoked.i;
        while let Some((_, term, other)) = returns.get(next).filter(|(at, _, _)| *at < began) {
            newest = newest.max(Some((*term, *other)));
            next += 1;
        }
        if let Some((term, other)) = newest.filter(|(term, _)| *term > leader.term) {
            let sentence = format!(
                "terms never go back, but {} saw term {} of {election} after {} had seen {term}",
                by(*id),
                leader.term,
                by(other)
            );
            report(AnomalyKind::StaleRead, sentence, &[other, *id]);
        }
    }
    leaders.len()
}
