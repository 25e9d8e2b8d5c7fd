//! Long fork: of two writes, one reader saw only the first and another only the second. Keys are written once, so
//! for each key a read says whether it is before or after the write, and reads of the same keys must be a chain.

use std::collections::BTreeMap;

use super::{Context, Running, conclude};
use crate::decode::steps_of;
use crate::history::OpId;
use crate::history::lint::{Problem, ProblemKind};
use crate::render::who;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

/// What a read saw of each key of its group: whether it was written.
type Seen = BTreeMap<String, bool>;

pub(super) fn check(context: Context<'_>) -> Result<CheckResult, Vec<Problem>> {
    let mut running = Running::new("long-fork");
    let mut groups: BTreeMap<Vec<String>, Vec<(OpId, Seen)>> = BTreeMap::new();
    for operation in context.history.operations() {
        let Some(answer) = operation.answer() else { continue };
        let steps = steps_of(operation, answer).map_err(|kind| vec![Problem { line: None, kind }])?;
        let mut seen = Seen::new();
        for (name, key, value) in steps {
            match name {
                "r" => {
                    seen.insert(key.to_owned(), !value.is_null());
                }
                "w" => {}
                name => {
                    let why = format!("no step is called `{name}`");
                    let kind = ProblemKind::WrongValue { op: operation.id, why };
                    return Err(vec![Problem { line: None, kind }]);
                }
            }
        }
        if seen.len() > 1 {
            groups.entry(seen.keys().cloned().collect()).or_default().push((operation.id, seen));
        }
    }
    running.count("groups", groups.len());
    let mut forks = Vec::new();
    for reads in groups.values_mut() {
        // In a chain, whoever saw more keys saw all that the others saw: neighbours tell.
        reads.sort_by_key(|(id, seen)| (seen.values().filter(|written| **written).count(), *id));
        forks.extend(reads.windows(2).filter_map(|pair| fork(&pair[0], &pair[1])));
    }
    let verdict = conclude(&forks, |(one, other, only_one, only_other)| {
        let operation = context.operation(*other);
        Anomaly {
            kind: AnomalyKind::LongFork,
            sentence: format!(
                "all see writes in one order, but {one} saw the write of {only_one} and not that of {only_other}, \
                 and {other} of {} the reverse ({})",
                who(operation),
                circumstances(context.history, operation)
            ),
            witness: witness(context.history, &[*one, *other], &[*one, *other], Vec::new()),
        }
    });
    Ok(running.end("chains of reads", verdict))
}

fn fork(one: &(OpId, Seen), other: &(OpId, Seen)) -> Option<(OpId, OpId, String, String)> {
    let only = |this: &Seen, that: &Seen| {
        this.iter().find(|(key, written)| **written && !that[*key]).map(|(key, _)| key.clone())
    };
    Some((one.0, other.0, only(&one.1, &other.1)?, only(&other.1, &one.1)?))
}
