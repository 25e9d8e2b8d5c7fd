//! Revisions never go back: within a process, and from an answer to whatever begins after it.

use super::{Context, Running, conclude};
use crate::history::{Operation, Outcome};
use crate::render::{answer, invocation, who};
use crate::revision::{self, Backwards, Stamp, Twice};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

/// What a process sees of the revision never goes back, since it speaks to one member.
pub(super) fn sessions(context: Context<'_>, stamps: &[Stamp]) -> CheckResult {
    let mut running = Running::new("session");
    running.count("answers", stamps.len());
    let mut found = revision::sessions(stamps);
    found.retain(|backwards| !restarted_between(context, backwards));
    let verdict = conclude(&found, |Backwards { first, then }| {
        let (before, after) = (context.operation(first.id), context.operation(then.id));
        let sentence = format!(
            "a process speaks to one member and sees its revision only grow, but {} was answered with \
             revision {} and then, to `{}`, with revision {} {}",
            who(after),
            first.rev,
            invocation(after),
            then.rev,
            circumstances(context.history, after),
        );
        let ids = [first.id, then.id];
        let because =
            vec![format!("{} saw revision {}, {} revision {}", before.id, first.rev, after.id, then.rev)];
        Anomaly {
            kind: AnomalyKind::RevisionWentBack,
            sentence,
            witness: witness(context.history, &ids, &ids, because),
        }
    });
    running.end("revisions within each process", verdict)
}

/// Kinds of faults that leave processes running. A fault of any other name may have ended them.
const ENDS_NO_PROCESS: [&str; 5] = ["pause", "partition", "client", "packet", "cpu"];

/// A member that was started again may serve stale reads from an older state once it is back: that is a gap in
/// the session and no anomaly.
fn restarted_between(context: Context<'_>, backwards: &Backwards) -> bool {
    let (first, then) = (context.operation(backwards.first.id), context.operation(backwards.then.id));
    if !backwards.then.stale_allowed {
        return false;
    }
    let until = then.ended().unwrap_or(then.invoked).t;
    context.history.faults_between(first.invoked.t, until).any(|fault| {
        let names_node =
            |node: &str| fault.value.is_null() || fault.value.to_string().contains(&format!("\"{node}\""));
        let may_end = !ENDS_NO_PROCESS.iter().any(|kind| fault.f.starts_with(kind));
        may_end && then.node.as_deref().is_none_or(names_node)
    })
}

/// Every operation is answered from a revision at least as new as all that was answered before it began,
/// and no revision is given out twice.
pub(super) fn real_time(context: Context<'_>, stamps: &[Stamp]) -> CheckResult {
    let mut running = Running::new("real-time");
    running.count("answers", stamps.len());
    let doubled = revision::twice(stamps);
    let backwards = revision::backwards(stamps);
    running.count("backwards", backwards.len());
    let verdict = conclude(&doubled, |twice| claimed_twice(context, twice))
        .merge(conclude(&backwards, |backwards| went_back(context, backwards)));
    running.end("sweep over revisions", verdict)
}

fn claimed_twice(context: Context<'_>, Twice { first, then }: &Twice) -> Anomaly {
    let (one, other) = (context.operation(first.id), context.operation(then.id));
    let sentence = format!(
        "a revision is made by one write, but `{}` of {} and `{}` of {} were both acknowledged with revision \
         {} {}",
        invocation(one),
        who(one),
        invocation(other),
        who(other),
        then.rev,
        circumstances(context.history, other),
    );
    let ids = [first.id, then.id];
    let witness = witness(context.history, &ids, &ids, Vec::new());
    Anomaly { kind: AnomalyKind::DuplicateRevision, sentence, witness }
}

fn went_back(context: Context<'_>, Backwards { first, then }: &Backwards) -> Anomaly {
    let (before, after) = (context.operation(first.id), context.operation(then.id));
    let place = |stamp: &Stamp| {
        if stamp.write {
            format!("made revision {}", stamp.rev)
        } else {
            format!("saw revision {}", stamp.rev)
        }
    };
    let sentence = format!(
        "what begins after an answer must not be older than it, but `{}` of {} was answered `{}` {}, although \
         `{}` of {} had been answered at revision {} before that began",
        invocation(after),
        who(after),
        answer(after),
        circumstances(context.history, after),
        invocation(before),
        who(before),
        first.rev,
    );
    let because = vec![
        format!("{} {} and had returned (event {})", before.id, place(first), first.returned),
        format!("{} began after that (event {}) and {}", after.id, then.invoked, place(then)),
        format!("so {} comes before {} by revision and after it in real time", after.id, before.id),
    ];
    let ids = [first.id, then.id];
    let kind = if then.write { AnomalyKind::RevisionWentBack } else { AnomalyKind::StaleRead };
    Anomaly { kind, sentence, witness: witness(context.history, &ids, &ids, because) }
}

/// Acknowledged writes by revision, as far as a workload's operations tell without their content.
pub(super) fn newest_acknowledged<'a>(context: &Context<'a>) -> Option<(&'a Operation, i64)> {
    let answered = context.history.operations().iter().filter_map(|operation| match &operation.outcome {
        Outcome::Ok { rev: Some(rev), .. } => Some((operation, *rev)),
        Outcome::Ok { rev: None, .. } | Outcome::Fail { .. } | Outcome::Info { .. } => None,
    });
    answered.max_by_key(|(_, rev)| *rev)
}
