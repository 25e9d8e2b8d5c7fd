//! When which fault strikes: drawn from the seed before the run.

use super::{Family, Fault, FaultSet, View};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

/// The nemesis's own stream of the run's generator, so that a change in what the workload draws does not
/// change the faults.
const STREAM: u64 = 0x006e_656d_6573_6973;

/// How long faults last, and how long the cluster is left alone between two, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a fault lasts.
    pub fault_ms: RangeInclusive<u64>,
    /// From the end of a fault to the start of the next.
    pub gap_ms: RangeInclusive<u64>,
}

impl Pace {
    /// A pace for a run of this length: short faults where there is little time, so that several of each kind
    /// fit in.
    pub fn for_length(length: Duration) -> Pace {
        if length < Duration::from_secs(45) {
            // Around the default election timeout of a second: some faults cost a leader, some do not.
            Pace { fault_ms: 900..=1800, gap_ms: 300..=700 }
        } else if length < Duration::from_secs(180) {
            Pace { fault_ms: 1_500..=6_000, gap_ms: 800..=3_000 }
        } else {
            Pace { fault_ms: 2_000..=10_000, gap_ms: 1_000..=5_000 }
        }
    }

    /// The same with faults that all last so long, and gaps that grow with them: what a member missed in a long
    /// fault takes long to come to it, and that is to be seen before the next one.
    #[must_use]
    pub fn lasting(self, time: Duration) -> Pace {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = self.gap_ms.into_inner();
        Pace { fault_ms: ms..=ms, gap_ms: least.max(ms / 2)..=most.max(ms) }
    }
}

/// What a plan is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Seed of the run.
    pub seed: u64,
    /// No fault lasts longer than this from the start.
    pub time_limit: Duration,
    /// What may strike.
    pub faults: FaultSet,
    /// How long faults last.
    pub pace: Pace,
    /// How many faults may be active at a time, at least 1. Those beyond the first come from other families.
    pub overlap: usize,
}

impl Options {
    /// One fault at a time, at the pace that suits the length.
    pub fn new(seed: u64, time_limit: Duration, faults: FaultSet) -> Options {
        Options { seed, time_limit, faults, pace: Pace::for_length(time_limit), overlap: 1 }
    }
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its number, from 0, by which a history's events refer to it.
    pub number: u64,
    /// What strikes.
    pub fault: Fault,
    /// When, in milliseconds after the start; later when the faults before it take longer to undo.
    pub start_ms: u64,
    /// How long, in milliseconds.
    pub duration_ms: u64,
    /// What its choice of nodes is drawn from.
    pub choice: u64,
    /// Who led and who lagged when it began, in a plan that has been carried out: carried out again, it hits
    /// the same nodes. Without it whoever leads and lags then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
}

/// What strikes when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The faults, by start.
    pub faults: Vec<Planned>,
    /// How many may be active at a time.
    pub overlap: usize,
    /// No fault begins that would last longer than this, in milliseconds after the start.
    pub time_limit_ms: u64,
    /// The least time between a fault that took long to undo and the next, in milliseconds.
    pub gap_min_ms: u64,
}

impl Plan {
    /// Draws a plan: the same options give the same plan. Families take turns in shuffled order, and so do
    /// the faults of a family, so that each comes up before any comes up again.
    pub fn draw(options: &Options) -> Plan {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        rng.set_stream(STREAM);
        let limit_ms = u64::try_from(options.time_limit.as_millis()).unwrap_or(u64::MAX);
        let mut turns = Turns::new(&options.faults);
        let mut plan = Plan {
            faults: Vec::new(),
            overlap: options.overlap.max(1),
            time_limit_ms: limit_ms,
            gap_min_ms: *options.pace.gap_ms.start(),
        };
        if options.faults.is_empty() {
            return plan;
        }
        // Where overlap is allowed there are as many lanes, each with one fault at a time.
        let mut free_ms = vec![0; plan.overlap];
        loop {
            let lane = (0..free_ms.len()).min_by_key(|&lane| free_ms[lane]).expect("at least one lane");
            let start_ms = free_ms[lane] + rng.random_range(options.pace.gap_ms.clone());
            let duration_ms = rng.random_range(options.pace.fault_ms.clone());
            if start_ms + duration_ms > limit_ms {
                break;
            }
            let end_ms = start_ms + duration_ms;
            let beside =
                plan.faults.iter().filter(|o| o.start_ms < end_ms && start_ms < o.start_ms + o.duration_ms);
            let busy: Vec<Family> = beside.map(|other| other.fault.family()).collect();
            free_ms[lane] = end_ms;
            // With every family busy the lane stays empty for as long as the fault would have lasted.
            if let Some(fault) = turns.next(&busy, &mut rng) {
                plan.faults.push(Planned {
                    number: 0,
                    fault,
                    start_ms,
                    duration_ms,
                    choice: rng.random(),
                    view: None,
                });
            }
        }
        plan.faults.sort_by_key(|planned| planned.start_ms);
        for (number, planned) in (0..).zip(&mut plan.faults) {
            planned.number = number;
        }
        plan
    }

