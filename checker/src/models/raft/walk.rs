//! Random walks: far from the first state, where an exhaustive search does not come.

use super::{
    Bounds, Counterexample,
    properties::sometimes,
    tables::{Tables, View},
    world::{Scratch, World, action},
};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// How walks are taken.
#[derive(Clone, Debug)]
pub struct Walks {
    /// Within which bounds.
    pub bounds: Bounds,
    /// Walk `n` follows from this and `n`.
    pub seed: u64,
    /// Steps of each.
    pub steps_max: usize,
    /// Walks to take.
    pub walks_max: u64,
    /// Ends after so long.
    pub time_max: Option<Duration>,
    /// Threads.
    pub threads: usize,
}

/// What walks found.
#[derive(Clone, Debug)]
pub struct WalkReport {
    /// Walks taken.
    pub walks: u64,
    /// Steps of all.
    pub steps: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What is broken, and how; with the number of the walk.
    pub counterexample: Option<(u64, Counterexample)>,
    /// What must happen somewhere, and whether it did.
    pub sometimes: Vec<(&'static str, bool)>,
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = x ^ (x >> 31);
        ((u128::from(word) * limit as u128) >> 64) as usize
    }
}

/// Acts that are tried until one has an effect.
const TRIES: usize = 12;
/// Messages that count as fresh.
const FRESH: usize = 6;

/// How one walk chooses: each has other habits, for what one never does another does all the time.
struct Habits {
    /// One in so many steps is no arrival of a message, where both are possible.
    own_acts: usize,
    /// In so many of ten arrivals a message that was sent lately is taken, if it can be.
    fresh: usize,
    /// A node hears nothing from this step on, up to the second.
    deaf: Option<(u8, usize, usize)>,
}

impl Habits {
    fn draw(dice: &mut Dice, nodes: u64, steps_max: usize) -> Habits {
        let own_acts = [2, 4, 4, 8][dice.below(4)];
        let fresh = [0, 5, 9][dice.below(3)];
        let deaf = (dice.below(2) == 0).then(|| {
            let node =
                u8::try_from(dice.below(usize::try_from(nodes).expect("few nodes"))).expect("few nodes");
            let from = dice.below(steps_max.max(1));
            (node, from, from + 1 + dice.below(steps_max.max(1)))
        });
        Habits { own_acts, fresh, deaf }
    }

    fn hears(&self, node: u8, step: usize) -> bool {
        self.deaf.is_none_or(|(deaf, from, until)| node != deaf || !(from..until).contains(&step))
    }
}

struct Shared<'a> {
    walks: &'a Walks,
    next: AtomicU64,
    taken: AtomicU64,
    steps: AtomicU64,
    marks: AtomicU8,
    over: AtomicBool,
    /// The lowest walk that found something: the same one whatever the number of threads.
    found: Mutex<Option<(u64, Counterexample)>>,
    begun: Instant,
}

impl Walks {
    /// Takes the walks, in the order of their numbers.
    pub fn run(&self) -> WalkReport {
        let tables = Tables::new(self.bounds.clone(), false);
        let shared = Shared {
            walks: self,
            next: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            marks: AtomicU8::new(0),
            over: AtomicBool::new(false),
            found: Mutex::new(None),
            begun: Instant::now(),
        };
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| shared.work(&mut View::new(&tables)));
            }
        });
        let marks = shared.marks.load(Relaxed);
        let seen = sometimes(&self.bounds).into_iter().map(|(bit, name)| (name, marks & bit != 0));
        WalkReport {
            walks: shared.taken.load(Relaxed),
            steps: shared.steps.load(Relaxed),
            elapsed: shared.begun.elapsed(),
            sometimes: seen.collect(),
            counterexample: shared.found.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Shared<'_> {
    fn work(&self, view: &mut View<'_>) {
        while !self.over.load(Relaxed) {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= self.walks.walks_max
                || self.walks.time_max.is_some_and(|limit| self.begun.elapsed() >= limit)
            {
                return;
            }
            if let Some(found) = self.walk(number, view) {
                let mut best = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                if best.as_ref().is_none_or(|(other, _)| number < *other) {
                    *best = Some((number, found));
                }
                self.over.store(true, Relaxed);
            }
            self.taken.fetch_add(1, Relaxed);
        }
    }

    fn walk(&self, number: u64, view: &mut View<'_>) -> Option<Counterexample> {
        let mut dice = Dice(self.walks.seed ^ number.wrapping_mul(0xd605_1d87_92d5_a4b1));
        let (mut world, mut room) = (World::first(view), World::default());
        let (mut scratch, mut acts, mut marks) = (Scratch::default(), Vec::new(), 0);
        let mut taken: Vec<(raft::NodeId, u32)> = Vec::new();
        let mut found = None;
        let habits = Habits::draw(&mut dice, self.walks.bounds.nodes, self.walks.steps_max);
        // What was sent lately, the newest last.
        let mut fresh: Vec<u32> = Vec::new();
        while taken.len() < self.walks.steps_max && found.is_none() {
            world.acts(view, &mut acts);
            let mail = world.mail.len();
            let mut moved = false;
            for _ in 0..TRIES {
                let own = acts.len() - mail;
                let arrival = mail > 0 && (own == 0 || dice.below(habits.own_acts) > 0);
                let range = if arrival { 0..mail } else { mail..acts.len() };
                if range.is_empty() {
                    break;
                }
                let mut place = range.start + dice.below(range.len());
                if arrival && dice.below(10) < habits.fresh && !fresh.is_empty() {
                    let wanted = fresh[dice.below(fresh.len())];
                    place = world.mail.iter().position(|message| *message == wanted).unwrap_or(place);
                }
                let (at, act) = acts[place];
                if arrival && !habits.hears(at, taken.len()) {
                    continue;
                }
                let Some(next) = world.after(view, &mut scratch, at, act) else { continue };
                taken.push((next.node(), act));
                marks |= next.marks;
                found = next.broken.clone();
                next.world(&mut room);
                moved = true;
                break;
            }
            if !moved {
                break;
            }
            fresh.extend(room.mail.iter().filter(|message| !world.mail.contains(message)));
            fresh.drain(..fresh.len().saturating_sub(FRESH));
            std::mem::swap(&mut world, &mut room);
        }
        self.steps.fetch_add(taken.len() as u64, Relaxed);
        self.marks.fetch_or(marks, Relaxed);
        let broken = found?;
        let actions = taken.into_iter().map(|(node, act)| action(view, node, act)).collect();
        Some(Counterexample { actions, broken })
    }
}
