//! What comes next: writes, watches from revisions that are guessed, compactions.

use super::{Pace, WatchOp, everything};
use crate::workload::Generator;
use checker::watch::{Act, Asked};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const KEYS: u64 = 8;
/// How long a watch goes on, ms.
const WINDOW_MS: Range<u64> = 200..3_000;
/// The same for one that sees its member through a fault: one in [`LONG_ONE_IN`].
const LONG_WINDOW_MS: Range<u64> = 8_000..40_000;
const LONG_ONE_IN: u32 = 4;
/// The most watches at a time: two thirds of the processes, and no more than this, for each may see every event. Half
/// of them may be long, or no others would have their turn.
const WATCHES_MAX: usize = 20;
/// Between two compactions: this many seconds times a power of two.
const COMPACT_EVERY_S: u64 = 2;
const COMPACT_DOUBLINGS: u32 = 4;
/// Ends of watches that wait to be resumed.
const RESUMED_MAX: usize = 64;

/// What the generator guesses from.
#[derive(Debug)]
pub(super) struct Known {
    /// The newest revision that was heard of.
    pub(super) newest: i64,
    /// The newest revision that a compaction was asked for.
    pub(super) compacted: i64,
    /// Watches that ended, with the revision that comes next.
    pub(super) ended: VecDeque<Asked>,
    /// Watches that were made and have not ended, and how many of them are long.
    under_way: usize,
    pub(super) long: usize,
}

impl Known {
    /// Before anything was heard of, at a revision.
    pub(super) fn at(revision: i64) -> Known {
        Known { newest: revision, compacted: revision, ended: VecDeque::new(), under_way: 0, long: 0 }
    }

    /// A watch that may be made, for it goes on where one ended.
    pub(super) fn resume(&mut self, asked: Asked) {
        if self.ended.len() < RESUMED_MAX {
            self.ended.push_back(asked);
        }
    }

    /// Counts a watch that begins, or one that ended.
    pub(super) fn count(&mut self, window: Duration, begins: bool) {
        let is_long = window.as_millis() >= u128::from(LONG_WINDOW_MS.start);
        for (count, counts) in [(&mut self.under_way, true), (&mut self.long, is_long)] {
            match (counts, begins) {
                (false, _) => {}
                (true, true) => *count += 1,
                (true, false) => *count -= 1,
            }
        }
    }
}

pub(super) fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    // Whatever a panic left of guesses is still good for guesses.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct WatchGenerator {
    rng: ChaCha8Rng,
    known: Arc<Mutex<Known>>,
    value: i64,
    base: i64,
    pace: Pace,
    /// Operations until the next compaction.
    compact_in: u64,
}

impl Generator for WatchGenerator {
    type Op = WatchOp;

    fn next(&mut self) -> WatchOp {
        self.compact_in = self.compact_in.saturating_sub(1);
        if self.compact_in == 0 {
            self.compact_in = self.until_compaction();
            return self.compact();
        }
        match self.rng.random_range(0..1000) {
            0..60 if self.has_room() => self.watch(),
            0..200 => {
                // The store refuses two writes of one key in a transaction.
                let first = self.rng.random_range(0..KEYS);
                let count = self.rng.random_range(2..4);
                WatchOp::Write((0..count).map(|step| self.act((first + 3 * step) % KEYS)).collect())
            }
            _ => {
                let key = self.rng.random_range(0..KEYS);
                WatchOp::Write(vec![self.act(key)])
            }
        }
    }

    fn final_reads(&self) -> Vec<WatchOp> {
        let from = lock(&self.known).compacted.max(self.base) + 1;
        vec![WatchOp::Final(Asked { from, ..everything() })]
    }
}

impl WatchGenerator {
    pub(super) fn new(rng: ChaCha8Rng, known: Arc<Mutex<Known>>, pace: Pace) -> WatchGenerator {
        let base = lock(&known).newest;
        let mut generator = WatchGenerator { rng, known, value: 0, base, pace, compact_in: 0 };
        generator.compact_in = generator.until_compaction();
        generator
    }

    fn watches_max(&self) -> usize {
        (self.pace.processes * 2 / 3).clamp(1, WATCHES_MAX)
    }

    /// Whether another watch may be under way.
    fn has_room(&self) -> bool {
        lock(&self.known).under_way < self.watches_max()
    }

    /// How many operations come before the next compaction.
    fn until_compaction(&mut self) -> u64 {
        let seconds = COMPACT_EVERY_S << self.rng.random_range(0..=COMPACT_DOUBLINGS);
        (self.pace.per_s * seconds).max(1)
    }

