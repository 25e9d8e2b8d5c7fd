//! Serializable reads of registers whose answers have no revision: they may be stale, but what they found was
//! written, by an operation that did not fail and had begun.

use rustc_hash::FxHashMap;

use super::{Context, Running, conclude};
use crate::decode::Decoded;
use crate::history::OpId;
use crate::linearizability::Call;
use crate::render::{answer, invocation, who};
use crate::spec::register::{Action, RegisterOp};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

pub(super) fn by_value(context: Context<'_>, decoded: &Decoded<RegisterOp>) -> CheckResult {
    let mut running = Running::new("serializable");
    running.count("operations", decoded.serializable.len());
    // For each value of each key: when its first write began.
    let mut began: FxHashMap<(&str, i64), u64> = FxHashMap::default();
    for call in &decoded.calls {
        if let Some(value) = written(&call.op) {
            let first = began.entry((&call.op.key, value)).or_insert(call.invoked);
            *first = call.invoked.min(*first);
        }
    }
    let unwritten = |call: &&Call<RegisterOp>| match (&call.op.action, call.returned) {
        (Action::Read(Some(found)), Some(returned)) => {
            began.get(&(&*call.op.key, found.value)).is_none_or(|began| *began > returned)
        }
        (Action::Read(_) | Action::Write { .. } | Action::Cas { .. }, _) => false,
    };
    let found: Vec<&Call<RegisterOp>> = decoded.serializable.iter().filter(unwritten).collect();
    let verdict = conclude(&found, |call| explain(context, decoded, call));
    running.end("who wrote each value", verdict)
}

fn written(op: &RegisterOp) -> Option<i64> {
    match op.action {
        Action::Write { value, .. } => Some(value),
        Action::Cas { new, swapped: Some(true) | None, .. } => Some(new),
        Action::Cas { swapped: Some(false), .. } | Action::Read(_) => None,
    }
}

fn explain(context: Context<'_>, decoded: &Decoded<RegisterOp>, call: &Call<RegisterOp>) -> Anomaly {
    let Action::Read(Some(found)) = call.op.action else {
        unreachable!("only reads that found something are explained: {call:?}")
    };
    let wrote =
        |other: &&Call<RegisterOp>| other.op.key == call.op.key && written(&other.op) == Some(found.value);
    let failed: Vec<OpId> = decoded.failed.iter().filter(wrote).map(|other| other.id).take(1).collect();
    let kind = if failed.is_empty() { AnomalyKind::PhantomValue } else { AnomalyKind::FailedOpObserved };
    let reader = context.operation(call.id);
    let sentence = format!(
        "a serializable read may be old but was once true, but `{}` of {} was answered `{}` {}, which no operation \
         that had begun and did not fail had written",
        invocation(reader),
        who(reader),
        answer(reader),
        circumstances(context.history, reader),
    );
    Anomaly { kind, sentence, witness: witness(context.history, &failed, &[call.id], Vec::new()) }
}
