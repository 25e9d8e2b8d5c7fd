//! Where puts that no answer names may be: what a plan of the keys is made from.

use super::demand::Link;
use super::makers::{Makers, OfKey, STEPS_OF_A_TRY};
use super::plan::{Candidate, Places, Plan};
use super::step::Step;
use crate::budget::{Pace, Stop};

/// Revisions that are looked at for a place between two puts of a key.
const ROOM_LOOK: usize = 4096;

/// A plan for the keys that are only written one at a time.
pub(super) fn planned(makers: &Makers<'_>, pace: &mut Pace<'_>) -> Result<Plan, Stop> {
    let mut plan = Plan::default();
    if !makers.wide.is_empty() {
        return Ok(plan);
    }
    let mut made: Vec<i64> = makers.pinned_at.keys().copied().collect();
    let answered = makers.order.iter().map(|index| &makers.steps[*index]).filter(|step| step.is_write());
    made.extend(answered.map(|step| step.rev));
    made.sort_unstable();
    let places = Known { makers, made };
    for OfKey { key, steps } in &makers.by_key {
        let free = steps.iter().filter(|index| !makers.pinned.contains_key(index));
        let candidates: Option<Vec<Candidate<'_>>> = free
            .map(|&index| {
                let Step { request, invoked, .. } = &makers.steps[index];
                let (written, link) = Link::of(request)?;
                (written == key).then_some(Candidate { step: index, invoked: *invoked, link })
            })
            .collect();
        if let Some(candidates) = candidates {
            pace.steps(STEPS_OF_A_TRY * (1 + candidates.len()))?;
            plan.add(key, &candidates, &makers.demand, &places);
        }
    }
    Ok(plan)
}

/// Places for puts that no answer names.
struct Known<'a> {
    makers: &'a Makers<'a>,
    /// Revisions that are known to have been made by a step, in order.
    made: Vec<i64>,
}

impl Places for Known<'_> {
    fn room(&self, key: &str, after: i64, before: i64, most: usize) -> usize {
        let open = |revision: &i64| {
            self.made.binary_search(revision).is_err()
                && !self.makers.evidence.excludes_write(key, *revision)
                && self.makers.evidence.of(*revision).is_empty()
        };
        // The latest first: answers show more often that a key was not written soon after an earlier write.
        (after + 1..before).rev().take(ROOM_LOOK).filter(open).take(most).count()
    }

    fn begun_before(&self, revision: i64) -> u64 {
        let proves = |index: &usize| self.makers.steps[*index].proves() < revision;
        self.makers.first_return[self.makers.order.partition_point(proves)]
    }
}
