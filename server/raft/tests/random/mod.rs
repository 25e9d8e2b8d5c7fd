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

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Plan, World};

const SEEDS_DEFAULT: u64 = 300;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// One whole run. Panics where an invariant is broken.
fn run(plan: Plan) {
    let mut world = World::new(plan);
    world.storm();
    world.heal_and_converge();
}

fn seeds() -> std::ops::Range<u64> {
    match env("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("RAFT_SEEDS").unwrap_or(SEEDS_DEFAULT),
    }
}

fn assert_clean(nodes: u64) {
    for seed in seeds() {
        let plan = Plan::draw(seed, nodes);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(plan.clone()))) {
            eprintln!("REPRODUCE WITH: RAFT_SEED={seed} RAFT_TRACE=1, {nodes} nodes\n{plan:#?}");
            std::panic::resume_unwind(panic);
        }
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
    const SEEDS_MAX: u64 = 2_000;

    /// Every mistake is caught within a bounded number of seeds.
    #[test]
    fn every_mutation_is_caught() {
        let mut missed = Vec::new();
        for &mutation in Mutation::ALL {
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
