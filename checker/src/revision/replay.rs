//! Does the operations in the order of their revisions, and compares every answer with the store's.
//!
//! A revision that no answer names was made by an operation of unknown outcome. Which one is a choice where
//! several fit. When an answer does not fit, the newest choice that may be to blame is made anew
//! ([`Blame`]); choices that cannot matter are jumped over (conflict-directed backjumping: Prosser, "Hybrid
//! algorithms for the constraint satisfaction problem", 1993). So a contradiction is only reported when
//! every choice leads to one.

use rustc_hash::FxHashMap;

use super::blame::{Blame, Blamed, Left, Made, Wanted, mentioned};
use super::cursor::{Cursor, First, Maker};
use super::doubt::{Doubt, doubts};
use super::makers::{Makers, Used};
use super::step::{Expect, Step};
use crate::budget::{Budget, Pace, Stop};
use crate::history::OpId;
use crate::spec::kv::{Mark, Refused, Reply, Store};
use crate::spec::kv_types::Request;

/// What a turn of the replay counts for a [`Pace`].
const STEPS_OF_A_TURN: usize = 16;
/// Choices that are open at once before the replay gives up.
const CHOICES_MAX: usize = 1 << 20;
/// Choices that are taken back before the replay gives up.
const TAKEN_BACK_MAX: u64 = 1_000_000;

/// After so many choices taken back without a step forward, a run of missing revisions is begun anew with the other of
/// the steps first; after twice as many the next time, so that what needs them all gets them.
const TAKEN_BACK_FIRST: u64 = 500;

/// Revisions before the first answer that are looked at for what was made without one.
const BEFORE_MAX: i64 = 1 << 6;

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
pub fn replay(steps: &[Step<'_>], beginning: Beginning, budget: &Budget) -> Outcome {
    match Replayer::new(steps, beginning, budget) {
        Ok(replayer) => replayer.run(),
        Err(stop) => Outcome::Undecided(stop, 0),
    }
}

/// One decision about who made a revision.
struct Choice {
    /// Where in the order it was made, and how the store was then.
    position: usize,
    before: Mark,
    revision: i64,
    chosen: Maker,
    /// What else it could be.
    rest: Cursor,
    /// What may be made of it yet.
    left: Left,
    /// Earlier choices that later contradictions may be due to as well.
    blamed: Blamed,
}

struct Replayer<'a> {
    steps: &'a [Step<'a>],
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
    furthest: Option<Furthest>,
    /// Which steps are tried first, until how many were taken back, and how many that are.
    first: First,
    turn_at: u64,
    turn_after: u64,
}

