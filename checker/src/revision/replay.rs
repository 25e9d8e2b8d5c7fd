//! Does the operations in the order of their revisions, and compares every answer with the store's.
//!
//! A revision that no answer names was made by an operation of unknown outcome. Which one is a choice where
//! several fit. When an answer does not fit, the newest choice that may be to blame is made anew
//! ([`Blame`]); choices that cannot matter are jumped over (conflict-directed backjumping: Prosser, "Hybrid
//! algorithms for the constraint satisfaction problem", 1993). So a contradiction is only reported when
//! every choice leads to one.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::blame::{Blame, Made, mentioned};
use super::makers::{Cursor, Maker, Makers};
use super::step::Step;
use crate::budget::{Budget, Stop};
use crate::history::OpId;
use crate::spec::kv::{Refused, Reply, Store, may_mutate};

/// Steps of the replay between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;
/// Choices that are taken back before the replay gives up.
const TAKEN_BACK_MAX: u64 = 50_000;

/// The store at the beginning, and who writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The store's revision before the first step; `None` if it is not known.
    pub revision: Option<i64>,
    /// Whether others write too, but not to the keys of the steps: revisions that no step explains are
    /// theirs.
    pub shared: bool,
}

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

/// Replays `steps`. Compactions among them are left out.
pub fn replay(steps: &[Step], beginning: Beginning, budget: &Budget) -> Outcome {
    Replayer::new(steps, beginning, budget).run()
}

/// One decision about who made a revision.
struct Choice {
    /// Where in the order it was made, and the store then.
    position: usize,
    store: Store,
    revision: i64,
    chosen: Maker,
    /// What else it could be.
    rest: Cursor,
    /// Earlier choices that later contradictions may be due to as well.
    blamed: BTreeSet<usize>,
}

struct Replayer<'a> {
    steps: &'a [Step],
    beginning: Beginning,
    budget: &'a Budget,
    makers: Makers<'a>,
    blame: Blame<'a>,
    used: FxHashSet<usize>,
    choices: Vec<Choice>,
    taken_back: u64,
    turns: u64,
    furthest: Option<(usize, Wrong, Replay)>,
}

enum Done {
    /// A missing revision.
    Gap,
    /// The step.
    Step,
}

