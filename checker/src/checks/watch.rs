//! The `watch` workload: `write`s, `compact`s, and `watch`es that answer with what they saw.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Context, REPORTED_MAX, Running, not_observed};
use crate::history::lint::{Problem, ProblemKind};
use crate::history::{Operation, Outcome};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::watch::{Act, Asked, Broken, Log, Seen, Watch, Write, judge};
use crate::witness::{circumstances, witness};

/// What a history of watches holds, typed.
#[derive(Default)]
struct Watched {
    writes: Vec<Write>,
    watches: Vec<(crate::history::OpId, Asked, Seen)>,
    compactions: Vec<i64>,
}

pub(super) fn check(context: Context<'_>) -> Result<CheckResult, Vec<Problem>> {
    let mut running = Running::new("watch");
    let mut watched = Watched::default();
    let mut problems = Vec::new();
    for operation in context.history.operations() {
        if let Err(kind) = read(operation, &mut watched) {
            problems.push(Problem { line: None, kind });
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let watches: Vec<Watch<'_>> =
        watched.watches.iter().map(|(id, asked, seen)| Watch { id: *id, asked, seen }).collect();
    let log = Log::new(&watched.writes, &watches, watched.compactions);
    let events: usize = watches.iter().map(|watch| watch.events().count()).sum();
    running.count("watches", watches.len());
    running.count("events", events);
    running.count("known_events", log.entries().len());
    let mut found: BTreeMap<AnomalyKind, Vec<Anomaly>> = BTreeMap::new();
    for broken in watches.iter().flat_map(|watch| judge(watch, &log)) {
        let of_kind = found.entry(broken.kind).or_default();
        if of_kind.len() < REPORTED_MAX {
            of_kind.push(explain(context, broken));
        }
    }
    let verdict = if found.is_empty() && events == 0 {
        not_observed("a single event of a watch")
    } else {
        Verdict::of(found.into_values().flatten().collect())
    };
    Ok(running.end("log of events", verdict))
}

fn explain(context: Context<'_>, broken: Broken) -> Anomaly {
    let Broken { kind, text, ops } = broken;
    let watch = context.operation(ops[0]);
    let sentence = format!(
        "{text}; the watch is {} of {} ({})",
        watch.id,
        crate::render::who(watch),
        circumstances(context.history, watch)
    );
    Anomaly { kind, sentence, witness: witness(context.history, &ops, &ops, Vec::new()) }
}

fn read(operation: &Operation, watched: &mut Watched) -> Result<(), ProblemKind> {
    match operation.f.as_str() {
        "write" => {
            let acts: Vec<Act> = typed(operation, &operation.value)?;
            let done = match &operation.outcome {
                Outcome::Ok { value, rev: Some(rev), .. } => Some((*rev, typed(operation, value)?)),
                Outcome::Ok { .. } | Outcome::Fail { .. } | Outcome::Info { .. } => None,
            };
            watched.writes.push(Write { id: operation.id, acts, done, failed: operation.is_fail() });
        }
        "watch" => {
            let asked: Asked = typed(operation, &operation.value)?;
            if let Outcome::Ok { value, .. } = &operation.outcome {
                watched.watches.push((operation.id, asked, typed(operation, value)?));
            }
        }
        "compact" => watched.compactions.push(typed(operation, &operation.value)?),
        f => return Err(ProblemKind::UnknownFunction { f: f.to_owned() }),
    }
    Ok(())
}

fn typed<'a, T: Deserialize<'a>>(operation: &Operation, value: &'a Value) -> Result<T, ProblemKind> {
    T::deserialize(value)
        .map_err(|error| ProblemKind::WrongValue { op: operation.id, why: error.to_string() })
}
