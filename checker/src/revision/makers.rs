//! Who can have made a revision that no answer names.

use rustc_hash::{FxHashMap, FxHashSet};

use super::evidence::{Evidence, may_put, may_write};
use super::step::Step;
use crate::spec::kv::Store;
use crate::spec::kv_types::{KeyRange, Request};

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
    other: bool,
    /// Unknown steps before this one are still to be tried, the newest first.
    next: usize,
    /// Steps that were tried: equal requests can stand in for each other.
    tried: Vec<usize>,
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
    /// Steps of unknown outcome that may have written, in order of invocation.
    unknown: Vec<usize>,
    /// The only revision that a step of unknown outcome can have made, since its values were seen there.
    pinned: FxHashMap<usize, i64>,
}

impl<'a> Makers<'a> {
    pub(super) fn new(steps: &'a [Step], shared: bool) -> Makers<'a> {
        let mut order: Vec<usize> = (0..steps.len())
            .filter(|index| steps[*index].rev > 0 && !steps[*index].is_compaction())
            .collect();
        order.sort_by_cached_key(|index| {
            let step = &steps[*index];
            (step.rev, !step.is_write(), step.invoked)
        });
        let mut first_return = vec![u64::MAX; order.len() + 1];
        for (position, index) in order.iter().enumerate().rev() {
            first_return[position] = first_return[position + 1].min(steps[*index].returned);
        }
        let mut unknown: Vec<usize> =
            (0..steps.len()).filter(|index| steps[*index].may_have_written()).collect();
        unknown.sort_by_key(|index| steps[*index].invoked);
        let evidence = Evidence::gather(steps);
        let pinned = pin(steps, &unknown, &evidence);
        Makers { steps, shared, evidence, order, first_return, unknown, pinned }
    }

    /// Answered steps, in the order of their revisions.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Steps of unknown outcome, in order of invocation.
    pub(super) fn unknown(&self) -> &[usize] {
        &self.unknown
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
        self.begun(position).iter().copied().filter(move |index| {
            if self.pinned_elsewhere(*index, revision) {
                return false;
            }
            let mut keys = Vec::new();
            may_write(&self.steps[*index].request, &mut keys);
            seen.iter().all(|seen| keys.iter().any(|keys| keys.key == seen.key))
        })
    }

    /// Whether only others can have made a revision, without a look at the state.
    pub(super) fn surely_other(&self, revision: i64, position: usize) -> bool {
        self.shared && self.evidence.of(revision).is_empty() && self.begun(position).is_empty()
    }

    pub(super) fn cursor(&self, revision: i64, position: usize) -> Cursor {
        // Most of what nothing is seen of is others', where there are others.
        let other = self.shared && self.evidence.of(revision).is_empty();
        Cursor { other, next: self.begun(position).len(), tried: Vec::new() }
    }

    /// The next that can have made a revision: others, then who began last.
    pub(super) fn next(
        &self,
        store: &Store,
        revision: i64,
        cursor: &mut Cursor,
        used: &FxHashSet<usize>,
    ) -> Option<Maker> {
        if std::mem::take(&mut cursor.other) {
            return Some(Maker::Other);
        }
        while let Some(at) = cursor.next.checked_sub(1) {
            cursor.next = at;
            let index = self.unknown[at];
            let request = &self.steps[index].request;
            if !used.contains(&index)
                && !self.pinned_elsewhere(index, revision)
                && !cursor.tried.iter().any(|tried| self.steps[*tried].request == *request)
                && self.can_make(store, revision, request)
            {
                cursor.tried.push(index);
                return Some(Maker::Step(index));
            }
        }
        None
    }

    fn begun(&self, position: usize) -> &[usize] {
        let begun = self.unknown.partition_point(|index| self.had_begun(*index, position));
        &self.unknown[..begun]
    }

    fn can_make(&self, store: &Store, revision: i64, request: &Request) -> bool {
        let mut keys: Vec<KeyRange> = Vec::new();
        may_write(request, &mut keys);
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
        if put && self.evidence.excludes_write(&keys.key, revision) {
            return true;
        }
        before
            .range_at(keys, before.rev())
            .any(|(key, _)| after.get(key).is_none() && self.evidence.excludes_delete(key, revision))
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
