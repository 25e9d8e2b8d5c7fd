//! List-append transactions: strict serializability, and what exactly is broken if it is.

use super::{Context, REPORTED_MAX, Running};
use crate::decode::Decoded;
use crate::history::OpId;
use crate::isolation::cycles::{Cycle, cycles};
use crate::isolation::graph::{Graph, Mask, RT, RW, Reason, WR, WW, reason};
use crate::isolation::versions::{Versions, Wrong, versions};
use crate::linearizability::Call;
use crate::render::{answer, invocation, who};
use crate::spec::append::ListTxn;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::{circumstances, witness};

pub(super) fn check(context: Context<'_>, decoded: &Decoded<ListTxn>) -> CheckResult {
    let mut running = Running::new("isolation");
    let calls = &decoded.calls;
    running.count("transactions", calls.len());
    let versions = versions(calls, &decoded.failed);
    if let Some((key, element)) = &versions.ambiguous {
        let what = format!("who appended {element} to {key}: more than one transaction did");
        return running.end("dependency graph", super::not_observed(what));
    }
    let mut anomalies = Vec::new();
    let mut last = None;
    let mut wrong: Vec<&Wrong> = versions.wrong.iter().collect();
    wrong.sort_by_key(|wrong| kind(wrong));
    // One or a few of each kind: a common one must not hide another.
    let mut same = 0;
    for wrong in wrong {
        same = if last == Some(kind(wrong)) { same + 1 } else { 0 };
        last = Some(kind(wrong));
        if same < REPORTED_MAX {
            anomalies.push(explain(context, wrong));
        }
    }
    let graph = Graph::new(calls, &versions);
    running.count("edges", graph.edges());
    let found = cycles(&graph, REPORTED_MAX);
    running.count("cycles", found.len());
    anomalies.extend(found.iter().map(|cycle| explain_cycle(context, calls, &versions, &graph, cycle)));
    running.end("dependency graph", Verdict::of(anomalies))
}

fn kind(wrong: &Wrong) -> AnomalyKind {
    match wrong {
        Wrong::Internal { .. } => AnomalyKind::Internal,
        Wrong::Duplicate { .. } => AnomalyKind::DuplicateElement,
        Wrong::Unwritten { failed: Some(_), .. } => AnomalyKind::G1a,
        Wrong::Unwritten { failed: None, .. } => AnomalyKind::PhantomElement,
        Wrong::Intermediate { .. } => AnomalyKind::G1b,
        Wrong::Incompatible { .. } => AnomalyKind::IncompatibleOrder,
        Wrong::Lost { .. } => AnomalyKind::LostAppend,
    }
}

fn explain(context: Context<'_>, wrong: &Wrong) -> Anomaly {
    let history = context.history;
    let by = |id: OpId| {
        let operation = context.operation(id);
        format!("{id} of {} ({})", who(operation), circumstances(history, operation))
    };
    let (sentence, ids) = match wrong {
        Wrong::Internal { txn, key, expected, found } => (
            format!(
                "a transaction reads what it has read and appended itself, but {} read {key} = {found:?}, where it \
                 had to end with {expected:?}",
                by(*txn)
            ),
            vec![*txn],
        ),
        Wrong::Duplicate { reader, key, element } => (
            format!("{element} was appended to {key} once, but {} read it twice", by(*reader)),
            vec![*reader],
        ),
        Wrong::Unwritten { reader, key, element, failed: Some(failed) } => (
            format!(
                "what failed for certain has no effect, but {} read {element} in {key}, which only {} appended: {}",
                by(*reader),
                by(*failed),
                answer(context.operation(*failed))
            ),
            vec![*failed, *reader],
        ),
        Wrong::Unwritten { reader, key, element, failed: None } => (
            format!(
                "a list holds what was appended, but {} read {element} in {key}, which nobody appended",
                by(*reader)
            ),
            vec![*reader],
        ),
        Wrong::Intermediate { reader, key, element, writer } => (
            format!(
                "a transaction is seen whole or not at all, but {} read {key} up to {element}, in the middle of \
                 what {} appended",
                by(*reader),
                by(*writer)
            ),
            vec![*writer, *reader],
        ),
        Wrong::Incompatible { key, one, other } => (
            format!(
                "a list only grows at its end, but {} read {key} = {:?} and {} read {:?}",
                by(one.0),
                one.1,
                by(other.0),
                other.1
            ),
            vec![one.0, other.0],
        ),
        Wrong::Lost { writer, key, element, reader } => (
            format!(
                "what was acknowledged stays, but {element}, which {} had appended to {key}, is in no read, not \
                 even that of {}, which began afterwards",
                by(*writer),
                by(*reader)
            ),
            vec![*writer, *reader],
        ),
    };
    Anomaly { kind: kind(wrong), sentence, witness: witness(history, &ids, &ids, Vec::new()) }
}

