//! What a seed decides before a run begins: its options (a swarm: every seed has others) and its faults.

use crate::scenario::WorkloadName;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::fmt;

/// Members that join in one run.
const JOINS_MAX: usize = 3;

/// Virtual time, in microseconds.
pub(super) type Micros = u64;

pub(super) const SECOND: Micros = 1_000_000;

/// Everything that a run is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Members.
    pub nodes: u64,
    /// What clients do.
    pub workload: WorkloadName,
    /// Clients.
    pub clients: u64,
    /// Operations a second, of all clients.
    pub rate: u64,
    /// Length of the safety phase.
    pub safety_us: Micros,
    /// Mean delay of a message.
    pub delay_us: Micros,
    /// Of a hundred messages so many are lost.
    pub loss_percent: u32,
    /// Of a hundred of Raft's own messages so many arrive twice.
    pub twice_percent: u32,
    /// Mean time of a flush.
    pub flush_us: Micros,
    /// Entries between images.
    pub snapshot_count: u64,
    /// Entries kept before an image.
    pub keep: u64,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// Whether a crash leaves parts of what was not flushed.
    pub torn: bool,
    /// The faults, in the order in which they begin.
    pub faults: Vec<Fault>,
    /// A planted bug of the server.
    #[cfg(feature = "plant")]
    pub plant: Option<server::plant::Plant>,
    /// A mistake of the core.
    #[cfg(feature = "plant")]
    pub mutation: Option<raft::Mutation>,
}

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
    /// A bit of a member's log is flipped while it is down.
    Rot(usize),
    /// A sector of a member's log was written to another place while it is down: both places hold the same.
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
            | FaultKind::Leave(_) => None,
        }
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
            FaultKind::Rot(node) => write!(f, "{} crashes, and a bit of its log flips", name(node)),
            FaultKind::Misdirected(node) => {
                write!(f, "{} crashes, and a sector of its log overwrites another", name(node))
            }
            FaultKind::Join { at, learner: false } => write!(f, "{} joins", name(at)),
            FaultKind::Join { at, learner: true } => write!(f, "{} joins as a learner", name(at)),
            FaultKind::Leave(node) => write!(f, "{} is removed", name(node)),
        }
    }
}

impl Plan {
    /// What this seed stands for.
    pub fn of(seed: u64) -> Plan {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(40);
        let nodes = [3, 3, 3, 5, 5, 7][rng.random_range(0..6)];
        let workloads = [
            WorkloadName::Kv,
            WorkloadName::Register,
            WorkloadName::Append,
            WorkloadName::Set,
            WorkloadName::Watch,
            WorkloadName::Lease,
        ];
        let mut plan = Plan {
            seed,
            nodes,
            workload: workloads[rng.random_range(0..workloads.len())],
            clients: rng.random_range(3..=8),
            rate: rng.random_range(10..=60),
            safety_us: rng.random_range(10..=30) * SECOND,
            delay_us: rng.random_range(200..=8_000),
            loss_percent: if rng.random_bool(0.5) { rng.random_range(1..=15) } else { 0 },
            twice_percent: if rng.random_bool(0.5) { rng.random_range(1..=10) } else { 0 },
            flush_us: rng.random_range(100..=8_000),
            snapshot_count: [20, 60, 200, 100_000][rng.random_range(0..4)],
            keep: [0, 5, 50][rng.random_range(0..3)],
            segment_bytes: [2_000, 20_000, 1 << 20][rng.random_range(0..3)],
            torn: rng.random_bool(0.8),
            faults: Vec::new(),
            #[cfg(feature = "plant")]
            plant: None,
            #[cfg(feature = "plant")]
            mutation: None,
        };
        plan.draw_faults(&mut rng);
        plan
    }

    fn draw_faults(&mut self, rng: &mut ChaCha8Rng) {
        // Each kind is on or off for the whole run, so that a run may be all crashes, or none.
        let on: Vec<bool> = (0..9).map(|_| rng.random_bool(0.5)).collect();
        let gap = rng.random_range(SECOND / 2..=4 * SECOND);
        let nodes = self.nodes as usize;
        // A disk that holds what nobody wrote is one that may be lost for good, and so is a member that is
        // replaced: a quorum of the others is all that Raft promises to survive with.
        let changes = rng.random_bool(0.35);
        let mut rotten = changes;
        let mut at_us = SECOND + rng.random_range(0..gap);
        while at_us < self.safety_us {
            let node = rng.random_range(0..nodes);
            let other = (node + rng.random_range(1..nodes)) % nodes;
            let which = rng.random_range(0..9_usize);
            let kind = match which {
                0 => FaultKind::Crash(node),
                1 => FaultKind::Pause(node),
                2 => {
                    let size = rng.random_range(1..=nodes / 2);
                    FaultKind::Partition((0..size).map(|offset| (node + offset) % nodes).collect())
                }
                3 => FaultKind::OneWay(node, other),
                4 => FaultKind::Clog(rng.random_range(20_000..=400_000)),
                5 => FaultKind::FlushFails(node),
                6 => FaultKind::DiskFull(node),
                7 => FaultKind::Rot(node),
                _ => FaultKind::Misdirected(node),
            };
            let for_us = rng.random_range(SECOND / 10..=4 * SECOND);
            let spoils = kind.spoils().is_some();
            if on[which] && !(spoils && rotten) {
                rotten |= spoils;
                self.faults.push(Fault { at_us, for_us, kind });
            }
            at_us += rng.random_range(1..=2 * gap);
        }
        if changes {
            self.draw_changes(rng);
        }
    }

    /// Members that join, each followed by one that leaves, so that there are never fewer than at the beginning.
    fn draw_changes(&mut self, rng: &mut ChaCha8Rng) {
        let nodes = self.nodes as usize;
        let mut gone = Vec::new();
        for joins in 0..rng.random_range(1..=JOINS_MAX) {
            let at = nodes + joins;
            let learner = rng.random_bool(0.2);
            let at_us = rng.random_range(SECOND..self.safety_us);
            self.faults.push(Fault { at_us, for_us: 0, kind: FaultKind::Join { at, learner } });
            let leaves = rng.random_range(0..at);
            if !learner && !gone.contains(&leaves) && rng.random_bool(0.8) {
                gone.push(leaves);
                let at_us = at_us + rng.random_range(0..4 * SECOND);
                self.faults.push(Fault { at_us, for_us: 0, kind: FaultKind::Leave(leaves) });
            }
        }
        self.faults.sort_by_key(|fault| fault.at_us);
    }

    /// Members that there ever are.
    pub(super) fn members_max(&self) -> usize {
        let joins = self.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Join { .. })).count();
        self.nodes as usize + joins
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} members, {} with {} clients at {} op/s for {} s, then healing",
            self.seed,
            self.nodes,
            self.workload,
            self.clients,
            self.rate,
            self.safety_us / SECOND
        )?;
        writeln!(
            f,
            "  messages take {} us, {}% lost, {}% twice; flushes take {} us; image every {} entries, {} kept; \
             segments of {} bytes; crashes {}",
            self.delay_us,
            self.loss_percent,
            self.twice_percent,
            self.flush_us,
            self.snapshot_count,
            self.keep,
            self.segment_bytes,
            if self.torn { "tear writes" } else { "lose what was not flushed" }
        )?;
        for (number, fault) in (1..).zip(&self.faults) {
            writeln!(f, "  fault {number:>2}: {fault}")?;
        }
        Ok(())
    }
}
