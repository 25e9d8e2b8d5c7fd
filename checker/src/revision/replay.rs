//! Does the operations in the order of their revisions, and compares every answer with the store's.
//!
//! A revision that no answer names was made by an operation of unknown outcome. Which one is a choice where
//! several fit. When an answer does not fit, the newest choice that may be to blame is made anew
//! ([`Blame`]); choices that cannot matter are jumped over (conflict-directed backjumping: Prosser, "Hybrid
//! algorithms for the constraint satisfaction problem", 1993). So a contradiction is only reported when
//! every choice leads to one.

use rustc_hash::FxHashMap;

use super::blame::{Blame, Blamed, Made, Wanted, mentioned};
use super::makers::{Cursor, Maker, Makers, Used};
use super::step::Step;
use crate::budget::{Budget, Pace, Stop};
use crate::history::OpId;
use crate::spec::kv::{Refused, Reply, Store, may_mutate};

/// What a turn of the replay counts for a [`Pace`].
const STEPS_OF_A_TURN: usize = 16;
/// Choices that are open at once before the replay gives up.
const CHOICES_MAX: usize = 1 << 20;
/// Choices that are taken back before the replay gives up.
const TAKEN_BACK_MAX: u64 = 1_000_000;

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

/// Replays `steps`. Of compactions among them, only that their revision was there is checked.
pub fn replay(steps: &[Step], beginning: Beginning, budget: &Budget) -> Outcome {
    match Replayer::new(steps, beginning, budget) {
        Ok(replayer) => replayer.run(),
        Err(stop) => Outcome::Undecided(stop, 0),
    }
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
    /// What has been wanted instead.
    wanted: Wanted,
    /// Earlier choices that later contradictions may be due to as well.
    blamed: Blamed,
}

struct Replayer<'a> {
    steps: &'a [Step],
    beginning: Beginning,
    pace: Pace<'a>,
    makers: Makers<'a>,
    blame: Blame<'a>,
    used: Used,
    choices: Vec<Choice>,
    /// The same, as far as it is blamed.
    made: Vec<Made>,
    /// Who was last chosen for each revision.
    last: FxHashMap<i64, Maker>,
    taken_back: u64,
    furthest: Option<(usize, Wrong, Replay)>,
}

enum Done {
    /// A missing revision.
    Gap,
    /// The step.
    Step,
}

/// Why nothing was done.
enum End {
    Wrong(Wrong),
    Stop(Stop),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> End {
        End::Stop(stop)
    }
}

