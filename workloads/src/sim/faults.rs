//! What can go wrong in a run.

use super::plan::Micros;
use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at_us: Micros,
    /// How long it lasts.
    pub for_us: Micros,
    /// What it is.
    pub kind: FaultKind,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A member loses power, and is back at the end.
    Crash(usize),
    /// A member stands still.
    Pause(usize),
    /// Nothing passes between these members and the others.
    Partition(Vec<usize>),
    /// Nothing passes from the first to the second.
    OneWay(usize, usize),
    /// Messages on all links take so much longer.
    Clog(Micros),
    /// A member's flushes fail: it stops, and is back at the end.
    FlushFails(usize),
    /// A member's disk is full: it stops, and is back at the end.
    DiskFull(usize),
    /// A bit of a member's log or images is flipped while it is down.
    Rot(usize),
    /// A sector of a member's log or images was written to another place: both places hold the same.
    Misdirected(usize),
    /// A new member joins, as a learner or with a vote to come.
    Join {
        /// Its place.
        at: usize,
        /// Whether it stays without a vote.
        learner: bool,
    },
    /// A member is removed.
    Leave(usize),
    /// A member's flushes take until the end.
    SlowFlush(usize),
    /// Whoever comes to this moment loses power a little later, most times, and is back soon.
    Struck {
        /// When.
        moment: Moment,
        /// At most so much later.
        after_us: Micros,
        /// Down for at most so long.
        down_us: Micros,
    },
}

/// A moment in the life of a member at which much is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It begins to lead.
    Leads,
    /// It votes for another member.
    Votes,
    /// It acknowledges entries.
    Acknowledges,
    /// It has taken an image, or taken one over.
    Images,
}

impl Moment {
    /// All of them.
    pub const ALL: [Moment; 4] = [Moment::Leads, Moment::Votes, Moment::Acknowledges, Moment::Images];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Leads => "begins to lead",
            Moment::Votes => "votes",
            Moment::Acknowledges => "acknowledges entries",
            Moment::Images => "has taken an image",
        })
    }
}

impl FaultKind {
    /// The member whose disk holds other bytes than it was given.
    pub(super) fn spoils(&self) -> Option<usize> {
        match self {
            FaultKind::Rot(at) | FaultKind::Misdirected(at) => Some(*at),
            FaultKind::Crash(_)
            | FaultKind::Pause(_)
            | FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Clog(_)
            | FaultKind::FlushFails(_)
            | FaultKind::DiskFull(_)
            | FaultKind::Join { .. }
            | FaultKind::Leave(_)
            | FaultKind::SlowFlush(_)
            | FaultKind::Struck { .. } => None,
        }
    }

    /// Whether members come or go.
    pub(super) fn concerns_membership(&self) -> bool {
        matches!(self, FaultKind::Join { .. } | FaultKind::Leave(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, end) = (self.at_us as f64 / 1e6, (self.at_us + self.for_us) as f64 / 1e6);
        write!(f, "{at:7.3} s to {end:7.3} s  ")?;
        let name = |node: &usize| format!("n{}", node + 1);
        match &self.kind {
            FaultKind::Crash(node) => write!(f, "{} crashes", name(node)),
            FaultKind::Pause(node) => write!(f, "{} stands still", name(node)),
            FaultKind::Partition(side) => {
                let side: Vec<String> = side.iter().map(name).collect();
                write!(f, "{} cut off from the others", side.join(", "))
            }
            FaultKind::OneWay(from, to) => write!(f, "nothing passes from {} to {}", name(from), name(to)),
            FaultKind::Clog(extra) => write!(f, "messages take {} ms longer", extra / 1000),
            FaultKind::FlushFails(node) => write!(f, "{}'s disk does not flush", name(node)),
            FaultKind::DiskFull(node) => write!(f, "{}'s disk is full", name(node)),
            FaultKind::Rot(node) => write!(f, "{} crashes, and a bit of its disk flips", name(node)),
            FaultKind::Misdirected(node) => {
                write!(f, "{} crashes, and a sector of its disk overwrites another", name(node))
            }
            FaultKind::Join { at, learner: false } => write!(f, "{} joins", name(at)),
            FaultKind::Join { at, learner: true } => write!(f, "{} joins as a learner", name(at)),
            FaultKind::Leave(node) => write!(f, "{} is removed", name(node)),
            FaultKind::SlowFlush(node) => write!(f, "{}'s flushes get stuck", name(node)),
            FaultKind::Struck { moment, after_us, down_us } => write!(
                f,
                "whoever {moment} loses power within {} ms, for at most {} ms",
                after_us / 1000,
                down_us / 1000
            ),
        }
    }
}