    /// Leaves a few revisions, or many.
    fn compact(&mut self) -> WatchOp {
        let left = match self.rng.random() {
            true => self.rng.random_range(20..200),
            false => self.rng.random_range(200..20_000),
        };
        WatchOp::Compact((lock(&self.known).newest - left).max(1))
    }

    fn act(&mut self, key: u64) -> Act {
        let key = format!("w{key}");
        if self.rng.random_ratio(1, 5) {
            return Act::Delete { key };
        }
        self.value += 1;
        Act::Put { key, value: self.value }
    }

    fn watch(&mut self) -> WatchOp {
        let long_max = self.watches_max() / 2;
        let rng = &mut self.rng;
        let mut known = lock(&self.known);
        // Most that are long see few of the keys, for what they see is kept.
        let (windows, widths) = match rng.random_ratio(1, LONG_ONE_IN) && known.long < long_max {
            true => (LONG_WINDOW_MS, 4..9),
            false => (WINDOW_MS, 0..10),
        };
        let window = Duration::from_millis(rng.random_range(windows));
        let progress = rng.random_ratio(1, 3);
        known.count(window, true);
        if rng.random()
            && let Some(asked) = known.ended.pop_front()
        {
            return WatchOp::Watch { asked, window, progress };
        }
        let from = match rng.random_range(0..100) {
            0..25 => 0,
            25..60 => known.newest - rng.random_range(0..60),
            60..80 => rng.random_range(self.base..=known.newest.max(self.base)),
            _ => known.newest + rng.random_range(1..40),
        };
        let (key, end) = match rng.random_range(widths) {
            0..5 => ("w".into(), "x".into()),
            5..8 => (format!("w{}", rng.random_range(0..KEYS)), String::new()),
            _ => (
                format!("w{}", rng.random_range(0..KEYS / 2)),
                format!("w{}", rng.random_range(KEYS / 2..KEYS)),
            ),
        };
        let asked = Asked {
            key,
            end,
            from: from.max(0),
            no_put: rng.random_ratio(1, 12),
            no_delete: rng.random_ratio(1, 12),
            prev_kv: rng.random_ratio(3, 5),
            fragment: rng.random_ratio(1, 5),
        };
        WatchOp::Watch { asked, window, progress }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Space, Workload, watch::Watch};
    use std::collections::BTreeSet;

    #[test]
    fn watches_begin_in_the_past_now_and_in_the_future_and_writes_are_unique() {
        let workload = Watch::new(Space::new("", "watch"), 1, Pace { per_s: 300, processes: 9 });
        lock(&workload.known).newest = 500;
        let mut generator = workload.generator(7);
        let (mut values, mut old, mut now, mut future, mut several) = (BTreeSet::new(), 0, 0, 0, 0);
        for _ in 0..20_000 {
            let op = generator.next();
            if let WatchOp::Watch { window, .. } = &op {
                lock(&workload.known).count(*window, false);
            }
            match op {
                WatchOp::Write(acts) => {
                    let keys: BTreeSet<&str> = acts.iter().map(Act::key).collect();
                    assert_eq!(keys.len(), acts.len(), "{acts:?}");
                    several += usize::from(acts.len() > 1);
                    for act in &acts {
                        if let Act::Put { value, .. } = act {
                            assert!(values.insert(*value), "{value} twice");
                        }
                    }
                }
                WatchOp::Watch { asked, .. } => match asked.from {
                    0 => now += 1,
                    1..=500 => old += 1,
                    _ => future += 1,
                },
                WatchOp::Compact(revision) => assert!((1..480).contains(&revision)),
                WatchOp::Final(_) => panic!("only at the end"),
            }
        }
        assert!(old > 300 && now > 100 && future > 100 && several > 1000, "{old} {now} {future} {several}");
    }

    #[test]
    fn watches_leave_processes_to_writers_and_history_is_compacted_by_time_whatever_the_rate() {
        for per_s in [10, 3_000] {
            let workload = Watch::new(Space::new("", "watch"), 1, Pace { per_s, processes: 10 });
            let mut generator = workload.generator(7);
            let ops: Vec<WatchOp> = (0..per_s * 600).map(|_| generator.next()).collect();
            let watches: Vec<_> = ops.iter().filter(|op| matches!(op, WatchOp::Watch { .. })).collect();
            assert_eq!(watches.len(), 6, "none of them ended, at {per_s} per s");
            assert!(lock(&workload.known).long <= 3, "{watches:?}");
            let compactions = ops.iter().filter(|op| matches!(op, WatchOp::Compact(_))).count();
            // Of 600 s, in steps of 2 to 32 s.
            assert!((19..300).contains(&compactions), "{compactions} at {per_s} per s");
        }
    }
}
