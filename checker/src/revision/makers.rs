//! Who can have made a revision that no answer names.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use rustc_hash::FxHashMap;

use super::blame::{Wanted, is_one_key};
use super::demand::{Demand, Link};
use super::evidence::{Evidence, may_put, may_write};
use super::plan::{Candidate, Places, Plan};
use super::step::Step;
use crate::budget::{Pace, Stop};
use crate::spec::kv::{Store, covers};
use crate::spec::kv_types::{KeyRange, Request};

/// What one try of a step on a copy of the store counts for a [`Pace`].
const STEPS_OF_A_TRY: usize = 64;

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
    /// Those of them that are still to be tried at the last stage, once they are known.
    any: Option<Newest>,
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

/// The list of steps that write ranges, among those of single keys.
const WIDE: usize = usize::MAX;

/// Lists of steps, each in order of invocation, that are gone through together from the newest on.
#[derive(Clone, Debug, Default)]
struct Newest(BinaryHeap<Place>);

/// Where to go on in one of the lists. The derived order is right: the newest is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    invoked: u64,
    index: usize,
    list: usize,
    place: usize,
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
    /// The same lists, in the order of the keys.
    lists: Vec<Vec<usize>>,
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
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub(super) fn new(steps: &'a [Step], shared: bool, pace: &mut Pace<'_>) -> Result<Makers<'a>, Stop> {
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
        let evidence = Evidence::gather(steps, pace)?;
        let pinned = pin(steps, &unknown, &evidence, pace)?;
        let free = unknown.iter().copied().filter(|index| !pinned.contains_key(index)).collect();
        let pinned_at = pinned.iter().map(|(index, revision)| (*revision, *index)).collect();
        let demand = Demand::new(steps, &evidence, &pinned, pace)?;
        let mut seen: Vec<i64> = evidence.all().map(|(revision, _)| revision).collect();
        seen.sort_unstable();
        let mut makers = Makers {
            steps,
            shared,
            evidence,
            order,
            first_return,
            written,
            lists: by_key.values().cloned().collect(),
            by_key,
            wide,
            free,
            pinned,
            pinned_at,
            demand,
            plan: Plan::default(),
            seen,
        };
        makers.plan = makers.planned(pace)?;
        Ok(makers)
    }

    /// A plan for the keys that are only written one at a time.
    fn planned(&self, pace: &mut Pace<'_>) -> Result<Plan, Stop> {
        let mut plan = Plan::default();
        if !self.wide.is_empty() {
            return Ok(plan);
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
                pace.steps(STEPS_OF_A_TRY * (1 + candidates.len()))?;
                plan.add(key, &candidates, &self.demand, &places);
            }
        }
        Ok(plan)
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

    /// Whether a step is known to have made a revision.
    pub(super) fn is_pinned(&self, index: usize) -> bool {
        self.pinned.contains_key(&index)
    }

    /// The step that is known to have made a revision.
    pub(super) fn pinned_to(&self, revision: i64) -> Option<usize> {
        self.pinned_at.get(&revision).copied()
    }

    /// When a step began.
    pub(super) fn invoked(&self, index: usize) -> u64 {
        self.steps[index].invoked
    }

    /// The earliest return from a position on: what began later has its place after that position.
    pub(super) fn first_return(&self, position: usize) -> u64 {
        self.first_return[position]
    }

    /// Steps that can have made a revision by what does not depend on the state.
    pub(super) fn possible(&self, revision: i64, position: usize) -> Vec<usize> {
        let seen = self.evidence.of(revision);
        let mut possible: Vec<usize> = Vec::new();
        let mut add = |key: &str, steps: &[usize]| {
            let (written, deleted) =
                (!self.evidence.excludes_write(key, revision), !self.evidence.excludes_delete(key, revision));
            // In order of invocation.
            let begun = steps.partition_point(|index| self.had_begun(*index, position));
            possible.extend(steps[..begun].iter().filter(|index| match self.steps[**index].request {
                Request::Put(_) => written,
                Request::Delete(_) => deleted,
                Request::Txn(_) => written || deleted,
                Request::Range(_) | Request::Compact { .. } => false,
            }));
        };
        match seen.first() {
            // Who made it wrote that key.
            Some(seen) => add(&seen.key, self.by_key.get(&seen.key).map_or(&[][..], Vec::as_slice)),
            None => self.by_key.iter().for_each(|(key, steps)| add(key, steps)),
        }
        possible.extend(self.wide.iter().filter(|index| self.had_begun(**index, position)));
        possible.sort_unstable();
        possible.dedup();
        possible.retain(|index| {
            let written = self.written(*index);
            self.pinned.get(index).is_none_or(|only| *only == revision)
                && seen.iter().all(|seen| written.iter().any(|keys| keys.key == seen.key))
        });
        possible
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
    ///
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub(super) fn next(
        &self,
        store: &Store,
        revision: i64,
        cursor: &mut Cursor,
        (used, wanted): (&Used, &Wanted),
        pace: &mut Pace<'_>,
    ) -> Result<Option<Maker>, Stop> {
        loop {
            pace.steps(STEPS_OF_A_TRY)?;
            let found = match cursor.stage {
                Stage::Pinned => {
                    cursor.stage = Stage::Last;
                    cursor.pinned.filter(|index| self.fits(*index, store, revision, cursor, used, wanted))
                }
                Stage::Last => {
                    cursor.stage = Stage::Demanded;
                    let last = cursor.last;
                    match last {
                        Some(Maker::Other) if cursor.may_be_other(wanted) => return Ok(Some(Maker::Other)),
                        Some(Maker::Step(index)) if self.had_begun_before(index, cursor) => {
                            self.fits(index, store, revision, cursor, used, wanted).then_some(index)
                        }
                        Some(_) | None => None,
                    }
                }
                Stage::Other => {
                    cursor.stage = Stage::Any;
                    if cursor.may_be_other(wanted) {
                        return Ok(Some(Maker::Other));
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
                    let any = cursor.any.get_or_insert_with(|| self.any(revision, begun));
                    match self.newest(any) {
                        Some(index) => {
                            self.fits(index, store, revision, cursor, used, wanted).then_some(index)
                        }
                        None => return Ok(None),
                    }
                }
            };
            if let Some(index) = found {
                cursor.tried.push(index);
                return Ok(Some(Maker::Step(index)));
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
    /// at a revision. By key, since most keys are shown by some answer, and unknown steps are many.
    fn any(&self, revision: i64, begun: usize) -> Newest {
        let Some(last) = begun.checked_sub(1).map(|at| self.steps[self.free[at]].invoked) else {
            return Newest::default();
        };
        let keys = self.by_key.iter().enumerate();
        let keys = keys.filter(|(_, (key, _))| !self.evidence.excludes_write(key, revision));
        let lists = keys.map(|(number, (_, steps))| (number, steps)).chain([(WIDE, &self.wide)]);
        let newest = lists.filter_map(|(list, steps)| {
            let place = steps.partition_point(|index| self.steps[*index].invoked <= last).checked_sub(1)?;
            Some(Place { invoked: self.steps[steps[place]].invoked, index: steps[place], list, place })
        });
        Newest(newest.collect())
    }

    /// Takes out the one that began last.
    fn newest(&self, newest: &mut Newest) -> Option<usize> {
        loop {
            let Place { index, list, place, .. } = newest.0.pop()?;
            if let Some(place) = place.checked_sub(1) {
                let steps = if list == WIDE { &self.wide } else { &self.lists[list] };
                let index = steps[place];
                newest.0.push(Place { invoked: self.steps[index].invoked, index, list, place });
            }
            if !self.pinned.contains_key(&index) {
                return Some(index);
            }
        }
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
        let seen = self.evidence.of(revision);
        // The common requests first: they need no copy of the store.
        match request {
            Request::Put(put) => {
                if self.evidence.excludes_write(&put.key, revision) {
                    return false;
                }
                let pair = store.after_put(put);
                return pair.mod_revision == revision
                    && seen.iter().all(|seen| seen.key == put.key && seen.fits(&pair, revision))
                    && !self.demand.leads_nowhere(&put.key, &pair);
            }
            Request::Delete(delete) if is_one_key(&delete.keys) => {
                let key = &delete.keys.key;
                return store.rev() + 1 == revision
                    && store.get(key).is_some()
                    && seen.is_empty()
                    && !self.evidence.excludes_delete(key, revision)
                    && !self.demand.absence_leads_nowhere(key, revision);
            }
            Request::Delete(_) | Request::Txn(_) | Request::Range(_) | Request::Compact { .. } => {}
        }
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
        let put = after.get(&keys.key).filter(|pair| pair.mod_revision == revision);
        if put.is_some_and(|pair| {
            self.evidence.excludes_write(&keys.key, revision) || self.demand.leads_nowhere(&keys.key, pair)
        }) {
            return true;
        }
        before.range_at(keys, before.rev()).filter(|(key, _)| after.get(key).is_none()).any(|(key, _)| {
            self.evidence.excludes_delete(key, revision) || self.demand.absence_leads_nowhere(key, revision)
        })
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
fn pin(
    steps: &[Step],
    unknown: &[usize],
    evidence: &Evidence,
    pace: &mut Pace<'_>,
) -> Result<FxHashMap<usize, i64>, Stop> {
    let mut putters: FxHashMap<(&str, &str), u32> = FxHashMap::default();
    let mut pairs = Vec::new();
    for step in steps {
        pace.step()?;
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
    Ok(pinned)
}