fn explain_cycle(
    context: Context<'_>,
    calls: &[Call<ListTxn>],
    versions: &Versions,
    graph: &Graph,
    cycle: &Cycle,
) -> Anomaly {
    let edges = without_barriers(graph, cycle);
    let ids: Vec<OpId> = edges.iter().map(|(txn, _)| calls[*txn].id).collect();
    let mut because = Vec::new();
    for (at, (from, mask)) in edges.iter().enumerate() {
        let (to, _) = edges[(at + 1) % edges.len()];
        let (before, after) = (calls[*from].id, calls[to].id);
        because.push(format!(
            "{before} comes before {after}: {}",
            why(versions, *from, to, *mask, before, after)
        ));
    }
    because.push(format!("so {} comes before itself", ids[0]));
    let names: Vec<String> = ids
        .iter()
        .map(|id| {
            let operation = context.operation(*id);
            format!("{id} `{}` of {}", invocation(operation), who(operation))
        })
        .collect();
    let last = ids.iter().max_by_key(|id| context.operation(**id).ended().map(|at| at.i));
    let when = last.map(|id| circumstances(context.history, context.operation(*id))).unwrap_or_default();
    let sentence = format!(
        "transactions must appear to happen one at a time{}, but {} each had to come before the next, in a circle, {when}",
        if is_realtime(cycle.kind) { ", in the order of real time" } else { "" },
        names.join(", ")
    );
    Anomaly { kind: cycle.kind, sentence, witness: witness(context.history, &ids, &ids, because) }
}

fn is_realtime(kind: AnomalyKind) -> bool {
    matches!(
        kind,
        AnomalyKind::G0Realtime
            | AnomalyKind::G1cRealtime
            | AnomalyKind::GSingleRealtime
            | AnomalyKind::G2Realtime
    )
}

/// The cycle over transactions alone: a way through barriers is one edge of real time.
fn without_barriers(graph: &Graph, cycle: &Cycle) -> Vec<(usize, Mask)> {
    cycle
        .edges
        .iter()
        .filter(|(node, _)| (*node as usize) < graph.txns)
        .map(|(node, mask)| (*node as usize, *mask))
        .collect()
}

fn why(versions: &Versions, from: usize, to: usize, mask: Mask, before: OpId, after: OpId) -> String {
    if mask == RT {
        return format!("{before} had returned before {after} began");
    }
    let Some(Reason { key, before: seen, after: next }) = reason(versions, from, to, mask) else {
        return "by the order of versions".to_owned();
    };
    let seen_text = seen.map_or("nothing".to_owned(), |element| element.to_string());
    let next_text = next.map_or("what no read has yet".to_owned(), |element| element.to_string());
    match mask {
        WW => format!("in {key}, {after} appended {next_text} after {before}'s {seen_text}"),
        WR => format!("{after} read {before}'s {seen_text} in {key}"),
        RW => format!("{before} read {key} up to {seen_text}, without {after}'s {next_text}"),
        _ => "by the order of versions".to_owned(),
    }
}
