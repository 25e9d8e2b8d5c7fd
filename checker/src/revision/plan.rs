//! Which operations of unknown outcome made the puts of a key that its versions say are missing.
//!
//! A key by itself is a small puzzle: so many puts are missing between two answers that show it, in the order in which
//! they and the known puts find what they must. The replay, which has all keys before it and every revision as a
//! place, would try the same few operations in thousands of equivalent places. A plan is advice: it says what to try
//! first, and leaves out whether two keys want the same revision.

use rustc_hash::{FxHashMap, FxHashSet};

use super::demand::{Demand, Gap, Link};

/// Places that are tried before a key is left without a plan.
const TRIES_MAX: u32 = 20_000;
/// Operations, and places between known puts, of one key up to which it is planned.
const OPERATIONS_MAX: usize = 64;
const PLACES_MAX: usize = 1_000;

/// Between which revisions, exclusive, an operation is to take effect, and as which of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) after: i64,
    pub(super) before: i64,
    pub(super) turn: usize,
}

/// For operations of unknown outcome of the keys that a plan was found for: the window, or `None` if it needs none.
#[derive(Debug, Default)]
pub(super) struct Plan {
    keys: FxHashSet<String>,
    windows: FxHashMap<usize, Option<Window>>,
}

/// An operation of unknown outcome.
pub(super) struct Candidate<'a> {
    pub(super) step: usize,
    pub(super) invoked: u64,
    pub(super) link: Link<'a>,
}

/// Where puts may be missing, as the rest of the history limits it.
pub(super) trait Places {
    /// Of the revisions between two, exclusive, how many can be puts of a key that no answer names; `most` if more.
    fn room(&self, key: &str, after: i64, before: i64, most: usize) -> usize;
    /// What took effect before a revision was invoked before this.
    fn begun_before(&self, revision: i64) -> u64;
}

impl Plan {
    /// Plans a key, if that can be done.
    pub(super) fn add(
        &mut self,
        key: &str,
        candidates: &[Candidate<'_>],
        demand: &Demand<'_>,
        places: &impl Places,
    ) {
        if candidates.len() > OPERATIONS_MAX {
            return;
        }
        let Some(gaps) = demand.gaps(key) else { return };
        let missing = gaps.iter().fold(0, |sum: usize, gap| sum.saturating_add(gap.missing));
        let places_count: usize = gaps.iter().map(|gap| gap.puts.len()).sum();
        if missing > candidates.len() || places_count > PLACES_MAX {
            return;
        }
        let rooms: Vec<Vec<Room>> = gaps.iter().map(|gap| Room::all_of(key, gap, places)).collect();
        let mut puzzle = Puzzle {
            candidates,
            gaps: &gaps,
            rooms: &rooms,
            dead: FxHashSet::default(),
            tries: 0,
            placed: Vec::new(),
        };
        if !puzzle.solve_gap(0, 0) {
            return;
        }
        let placed = std::mem::take(&mut puzzle.placed);
        self.keys.insert(key.to_owned());
        self.windows.extend(candidates.iter().map(|candidate| (candidate.step, None)));
        for (turn, (candidate, after, before)) in placed.into_iter().enumerate() {
            self.windows.insert(candidates[candidate].step, Some(Window { after, before, turn }));
        }
    }

    /// Whether the operations of a key were planned.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Whether a step may make a revision, by what is planned; `true` if nothing is.
    pub(super) fn allows(&self, step: usize, revision: i64) -> bool {
        match self.windows.get(&step) {
            None => true,
            Some(window) => window.is_some_and(|window| window.after < revision && revision < window.before),
        }
    }

    /// The window of a step, if it has one.
    pub(super) fn window(&self, step: usize) -> Option<Window> {
        self.windows.get(&step).copied().flatten()
    }
}

/// The place between two known puts of a key.
struct Room {
    after: i64,
    before: i64,
    size: usize,
    begun_before: u64,
}

impl Room {
    fn all_of(key: &str, gap: &Gap<'_>, places: &impl Places) -> Vec<Room> {
        let after = std::iter::once(gap.after).chain(gap.puts.iter().map(|(revision, _)| *revision));
        after
            .zip(&gap.puts)
            .map(|(after, (before, _))| Room {
                after,
                before: *before,
                size: places.room(key, after, *before, gap.missing),
                begun_before: places.begun_before(*before),
            })
            .collect()
    }
}

/// How far a puzzle is solved.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State<'a> {
    gap: usize,
    room: usize,
    /// Puts that the gap still misses.
    missing: usize,
    /// Puts that the room can still take.
    size: usize,
    /// Candidates that were used, a bit each.
    used: u64,
    /// What the key holds, where that is known.
    holds: Option<&'a str>,
}

struct Puzzle<'a> {
    candidates: &'a [Candidate<'a>],
    gaps: &'a [Gap<'a>],
    rooms: &'a [Vec<Room>],
    /// What was tried in vain.
    dead: FxHashSet<State<'a>>,
    tries: u32,
    /// Candidates with the revisions between which they are, in order.
    placed: Vec<(usize, i64, i64)>,
}

impl<'a> Puzzle<'a> {
    fn solve_gap(&mut self, gap: usize, used: u64) -> bool {
        let Some(found) = self.gaps.get(gap) else { return true };
        let size = self.rooms[gap].first().map_or(0, |room| room.size);
        self.solve(State { gap, room: 0, missing: found.missing, size, used, holds: found.holds })
    }

    fn solve(&mut self, state: State<'a>) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX || self.dead.contains(&state) {
            return false;
        }
        let State { gap, room, missing, size, used, holds } = state;
        let Some(here) = self.rooms[gap].get(room) else {
            return missing == 0 && self.solve_gap(gap + 1, used);
        };
        let (after, before, begun_before) = (here.after, here.before, here.begun_before);
        if missing > 0 && size > 0 {
            for (at, candidate) in self.candidates.iter().enumerate() {
                if used & (1 << at) != 0 || candidate.invoked >= begun_before || !candidate.link.finds(holds)
                {
                    continue;
                }
                self.placed.push((at, after, before));
                let (used, holds) = (used | 1 << at, Some(candidate.link.leaves));
                if self.solve(State { missing: missing - 1, size: size - 1, used, holds, ..state }) {
                    return true;
                }
                self.placed.pop();
            }
        }
        let size = self.rooms[gap].get(room + 1).map_or(0, |next| next.size);
        let (_, link) = &self.gaps[gap].puts[room];
        let found = link.as_ref().is_none_or(|link| link.finds(holds));
        let holds = link.as_ref().map(|link| link.leaves);
        if found && self.solve(State { room: room + 1, size, holds, ..state }) {
            return true;
        }
        self.dead.insert(state);
        false
    }
}
