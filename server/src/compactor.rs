//! Automatic compaction: when, and up to which revision. The leader does it, for all.

use std::{collections::VecDeque, time::Duration};

/// The longest time between two compactions of [`Mode::Periodic`]. As etcd.
const PERIOD_MAX: Duration = Duration::from_secs(60 * 60);
/// How often [`Mode::Revision`] compacts. As etcd.
const REVISION_PERIOD: Duration = Duration::from_secs(5 * 60);
/// Looks between two periodic compactions. As etcd.
const LOOKS: u32 = 10;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The history of so long.
    Periodic(Duration),
    /// So many revisions.
    Revision(i64),
}

impl Mode {
    /// How often [`Compactor::look`] is to be called.
    pub fn look_every(self) -> Duration {
        match self {
            Mode::Periodic(retention) => retention.min(PERIOD_MAX) / LOOKS,
            Mode::Revision(_) => REVISION_PERIOD,
        }
    }
}

/// Decides what to compact.
#[derive(Debug)]
pub struct Compactor {
    mode: Mode,
    /// The store's revision at each look, with the time; the oldest is just old enough.
    seen: VecDeque<(Duration, i64)>,
    /// What was compacted last, and when.
    done: (Duration, i64),
}

impl Compactor {
    /// Begins at time zero.
    pub fn new(mode: Mode) -> Compactor {
        Compactor { mode, seen: VecDeque::new(), done: (Duration::ZERO, 0) }
    }

    /// Takes note of the store's revision at a time, and says what to compact. Who does not lead compacts
    /// nothing, and knows what to do once it leads.
    pub fn look(&mut self, now: Duration, revision: i64, leads: bool) -> Option<i64> {
        let upto = match self.mode {
            Mode::Revision(keep) => revision - keep,
            Mode::Periodic(retention) => {
                self.seen.push_back((now, revision));
                let old_enough = |(at, _): &(Duration, i64)| *at + retention <= now;
                while self.seen.get(1).is_some_and(old_enough) {
                    self.seen.pop_front();
                }
                if now - self.done.0 < retention.min(PERIOD_MAX) {
                    return None;
                }
                self.seen.front().copied().filter(old_enough)?.1
            }
        };
        if !leads || upto <= self.done.1.max(0) {
            return None;
        }
        self.done = (now, upto);
        Some(upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_revision_so_many_are_kept() {
        let mut compactor = Compactor::new(Mode::Revision(100));
        let minutes = |n: u64| Duration::from_secs(60 * n);
        for (at, revision, leads, want) in [
            (0, 1, true, None),
            (5, 100, true, None),
            (10, 101, true, Some(1)),
            (15, 101, true, None),
            (20, 500, false, None),
            (25, 500, true, Some(400)),
        ] {
            assert_eq!(compactor.look(minutes(at), revision, leads), want, "at {at} min");
        }
    }

    #[test]
    fn by_time_the_history_of_so_long_is_kept() {
        let hour = Duration::from_secs(3600);
        let mut compactor = Compactor::new(Mode::Periodic(hour));
        let every = Mode::Periodic(hour).look_every();
        assert_eq!(every, Duration::from_secs(360));
        let mut done = Vec::new();
        for look in 0..=40 {
            // A revision a look.
            if let Some(revision) = compactor.look(every * look, i64::from(look) + 1, true) {
                done.push((look, revision));
            }
        }
        assert_eq!(done, [(10, 1), (20, 11), (30, 21), (40, 31)]);
        assert_eq!(Mode::Periodic(24 * hour).look_every(), Duration::from_secs(360), "hourly at least");
        let mut long = Compactor::new(Mode::Periodic(2 * hour));
        let first = (0..).find(|look| long.look(every * *look, i64::from(*look) + 1, true).is_some());
        assert_eq!(first, Some(20), "not before there is so much history");
    }
}
