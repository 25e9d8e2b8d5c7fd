//! Does the operations in the order of their revisions, and compares every answer with the store's.
//!
//! A revision that no answer names was made by an operation of unknown outcome. Which one is a choice where
//! several fit; a choice that leads to a contradiction is taken back and the next one tried, so a
//! contradiction is only reported when every choice leads to one.

use rustc_hash::{FxHashMap, FxHashSet};

use super::evidence::{Evidence, may_put, may_write};
use super::step::Step;
use crate::budget::{Budget, Stop};
use crate::history::OpId;
use crate::spec::kv::{Refused, Reply, Store, may_mutate};
use crate::spec::kv_types::{KeyRange, Request};

/// Steps of the replay between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

/// What a replay concludes.
#[derive(Debug)]
pub enum Outcome {
    /// Every answer fits.
    Fits(Replay),
    /// An answer fits under no choice. The replay is the one that got furthest.
    Wrong(Wrong, Replay),
    /// The budget ended while choices were still open, this many answers in.
    Undecided(Stop, u64),
}

/// A replay, as far as it got.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The store at the end, with all its history.
    pub store: Store,
    /// Which operation made which revision.
    pub writers: FxHashMap<i64, OpId>,
    /// Operations of unknown outcome that took effect.
    pub resolved: u64,
    /// Choices that were taken back.
    pub taken_back: u64,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrong {
    /// An operation was answered otherwise than the store would have.
    Answer {
        /// The operation's index among the steps.
        step: usize,
        /// What the store gives, at the operation's place.
        given: Box<Result<Reply, Refused>>,
    },
    /// No operation can have made a revision.
    Unexplained {
        /// The revision.
        revision: i64,
        /// An operation that was answered with it or a later one.
        shown_by: OpId,
    },
}

/// Replays `steps` on an empty store. Where `shared`, others may have written to the store too, but not to
/// the keys of these steps: revisions that no step explains are theirs.
///
/// Compactions among the steps are left out.
pub fn replay(steps: &[Step], shared: bool, budget: &Budget) -> Outcome {
    Replayer::new(steps, shared, budget).run()
}

/// One decision about who made a revision.
struct Choice {
    /// Where in the order it was made, and the store then.
    position: usize,
    store: Store,
    revision: i64,
    chosen: Maker,
    /// What else it could be, best last.
    rest: Vec<Maker>,
}

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// The step of unknown outcome with this index.
    Step(usize),
    /// Somebody else.
    Other,
}

struct Replayer<'a> {
    steps: &'a [Step],
    shared: bool,
    budget: &'a Budget,
    evidence: Evidence,
    /// Answered steps, in the order of their revisions.
    order: Vec<usize>,
    /// The earliest return from each position of the order on.
    first_return: Vec<u64>,
    /// Steps of unknown outcome that may have written, in order of invocation.
    unknown: Vec<usize>,
    /// The only revision that a step of unknown outcome can have made, since its values were seen there.
    pinned: FxHashMap<usize, i64>,
    used: FxHashSet<usize>,
    choices: Vec<Choice>,
    taken_back: u64,
    turns: u64,
    furthest: Option<(usize, Wrong, Replay)>,
}

