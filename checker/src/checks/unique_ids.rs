//! Ids that were generated: none is given twice.

use std::collections::BTreeMap;

use super::{Context, Running, conclude};
use crate::history::OpId;
use crate::render::who;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

pub(super) fn check(context: Context<'_>) -> CheckResult {
    let mut running = Running::new("unique-ids");
    let mut first: BTreeMap<String, OpId> = BTreeMap::new();
    let mut twice: Vec<(String, OpId, OpId)> = Vec::new();
    for operation in context.history.operations() {
        let Some(answer) = operation.answer() else { continue };
        let id = answer.to_string();
        match first.get(&id) {
            Some(before) => twice.push((id, *before, operation.id)),
            None => {
                first.insert(id, operation.id);
            }
        }
    }
    running.count("ids", first.len());
    let verdict = conclude(&twice, |(id, before, after)| {
        let operation = context.operation(*after);
        Anomaly {
            kind: AnomalyKind::DuplicateId,
            sentence: format!(
                "an id is given once, but {id} was given to {before} and to {after} of {} ({})",
                who(operation),
                circumstances(context.history, operation)
            ),
            witness: witness(context.history, &[*before, *after], &[*before, *after], Vec::new()),
        }
    });
    running.end("comparison", verdict)
}
