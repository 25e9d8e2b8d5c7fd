//! Compactions and reads of history: what was compacted away is not read afterwards.
//!
//! A compaction makes no revision, so its place in the order is a range. Compactions take their places from
//! the oldest revision up, each as early as it can.

use super::step::{Expect, Step};
use crate::history::OpId;
use crate::spec::kv_types::{Request, Response};

/// A compaction that has no place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// The compaction.
    pub compaction: OpId,
    /// The revision that it made the oldest readable one.
    pub revision: i64,
    /// The operation that must come before it, or an earlier compaction.
    pub before: Option<OpId>,
    /// The operation that must come after it.
    pub after: Option<OpId>,
    /// Whether the one before it reads what it compacted away.
    pub reads_below: bool,
}

/// A bound on a place, with the operation that sets it.
#[derive(Clone, Copy)]
struct Bound {
    rev: i64,
    by: Option<OpId>,
}

/// All compactions that have no place.
pub fn compactions(steps: &[Step<'_>]) -> Vec<Misplaced> {
    let mut compactions: Vec<(&Step<'_>, i64)> = steps
        .iter()
        .filter_map(|step| match *step.request {
            Request::Compact { revision } if step.rev > 0 => Some((step, revision)),
            Request::Compact { .. }
            | Request::Range(_)
            | Request::Put(_)
            | Request::Delete(_)
            | Request::Txn(_) => None,
        })
        .collect();
    if compactions.is_empty() {
        return Vec::new();
    }
    compactions.sort_by_key(|(step, revision)| (*revision, step.invoked));
    let bounds = Bounds::new(steps);
    let mut found = Vec::new();
    let mut last: Option<(&Step<'_>, i64, i64)> = None;
    for (step, revision) in compactions {
        let mut low = bounds.low(step, revision);
        let mut clash = false;
        if let Some((before, same, place)) = last {
            // Of two compactions at one revision the second is refused, and real time must agree with the
            // order of the revisions.
            clash = same == revision || step.returned < before.invoked;
            if clash || place > low.rev {
                low = Bound { rev: place.max(low.rev), by: Some(before.id) };
            }
        }
        let read = bounds.read_below(step, revision);
        let reads_below = read.is_some_and(|read| step.returned < read.invoked && !read.stale_allowed);
        if let Some(read) = read
            && (reads_below || read.rev > low.rev)
        {
            low = Bound { rev: read.rev, by: Some(read.id) };
        }
        let high = bounds.high(step);
        if low.rev > high.rev || clash || reads_below {
            let (before, after) = (low.by, high.by);
            found.push(Misplaced { compaction: step.id, revision, before, after, reads_below });
        }
        last = Some((step, revision, low.rev));
    }
    found
}

/// The operations around compactions, sorted for quick answers.
struct Bounds<'a> {
    /// By return; the largest revision so far.
    returned: Vec<(u64, Bound)>,
    /// By invocation; the place that must not be passed from there on.
    invoked: Vec<(u64, Bound)>,
    /// Reads of history, by the oldest revision that each reads.
    reads: Vec<Reads<'a>>,
}

/// Those reads of history that go back to a revision, or further.
#[derive(Clone, Copy)]
struct Reads<'a> {
    oldest: i64,
    /// The one that began last, of those that may not be stale.
    last: Option<&'a Step<'a>>,
    /// The one of the newest state.
    newest: &'a Step<'a>,
}

impl<'a> Bounds<'a> {
    fn new(steps: &'a [Step<'a>]) -> Bounds<'a> {
        let others = || steps.iter().filter(|step| step.rev > 0 && !step.is_compaction());
        let mut returned: Vec<(u64, Bound)> =
            others().map(|step| (step.returned, Bound { rev: step.rev, by: Some(step.id) })).collect();
        returned.sort_by_key(|(at, _)| *at);
        for at in 1..returned.len() {
            if returned[at - 1].1.rev > returned[at].1.rev {
                returned[at].1 = returned[at - 1].1;
            }
        }
        let place = |step: &Step<'_>| step.rev - i64::from(step.is_write());
        let mut invoked: Vec<(u64, Bound)> = others()
            .filter(|step| !step.stale_allowed)
            .map(|step| (step.invoked, Bound { rev: place(step), by: Some(step.id) }))
            .collect();
        invoked.sort_by_key(|(at, _)| *at);
        for at in (1..invoked.len()).rev() {
            if invoked[at].1.rev < invoked[at - 1].1.rev {
                invoked[at - 1].1 = invoked[at].1;
            }
        }
        Bounds { returned, invoked, reads: Reads::of(others()) }
    }

    /// The earliest place by what had returned before the compaction began.
    fn low(&self, compaction: &Step<'_>, revision: i64) -> Bound {
        let before = self.returned.partition_point(|(at, _)| *at < compaction.invoked);
        let low = before.checked_sub(1).map(|last| self.returned[last].1);
        low.filter(|low| low.rev > revision).unwrap_or(Bound { rev: revision, by: None })
    }

    /// The latest place by the compaction's own answer and by what began after it.
    fn high(&self, compaction: &Step<'_>) -> Bound {
        let after = self.invoked.partition_point(|(at, _)| *at < compaction.returned);
        let high = self.invoked.get(after).map(|(_, bound)| *bound);
        high.filter(|high| high.rev < compaction.rev).unwrap_or(Bound { rev: compaction.rev, by: None })
    }

    /// The worst of the reads of what the compaction takes away: one that began after it, or else the one
    /// of the newest state.
    fn read_below(&self, compaction: &Step<'_>, revision: i64) -> Option<&'a Step<'a>> {
        let below = self.reads.partition_point(|reads| reads.oldest < revision);
        let Reads { last, newest, .. } = *self.reads[..below].last()?;
        Some(last.filter(|read| compaction.returned < read.invoked).unwrap_or(newest))
    }
}

impl<'a> Reads<'a> {
    fn of(steps: impl Iterator<Item = &'a Step<'a>>) -> Vec<Reads<'a>> {
        let one = |step: &'a Step<'a>| {
            let last = (!step.stale_allowed).then_some(step);
            Some(Reads { oldest: oldest_read(step)?, last, newest: step })
        };
        let mut reads: Vec<Reads<'_>> = steps.filter_map(one).collect();
        reads.sort_by_key(|reads| reads.oldest);
        for at in 1..reads.len() {
            let Reads { last, newest, .. } = reads[at - 1];
            let here = &mut reads[at];
            here.last = here.last.into_iter().chain(last).max_by_key(|step| step.invoked);
            here.newest = std::cmp::max_by_key(newest, here.newest, |step| step.rev);
        }
        reads
    }
}

/// The oldest revision that an answer reads, where it asks for one.
fn oldest_read(step: &Step<'_>) -> Option<i64> {
    match &step.expect {
        Expect::Response(response) => oldest_in(&step.request, response),
        Expect::Unknown | Expect::Found(_) | Expect::Written | Expect::Swapped(_) => None,
    }
}

fn oldest_in(request: &Request, response: &Response) -> Option<i64> {
    match (request, response) {
        (Request::Range(range), _) => (range.revision > 0).then_some(range.revision),
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            branch.iter().zip(responses).filter_map(|(request, response)| oldest_in(request, response)).min()
        }
        (Request::Put(_) | Request::Delete(_) | Request::Compact { .. } | Request::Txn(_), _) => None,
    }
}
