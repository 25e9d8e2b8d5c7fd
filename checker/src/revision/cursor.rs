//! Tries the steps that can have made a revision, one after the other, the likeliest first.
//!
//! Steps of unknown outcome that never took effect grow in number with the history, so they are not gone through at every
//! revision: lists of them, one a key, are entered at their newest, or their oldest, and only as far as something is tried.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::blame::{Left, is_one_key};
use super::demand::Due;
use super::makers::{Makers, OfKey, STEPS_OF_A_TRY, Used};
use crate::budget::{Pace, Stop};
use crate::spec::kv::Store;
use crate::spec::kv_types::{KeyRange, Request, TxnRequest};

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// The step of unknown outcome with this index.
    Step(usize),
    /// Somebody else.
    Other,
}

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
    first: First,
    /// What is still to be tried at the stages of demands and of all, once it is known.
    rest: Option<Places>,
    /// Steps that were tried: equal requests can stand in for each other.
    tried: Vec<usize>,
}

impl Cursor {
    /// Looks for steps anew, less being left: what was tried is not tried again.
    pub(super) fn narrow(&mut self) {
        self.rest = None;
    }

    /// Whether it may be others, who write none of the keys; asked once.
    fn may_be_other(&mut self, left: &Left) -> bool {
        let may = self.other && left.includes(&[]);
        self.other &= !may;
        may
    }
}

/// Of steps that may as well have made a revision, which are tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum First {
    /// Those that began last: most of what began long ago never took effect.
    #[default]
    Newest,
    /// Those that began first: what a store took in and did much later was done in the order in which it came.
    Oldest,
}

impl First {
    /// The other one.
    pub(super) fn turned(self) -> First {
        match self {
            First::Newest => First::Oldest,
            First::Oldest => First::Newest,
        }
    }

    /// Where a list is entered whose last place is `last`.
    fn place(self, last: usize) -> usize {
        match self {
            First::Newest => last,
            First::Oldest => 0,
        }
    }

    /// The place after one of these.
    fn next(self, place: usize, last: usize) -> Option<usize> {
        match self {
            First::Newest => place.checked_sub(1),
            First::Oldest => Some(place + 1).filter(|next| *next <= last),
        }
    }

    /// The larger, the earlier it is tried.
    fn rank(self, invoked: u64) -> u64 {
        match self {
            First::Newest => invoked,
            First::Oldest => u64::MAX - invoked,
        }
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
    /// Steps without which a later answer is not explained, what must be made soonest first: of tasks that take one
    /// revision each, that order meets all terms if any does.
    Demanded,
    /// Others: most of what nothing is seen of is theirs, where there are others.
    Other,
    /// All steps that can.
    Any,
}

/// The list of steps that write ranges, among those of single keys.
const WIDE: usize = usize::MAX;

/// A way to write a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Put,
    Delete,
    Either,
}

impl Kind {
    /// Whether a request may write something in that way.
    fn is_of(self, request: &Request) -> bool {
        match request {
            Request::Put(_) => self != Kind::Delete,
            Request::Delete(_) => self != Kind::Put,
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(|request| self.is_of(request)),
            Request::Range(_) | Request::Compact { .. } => false,
        }
    }
}

/// Lists of steps, each in order of invocation, that are gone through together.
#[derive(Clone, Debug, Default)]
struct Places {
    first: First,
    heap: BinaryHeap<Place>,
}

/// Where to go on in one of the lists. The derived order is right: the most urgent is the greatest, and then who is to be
/// tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    due: Reverse<(i64, usize)>,
    rank: u64,
    index: usize,
    list: usize,
    /// Here, and where the list ends; `None` if it does not go on.
    place: Option<(usize, usize)>,
    /// What else is of no interest here.
    kind: Kind,
}