impl<'a> Replayer<'a> {
    fn new(steps: &'a [Step], beginning: Beginning, budget: &'a Budget) -> Replayer<'a> {
        let makers = Makers::new(steps, beginning.shared);
        let blame = Blame::new(steps, makers.order());
        Replayer {
            steps,
            beginning,
            budget,
            makers,
            blame,
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
        while position < self.makers.order().len() {
            if let Err(stop) = self.look() {
                let done = self.furthest.as_ref().map_or(position, |furthest| furthest.0.max(position));
                return Outcome::Undecided(stop, done as u64);
            }
            let wrong = match self.do_next(&mut store, position) {
                Ok(Done::Gap) => continue,
                Ok(Done::Step) => {
                    position += 1;
                    continue;
                }
                Err(wrong) => wrong,
            };
            let blamed = self.blamed(&wrong, position);
            if self.furthest.as_ref().is_none_or(|furthest| furthest.0 < position) {
                let replay = self.so_far(store.clone(), position);
                self.furthest = Some((position, wrong, replay));
            }
            match self.take_back(blamed) {
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

    fn look(&mut self) -> Result<(), Stop> {
        self.turns += 1;
        if self.taken_back > TAKEN_BACK_MAX {
            return Err(Stop::Ambiguous);
        }
        if self.turns.is_multiple_of(STEPS_PER_LOOK) { self.budget.go_on() } else { Ok(()) }
    }

    fn empty_store(&self) -> Store {
        if let Some(revision) = self.beginning.revision {
            return Store::at(revision);
        }
        match self.makers.order().first() {
            // What others did before is no concern of these steps.
            Some(&first) if self.beginning.shared => {
                let step = &self.steps[first];
                Store::at((step.rev - i64::from(step.is_write())).max(1))
            }
            Some(_) | None => Store::new(),
        }
    }

    /// Does the step at a position, or a revision that is missing before it.
    fn do_next(&mut self, store: &mut Store, position: usize) -> Result<Done, Wrong> {
        let index = self.makers.order()[position];
        let step = &self.steps[index];
        let writes = step.is_write();
        if store.rev() < step.rev - i64::from(writes) {
            return self.fill_gap(store, position);
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

    fn fill_gap(&mut self, store: &mut Store, position: usize) -> Result<Done, Wrong> {
        let revision = store.rev() + 1;
        if self.makers.surely_other(revision, position) {
            store.skip_revision();
            return Ok(Done::Gap);
        }
        let mut rest = self.makers.cursor(revision, position);
        let Some(chosen) = self.makers.next(store, revision, &mut rest, &self.used) else {
            let shown_by = self.steps[self.makers.order()[position]].id;
            return Err(Wrong::Unexplained { revision, shown_by });
        };
        let before = store.clone();
        self.choose(store, chosen);
        let blamed = BTreeSet::new();
        self.choices.push(Choice { position, store: before, revision, chosen, rest, blamed });
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

    /// The choices that may be to blame for what does not fit.
    fn blamed(&self, wrong: &Wrong, position: usize) -> BTreeSet<usize> {
        match wrong {
            Wrong::Answer { step, .. } => {
                let keys = mentioned(&self.steps[*step].request);
                self.blame.for_keys(&self.made(self.choices.len()), &self.makers, &keys, position)
            }
            Wrong::Unexplained { revision, .. } => self.dead_end(*revision, position, self.choices.len()),
        }
    }

    /// The choices because of which no other operation can make a revision.
    fn dead_end(&self, revision: i64, position: usize, before: usize) -> BTreeSet<usize> {
        let made = self.made(before);
        let mut blamed = BTreeSet::new();
        let mut keys = Vec::new();
        for index in self.makers.possible(revision, position) {
            match made.iter().position(|made| made.by == Maker::Step(index)) {
                Some(choice) => {
                    blamed.insert(choice);
                }
                None => keys.extend(mentioned(&self.steps[index].request)),
            }
        }
        blamed.extend(self.blame.for_keys(&made, &self.makers, &keys, position));
        blamed
    }

    fn made(&self, before: usize) -> Vec<Made> {
        let made = |choice: &Choice| Made {
            by: choice.chosen,
            revision: choice.revision,
            position: choice.position,
        };
        self.choices[..before].iter().map(made).collect()
    }

    /// Takes back choices up to the newest of the blamed that leaves another, and makes that.
    fn take_back(&mut self, mut blamed: BTreeSet<usize>) -> Option<(usize, Store)> {
        loop {
            let newest = blamed.pop_last()?;
            for choice in self.choices.drain(newest + 1..) {
                if let Maker::Step(index) = choice.chosen {
                    self.used.remove(&index);
                }
            }
            self.taken_back += 1;
            let mut choice = self.choices.pop().expect("a blamed choice is one that was made");
            if let Maker::Step(index) = choice.chosen {
                self.used.remove(&index);
            }
            choice.blamed.append(&mut blamed);
            if let Some(next) = self.makers.next(&choice.store, choice.revision, &mut choice.rest, &self.used)
            {
                let mut store = choice.store.clone();
                self.choose(&mut store, next);
                let position = choice.position;
                choice.chosen = next;
                self.choices.push(choice);
                return Some((position, store));
            }
            blamed = choice.blamed;
            blamed.extend(self.dead_end(choice.revision, choice.position, newest));
        }
    }

    fn so_far(&self, store: Store, position: usize) -> Replay {
        let answered = self.makers.order()[..position].iter().map(|index| &self.steps[*index]);
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
