//! Revisions against real time: cheap, and needing nothing but revisions.

use rustc_hash::FxHashMap;

use crate::history::OpId;
use crate::history::event::ProcessId;

/// An operation's place in the order of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The operation.
    pub id: OpId,
    /// Who asked.
    pub process: ProcessId,
    /// The revision it was answered with.
    pub rev: i64,
    /// Whether it made that revision.
    pub write: bool,
    /// Whether it may be answered from an older revision than the newest.
    pub stale_allowed: bool,
    /// Position of its invocation.
    pub invoked: u64,
    /// Position of its return.
    pub returned: u64,
}

impl Stamp {
    /// Its place: a write comes before the reads of its revision.
    pub fn place(&self) -> (i64, bool) {
        (self.rev, !self.write)
    }
}

/// An operation whose place is before that of one which had returned before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backwards {
    /// The earlier one, with the later place.
    pub first: Stamp,
    /// The later one, with the earlier place.
    pub then: Stamp,
}

/// Two writes that were answered with one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twice {
    /// One.
    pub first: Stamp,
    /// The other.
    pub then: Stamp,
}

/// All operations that real time forbids at their place, each with the strongest proof, in order of
/// invocation. Together with a replay that fits, none of them means that the order is a legal one.
pub fn backwards(stamps: &[Stamp]) -> Vec<Backwards> {
    let mut by_place: Vec<Stamp> = stamps.to_vec();
    by_place.sort_by_key(|stamp| std::cmp::Reverse(stamp.place()));
    let mut found = Vec::new();
    // Of all later places: the one that had returned first.
    let mut first_back: Option<Stamp> = None;
    for same_place in by_place.chunk_by(|a, b| a.place() == b.place()) {
        for stamp in same_place.iter().filter(|stamp| !stamp.stale_allowed) {
            if let Some(first) = first_back.filter(|first| first.returned < stamp.invoked) {
                found.push(Backwards { first, then: *stamp });
            }
        }
        let sooner = same_place.iter().copied().chain(first_back).min_by_key(|stamp| stamp.returned);
        first_back = sooner;
    }
    found.sort_by_key(|backwards| backwards.then.invoked);
    found
}

/// All revisions that two writes claim.
pub fn twice(stamps: &[Stamp]) -> Vec<Twice> {
    let mut writes: Vec<Stamp> = stamps.iter().filter(|stamp| stamp.write).copied().collect();
    writes.sort_by_key(|stamp| (stamp.rev, stamp.invoked));
    writes
        .windows(2)
        .filter(|pair| pair[0].rev == pair[1].rev)
        .map(|pair| Twice { first: pair[0], then: pair[1] })
        .collect()
}

/// All operations that were answered with an older revision than one that the same process was answered
/// with before. A process speaks to one member, whose revision only grows; this holds for serializable
/// reads too.
pub fn sessions(stamps: &[Stamp]) -> Vec<Backwards> {
    let mut in_order: Vec<Stamp> = stamps.to_vec();
    in_order.sort_by_key(|stamp| stamp.invoked);
    let mut newest: FxHashMap<ProcessId, Stamp> = FxHashMap::default();
    let mut found = Vec::new();
    for stamp in in_order {
        match newest.get_mut(&stamp.process) {
            Some(before) if before.rev > stamp.rev => found.push(Backwards { first: *before, then: stamp }),
            Some(before) => *before = stamp,
            None => {
                newest.insert(stamp.process, stamp);
            }
        }
    }
    found
}
