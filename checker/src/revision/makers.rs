//! Who can have made a revision that no answer names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::blame::{Left, is_one_key};
use super::demand::{Demand, Due};
use super::evidence::{Evidence, may_put, may_write};
use super::places::planned;
use super::plan::Plan;
use super::step::Step;
use crate::budget::{Pace, Stop};
use crate::spec::kv::covers;
use crate::spec::kv_types::{KeyRange, Request};

/// What one try of a step on the store counts for a [`Pace`].
pub(super) const STEPS_OF_A_TRY: usize = 64;

/// The steps of unknown outcome that were chosen, each with the number of its choice.
pub(super) type Used = FxHashMap<usize, usize>;

/// The steps in order, and those of unknown outcome.
pub(super) struct Makers<'a> {
    pub(super) steps: &'a [Step<'a>],
    pub(super) shared: bool,
    pub(super) evidence: Evidence<'a>,
    /// Answered steps, in the order of their revisions.
    pub(super) order: Vec<usize>,
    /// The earliest return from each position of the order on.
    pub(super) first_return: Vec<u64>,
    /// What each step of unknown outcome may write.
    written: FxHashMap<usize, Vec<KeyRange>>,
    /// Of those, the ones that may write a single key, in the order of the keys.
    pub(super) by_key: Vec<OfKey>,
    /// And the ones that may write a range.
    pub(super) wide: Vec<usize>,
    /// Of all, in order of invocation, the ones that are not pinned.
    pub(super) free: Vec<usize>,
    /// The only revision that a step of unknown outcome can have made, since its values were seen there.
    pub(super) pinned: FxHashMap<usize, i64>,
    pub(super) pinned_at: FxHashMap<i64, usize>,
    pub(super) demand: Demand<'a>,
    /// What was found to be asked of each key, in the order of the keys.
    pub(super) dues: RefCell<Vec<Due>>,
    /// What is to be tried first.
    pub(super) plan: Plan,
}

/// Steps of unknown outcome that may write a key, in order of invocation.
#[derive(Debug)]
pub(super) struct OfKey {
    pub(super) key: String,
    pub(super) steps: Vec<usize>,
}

