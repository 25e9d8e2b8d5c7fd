//! A counter that is read while others add to it: what a read finds lies between what surely had been added and what
//! may have been (`jepsen.checker/counter`). Weaker than a linearizable counter, whose reads agree with each other.

use super::{Context, Running, conclude};
use crate::decode::Decoded;
use crate::linearizability::Call;
use crate::render::who;
use crate::spec::counter::{CounterAction, CounterOp};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

/// Sums of what was added, by position.
#[derive(Default)]
struct Sums {
    /// The position of each add, with the sums of all that is positive and negative up to it.
    up_to: Vec<(u64, i128, i128)>,
}

impl Sums {
    fn of(mut adds: Vec<(u64, i64)>) -> Sums {
        adds.sort_unstable();
        let (mut positive, mut negative) = (0, 0);
        let up_to = adds.into_iter().map(|(at, more)| {
            positive += i128::from(more.max(0));
            negative += i128::from(more.min(0));
            (at, positive, negative)
        });
        Sums { up_to: up_to.collect() }
    }

    /// What is positive and what is negative of all adds before a position.
    fn before(&self, position: u64) -> (i128, i128) {
        let count = self.up_to.partition_point(|(at, _, _)| *at < position);
        count.checked_sub(1).map_or((0, 0), |last| (self.up_to[last].1, self.up_to[last].2))
    }
}

/// A read that found less than `least` or more than `most`.
struct Outside<'a> {
    read: &'a Call<CounterOp>,
    found: i64,
    least: i128,
    most: i128,
}

pub(super) fn check(context: Context<'_>, decoded: &Decoded<CounterOp>) -> CheckResult {
    let mut running = Running::new("counter");
    let adds = |call: &Call<CounterOp>| match call.op.action {
        CounterAction::Add(more) => Some((call.invoked, call.returned, more)),
        CounterAction::Read(_) => None,
    };
    let adds: Vec<(u64, Option<u64>, i64)> = decoded.calls.iter().filter_map(adds).collect();
    let begun = Sums::of(adds.iter().map(|(invoked, _, more)| (*invoked, *more)).collect());
    let done = Sums::of(adds.iter().filter_map(|(_, returned, more)| Some(((*returned)?, *more))).collect());
    let mut reads = 0;
    let mut outside = Vec::new();
    for read in &decoded.calls {
        let (CounterAction::Read(found), Some(returned)) = (&read.op.action, read.returned) else { continue };
        reads += 1;
        let ((may_add, may_take), (added, taken)) = (begun.before(returned), done.before(read.invoked));
        // What is surely done counts in full; of the rest, what makes it least and most.
        let (least, most) = (added + may_take, may_add + taken);
        if !(least..=most).contains(&i128::from(*found)) {
            outside.push(Outside { read, found: *found, least, most });
        }
    }
    running.count("adds", adds.len());
    running.count("reads", reads);
    let verdict = conclude(&outside, |Outside { read, found, least, most }| {
        let operation = context.operation(read.id);
        Anomaly {
            kind: AnomalyKind::WrongTotal,
            sentence: format!(
                "a counter holds what was added to it, but {found} was read by {} ({}), where it had to be from {least} \
                 to {most}",
                who(operation),
                circumstances(context.history, operation)
            ),
            witness: witness(context.history, &[read.id], &[read.id], Vec::new()),
        }
    });
    running.end("bounds", verdict)
}