impl<'a> Replayer<'a> {
    fn new(steps: &'a [Step], beginning: Beginning, budget: &'a Budget) -> Result<Replayer<'a>, Stop> {
        let mut pace = budget.pace();
        let makers = Makers::new(steps, beginning.shared, &mut pace)?;
        let blame = Blame::new(steps, makers.order());
        Ok(Replayer {
            steps,
            beginning,
            pace,
            makers,
            blame,
            used: Used::default(),
            made: Vec::new(),
            last: FxHashMap::default(),
            choices: Vec::new(),
            taken_back: 0,
            furthest: None,
        })
    }

    fn run(mut self) -> Outcome {
        let mut store = self.empty_store();
        let mut position = 0;
        while position < self.makers.order().len() {
            let done = self.look().map_err(End::Stop).and_then(|()| self.do_next(&mut store, position));
            let wrong = match done {
                Ok(Done::Gap) => continue,
                Ok(Done::Step) => {
                    position += 1;
                    continue;
                }
                Err(End::Wrong(wrong)) => wrong,
                Err(End::Stop(stop)) => return self.undecided(stop, position),
            };
            let blamed = self.blamed(&wrong, position);
            if self.furthest.as_ref().is_none_or(|furthest| furthest.0 < position) {
                let replay = self.so_far(store.clone(), position);
                self.furthest = Some((position, wrong, replay));
            }
            match self.take_back(blamed) {
                Ok(Some((at, before))) => (position, store) = (at, before),
                Ok(None) => {
                    let (_, wrong, replay) = self.furthest.expect("a contradiction was just found");
                    return Outcome::Wrong(wrong, replay);
                }
                Err(stop) => return self.undecided(stop, position),
            }
        }
        let replay = self.so_far(store, position);
        Outcome::Fits(replay)
    }

    fn undecided(&self, stop: Stop, position: usize) -> Outcome {
        let done = self.furthest.as_ref().map_or(position, |furthest| furthest.0.max(position));
        Outcome::Undecided(stop, done as u64)
    }

    fn look(&mut self) -> Result<(), Stop> {
        if self.taken_back > TAKEN_BACK_MAX || self.choices.len() > CHOICES_MAX {
            return Err(Stop::Ambiguous);
        }
        self.pace.steps(STEPS_OF_A_TURN)
    }

    fn empty_store(&self) -> Store {
        if let Some(revision) = self.beginning.revision {
            return Store::at(revision);
        }
        match self.makers.order().first() {
            // What others did before is no concern of these steps.
            Some(&first) if self.beginning.shared => {
                let step = &self.steps[first];
                Store::at((step.proves() - i64::from(step.is_write())).max(1))
            }
            Some(_) | None => Store::new(),
        }
    }

    /// Does the step at a position, or a revision that is missing before it.
    fn do_next(&mut self, store: &mut Store, position: usize) -> Result<Done, End> {
        let index = self.makers.order()[position];
        let step = &self.steps[index];
        let writes = step.is_write();
        if store.rev() < step.proves() - i64::from(writes) {
            return self.fill_gap(store, position);
        }
        if step.is_compaction() {
            return Ok(Done::Step);
        }
        let given = if step.stale_allowed && step.proves() < self.beginning.revision.unwrap_or_default() {
            // A member that lags may answer from before the first of these steps.
            Store::at(step.proves()).apply(&step.request)
        } else if writes || !may_mutate(&step.request) || !store.may_change(&step.request) {
            store.apply(&step.request)
        } else {
            // It was answered as one that changes nothing. If it would, the answer is wrong, and the store
            // is shown as it was.
            store.clone().apply(&step.request)
        };
        match &given {
            Ok(reply) if reply.rev == step.rev && step.fits(reply) => Ok(Done::Step),
            Ok(_) | Err(_) => Err(End::Wrong(Wrong::Answer { step: index, given: Box::new(given) })),
        }
    }

    fn fill_gap(&mut self, store: &mut Store, position: usize) -> Result<Done, End> {
        let revision = store.rev() + 1;
        if self.makers.surely_other(revision, position) {
            let step = &self.steps[self.makers.order()[position]];
            let last = step.proves() - i64::from(step.is_write());
            store.skip_to(self.makers.last_unseen(revision, last));
            return Ok(Done::Gap);
        }
        let mut rest = self.makers.cursor(revision, position, self.last.get(&revision).copied());
        let wanted = (&self.used, &Wanted::anything());
        let Some(chosen) = self.makers.next(store, revision, &mut rest, wanted, &mut self.pace)? else {
            let shown_by = self.steps[self.makers.order()[position]].id;
            return Err(End::Wrong(Wrong::Unexplained { revision, shown_by }));
        };
        let before = store.clone();
        let (wanted, blamed) = (Wanted::default(), Blamed::default());
        self.choose(store, Choice { position, store: before, revision, chosen, rest, wanted, blamed });
        Ok(Done::Gap)
    }

    fn choose(&mut self, store: &mut Store, choice: Choice) {
        match choice.chosen {
            Maker::Other => store.skip_to(store.rev() + 1),
            Maker::Step(index) => {
                let applied = store.apply(&self.steps[index].request);
                assert!(applied.is_ok(), "a maker was tried on this store: {:?}", self.steps[index]);
                self.used.insert(index, self.choices.len());
            }
        }
        let Choice { chosen: by, revision, position, .. } = choice;
        self.last.insert(revision, by);
        self.made.push(Made { by, revision, position });
        self.choices.push(choice);
    }

    /// Takes back the newest choice.
    fn unchoose(&mut self) -> Option<Choice> {
        let choice = self.choices.pop()?;
        self.made.pop();
        if let Maker::Step(index) = choice.chosen {
            self.used.remove(&index);
        }
        Some(choice)
    }

    /// The choices that may be to blame for what does not fit.
    fn blamed(&self, wrong: &Wrong, position: usize) -> Blamed {
        match wrong {
            Wrong::Answer { step, .. } => {
                let keys = mentioned(&self.steps[*step].request);
                self.blame.for_keys(&self.made, &self.used, &self.makers, &keys, position)
            }
            Wrong::Unexplained { revision, .. } => self.dead_end(*revision, position, &Wanted::anything()),
        }
    }

    /// The choices because of which nothing else that is wanted can make a revision.
    fn dead_end(&self, revision: i64, position: usize, wanted: &Wanted) -> Blamed {
        let mut blamed = Blamed::default();
        let mut keys = Vec::new();
        let possible = self.makers.possible(revision, position);
        for index in possible.into_iter().filter(|index| wanted.includes(self.makers.written(*index))) {
            match self.used.get(&index) {
                Some(choice) => blamed.add(*choice, Wanted::anything()),
                None => keys.extend(mentioned(&self.steps[index].request)),
            }
        }
        keys.sort_unstable_by(|a, b| (&a.key, &a.end).cmp(&(&b.key, &b.end)));
        keys.dedup();
        blamed.extend(self.blame.for_keys(&self.made, &self.used, &self.makers, &keys, position));
        blamed
    }

    /// Takes back choices up to the newest of the blamed that leaves another, and makes that.
    fn take_back(&mut self, mut blamed: Blamed) -> Result<Option<(usize, Store)>, Stop> {
        loop {
            let Some((newest, wanted)) = blamed.pop_newest() else { return Ok(None) };
            while self.choices.len() > newest + 1 {
                self.unchoose();
            }
            self.taken_back += 1;
            let mut choice = self.unchoose().expect("a blamed choice is one that was made");
            choice.blamed.extend(blamed);
            if choice.wanted.add(wanted) {
                choice.rest.restart();
            }
            let Choice { store, revision, rest, wanted, .. } = &mut choice;
            let wanted = (&self.used, &*wanted);
            if let Some(next) = self.makers.next(store, *revision, rest, wanted, &mut self.pace)? {
                let mut store = choice.store.clone();
                let position = choice.position;
                choice.chosen = next;
                self.choose(&mut store, choice);
                return Ok(Some((position, store)));
            }
            blamed = choice.blamed;
            blamed.extend(self.dead_end(choice.revision, choice.position, &choice.wanted));
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
