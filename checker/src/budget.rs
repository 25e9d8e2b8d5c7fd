//! Time and memory that a check may take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::check::{Cancel, Options};
use crate::verdict::{Progress, Why};

/// What is left of the time and the memory of one call of [`check`](crate::check()), shared by its threads.
#[derive(Debug)]
pub struct Budget {
    deadline: Option<Instant>,
    limit: Duration,
    cancel: Cancel,
    states_max: usize,
    states: AtomicUsize,
}

/// Why a search must end before it has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Out of time.
    Time,
    /// Out of states.
    States,
    /// Asked to.
    Cancelled,
    /// Too many ways to explain operations of unknown outcome.
    Ambiguous,
}

impl Budget {
    /// The budget of a call that begins now.
    pub fn new(options: &Options) -> Budget {
        Budget {
            deadline: Instant::now().checked_add(options.time_limit),
            limit: options.time_limit,
            cancel: options.cancel.clone(),
            states_max: options.states_max,
            states: AtomicUsize::new(0),
        }
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
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Stop::Time),
            Some(_) | None => Ok(()),
        }
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
            Stop::States => Why::StateLimit { limit: self.states_max as u64, reached },
            Stop::Cancelled => Why::Cancelled { reached },
            Stop::Ambiguous => Why::Ambiguous { reached },
        }
    }
}
