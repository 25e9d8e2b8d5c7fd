//! Elections: a term has one leader, whoever looks; terms never go back; who leads has campaigned, and wins but once.
//!
//! A term is the revision at which a leader's record was made. `campaign` and `observe` answer with the term and
//! the leader that they saw, by linearizable requests, or with null where there is none. Each campaign has a candidate of
//! its own; one that is answered with another leader has lost.

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
    let mut campaigns: BTreeMap<String, BTreeMap<i64, Campaign>> = BTreeMap::new();
    for operation in context.history.operations() {
        let wrong = |why: String| {
            vec![Problem { line: None, kind: ProblemKind::WrongValue { op: operation.id, why } }]
        };
        if !matches!(operation.f.as_str(), "campaign" | "observe" | "resign") {
            let kind = ProblemKind::UnknownFunction { f: operation.f.clone() };
            return Err(vec![Problem { line: None, kind }]);
        }
        let election = operation.key.clone().ok_or_else(|| wrong("the election has no name".to_owned()))?;
        let answer = operation.answer();
        let leader: Option<Option<Leader>> =
            answer.map(Option::deserialize).transpose().map_err(|e| wrong(e.to_string()))?;
        if operation.f == "campaign" {
            let candidate = operation.value.as_i64();
            let candidate = candidate.ok_or_else(|| wrong("a candidate is a whole number".to_owned()))?;
            let lost = operation.is_fail()
                || leader.is_some_and(|leader| leader.is_none_or(|leader| leader.leader != candidate));
            let campaign = Campaign { id: operation.id, lost };
            campaigns.entry(election.clone()).or_default().insert(candidate, campaign);
        }
        let leader = leader.flatten();
        seen.entry(election).or_default().extend(leader.map(|leader| (operation.id, leader)));
    }
    running.count("observations", seen.values().map(Vec::len).sum());
    if seen.values().all(Vec::is_empty) {
        return Ok(running.end("terms", not_observed("a single leader")));
    }
    let mut anomalies = Vec::new();
    let mut terms = 0;
    for (election, seen) in &seen {
        let none = BTreeMap::new();
        let campaigns = campaigns.get(election).unwrap_or(&none);
        terms += judge(context, election, seen, campaigns, &mut anomalies);
    }
    running.count("terms", terms);
    Ok(running.end("terms", Verdict::of(anomalies)))
}

/// Somebody's attempt to become the leader.
#[derive(Clone, Copy)]
struct Campaign {
    id: OpId,
    /// Whether it surely had no effect.
    lost: bool,
}

/// Judges one election, and gives how many terms it had.
fn judge(
    context: Context<'_>,
    election: &str,
    seen: &[(OpId, Leader)],
    campaigns: &BTreeMap<i64, Campaign>,
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
    let mut terms: BTreeMap<i64, (OpId, i64)> = BTreeMap::new();
    for (id, Leader { term, leader }) in seen {
        let returned = context.operation(*id).returned().map_or(u64::MAX, |returned| returned.i);
        let campaign =
            campaigns.get(leader).filter(|campaign| context.operation(campaign.id).invoked.i < returned);
        match campaign {
            None => {
                let sentence = format!(
                    "who leads has campaigned, but {} saw {leader} lead {election}, who had not",
                    by(*id)
                );
                report(AnomalyKind::PhantomValue, sentence, &[*id]);
            }
            Some(Campaign { id: campaign, lost: true }) => {
                let sentence = format!(
                    "who lost an election does not lead, but {} saw {leader} lead {election}, whose campaign {} had no \
                     effect",
                    by(*id),
                    by(*campaign)
                );
                report(AnomalyKind::FailedOpObserved, sentence, &[*campaign, *id]);
            }
            Some(Campaign { id: campaign, lost: false }) => {
                let (first, known) = *terms.entry(*leader).or_insert((*id, *term));
                if known != *term {
                    let sentence = format!(
                        "a campaign wins one term, but that of {leader} for {election}, {}, won {known}, as seen by {}, \
                         and {term}, as seen by {}",
                        by(*campaign),
                        by(first),
                        by(*id)
                    );
                    report(AnomalyKind::AppliedTwice, sentence, &[*campaign, first, *id]);
                }
            }
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
