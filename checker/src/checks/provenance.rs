//! Every value that was seen was put by somebody, and not only by operations that failed for certain.

use rustc_hash::FxHashMap;

use super::{Context, Requests, Running, conclude};
use crate::history::OpId;
use crate::render::{answer, invocation, who};
use crate::revision::{Step, may_put, seen};
use crate::spec::kv_types::Request;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

struct Orphan {
    key: String,
    value: String,
    seen_by: OpId,
    /// The failed operations that would have put it.
    failed: Vec<OpId>,
}

pub(super) fn check(context: Context<'_>, steps: &[Step<'_>], requests: &Requests) -> CheckResult {
    let mut running = Running::new("provenance");
    let asked = putters(&requests.asked);
    let failed = putters(&requests.failed);
    let mut pairs = 0;
    let mut orphans: Vec<Orphan> = Vec::new();
    for step in steps {
        for (_, seen) in seen(step) {
            let Some(value) = seen.value else { continue };
            pairs += 1;
            if asked.contains_key(&(seen.key, &*value)) {
                continue;
            }
            let failed = failed.get(&(seen.key, &*value)).cloned().unwrap_or_default();
            let (key, value) = (seen.key.to_owned(), value.into_owned());
            orphans.push(Orphan { key, value, seen_by: step.id, failed });
        }
    }
    running.count("values", pairs);
    let verdict = conclude(&orphans, |orphan| explain(context, orphan));
    running.end("who put each value", verdict)
}

fn putters(requests: &[(OpId, Request)]) -> FxHashMap<(&str, &str), Vec<OpId>> {
    let mut putters: FxHashMap<(&str, &str), Vec<OpId>> = FxHashMap::default();
    let mut pairs = Vec::new();
    for (id, request) in requests {
        pairs.clear();
        may_put(request, &mut pairs);
        for pair in &pairs {
            putters.entry(*pair).or_default().push(*id);
        }
    }
    putters
}

fn explain(context: Context<'_>, orphan: &Orphan) -> Anomaly {
    let Orphan { key, value, seen_by, failed } = orphan;
    let reader = context.operation(*seen_by);
    let seen = format!("`{}` of {} was answered `{}`", invocation(reader), who(reader), answer(reader));
    let when = circumstances(context.history, reader);
    let mut ids = vec![*seen_by];
    let (kind, sentence) = match failed.first() {
        Some(first) => {
            let writer = context.operation(*first);
            let sentence = format!(
                "what failed for certain has no effect, but {seen} {when}, and only `{}` of {}, which {}, \
                 would have put {key}={value}",
                invocation(writer),
                who(writer),
                answer(writer),
            );
            ids.extend(failed.iter().take(super::REPORTED_MAX));
            (AnomalyKind::FailedOpObserved, sentence)
        }
        None => (
            AnomalyKind::PhantomValue,
            format!("only what was written is read, but {seen} {when}, and nobody ever put {key}={value}"),
        ),
    };
    Anomaly { kind, sentence, witness: witness(context.history, &ids, &ids, Vec::new()) }
}