impl Makers<'_> {
    /// `last`: who was chosen when the revision was last come to.
    pub(super) fn cursor(&self, revision: i64, position: usize, last: Option<Maker>, first: First) -> Cursor {
        let begun = self.begun(position);
        let other = self.shared && self.evidence.of(revision).is_empty();
        let pinned = self.pinned_to(revision).filter(|index| self.had_begun(*index, position));
        let (stage, tried) = (Stage::Pinned, Vec::new());
        Cursor { stage, pinned, last, other, begun, first, rest: None, tried }
    }

    /// The next that can have made a revision.
    ///
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub(super) fn next(
        &self,
        store: &mut Store,
        revision: i64,
        cursor: &mut Cursor,
        (used, left): (&Used, &Left),
        pace: &mut Pace<'_>,
    ) -> Result<Option<Maker>, Stop> {
        loop {
            pace.steps(STEPS_OF_A_TRY)?;
            let candidate = match cursor.stage {
                Stage::Pinned => {
                    cursor.stage = Stage::Last;
                    cursor.pinned
                }
                Stage::Last => {
                    cursor.stage = Stage::Demanded;
                    let last = cursor.last;
                    match last {
                        Some(Maker::Other) if cursor.may_be_other(left) => return Ok(Some(Maker::Other)),
                        Some(Maker::Step(index)) => {
                            Some(index).filter(|index| self.is_begun(*index, cursor.begun))
                        }
                        Some(Maker::Other) | None => None,
                    }
                }
                Stage::Demanded => {
                    let rest = cursor
                        .rest
                        .get_or_insert_with(|| self.demanded(store, cursor.begun, cursor.first, left));
                    let next = self.next_of(rest);
                    if next.is_none() {
                        (cursor.stage, cursor.rest) = (Stage::Other, None);
                    }
                    next
                }
                Stage::Other => {
                    cursor.stage = Stage::Any;
                    if cursor.may_be_other(left) {
                        return Ok(Some(Maker::Other));
                    }
                    None
                }
                Stage::Any => {
                    let (begun, first) = (cursor.begun, cursor.first);
                    let rest =
                        cursor.rest.get_or_insert_with(|| self.any(store, (revision, begun), first, left));
                    let next = self.next_of(rest);
                    if next.is_none() {
                        return Ok(None);
                    }
                    next
                }
            };
            if let Some(index) = candidate
                && self.fits(index, store, revision, cursor, used, left)
            {
                cursor.tried.push(index);
                return Ok(Some(Maker::Step(index)));
            }
        }
    }

    /// Free steps, of the first that had begun, without which a later answer is not explained.
    fn demanded(&self, store: &Store, begun: usize, first: First, left: &Left) -> Places {
        let revision = store.rev() + 1;
        let mut places = Places { first, heap: BinaryHeap::new() };
        let mut dues = self.dues.borrow_mut();
        for list in self.lists_left(revision, left) {
            let OfKey { key, steps } = &self.by_key[list];
            let Some(last) = self.last_begun(steps, begun) else { continue };
            // All that a key is asked for is the same for all that write it.
            let Due { put, delete, .. } = self.demand.due(store, key, &mut dues[list]);
            let due = [(Kind::Put, put), (Kind::Delete, delete)];
            for (kind, due) in due.into_iter().filter_map(|(kind, due)| Some((kind, due?))) {
                if !self.plan.has(key) {
                    self.enter(&mut places, (Reverse((due, 0)), kind), list, last);
                    continue;
                }
                // Nothing that is planned elsewhere.
                let free = steps[..=last].iter().filter(|index| !self.is_pinned(**index));
                for &index in free.filter(|index| self.plan.allows(**index, revision)) {
                    let window = self.plan.window(index);
                    let (before, turn) =
                        window.map_or((due, 0), |window| (window.before.min(due), window.turn));
                    let (due, rank) = (Reverse((before, turn)), first.rank(self.invoked(index)));
                    places.heap.push(Place { due, rank, index, list, place: None, kind });
                }
            }
        }
        places
    }

    /// Free steps, of the first that had begun, that write some key in a way that can have made a revision. By key, since
    /// most keys are shown by some answer, and unknown steps are many.
    fn any(&self, store: &Store, (revision, begun): (i64, usize), first: First, left: &Left) -> Places {
        let mut places = Places { first, heap: BinaryHeap::new() };
        for list in self.lists_left(revision, left) {
            let OfKey { key, steps } = &self.by_key[list];
            if let Some(kind) = self.possible_kind(store, key, revision)
                && let Some(last) = self.last_begun(steps, begun)
            {
                self.enter(&mut places, (Reverse((0, 0)), kind), list, last);
            }
        }
        // Whoever put what was seen is in the list of its key.
        let wide = self.last_begun(&self.wide, begun).filter(|_| self.evidence.of(revision).is_empty());
        if let Some(last) = wide {
            self.enter(&mut places, (Reverse((0, 0)), Kind::Either), WIDE, last);
        }
        places
    }

    /// The ways in which a key can have been written at a revision, whatever the value; `None` if in neither. What
    /// writes several keys is found with another one.
    fn possible_kind(&self, store: &Store, key: &str, revision: i64) -> Option<Kind> {
        if self.evidence.excludes_write(key, revision) {
            return None;
        }
        let put = !self.demand.never_fits(key, &store.after_put(key, Arc::default()));
        let delete = store.get(key).is_some()
            && !self.evidence.excludes_delete(key, revision)
            && !self.demand.absence_leads_nowhere(key, revision);
        match (put, delete) {
            (true, true) => Some(Kind::Either),
            (true, false) => Some(Kind::Put),
            (false, true) => Some(Kind::Delete),
            (false, false) => None,
        }
    }

    fn list(&self, list: usize) -> &[usize] {
        if list == WIDE { &self.wide } else { &self.by_key[list].steps }
    }

    /// Goes into a list, up to its place `last`.
    fn enter(&self, places: &mut Places, what: (Reverse<(i64, usize)>, Kind), list: usize, last: usize) {
        let place = places.first.place(last);
        self.go_on(places, what, list, (place, last));
    }

    fn go_on(
        &self,
        places: &mut Places,
        (due, kind): (Reverse<(i64, usize)>, Kind),
        list: usize,
        (place, last): (usize, usize),
    ) {
        let index = self.list(list)[place];
        let rank = places.first.rank(self.invoked(index));
        places.heap.push(Place { due, rank, index, list, place: Some((place, last)), kind });
    }

    /// Takes out the one that is to be tried next.
    fn next_of(&self, places: &mut Places) -> Option<usize> {
        loop {
            let Place { due, index, list, place, kind, .. } = places.heap.pop()?;
            if let Some((place, last)) = place
                && let Some(next) = places.first.next(place, last)
            {
                self.go_on(places, (due, kind), list, (next, last));
            }
            if !self.is_pinned(index) && kind.is_of(&self.steps[index].request) {
                return Some(index);
            }
        }
    }

    /// The last of a list of steps that is, by its invocation, among the first free ones.
    fn last_begun(&self, steps: &[usize], begun: usize) -> Option<usize> {
        let last = self.invoked(self.free[begun.checked_sub(1)?]);
        steps.partition_point(|index| self.invoked(*index) <= last).checked_sub(1)
    }

    /// Whether a step is free, and among the first that had begun.
    fn is_begun(&self, index: usize, begun: usize) -> bool {
        !self.is_pinned(index) && self.last_begun(&[index], begun).is_some()
    }

    /// Whether a step is left, was not tried, and can have made a revision.
    fn fits(
        &self,
        index: usize,
        store: &mut Store,
        revision: i64,
        cursor: &Cursor,
        used: &Used,
        left: &Left,
    ) -> bool {
        let request = &self.steps[index].request;
        !used.contains_key(&index)
            && left.includes(self.written(index))
            && !cursor.tried.iter().any(|tried| self.steps[*tried].request == *request)
            && self.can_make(store, revision, index)
    }

    fn can_make(&self, store: &mut Store, revision: i64, index: usize) -> bool {
        let (request, keys) = (&*self.steps[index].request, self.written(index));
        let seen = self.evidence.of(revision);
        // The common requests first: they need no copy of the store.
        match request {
            Request::Put(put) => {
                if self.evidence.excludes_write(&put.key, revision) {
                    return false;
                }
                let pair = store.after_put(&put.key, Arc::from(put.value.as_str()));
                return pair.mod_revision == revision
                    && seen.iter().all(|(_, seen)| seen.key == put.key && seen.fits(&pair, revision))
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
        if let Request::Txn(txn) = request
            && self.branch_is_excluded(txn, store, revision)
        {
            return false;
        }
        if !seen.iter().all(|(_, seen)| keys.iter().any(|keys| keys.key == seen.key)) {
            return false;
        }
        let before = store.mark();
        let made = store.apply(request).is_ok_and(|reply| reply.rev == revision);
        let can = made
            && self.evidence.fits(store, revision)
            && !keys.iter().any(|keys| self.excluded(store, before.rev(), keys));
        store.take_back(request, before);
        store.go_back(before);
        can
    }

    /// Whether, of the branch that a transaction would take, some answer shows that a put was not made: a look that is
    /// cheaper than to make it.
    fn branch_is_excluded(&self, txn: &TxnRequest, store: &Store, revision: i64) -> bool {
        let branch = if store.compares_then(&txn.compare, store.rev()) { &txn.success } else { &txn.failure };
        branch.iter().any(|request| match request {
            Request::Put(put) => self.evidence.excludes_write(&put.key, revision),
            Request::Range(_) | Request::Delete(_) | Request::Txn(_) | Request::Compact { .. } => false,
        })
    }

    /// Whether some answer shows that what was done to these keys, after a revision, was not done.
    fn excluded(&self, store: &Store, before: i64, keys: &KeyRange) -> bool {
        let revision = store.rev();
        let put = store.get(&keys.key).filter(|pair| pair.mod_revision == revision);
        if put.is_some_and(|pair| {
            self.evidence.excludes_write(&keys.key, revision) || self.demand.leads_nowhere(&keys.key, pair)
        }) {
            return true;
        }
        store.range_at(keys, before).filter(|(key, _)| store.get(key).is_none()).any(|(key, _)| {
            self.evidence.excludes_delete(key, revision) || self.demand.absence_leads_nowhere(key, revision)
        })
    }
}