    /// The plan of these faults, as they were carried out before.
    pub fn again(faults: Vec<Planned>, time_limit: Duration) -> Plan {
        Plan {
            overlap: faults.len().max(1),
            faults,
            time_limit_ms: u64::try_from(time_limit.as_millis()).unwrap_or(u64::MAX),
            gap_min_ms: 0,
        }
    }

    /// How many faults of each family are planned.
    pub fn count(&self) -> BTreeMap<Family, usize> {
        let mut counts = BTreeMap::new();
        for planned in &self.faults {
            *counts.entry(planned.fault.family()).or_insert(0) += 1;
        }
        counts
    }
}

/// Whose turn it is.
struct Turns {
    /// The faults of each family, and what is left of the present round.
    families: BTreeMap<Family, (Vec<Fault>, Vec<Fault>)>,
    /// Families that have not had their turn in the present round.
    round: Vec<Family>,
}

impl Turns {
    fn new(faults: &FaultSet) -> Turns {
        let mut families = BTreeMap::<Family, (Vec<Fault>, Vec<Fault>)>::new();
        for fault in faults.iter() {
            families.entry(fault.family()).or_default().0.push(fault);
        }
        Turns { families, round: Vec::new() }
    }

    /// The next fault, of a family that is not `busy`; `None` when all are.
    fn next(&mut self, busy: &[Family], rng: &mut ChaCha8Rng) -> Option<Fault> {
        if self.round.is_empty() {
            self.round = self.families.keys().copied().collect();
            self.round.shuffle(rng);
        }
        let idle = |family: &Family| !busy.contains(family);
        let family = match self.round.iter().position(idle) {
            Some(turn) => self.round.remove(turn),
            // All that are left in this round are busy: another takes an extra turn, if one can.
            None => self.families.keys().copied().find(idle)?,
        };
        let (all, left) = self.families.get_mut(&family).expect("a turn's family has faults");
        if left.is_empty() {
            left.clone_from(all);
            left.shuffle(rng);
        }
        left.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64, seconds: u64, faults: &str, nodes: usize) -> Options {
        let faults = FaultSet::parse(faults).expect("known faults").for_nodes(nodes).0;
        Options::new(seed, Duration::from_secs(seconds), faults)
    }

    #[test]
    fn a_plan_follows_from_its_seed() {
        let plan = Plan::draw(&options(7, 60, "all", 5));
        assert_eq!(plan, Plan::draw(&options(7, 60, "all", 5)));
        assert_ne!(plan, Plan::draw(&options(8, 60, "all", 5)));
    }

    #[test]
    fn a_short_load_phase_still_gets_faults_of_every_family() {
        for seed in 0..200 {
            let plan = Plan::draw(&options(seed, 20, "kill,pause,partition", 3));
            let counts = plan.count();
            assert!(plan.faults.len() >= 7, "seed {seed}: {} faults", plan.faults.len());
            assert!(counts.len() == 3 && counts.values().all(|&n| n >= 2), "seed {seed}: {counts:?}");
        }
    }

    #[test]
    fn faults_lie_within_the_limit_and_overlap_only_as_allowed() {
        for seed in 0..100 {
            for overlap in [1, 2, 3] {
                let plan = Plan::draw(&Options { overlap, ..options(seed, 90, "all", 5) });
                for planned in &plan.faults {
                    let end = planned.start_ms + planned.duration_ms;
                    assert!(end <= 90_000, "seed {seed}: ends at {end} ms");
                    let active: Vec<_> = plan
                        .faults
                        .iter()
                        .filter(|o| {
                            o.start_ms <= planned.start_ms && planned.start_ms < o.start_ms + o.duration_ms
                        })
                        .collect();
                    assert!(
                        active.len() <= overlap,
                        "seed {seed}: {} active, {overlap} allowed",
                        active.len()
                    );
                    let families: std::collections::BTreeSet<_> =
                        active.iter().map(|o| o.fault.family()).collect();
                    assert_eq!(families.len(), active.len(), "seed {seed}: two of one family at a time");
                }
            }
        }
    }

    #[test]
    fn every_fault_comes_up_before_any_comes_up_again() {
        let plan = Plan::draw(&options(3, 600, "partition", 5));
        let first: std::collections::BTreeSet<_> = plan.faults[..8].iter().map(|p| p.fault).collect();
        assert_eq!(first.len(), 8, "{:?}", &plan.faults[..8]);
    }

    #[test]
    fn long_faults_leave_time_to_recover() {
        let pace = Pace::for_length(Duration::from_secs(40)).lasting(Duration::from_secs(8));
        assert_eq!(pace, Pace { fault_ms: 8_000..=8_000, gap_ms: 4_000..=8_000 });
        let pace = Pace::for_length(Duration::from_secs(40)).lasting(Duration::from_millis(100));
        assert_eq!(pace, Pace { fault_ms: 100..=100, gap_ms: 300..=700 });
    }

    #[test]
    fn no_faults_make_an_empty_plan() {
        assert!(Plan::draw(&options(1, 60, "none", 3)).faults.is_empty());
    }
}
