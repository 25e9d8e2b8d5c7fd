//! Who can have made a revision that no answer names.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use rustc_hash::FxHashMap;

use super::blame::{Wanted, is_one_key};
use super::demand::{Demand, Link};
use super::evidence::{Evidence, may_put, may_write};
use super::plan::{Candidate, Places, Plan};
use super::step::Step;
use crate::spec::kv::{Store, covers};
use crate::spec::kv_types::{KeyRange, Request};

/// Revisions that are looked at for a place between two puts of a key.
const ROOM_LOOK: usize = 4096;

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// The step of unknown outcome with this index.
    Step(usize),
    /// Somebody else.
    Other,
}

/// The steps of unknown outcome that were chosen, each with the number of its choice.
pub(super) type Used = FxHashMap<usize, usize>;

/// How far the makers of one revision have been tried.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    stage: Stage,
    /// The step that is known to have made it, if that had begun.
    pinned: Option<usize>,
    /// Who was chosen when this revision was last come to.
    last: Option<Maker>,
    /// Whether it may be others, and was not tried.
    other: bool,
    /// Free steps before this one had begun.
    begun: usize,
    /// Those of them that are still to be tried at the last stage, once they are known; the newest last.
    any: Option<Vec<usize>>,
    /// Free steps that are demanded and still to be tried, once they are known; the newest last.
    demanded: Option<Vec<usize>>,
    /// Steps that were tried: equal requests can stand in for each other.
    tried: Vec<usize>,
}

impl Cursor {
    /// Begins again, leaving out what was tried: more is wanted now.
    pub(super) fn restart(&mut self) {
        (self.stage, self.any, self.demanded) = (Stage::Pinned, None, None);
    }

    /// Whether it may be others, and nothing else is wanted; asked once.
    fn may_be_other(&mut self, wanted: &Wanted) -> bool {
        let may = self.other && wanted.is_anything();
        self.other &= !may;
        may
    }
}

/// The likeliest makers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The step that is known to have made it.
    Pinned,
    /// Who was chosen before a choice of an earlier revision was taken back, which most often was made for another
    /// key: what was found out about this one is not to be found out again (as the saved phases of SAT solvers).
    Last,
    /// Steps without which a later answer is not explained.
    Demanded,
    /// Others: most of what nothing is seen of is theirs, where there are others.
    Other,
    /// All steps that can.
    Any,
}

/// The steps in order, and those of unknown outcome.
pub(super) struct Makers<'a> {
    steps: &'a [Step],
    shared: bool,
    evidence: Evidence,
    /// Answered steps, in the order of their revisions.
    order: Vec<usize>,
    /// The earliest return from each position of the order on.
    first_return: Vec<u64>,
    /// What each step of unknown outcome may write.
    written: FxHashMap<usize, Vec<KeyRange>>,
    /// Of those, the ones that may write a single key.
    by_key: BTreeMap<String, Vec<usize>>,
    /// And the ones that may write a range.
    wide: Vec<usize>,
    /// Of all, in order of invocation, the ones that are not pinned.
    free: Vec<usize>,
    /// The only revision that a step of unknown outcome can have made, since its values were seen there.
    pinned: FxHashMap<usize, i64>,
    pinned_at: FxHashMap<i64, usize>,
    demand: Demand<'a>,
    /// What is to be tried first.
    plan: Plan,
    /// Revisions of which something was seen, in order.
    seen: Vec<i64>,
}