/// The contradiction that was come to last in the order, and what was chosen on the way.
struct Furthest {
    position: usize,
    wrong: Wrong,
    made: Vec<Made>,
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
    fn new(steps: &'a [Step<'a>], beginning: Beginning, budget: &'a Budget) -> Result<Replayer<'a>, Stop> {
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
            first: First::default(),
            turn_at: TAKEN_BACK_FIRST,
            turn_after: TAKEN_BACK_FIRST,
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
            if self.furthest.as_ref().is_none_or(|furthest| furthest.position < position) {
                self.furthest = Some(Furthest { position, wrong, made: self.made.clone() });
                (self.turn_after, self.turn_at) = (TAKEN_BACK_FIRST, self.taken_back + TAKEN_BACK_FIRST);
            }
            match self.take_back(blamed, &mut store, position) {
                Ok(Some(at)) => position = self.turn(&mut store, at),
                Ok(None) => {
                    let furthest = self.furthest.take().expect("a contradiction was just found");
                    let store = self.again(&furthest);
                    let replay = self.so_far(store, &furthest.made, furthest.position);
                    return Outcome::Wrong(furthest.wrong, replay);
                }
                Err(stop) => return self.undecided(stop, position),
            }
        }
        let replay = self.so_far(store, &self.made, position);
        Outcome::Fits(replay)
    }

    fn undecided(&self, stop: Stop, position: usize) -> Outcome {
        let done = self.furthest.as_ref().map_or(position, |furthest| furthest.position.max(position));
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
                let before = step.proves() - i64::from(step.is_write());
                // What steps of unknown outcome had made before was seen, or can have been made just before.
                let seen = self.makers.evidence.all().first().map_or(i64::MAX, |(revision, _)| *revision);
                let unseen = before.saturating_sub(self.makers.begun(0) as i64);
                let first = unseen.min(seen.saturating_sub(1));
                Store::at(first.max(before.saturating_sub(BEFORE_MAX)).max(1))
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
        } else if let (Request::Range(range), Expect::Response(answer)) = (&*step.request, &step.expect)
            && store.rev() == step.rev
            && store.answers_range(range, answer)
        {
            return Ok(Done::Step);
        } else {
            let before = store.mark();
            let given = store.apply(&step.request);
            if !writes && store.rev() > before.rev() {
                // It was answered as one that changes nothing. The answer is wrong, and the store is shown as it was.
                store.take_back(&step.request, before);
                store.go_back(before);
            }
            given
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
        let mut rest = self.makers.cursor(revision, position, self.last.get(&revision).copied(), self.first);
        let left = Left::default();
        let Some(chosen) =
            self.makers.next(store, revision, &mut rest, (&self.used, &left), &mut self.pace)?
        else {
            let shown_by = self.steps[self.makers.order()[position]].id;
            return Err(End::Wrong(Wrong::Unexplained { revision, shown_by }));
        };
        let (before, blamed) = (store.mark(), Blamed::default());
        self.choose(store, Choice { position, before, revision, chosen, rest, left, blamed });
        Ok(Done::Gap)
    }

    fn choose(&mut self, store: &mut Store, choice: Choice) {
        match choice.chosen {
            Maker::Other => store.skip_to(store.rev() + 1),
            Maker::Step(index) => {
                self.make(store, index);
                self.used.insert(index, self.choices.len());
            }
        }
        let Choice { chosen: by, revision, position, .. } = choice;
        self.last.insert(revision, by);
        self.made.push(Made { by, revision, position });
        self.choices.push(choice);
    }

    /// Takes back the newest choice, and all that was done since, up to a position and including it.
    fn unchoose(&mut self, store: &mut Store, position: usize) -> Option<Choice> {
        let choice = self.choices.pop()?;
        self.made.pop();
        for index in &self.makers.order()[choice.position..=position] {
            if self.steps[*index].is_write() {
                store.take_back(&self.steps[*index].request, choice.before);
            }
        }
        if let Maker::Step(index) = choice.chosen {
            self.used.remove(&index);
            store.take_back(&self.steps[index].request, choice.before);
        }
        store.go_back(choice.before);
        Some(choice)
    }

    /// The choices that may be to blame for what does not fit.
    fn blamed(&self, wrong: &Wrong, position: usize) -> Blamed {
        match wrong {
            Wrong::Answer { step, given } => {
                // Of several reasons the one that goes back furthest says most.
                let doubts = doubts(&self.steps[*step], given);
                let blamed = doubts.iter().map(|doubt| self.for_doubt(doubt, position));
                blamed.min_by_key(Blamed::newest).unwrap_or_default()
            }
            Wrong::Unexplained { revision, .. } => self.dead_end(*revision, position, &Left::default()),
        }
    }

    /// The choices because of which nothing else that is left can make a revision.
    fn dead_end(&self, revision: i64, position: usize, left: &Left) -> Blamed {
        let mut blamed = Blamed::default();
        let mut keys = Vec::new();
        for index in self.makers.possible(revision, position, left) {
            match self.used.get(&index) {
                Some(choice) => blamed.add(*choice, Wanted::anything()),
                None => keys.extend(mentioned(&self.steps[index].request)),
            }
        }
        keys.sort_unstable_by(|a, b| (&a.key, &a.end).cmp(&(&b.key, &b.end)));
        keys.dedup();
        blamed.extend(self.for_doubt(&Doubt::now(keys), position));
        blamed
    }

    fn for_doubt(&self, doubt: &Doubt, position: usize) -> Blamed {
        self.blame.for_doubt(&self.made, &self.used, &self.makers, doubt, position)
    }

    /// Takes back choices, from a position on, up to the newest of the blamed that leaves another, and makes that; where
    /// to go on.
    fn take_back(
        &mut self,
        mut blamed: Blamed,
        store: &mut Store,
        mut position: usize,
    ) -> Result<Option<usize>, Stop> {
        loop {
            let Some((newest, wanted)) = blamed.pop_newest() else { return Ok(None) };
            let mut choice = loop {
                let choice = self.unchoose(store, position).expect("a blamed choice is one that was made");
                position = choice.position;
                if self.choices.len() == newest {
                    break choice;
                }
            };
            self.taken_back += 1;
            choice.blamed.extend(blamed);
            if choice.left.and(wanted) {
                choice.rest.narrow();
            }
            let Choice { revision, rest, left, .. } = &mut choice;
            let left = (&self.used, &*left);
            if let Some(next) = self.makers.next(store, *revision, rest, left, &mut self.pace)? {
                choice.chosen = next;
                self.choose(store, choice);
                return Ok(Some(position));
            }
            blamed = choice.blamed;
            blamed.extend(self.dead_end(choice.revision, choice.position, &choice.left));
        }
    }

    /// If nothing came of it for long: begins the run of missing revisions anew that ends with the newest choice, with
    /// the other of the steps first. That forgets what was tried there, so nothing is concluded from it; where to go on.
    fn turn(&mut self, store: &mut Store, mut position: usize) -> usize {
        if self.taken_back < self.turn_at {
            return position;
        }
        self.turn_after *= 2;
        self.turn_at = self.taken_back + self.turn_after;
        self.first = self.first.turned();
        loop {
            let Some(choice) = self.unchoose(store, position) else { return position };
            position = choice.position;
            self.last.remove(&choice.revision);
            if self.made.last().is_none_or(|before| before.revision + 1 < choice.revision) {
                return position;
            }
        }
    }

    /// The store as it was when a contradiction was come to.
    fn again(&self, furthest: &Furthest) -> Store {
        let Furthest { position, wrong, made } = furthest;
        let mut store = self.empty_store();
        let mut made = made.iter().peekable();
        for (at, index) in self.makers.order()[..=*position].iter().enumerate() {
            while let Some(made) = made.next_if(|made| made.position == at) {
                store.skip_to(made.revision - 1);
                match made.by {
                    Maker::Other => store.skip_to(made.revision),
                    Maker::Step(maker) => self.make(&mut store, maker),
                }
            }
            if at == *position
                && let Wrong::Unexplained { revision, .. } = wrong
            {
                store.skip_to(revision - 1);
                return store;
            }
            let step = &self.steps[*index];
            store.skip_to(store.rev().max(step.proves() - i64::from(step.is_write())));
            if step.is_write() {
                // The last may be refused: it does not fit.
                let _ = store.apply(&step.request);
            }
        }
        store
    }

    fn make(&self, store: &mut Store, maker: usize) {
        let applied = store.apply(&self.steps[maker].request);
        assert!(applied.is_ok(), "a maker was tried on this store: {:?}", self.steps[maker]);
    }

    fn so_far(&self, store: Store, made: &[Made], position: usize) -> Replay {
        let answered = self.makers.order()[..position].iter().map(|index| &self.steps[*index]);
        // About every second answer is one of a write.
        let mut writers = FxHashMap::with_capacity_and_hasher(position / 2, Default::default());
        writers.extend(answered.filter(|step| step.is_write()).map(|step| (step.rev, step.id)));
        let mut resolved = 0;
        for made in made {
            if let Maker::Step(index) = made.by {
                writers.insert(made.revision, self.steps[index].id);
                resolved += 1;
            }
        }
        Replay { store, writers, resolved, taken_back: self.taken_back }
    }
}
