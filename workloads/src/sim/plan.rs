//! What a seed decides before a run begins: its options (a swarm: every seed has others) and its faults.

use super::{
    faults::{Fault, FaultKind, Moment},
    member::TICK_US,
};
use crate::scenario::WorkloadName;
use raft::NodeId;
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
    /// Of a hundred messages so many arrive long after they were sent.
    pub late_percent: u32,
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
    /// Whether the ticks of all members come at the same moments.
    pub in_step: bool,
    /// How long clients wait for an answer while faults strike: who waits for a write that cannot be has no time to
    /// read what is old.
    pub deadline_us: Micros,
    /// How the core is set up; each member adds its id and a seed.
    pub core: raft::Config,
    /// The faults, in the order in which they begin.
    pub faults: Vec<Fault>,
    /// A planted bug of the server.
    #[cfg(feature = "plant")]
    pub plant: Option<server::plant::Plant>,
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
            late_percent: if rng.random_bool(0.3) { rng.random_range(1..=5) } else { 0 },
            flush_us: rng.random_range(100..=8_000),
            snapshot_count: [20, 60, 200, 100_000][rng.random_range(0..4)],
            keep: [0, 5, 50][rng.random_range(0..3)],
            segment_bytes: [1, 500, 2_000, 20_000, 1 << 20][rng.random_range(0..5)],
            torn: rng.random_bool(0.8),
            in_step: rng.random_bool(0.2),
            deadline_us: [SECOND * 3 / 10, SECOND, 3 * SECOND][rng.random_range(0..3)],
            core: draw_core(&mut rng),
            faults: Vec::new(),
            #[cfg(feature = "plant")]
            plant: None,
        };
        plan.draw_faults(&mut rng);
        if rng.random_bool(0.1) {
            plan.hurry(&mut rng);
        }
        if rng.random_bool(0.15) {
            plan.churn(&mut rng);
        }
        // Ten times what it takes to ask and to answer, or no election would ever end.
        let least_us = 10 * (plan.delay_us + plan.flush_us);
        let least = u32::try_from(least_us.div_ceil(TICK_US)).unwrap_or(u32::MAX);
        plan.core.election_ticks = plan.core.election_ticks.max(least);
        plan.ask(plan.workload);
        plan
    }

    /// Lets clients do this. Where many outcomes are unknown, what keys held cannot be decided unless the workload makes it
    /// plain: then they are patient, and few messages are lost.
    pub fn ask(&mut self, workload: WorkloadName) {
        self.workload = workload;
        if matches!(workload, WorkloadName::Kv | WorkloadName::Register) {
            self.deadline_us = 3 * SECOND;
            self.loss_percent = self.loss_percent.min(15);
        }
    }

    /// More at a time than usual, for less long.
    fn hurry(&mut self, rng: &mut ChaCha8Rng) {
        self.clients = rng.random_range(8..=16);
        self.rate = rng.random_range(100..=250);
        self.end_after(rng.random_range(4..=8));
    }

    /// Leaders that do not last: each is struck soon after it began, so that most of what one begins another has to
    /// end. An entry a message and hasty elections make room for what lies between (Raft paper, figure 8).
    fn churn(&mut self, rng: &mut ChaCha8Rng) {
        let heartbeat_ticks = rng.random_range(1..=2);
        let cautious = self.core.check_quorum && self.changes_membership();
        self.core = raft::Config {
            election_ticks: heartbeat_ticks + rng.random_range(2..=8),
            heartbeat_ticks,
            pre_vote: cautious,
            check_quorum: cautious,
            max_append_bytes: 1,
            max_inflight: 1,
            ..self.core.clone()
        };
        // What takes part must stay, or most of the time there is no majority.
        self.faults.retain(|fault| rng.random_bool(0.3) || fault.kind.concerns_membership());
        // What a leader began must often reach nobody before it ends.
        self.loss_percent = rng.random_range(10..=60);
        let (after_us, down_us) = (rng.random_range(1_000..=120_000), rng.random_range(10_000..=600_000));
        let kind = FaultKind::Struck { moment: Moment::Leads, after_us, down_us };
        self.faults.push(Fault { at_us: 0, for_us: self.safety_us, kind });
        self.faults.sort_by_key(|fault| fault.at_us);
    }

    fn draw_faults(&mut self, rng: &mut ChaCha8Rng) {
        const KINDS: usize = 11;
        const ROT: usize = 7;
        const MISDIRECTED: usize = 8;
        // Each kind is on or off for the whole run, so that a run may be all crashes, or none.
        let on: Vec<bool> = (0..KINDS).map(|_| rng.random_bool(0.5)).collect();
        let gap = rng.random_range(SECOND / 2..=4 * SECOND);
        let nodes = self.nodes as usize;
        // A disk that holds what nobody wrote is one that may be lost for good, and so is a member that is
        // replaced: a quorum of the others is all that Raft promises to survive with.
        let changes = rng.random_bool(0.35);
        let mut rotten = None;
        let mut at_us = SECOND + rng.random_range(0..gap);
        while at_us < self.safety_us {
            let which = rng.random_range(0..KINDS);
            let node = rng.random_range(0..nodes);
            // What one strike did not show, another on the same disk may.
            let node = if [ROT, MISDIRECTED].contains(&which) { *rotten.get_or_insert(node) } else { node };
            let other = (node + rng.random_range(1..nodes)) % nodes;
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
                ROT => FaultKind::Rot(node),
                MISDIRECTED => FaultKind::Misdirected(node),
                9 => FaultKind::SlowFlush(node),
                _ => FaultKind::Struck {
                    moment: Moment::ALL[rng.random_range(0..Moment::ALL.len())],
                    after_us: rng.random_range(0..=60_000),
                    down_us: rng.random_range(1_000..=SECOND),
                },
            };
            let for_us = rng.random_range(SECOND / 10..=4 * SECOND);
            if on[which] && !(kind.spoils().is_some() && changes) {
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
        // Who was removed and does not know it would depose one leader after the other (Raft thesis, section 4.2.3).
        (self.core.pre_vote, self.core.check_quorum) = (true, true);
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
                // Up to the last moment: the cluster may have to heal without a member that it still has then.
                let at_us = (at_us + rng.random_range(0..4 * SECOND)).min(self.safety_us - 1);
                self.faults.push(Fault { at_us, for_us: 0, kind: FaultKind::Leave(leaves) });
            }
        }
        self.faults.sort_by_key(|fault| fault.at_us);
    }

    /// Length of the safety phase, in seconds, rounded up.
    pub fn safety_s(&self) -> u64 {
        self.safety_us.div_ceil(SECOND)
    }

    /// Ends the safety phase after so many seconds. What was to begin later does not.
    pub fn end_after(&mut self, seconds: u64) {
        self.safety_us = seconds * SECOND;
        self.faults.retain(|fault| fault.at_us < self.safety_us);
    }

    fn changes_membership(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.concerns_membership())
    }

    /// Members that there ever are.
    pub(super) fn members_max(&self) -> usize {
        let joins = self.faults.iter().filter_map(|fault| match fault.kind {
            FaultKind::Join { at, .. } => Some(at + 1),
            _ => None,
        });
        joins.max().unwrap_or(0).max(self.nodes as usize)
    }
}

