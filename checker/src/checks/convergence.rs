//! Once all is healed, all members hold the same, and nothing that was acknowledged is gone.
//!
//! Judged from what members said of themselves: `status` with `revision` and `raft_applied_index`, `hashkv`
//! with `revision`, `hash` and `compact_revision`. The state machine is a function of the log, so members at
//! one applied index hold one state.

use std::collections::{BTreeMap, BTreeSet};

use super::order::newest_acknowledged;
use super::{Context, Running, not_observed};
use crate::history::{Moment, Observation};
use crate::render::{invocation, moment, who};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict, Witness};
use crate::witness::witness;

/// Members and what each said last.
type ByNode<'a, T> = BTreeMap<&'a str, T>;

#[derive(Clone, Copy, Debug)]
struct Status {
    at: Moment,
    revision: i64,
    applied: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Hash {
    revision: i64,
    compacted: i64,
    hash: u64,
}

/// `None` where nobody meant to observe anything: there is neither an observation nor a phase of one.
pub(super) fn check(context: Context<'_>) -> Option<CheckResult> {
    let history = context.history;
    let meant = history.phases().iter().any(|phase| phase.f == "final" || phase.f == "heal");
    if history.observations().is_empty() && !meant {
        return None;
    }
    let mut running = Running::new("convergence");
    let healed = healed_at(context);
    let statuses = statuses(history.observations());
    let last: ByNode<'_, Status> = statuses
        .iter()
        .filter_map(|(node, all)| Some((*node, *all.last()?)))
        .filter(|(_, status)| status.at.i >= healed)
        .collect();
    let hashes = hashes(history.observations(), healed);
    running.count("members", last.len());
    running.count("observations", history.observations().len());
    let mut verdict = went_back(context, &statuses);
    verdict = verdict.merge(lost(context, &last));
    verdict = verdict.merge(agree(context, &last));
    verdict = verdict.merge(same_hash(&hashes, history.header().nodes));
    Some(running.end("what members say of themselves", verdict))
}

/// Where the last fault was over: what was observed before says nothing about the end.
fn healed_at(context: Context<'_>) -> u64 {
    let ends = context.history.faults().iter().filter_map(|fault| fault.end.map(|end| end.i));
    let phases = context.history.phases().iter().filter(|phase| phase.f == "final" || phase.f == "heal");
    ends.chain(phases.map(|phase| phase.at.i)).max().unwrap_or(0)
}

fn statuses(observations: &[Observation]) -> ByNode<'_, Vec<Status>> {
    let mut all: ByNode<'_, Vec<Status>> = BTreeMap::new();
    for Observation { at, node, f, value } in observations {
        if f != "status" {
            continue;
        }
        let Some(revision) = value.get("revision").and_then(serde_json::Value::as_i64) else { continue };
        let applied = value.get("raft_applied_index").and_then(serde_json::Value::as_u64);
        all.entry(node).or_default().push(Status { at: *at, revision, applied });
    }
    all
}

fn hashes(observations: &[Observation], since: u64) -> ByNode<'_, Hash> {
    let mut all = BTreeMap::new();
    for Observation { at, node, f, value } in observations {
        if f != "hashkv" || at.i < since {
            continue;
        }
        let number = |name: &str| value.get(name).and_then(serde_json::Value::as_i64);
        let hash = value.get("hash").and_then(serde_json::Value::as_u64);
        if let (Some(revision), Some(hash)) = (number("revision"), hash) {
            let compacted = number("compact_revision").unwrap_or(0);
            all.insert(node.as_str(), Hash { revision, compacted, hash });
        }
    }
    all
}

/// A member's revision only grows, as long as it is not killed.
fn went_back(context: Context<'_>, statuses: &ByNode<'_, Vec<Status>>) -> Verdict {
    let mut anomalies = Vec::new();
    for (node, all) in statuses {
        for pair in all.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.revision >= before.revision || killed_between(context, node, before.at.t, after.at.t) {
                continue;
            }
            let sentence = format!(
                "a member's revision only grows, but {node} said {} at {} and {} at {}",
                before.revision,
                moment(before.at.t),
                after.revision,
                moment(after.at.t)
            );
            anomalies.push(said(AnomalyKind::RevisionWentBack, sentence, Vec::new()));
        }
    }
    Verdict::of(anomalies)
}

