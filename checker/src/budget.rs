//! Time and memory that a check may take.

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::check::{Cancel, Options};
use crate::verdict::{Progress, Why};

/// Between two looks at the memory: it cannot fill within that, and a look is not free.
const MEMORY_LOOK: Duration = Duration::from_millis(10);

/// Steps of a [`Pace`] between two looks at its budget.
const STEPS_PER_LOOK: u32 = 4096;

/// What is left of the time and the memory of one call of [`check`](crate::check()), shared by its threads.
#[derive(Debug)]
pub struct Budget {
    deadline: Option<Instant>,
    limit: Duration,
    cancel: Cancel,
    states_max: usize,
    states: AtomicUsize,
    /// Memory that the process may hold, bytes, and how much of that is more than it held at first.
    memory_max: Option<u64>,
    memory_more: u64,
    begun: Instant,
    /// When memory is looked at next, nanoseconds after `begun`.
    memory_look: AtomicU64,
}

/// Why a search must end before it has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Out of time.
    Time,
    /// Out of states.
    States,
    /// Out of memory.
    Memory,
    /// Asked to.
    Cancelled,
    /// Too many ways to explain operations of unknown outcome.
    Ambiguous,
}

impl Budget {
    /// The budget of a call that begins now.
    pub fn new(options: &Options) -> Budget {
        let begun = Instant::now();
        Budget {
            deadline: begun.checked_add(options.time_limit),
            limit: options.time_limit,
            cancel: options.cancel.clone(),
            states_max: options.states_max,
            states: AtomicUsize::new(0),
            memory_max: options.memory_max.map(|more| resident().unwrap_or(0).saturating_add(more)),
            memory_more: options.memory_max.unwrap_or(u64::MAX),
            begun,
            memory_look: AtomicU64::new(0),
        }
    }

    /// One that never ends.
    pub fn endless() -> Budget {
        Budget {
            deadline: None,
            limit: Duration::MAX,
            cancel: Cancel::default(),
            states_max: usize::MAX,
            states: AtomicUsize::new(0),
            memory_max: None,
            memory_more: u64::MAX,
            begun: Instant::now(),
            memory_look: AtomicU64::new(0),
        }
    }

    /// For a loop whose steps take no more than some microseconds each. It looks at its first step.
    pub fn pace(&self) -> Pace<'_> {
        Pace { budget: self, left: 0 }
    }

    /// A part of the time that is left, for work that is welcome but not needed.
    pub fn part(&self, most: Duration) -> Budget {
        let now = Instant::now();
        let left = self.deadline.map_or(most, |deadline| deadline.saturating_duration_since(now));
        let limit = most.min(left / 2);
        Budget {
            deadline: now.checked_add(limit),
            limit,
            cancel: self.cancel.clone(),
            states_max: self.states_max,
            states: AtomicUsize::new(0),
            memory_max: self.memory_max,
            memory_more: self.memory_more,
            begun: now,
            memory_look: AtomicU64::new(0),
        }
    }

    /// Whether work may go on. Cheap enough for every few hundred steps.
    ///
    /// # Errors
    /// [`Stop`] if it may not.
    pub fn go_on(&self) -> Result<(), Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Stop::Time);
        }
        self.look_at_memory(now)
    }

    fn look_at_memory(&self, now: Instant) -> Result<(), Stop> {
        let Some(most) = self.memory_max else { return Ok(()) };
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let since = nanoseconds(now.saturating_duration_since(self.begun));
        if since < self.memory_look.load(Ordering::Relaxed) {
            return Ok(());
        }
        if resident().is_some_and(|resident| resident > most) {
            // Not put off: all that ask are to end.
            return Err(Stop::Memory);
        }
        self.memory_look.store(since.saturating_add(nanoseconds(MEMORY_LOOK)), Ordering::Relaxed);
        Ok(())
    }

    /// The most states that may be held at once.
    pub fn states_max(&self) -> usize {
        self.states_max
    }

    /// Takes room for states; give it back with [`Budget::give_back`].
    ///
    /// # Errors
    /// [`Stop::States`] if there is not enough; nothing is taken then.
    pub fn take(&self, states: usize) -> Result<(), Stop> {
        let before = self.states.fetch_add(states, Ordering::Relaxed);
        if before + states > self.states_max {
            self.states.fetch_sub(states, Ordering::Relaxed);
            return Err(Stop::States);
        }
        Ok(())
    }

    /// Gives back room that was taken.
    pub fn give_back(&self, states: usize) {
        self.states.fetch_sub(states, Ordering::Relaxed);
    }

    /// The stop in the words of a verdict.
    pub fn why(&self, stop: Stop, reached: Progress) -> Why {
        match stop {
            Stop::Time => Why::TimeLimit {
                limit_ms: u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
                reached,
            },
            Stop::Memory => Why::MemoryLimit { limit_bytes: self.memory_more, reached },
            Stop::States => Why::StateLimit { limit: self.states_max as u64, reached },
            Stop::Cancelled => Why::Cancelled { reached },
            Stop::Ambiguous => Why::Ambiguous { reached },
        }
    }
}

/// Looks at a budget once in many steps of a loop.
#[derive(Debug)]
pub struct Pace<'a> {
    budget: &'a Budget,
    left: u32,
}

impl Pace<'_> {
    /// Takes a step.
    ///
    /// # Errors
    /// [`Stop`] if work may not go on.
    #[inline]
    pub fn step(&mut self) -> Result<(), Stop> {
        self.steps(1)
    }

    /// Takes so many steps at once.
    ///
    /// # Errors
    /// [`Stop`] if work may not go on.
    #[inline]
    pub fn steps(&mut self, steps: usize) -> Result<(), Stop> {
        match u32::try_from(steps).ok().and_then(|steps| self.left.checked_sub(steps)) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = STEPS_PER_LOOK;
                self.budget.go_on()
            }
        }
    }
}

/// Memory that this process holds, bytes; `None` where the system does not tell.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_with_its_time_its_memory_or_when_asked_to() {
        let budget = |options: &Options| Budget::new(options).go_on();
        assert_eq!(budget(&Options::default()), Ok(()));
        assert_eq!(budget(&Options { time_limit: Duration::ZERO, ..Options::default() }), Err(Stop::Time));
        assert_eq!(budget(&Options { memory_max: Some(1 << 50), ..Options::default() }), Ok(()));
        if resident().is_some() {
            let full = Budget::new(&Options { memory_max: Some(1 << 20), ..Options::default() });
            let held = std::hint::black_box(vec![1_u8; 512 << 20]);
            assert_eq!(full.go_on(), Err(Stop::Memory));
            // Every part of it ends, and every thread.
            assert_eq!(
                (full.go_on(), full.part(Duration::MAX).go_on()),
                (Err(Stop::Memory), Err(Stop::Memory))
            );
            let why = full.why(Stop::Memory, Progress { part: String::new(), done: 3, of: 9 });
            assert_eq!(why.to_string(), "the limit of 1 MiB of memory was reached after 3 of 9 operations");
            drop(held);
        }
        let options = Options::default();
        options.cancel.cancel();
        assert_eq!(budget(&options), Err(Stop::Cancelled));
    }
}
