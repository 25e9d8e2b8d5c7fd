//! A seeded random driver: a whole cluster whose messages are lost, duplicated and reordered, whose links
//! are cut one way or both, whose disks are slow and forget in crashes what was not synced. After each step
//! the invariants of [`ghost`] are checked; in the end everything is healed, and the cluster must get to
//! work again.
//!
//! `RAFT_SEEDS=N` runs N seeds, `RAFT_SEED=S` only seed S, `RAFT_TRACE=1` prints each step.

mod actions;
mod ghost;
mod liveness;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};
use world::{Plan, World};

const SEEDS_DEFAULT: u64 = 500;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// One whole run. Panics where an invariant is broken; returns what it got to see.
fn run(plan: Plan) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(plan);
    world.storm();
    world.heal_and_converge();
    world.ghost.seen
}

fn seeds() -> std::ops::Range<u64> {
    match env("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("RAFT_SEEDS").unwrap_or(SEEDS_DEFAULT),
    }
}

/// What a driver must bring about, or its silence means nothing.
const MUST_BE_SEEN: [&str; 14] = [
    "a leader commits",
    "a leader commits during a change of membership",
    "a leader commits that is being removed",
    "a leader steps down within its term",
    "a log is truncated",
    "a node starts from an image that had not replaced its log",
    "a read is lost",
    "a read is served",
    "an append is rejected",
    "an election is won",
    "an image is sent",
    "an image replaces a log",
    "leadership is handed over",
    "several writes wait for the disk",
];

fn assert_clean(nodes: u64) {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds() {
        let plan = Plan::draw(seed, nodes);
        match catch_unwind(AssertUnwindSafe(|| run(plan.clone()))) {
            Ok(saw) => saw.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count),
            Err(panic) => {
                eprintln!("REPRODUCE WITH: RAFT_SEED={seed} RAFT_TRACE=1, {nodes} nodes\n{plan:#?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{nodes} nodes: {seen:#?}");
    if seeds().count() >= SEEDS_DEFAULT as usize {
        let missing: Vec<&str> = MUST_BE_SEEN.into_iter().filter(|what| !seen.contains_key(what)).collect();
        assert!(missing.is_empty(), "the driver never brought about: {missing:?}");
    }
}

#[test]
fn three_nodes() {
    assert_clean(3);
}

#[test]
fn five_nodes() {
    assert_clean(5);
}

/// The same seed gives the same run: nothing in the core or in the driver depends on anything else.
#[test]
fn a_run_can_be_repeated() {
    let trace = |seed| {
        let mut world = World::new(Plan::draw(seed, 3));
        world.storm();
        world.fingerprint()
    };
    for seed in 0..5 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2), "different seeds give different runs");
}

#[cfg(feature = "plant")]
mod planted {
    use super::*;
    use raft::Mutation;

    /// Far more than any mistake needs.
    const SEEDS_MAX: u64 = 10_000;

    /// What this driver has not seen in as many seeds. The first three need just one order of messages; golden
    /// scripts show them (`script::planted`), and the model finds the first. The others break no promise.
    const UNSEEN: [Mutation; 6] = [
        Mutation::StaleRoundConfirmed,
        Mutation::StaleRejectionBelieved,
        Mutation::ReadByMinority,
        Mutation::CommitNotClamped,
        Mutation::UnsafeTransfer,
        Mutation::ChangeTooEarly,
    ];

    /// Every other mistake is caught within a bounded number of seeds. `RAFT_PLANT=NAME` looks for one alone.
    #[test]
    fn every_mutation_is_caught() {
        let only = std::env::var("RAFT_PLANT").ok();
        let wanted = |mutation: &&Mutation| match &only {
            Some(name) => mutation.name() == name,
            None => !UNSEEN.contains(mutation),
        };
        let mut missed = Vec::new();
        for &mutation in Mutation::ALL.iter().filter(wanted) {
            let caught = (0..SEEDS_MAX).find_map(|seed| {
                let plan = Plan { mutation: Some(mutation), ..Plan::draw(seed, 3 + 2 * (seed % 2)) };
                let panic = catch_unwind(AssertUnwindSafe(|| run(plan))).err()?;
                let what = panic.downcast_ref::<String>().cloned();
                Some((seed, what.or(panic.downcast_ref::<&str>().map(|what| what.to_string()))))
            });
            match caught {
                Some((seed, what)) => {
                    println!("{mutation}: caught by seed {seed}: {}", what.unwrap_or_default())
                }
                None => missed.push(mutation),
            }
        }
        assert!(missed.is_empty(), "not caught within {SEEDS_MAX} seeds: {missed:?}");
    }
}