fn killed_between(context: Context<'_>, node: &str, from_t: u64, to_t: u64) -> bool {
    let name = format!("\"{node}\"");
    context.history.faults_between(from_t, to_t).any(|fault| {
        fault.f.contains("kill") && (fault.value.is_null() || fault.value.to_string().contains(&name))
    })
}

/// What was acknowledged is on every member at the end.
fn lost(context: Context<'_>, last: &ByNode<'_, Status>) -> Verdict {
    let Some((operation, rev)) = newest_acknowledged(&context) else { return Verdict::Valid };
    let behind: Vec<(&str, i64)> = last
        .iter()
        .filter(|(_, status)| status.revision < rev)
        .map(|(node, status)| (*node, status.revision))
        .collect();
    if behind.is_empty() {
        return Verdict::Valid;
    }
    let said: Vec<String> =
        behind.iter().map(|(node, revision)| format!("{node} is at revision {revision}")).collect();
    let sentence = format!(
        "what was acknowledged stays, but `{}` of {} was answered with revision {rev}, and at the end, with all \
         faults healed, {}",
        invocation(operation),
        who(operation),
        said.join(", ")
    );
    let ids = [operation.id];
    let witness = witness(context.history, &ids, &ids, Vec::new());
    Verdict::of(vec![Anomaly { kind: AnomalyKind::LostRevision, sentence, witness }])
}

/// Members at one applied index are at one revision.
fn agree(context: Context<'_>, last: &ByNode<'_, Status>) -> Verdict {
    let nodes = context.history.header().nodes;
    if last.len() < nodes {
        return not_observed(format!(
            "the status of {} of {nodes} members after the last fault",
            nodes - last.len()
        ));
    }
    let revisions: BTreeSet<i64> = last.values().map(|status| status.revision).collect();
    let applied: BTreeSet<Option<u64>> = last.values().map(|status| status.applied).collect();
    let lines: Vec<String> = last
        .iter()
        .map(|(node, Status { at, revision, applied })| {
            let applied = applied.map_or("unknown".to_owned(), |index| index.to_string());
            format!("{node}: revision {revision} at applied index {applied}, {}", moment(at.t))
        })
        .collect();
    match (applied.len(), revisions.len()) {
        (0 | 1, 0 | 1) => Verdict::Valid,
        (1, _) if !applied.contains(&None) => {
            let sentence = format!(
                "members that have applied the same log hold the same, but at the end: {}",
                lines.join("; ")
            );
            Verdict::of(vec![said(AnomalyKind::Divergence, sentence, lines)])
        }
        _ => not_observed(format!(
            "all members at one applied index after the last fault ({})",
            lines.join("; ")
        )),
    }
}

/// Members at one revision, compacted at one revision, have one hash.
fn same_hash(hashes: &ByNode<'_, Hash>, nodes: usize) -> Verdict {
    let mut groups: BTreeMap<(i64, i64), BTreeMap<u64, Vec<&str>>> = BTreeMap::new();
    for (node, Hash { revision, compacted, hash }) in hashes {
        groups.entry((*revision, *compacted)).or_default().entry(*hash).or_default().push(node);
    }
    let mut anomalies = Vec::new();
    for ((revision, compacted), by_hash) in &groups {
        if by_hash.len() > 1 {
            let lines: Vec<String> =
                by_hash.iter().map(|(hash, nodes)| format!("{}: hash {hash}", nodes.join(", "))).collect();
            let sentence = format!(
                "members hold the same, but at revision {revision}, compacted at {compacted}, their hashes differ: {}",
                lines.join("; ")
            );
            anomalies.push(said(AnomalyKind::Divergence, sentence, lines));
        }
    }
    if !anomalies.is_empty() {
        return Verdict::of(anomalies);
    }
    if hashes.len() < nodes {
        return not_observed(format!(
            "the hash of {} of {nodes} members after the last fault",
            nodes - hashes.len()
        ));
    }
    if groups.len() > 1 {
        let revisions: Vec<String> =
            groups.keys().map(|(revision, compacted)| format!("{revision}/{compacted}")).collect();
        return not_observed(format!("the hashes of all members at one revision ({})", revisions.join(", ")));
    }
    Verdict::Valid
}

fn said(kind: AnomalyKind, sentence: String, because: Vec<String>) -> Anomaly {
    Anomaly { kind, sentence, witness: Witness { because, ..Witness::default() } }
}