impl<'a> Makers<'a> {
    pub(super) fn new(steps: &'a [Step], shared: bool) -> Makers<'a> {
        let mut order: Vec<usize> = (0..steps.len()).filter(|index| steps[*index].rev > 0).collect();
        order.sort_by_cached_key(|index| {
            let step = &steps[*index];
            (step.proves(), !step.is_write(), step.invoked)
        });
        let mut first_return = vec![u64::MAX; order.len() + 1];
        for (position, index) in order.iter().enumerate().rev() {
            first_return[position] = first_return[position + 1].min(steps[*index].returned);
        }
        let mut unknown: Vec<usize> =
            (0..steps.len()).filter(|index| steps[*index].may_have_written()).collect();
        unknown.sort_by_key(|index| steps[*index].invoked);
        let written = |index: &usize| {
            let mut keys = Vec::new();
            may_write(&steps[*index].request, &mut keys);
            (*index, keys)
        };
        let written: FxHashMap<usize, Vec<KeyRange>> = unknown.iter().map(written).collect();
        let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut wide = Vec::new();
        for index in &unknown {
            for keys in &written[index] {
                if is_one_key(keys) {
                    by_key.entry(keys.key.clone()).or_default().push(*index);
                } else {
                    wide.push(*index);
                }
            }
        }
        let evidence = Evidence::gather(steps);
        let pinned = pin(steps, &unknown, &evidence);
        let free = unknown.iter().copied().filter(|index| !pinned.contains_key(index)).collect();
        let pinned_at = pinned.iter().map(|(index, revision)| (*revision, *index)).collect();
        let demand = Demand::new(steps, &evidence, &pinned);
        let mut seen: Vec<i64> = evidence.all().map(|(revision, _)| revision).collect();
        seen.sort_unstable();
        let mut makers = Makers {
            steps,
            shared,
            evidence,
            order,
            first_return,
            written,
            by_key,
            wide,
            free,
            pinned,
            pinned_at,
            demand,
            plan: Plan::default(),
            seen,
        };
        makers.plan = makers.planned();
        makers
    }

    /// A plan for the keys that are only written one at a time.
    fn planned(&self) -> Plan {
        let mut plan = Plan::default();
        if !self.wide.is_empty() {
            return plan;
        }
        let mut made: Vec<i64> = self.pinned_at.keys().copied().collect();
        let answered = self.order.iter().map(|index| &self.steps[*index]).filter(|step| step.is_write());
        made.extend(answered.map(|step| step.rev));
        made.sort_unstable();
        let places = Known { makers: self, made };
        for (key, steps) in &self.by_key {
            let free = steps.iter().filter(|index| !self.pinned.contains_key(index));
            let candidates: Option<Vec<Candidate<'_>>> = free
                .map(|&index| {
                    let Step { request, invoked, .. } = &self.steps[index];
                    let (written, link) = Link::of(request)?;
                    (written == key).then_some(Candidate { step: index, invoked: *invoked, link })
                })
                .collect();
            if let Some(candidates) = candidates {
                plan.add(key, &candidates, &self.demand, &places);
            }
        }
        plan
    }

    /// Answered steps, in the order of their revisions.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Steps of unknown outcome that may write one of these keys.
    pub(super) fn writing(&self, keys: &[KeyRange]) -> Vec<usize> {
        let mut writing = self.wide.clone();
        for keys in keys {
            if is_one_key(keys) {
                writing.extend(self.by_key.get(&keys.key).into_iter().flatten());
            } else {
                let from =
                    self.by_key.range::<str, _>((Bound::Included(keys.key.as_str()), Bound::Unbounded));
                writing.extend(from.take_while(|(key, _)| covers(keys, key)).flat_map(|(_, steps)| steps));
            }
        }
        writing.sort_unstable();
        writing.dedup();
        writing
    }

    /// What a step of unknown outcome may write.
    pub(super) fn written(&self, index: usize) -> &[KeyRange] {
        self.written.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Whether a step of unknown outcome had begun before everything from a position on had returned, and
    /// so can have taken effect before that position.
    pub(super) fn had_begun(&self, index: usize, position: usize) -> bool {
        self.steps[index].invoked < self.first_return[position]
    }

    /// Whether a step is known to have made another revision, if any.
    pub(super) fn pinned_elsewhere(&self, index: usize, revision: i64) -> bool {
        self.pinned.get(&index).is_some_and(|only| *only != revision)
    }

    /// Steps that can have made a revision by what does not depend on the state.
    pub(super) fn possible(&self, revision: i64, position: usize) -> impl Iterator<Item = usize> + '_ {
        let seen = self.evidence.of(revision);
        let begun = self.free[..self.begun(position)].iter().copied();
        let pinned = self.pinned_at.get(&revision).copied();
        begun.chain(pinned.filter(|index| self.had_begun(*index, position))).filter(move |index| {
            let written = self.written(*index);
            seen.iter().all(|seen| written.iter().any(|keys| keys.key == seen.key))
        })
    }

    /// Whether only others can have made a revision, without a look at the state.
    pub(super) fn surely_other(&self, revision: i64, position: usize) -> bool {
        self.shared && self.evidence.of(revision).is_empty() && self.begun(position) == 0
    }

    /// The last revision, from one to another, before the first of which something was seen.
    pub(super) fn last_unseen(&self, from: i64, to: i64) -> i64 {
        let next = self.seen.partition_point(|revision| *revision < from);
        self.seen.get(next).map_or(to, |seen| to.min(seen - 1))
    }

    /// `last`: who was chosen when the revision was last come to.
    pub(super) fn cursor(&self, revision: i64, position: usize, last: Option<Maker>) -> Cursor {
        let begun = self.begun(position);
        let other = self.shared && self.evidence.of(revision).is_empty();
        let pinned = self.pinned_at.get(&revision).copied();
        let pinned = pinned.filter(|index| self.had_begun(*index, position));
        let (stage, tried) = (Stage::Pinned, Vec::new());
        Cursor { stage, pinned, last, other, begun, any: None, demanded: None, tried }
    }

    /// The next that can have made a revision; at each stage, who began last comes first.
    pub(super) fn next(
        &self,
        store: &Store,
        revision: i64,
        cursor: &mut Cursor,
        used: &Used,
        wanted: &Wanted,
    ) -> Option<Maker> {
        loop {
            let found = match cursor.stage {
                Stage::Pinned => {
                    cursor.stage = Stage::Last;
                    cursor.pinned.filter(|index| self.fits(*index, store, revision, cursor, used, wanted))
                }
                Stage::Last => {
                    cursor.stage = Stage::Demanded;
                    let last = cursor.last;
                    match last {
                        Some(Maker::Other) if cursor.may_be_other(wanted) => return Some(Maker::Other),
                        Some(Maker::Step(index)) if self.had_begun_before(index, cursor) => {
                            self.fits(index, store, revision, cursor, used, wanted).then_some(index)
                        }
                        Some(_) | None => None,
                    }
                }
                Stage::Other => {
                    cursor.stage = Stage::Any;
                    if cursor.may_be_other(wanted) {
                        return Some(Maker::Other);
                    }
                    None
                }
                Stage::Demanded => {
                    let begun = cursor.begun;
                    match cursor.demanded.get_or_insert_with(|| self.demanded(store, begun)).pop() {
                        Some(index) => {
                            self.fits(index, store, revision, cursor, used, wanted).then_some(index)
                        }
                        None => {
                            cursor.stage = Stage::Other;
                            None
                        }
                    }
                }
                Stage::Any => {
                    let begun = cursor.begun;
                    let index = cursor.any.get_or_insert_with(|| self.any(revision, begun)).pop()?;
                    self.fits(index, store, revision, cursor, used, wanted).then_some(index)
                }
            };
            if let Some(index) = found {
                cursor.tried.push(index);
                return Some(Maker::Step(index));
            }
        }
    }

    /// Free steps, of the first that had begun, without which a later answer is not explained; the newest last.
    fn demanded(&self, store: &Store, begun: usize) -> Vec<usize> {
        // All that a key is asked for is the same for all that write it.
        let keys = self.by_key.iter().filter(|(key, _)| self.demand.demands_key(store, key));
        let steps = self.begun_free(keys.flat_map(|(_, steps)| steps).copied(), begun);
        // What is planned comes first, the most urgent before all, and nothing that is planned elsewhere.
        let revision = store.rev() + 1;
        let demands = |index: &usize| self.demand.demands(store, &self.steps[*index].request);
        let wanted = |index: &usize| self.plan.allows(*index, revision) && demands(index);
        let mut demanded: Vec<usize> = steps.filter(wanted).collect();
        demanded.sort_by_key(|index| {
            let window = self.plan.window(*index).map(|window| Reverse((window.before, window.turn)));
            (window, self.steps[*index].invoked, *index)
        });
        demanded.dedup();
        demanded
    }

    /// Free steps, of the first that had begun, that write some key of which no answer shows that it was not written
    /// at a revision; the newest last. By key, since most keys are shown by some answer, and unknown steps are many.
    fn any(&self, revision: i64, begun: usize) -> Vec<usize> {
        let keys = self.by_key.iter().filter(|(key, _)| !self.evidence.excludes_write(key, revision));
        let steps = keys.flat_map(|(_, steps)| steps).chain(&self.wide);
        let mut any: Vec<usize> = self.begun_free(steps.copied(), begun).collect();
        any.sort_by_key(|index| (self.steps[*index].invoked, *index));
        any.dedup();
        any
    }

    /// Those that are free and among the first that had begun.
    fn begun_free(&self, steps: impl Iterator<Item = usize>, begun: usize) -> impl Iterator<Item = usize> {
        let last = begun.checked_sub(1).map(|at| self.steps[self.free[at]].invoked);
        steps
            .filter(move |index| Some(self.steps[*index].invoked) <= last && !self.pinned.contains_key(index))
    }

    /// Whether a step is wanted, was not tried, and can have made a revision.
    fn fits(
        &self,
        index: usize,
        store: &Store,
        revision: i64,
        cursor: &Cursor,
        used: &Used,
        wanted: &Wanted,
    ) -> bool {
        let request = &self.steps[index].request;
        !used.contains_key(&index)
            && wanted.includes(self.written(index))
            && !cursor.tried.iter().any(|tried| self.steps[*tried].request == *request)
            && self.can_make(store, revision, index)
    }

    /// Whether a step is free, and had begun when its cursor was made.
    fn had_begun_before(&self, index: usize, cursor: &Cursor) -> bool {
        let last = cursor.begun.checked_sub(1).map(|at| self.steps[self.free[at]].invoked);
        !self.pinned.contains_key(&index) && Some(self.steps[index].invoked) <= last
    }

    /// How many free steps had begun before everything from a position on had returned.
    fn begun(&self, position: usize) -> usize {
        self.free.partition_point(|index| self.had_begun(*index, position))
    }

    fn can_make(&self, store: &Store, revision: i64, index: usize) -> bool {
        let (request, keys) = (&self.steps[index].request, self.written(index));
        // The common reason first: it needs no copy of the store.
        if let Request::Put(put) = request
            && self.evidence.excludes_write(&put.key, revision)
        {
            return false;
        }
        let seen = self.evidence.of(revision);
        if !seen.iter().all(|seen| keys.iter().any(|keys| keys.key == seen.key)) {
            return false;
        }
        let mut after = store.clone();
        match after.apply(request) {
            Ok(reply) if reply.rev == revision => {}
            Ok(_) | Err(_) => return false,
        }
        self.evidence.fits(&after, revision) && !keys.iter().any(|keys| self.excluded(store, &after, keys))
    }

    /// Whether some answer shows that what was done to these keys was not done.
    fn excluded(&self, before: &Store, after: &Store, keys: &KeyRange) -> bool {
        let revision = after.rev();
        let put = after.get(&keys.key).is_some_and(|pair| pair.mod_revision == revision);
        if put
            && (self.evidence.excludes_write(&keys.key, revision)
                || self.demand.leads_nowhere(after, &keys.key))
        {
            return true;
        }
        before
            .range_at(keys, before.rev())
            .any(|(key, _)| after.get(key).is_none() && self.evidence.excludes_delete(key, revision))
    }
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

/// For each step of unknown outcome with a pair that nobody else can have put: the revision at which some
/// answer shows it.
fn pin(steps: &[Step], unknown: &[usize], evidence: &Evidence) -> FxHashMap<usize, i64> {
    let mut putters: FxHashMap<(&str, &str), u32> = FxHashMap::default();
    let mut pairs = Vec::new();
    for step in steps {
        pairs.clear();
        may_put(&step.request, &mut pairs);
        for pair in &pairs {
            *putters.entry(*pair).or_default() += 1;
        }
    }
    let shown = evidence.revisions_by_pair();
    let mut pinned = FxHashMap::default();
    for &index in unknown {
        pairs.clear();
        may_put(&steps[index].request, &mut pairs);
        for pair in &pairs {
            if putters.get(pair) == Some(&1)
                && let Some(revision) = shown.get(pair)
            {
                pinned.insert(index, *revision);
            }
        }
    }
    pinned
}