impl<'a> Makers<'a> {
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub(super) fn new(steps: &'a [Step<'a>], shared: bool, pace: &mut Pace<'_>) -> Result<Makers<'a>, Stop> {
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
        let mut makers = Makers {
            steps,
            shared,
            evidence,
            order,
            first_return,
            written,
            dues: RefCell::new(vec![Due::default(); by_key.len()]),
            by_key: by_key.into_iter().map(|(key, steps)| OfKey { key, steps }).collect(),
            wide,
            free,
            pinned,
            pinned_at,
            demand,
            plan: Plan::default(),
        };
        makers.plan = planned(&makers, pace)?;
        Ok(makers)
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
                writing.extend(self.by_key[self.lists_of(&keys.key)].iter().flat_map(|of| &of.steps));
            } else {
                let from = &self.by_key[self.lists_of(&keys.key).start..];
                writing.extend(from.iter().take_while(|of| covers(keys, &of.key)).flat_map(|of| &of.steps));
            }
        }
        writing.sort_unstable();
        writing.dedup();
        writing
    }

    /// The place of a key among all that steps of unknown outcome may write alone; if it has none, nothing at the place
    /// where it would be.
    pub(super) fn lists_of(&self, key: &str) -> Range<usize> {
        match self.by_key.binary_search_by(|of| of.key.as_str().cmp(key)) {
            Ok(at) => at..at + 1,
            Err(at) => at..at,
        }
    }

    /// The lists in which all are that can have made a revision and are left. Whoever made one of which something was
    /// seen wrote that key, and perhaps another that is wanted.
    pub(super) fn lists_left(&self, revision: i64, left: &Left) -> impl Iterator<Item = usize> {
        let seen = self.evidence.of(revision).first();
        let lists = seen.map_or(0..self.by_key.len(), |(_, seen)| self.lists_of(seen.key));
        lists.filter(move |list| seen.is_some() || left.concerns(&self.by_key[*list].key))
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

    /// Steps that can have made a revision by what does not depend on the state, of those that are left.
    pub(super) fn possible(&self, revision: i64, position: usize, left: &Left) -> Vec<usize> {
        let seen = self.evidence.of(revision);
        let mut possible: Vec<usize> = Vec::new();
        let mut add = |key: &str, steps: &[usize]| {
            let (written, deleted) =
                (!self.evidence.excludes_write(key, revision), !self.evidence.excludes_delete(key, revision));
            // In order of invocation.
            let begun = steps.partition_point(|index| self.had_begun(*index, position));
            possible.extend(steps[..begun].iter().filter(|index| match &*self.steps[**index].request {
                Request::Put(_) => written,
                Request::Delete(_) => deleted,
                Request::Txn(_) => written || deleted,
                Request::Range(_) | Request::Compact { .. } => false,
            }));
        };
        for list in self.lists_left(revision, left) {
            let OfKey { key, steps } = &self.by_key[list];
            add(key, steps);
        }
        possible.extend(self.wide.iter().filter(|index| self.had_begun(**index, position)));
        possible.sort_unstable();
        possible.dedup();
        possible.retain(|index| {
            let written = self.written(*index);
            self.pinned.get(index).is_none_or(|only| *only == revision)
                && left.includes(written)
                && seen.iter().all(|(_, seen)| written.iter().any(|keys| keys.key == seen.key))
        });
        possible
    }

    /// Whether only others can have made a revision, without a look at the state.
    pub(super) fn surely_other(&self, revision: i64, position: usize) -> bool {
        self.shared && self.evidence.of(revision).is_empty() && self.begun(position) == 0
    }

    /// How many free steps had begun before everything from a position on had returned.
    pub(super) fn begun(&self, position: usize) -> usize {
        self.free.partition_point(|index| self.had_begun(*index, position))
    }

    /// The last revision, from one to another, before the first of which something was seen.
    pub(super) fn last_unseen(&self, from: i64, to: i64) -> i64 {
        let seen = self.evidence.all();
        let next = seen.partition_point(|(revision, _)| *revision < from);
        seen.get(next).map_or(to, |(seen, _)| to.min(seen - 1))
    }
}

/// For each step of unknown outcome with a pair that nobody else can have put: the revision at which some
/// answer shows it.
fn pin(
    steps: &[Step<'_>],
    unknown: &[usize],
    evidence: &Evidence<'_>,
    pace: &mut Pace<'_>,
) -> Result<FxHashMap<usize, i64>, Stop> {
    // Of the pairs in question: how many can have put it, and where it was seen.
    let mut asked: FxHashMap<(&str, &str), (u32, Option<i64>)> = FxHashMap::default();
    let mut pairs = Vec::new();
    for index in unknown {
        may_put(&steps[*index].request, &mut pairs);
    }
    asked.extend(pairs.iter().map(|pair| (*pair, (0, None))));
    for step in steps {
        pace.step()?;
        pairs.clear();
        may_put(&step.request, &mut pairs);
        for pair in &pairs {
            if let Some((putters, _)) = asked.get_mut(pair) {
                *putters += 1;
            }
        }
    }
    for (revision, seen) in evidence.all() {
        pace.step()?;
        if let Some(value) = seen.value.as_deref()
            && let Some((_, at)) = asked.get_mut(&(seen.key, value))
        {
            *at = Some(*revision);
        }
    }
    let mut pinned = FxHashMap::default();
    for &index in unknown {
        pairs.clear();
        may_put(&steps[index].request, &mut pairs);
        let revision = pairs.iter().find_map(|pair| match asked[pair] {
            (1, revision) => revision,
            _ => None,
        });
        pinned.extend(revision.map(|revision| (index, revision)));
    }
    Ok(pinned)
}