impl<'a> Replayer<'a> {
    fn new(steps: &'a [Step], shared: bool, budget: &'a Budget) -> Replayer<'a> {
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
        Replayer {
            steps,
            shared,
            budget,
            evidence,
            order,
            first_return,
            unknown,
            pinned,
            used: FxHashSet::default(),
            choices: Vec::new(),
            taken_back: 0,
            turns: 0,
            furthest: None,
        }
    }

    fn run(mut self) -> Outcome {
        let mut store = self.empty_store();
        let mut position = 0;
        while position < self.order.len() {
            self.turns += 1;
            if self.turns.is_multiple_of(STEPS_PER_LOOK)
                && let Err(stop) = self.budget.go_on()
            {
                let done = self.furthest.as_ref().map_or(position, |furthest| furthest.0.max(position));
                return Outcome::Undecided(stop, done as u64);
            }
            let wrong = match self.do_next(&mut store, self.order[position], position) {
                Ok(Done::Gap) => continue,
                Ok(Done::Step) => {
                    position += 1;
                    continue;
                }
                Err(wrong) => wrong,
            };
            if self.furthest.as_ref().is_none_or(|furthest| furthest.0 < position) {
                let replay = self.so_far(store.clone(), position);
                self.furthest = Some((position, wrong, replay));
            }
            match self.take_back() {
                Some((at, before)) => (position, store) = (at, before),
                None => {
                    let (_, wrong, replay) = self.furthest.expect("a contradiction was just found");
                    return Outcome::Wrong(wrong, replay);
                }
            }
        }
        let replay = self.so_far(store, position);
        Outcome::Fits(replay)
    }

    fn empty_store(&self) -> Store {
        match self.order.first() {
            // What others did before is no concern of these steps.
            Some(&first) if self.shared => {
                let step = &self.steps[first];
                Store::at((step.rev - i64::from(step.is_write())).max(1))
            }
            Some(_) | None => Store::new(),
        }
    }

    /// Does the step at a position, or the revision that is missing before it.
    fn do_next(&mut self, store: &mut Store, index: usize, position: usize) -> Result<Done, Wrong> {
        let step = &self.steps[index];
        let writes = step.is_write();
        if store.rev() < step.rev - i64::from(writes) {
            return self.fill_gap(store, step, position);
        }
        let given = if writes || !may_mutate(&step.request) {
            store.apply(&step.request)
        } else {
            // It was answered as one that changes nothing. If it would, the answer is wrong, and the store
            // is shown as it was.
            store.clone().apply(&step.request)
        };
        match &given {
            Ok(reply) if reply.rev == step.rev && step.fits(reply) => Ok(Done::Step),
            Ok(_) | Err(_) => Err(Wrong::Answer { step: index, given: Box::new(given) }),
        }
    }

    fn fill_gap(&mut self, store: &mut Store, step: &Step, position: usize) -> Result<Done, Wrong> {
        let revision = store.rev() + 1;
        let mut makers = self.makers(store, revision, position);
        let Some(chosen) = makers.pop() else {
            return Err(Wrong::Unexplained { revision, shown_by: step.id });
        };
        let before = store.clone();
        self.choose(store, chosen);
        self.choices.push(Choice { position, store: before, revision, chosen, rest: makers });
        Ok(Done::Gap)
    }

    fn choose(&mut self, store: &mut Store, maker: Maker) {
        match maker {
            Maker::Other => store.skip_revision(),
            Maker::Step(index) => {
                let applied = store.apply(&self.steps[index].request);
                assert!(applied.is_ok(), "a maker was tried on this store: {:?}", self.steps[index]);
                self.used.insert(index);
            }
        }
    }

    /// Who can have made a revision, the likeliest last: who began last, then others.
    fn makers(&self, store: &Store, revision: i64, position: usize) -> Vec<Maker> {
        let mut makers = Vec::new();
        if self.shared && self.evidence.of(revision).is_empty() {
            makers.push(Maker::Other);
        }
        let mut tried: FxHashSet<&Request> = FxHashSet::default();
        let began =
            self.unknown.partition_point(|index| self.steps[*index].invoked < self.first_return[position]);
        for &index in self.unknown[..began].iter().rev() {
            if self.used.contains(&index) || self.pinned.get(&index).is_some_and(|only| *only != revision) {
                continue;
            }
            let request = &self.steps[index].request;
            // Equal requests can stand in for each other.
            if tried.insert(request) && self.can_make(store, revision, request) {
                makers.push(Maker::Step(index));
            }
        }
        let ours = usize::from(makers.first() == Some(&Maker::Other));
        makers[ours..].reverse();
        makers
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

    /// Takes back choices up to the newest that leaves another, and makes that.
    fn take_back(&mut self) -> Option<(usize, Store)> {
        while let Some(mut choice) = self.choices.pop() {
            self.taken_back += 1;
            if let Maker::Step(index) = choice.chosen {
                self.used.remove(&index);
            }
            let Some(next) = choice.rest.pop() else { continue };
            let mut store = choice.store.clone();
            self.choose(&mut store, next);
            let position = choice.position;
            choice.chosen = next;
            self.choices.push(choice);
            return Some((position, store));
        }
        None
    }

    fn so_far(&self, store: Store, position: usize) -> Replay {
        let answered = self.order[..position].iter().map(|index| &self.steps[*index]);
        let mut writers: FxHashMap<i64, OpId> =
            answered.filter(|step| step.is_write()).map(|step| (step.rev, step.id)).collect();
        let mut resolved = 0;
        for choice in &self.choices {
            if let Maker::Step(index) = choice.chosen {
                writers.insert(choice.revision, self.steps[index].id);
                resolved += 1;
            }
        }
        Replay { store, writers, resolved, taken_back: self.taken_back }
    }
}

enum Done {
    /// A missing revision.
    Gap,
    /// The step.
    Step,
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