/// How the core is set up: as usual, or with less patience, less caution, or less in one message.
fn draw_core(rng: &mut ChaCha8Rng) -> raft::Config {
    let (election_ticks, heartbeat_ticks) = [(50, 5), (50, 5), (20, 4), (10, 2)][rng.random_range(0..4)];
    raft::Config {
        election_ticks,
        heartbeat_ticks,
        pre_vote: rng.random_bool(0.7),
        check_quorum: rng.random_bool(0.7),
        max_append_bytes: [1, 500, 1 << 20, 1 << 20][rng.random_range(0..4)],
        max_inflight: [4, 16, 256, 256][rng.random_range(0..4)],
        ..raft::Config::new(NodeId(1), 0)
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
        writeln!(f, "  clients wait {} ms for an answer", self.deadline_us / 1000)?;
        writeln!(
            f,
            "  messages take {} us, {}% lost, {}% twice, {}% late; flushes take {} us; image every {} entries, {} \
             kept; segments of {} bytes; crashes {}",
            self.delay_us,
            self.loss_percent,
            self.twice_percent,
            self.late_percent,
            self.flush_us,
            self.snapshot_count,
            self.keep,
            self.segment_bytes,
            if self.torn { "tear writes" } else { "lose what was not flushed" }
        )?;
        let raft::Config { election_ticks, heartbeat_ticks, pre_vote, check_quorum, .. } = self.core;
        writeln!(
            f,
            "  elections after {election_ticks} ticks, heartbeats every {heartbeat_ticks}, ticks {}; pre-vote {}, \
             check of the quorum {}; at most {} bytes and {} appends under way",
            if self.in_step { "in step" } else { "as they come" },
            if pre_vote { "on" } else { "off" },
            if check_quorum { "on" } else { "off" },
            self.core.max_append_bytes,
            self.core.max_inflight,
        )?;
        for (number, fault) in (1..).zip(&self.faults) {
            writeln!(f, "  fault {number:>2}: {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn plans_make_sense_and_options_meet() {
        let (mut churns, mut hurries, mut changes) = (0, 0, 0);
        for plan in (1..=2_000).map(Plan::of) {
            assert_eq!(plan.core.validate(), Ok(()), "{plan}");
            assert!(plan.faults.is_sorted_by_key(|fault| fault.at_us), "{plan}");
            assert!(plan.faults.iter().all(|fault| fault.at_us < plan.safety_us), "{plan}");
            // Who was removed must not depose those who stay.
            assert!(!plan.changes_membership() || plan.core.check_quorum, "{plan}");
            let spoilt: BTreeSet<usize> =
                plan.faults.iter().filter_map(|fault| fault.kind.spoils()).collect();
            assert!(spoilt.len() <= 1 && (spoilt.is_empty() || !plan.changes_membership()), "{plan}");
            changes += usize::from(plan.changes_membership());
            hurries += usize::from(plan.rate >= 100);
            let leads = |fault: &Fault| {
                fault.for_us == plan.safety_us
                    && matches!(fault.kind, FaultKind::Struck { moment: Moment::Leads, .. })
            };
            churns += usize::from(plan.faults.iter().any(leads));
        }
        assert!(churns > 200 && hurries > 100 && changes > 500, "{churns} {hurries} {changes}");
    }
}
