//! When raft's ticks are due.

use std::time::{Duration, Instant};

/// Turns the passing of time into ticks.
#[derive(Clone, Copy, Debug)]
pub struct Ticker {
    tick: Duration,
    ticks_max: u32,
    next: Instant,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Ticks to be made now.
    pub ticks: u32,
    /// Time that passed and is not made up for.
    pub missed: Duration,
}

impl Ticker {
    /// Ticks every `tick` from `now` on. A late call makes up for `ticks_max` ticks at most: a process that
    /// was paused for longer has not waited in vain that long, for what its peers sent meanwhile still lies
    /// in its sockets, and it must not campaign before it has read that.
    pub fn new(tick: Duration, ticks_max: u32, now: Instant) -> Ticker {
        Ticker { tick, ticks_max, next: now + tick }
    }

    /// When the next tick is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Takes the ticks that are due.
    pub fn due(&mut self, now: Instant) -> Due {
        let Some(late) = now.checked_duration_since(self.next) else {
            return Due { ticks: 0, missed: Duration::ZERO };
        };
        let due = late.as_nanos() / self.tick.as_nanos() + 1;
        match u32::try_from(due) {
            Ok(ticks) if ticks <= self.ticks_max => {
                self.next += self.tick * ticks;
                Due { ticks, missed: Duration::ZERO }
            }
            _more => {
                self.next = now + self.tick;
                Due { ticks: self.ticks_max, missed: late.saturating_sub(self.tick * self.ticks_max) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_calls_make_up_for_a_little_and_no_more() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut ticker = Ticker::new(ms(10), 5, start);
        for (at_ms, ticks, missed_ms, next_ms) in [
            (3, 0, 0, 10),
            (10, 1, 0, 20),
            (12, 0, 0, 20),
            (45, 3, 0, 50),
            (99, 5, 0, 100),
            // Paused for two seconds.
            (2100, 5, 1950, 2110),
            (2110, 1, 0, 2120),
        ] {
            let due = ticker.due(start + ms(at_ms));
            assert_eq!(due, Due { ticks, missed: ms(missed_ms) }, "at {at_ms} ms");
            assert_eq!(ticker.next() - start, ms(next_ms), "at {at_ms} ms");
        }
    }
}
