//! The searches that are set on a mutant.

use super::{MutantsArgs, gallery::Mutant};
use crate::{cli::model::cpu_s, scenario::WorkloadName, sim};
use checker::models::raft::{Bounds, Named, Search, Walks};
use raft::Mutation;
use server::plant::Area;
use std::{fmt, time::Instant};

/// A way to find bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Altitude {
    /// The model, breadth first.
    Bfs,
    /// The model, by random walks.
    Walks,
    /// Simulated clusters.
    Sim,
}

impl Altitude {
    pub(super) const ALL: [Altitude; 3] = [Altitude::Bfs, Altitude::Walks, Altitude::Sim];
}

impl fmt::Display for Altitude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Altitude::Bfs => "breadth first",
            Altitude::Walks => "walks",
            Altitude::Sim => "simulation",
        })
    }
}

/// One search's success: processor time until then, and what gave the bug away.
#[derive(Clone)]
struct Found {
    cpu_s: f64,
    by: String,
}

/// All searches of one kind for a mutant: those that found it, and how many there were.
#[derive(Default)]
pub(super) struct Cell {
    found: Vec<Found>,
    tried: u64,
}

impl Cell {
    pub(super) fn is_found(&self) -> bool {
        !self.found.is_empty()
    }

    fn times_s(&self) -> Vec<f64> {
        let mut times: Vec<f64> = self.found.iter().map(|found| found.cpu_s).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// Of those that found it.
    pub(super) fn median_s(&self) -> Option<f64> {
        let times = self.times_s();
        times.get(times.len() / 2).copied()
    }

    pub(super) fn text(&self) -> String {
        if self.tried == 0 {
            return "-".into();
        }
        let (Some(median), times) = (self.median_s(), self.times_s()) else { return "not found".into() };
        let (count, worst) = (times.len(), times.last().copied().unwrap_or(median));
        // What gave it away most often, with the rest's names behind it.
        let mut by: Vec<(&str, usize)> = Vec::new();
        for found in &self.found {
            match by.iter_mut().find(|(name, _)| *name == found.by) {
                Some((_, count)) => *count += 1,
                None => by.push((&found.by, 1)),
            }
        }
        by.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let by: Vec<&str> = by.into_iter().map(|(name, _)| name).take(3).collect();
        let by = by.join(", ");
        if self.tried == 1 {
            format!("{median:.2} s: {by}")
        } else {
            format!("{count}/{}, {median:.2} s, {worst:.2} s: {by}", self.tried)
        }
    }
}

/// Looks for a mutant from one altitude.
pub(super) fn search(args: &MutantsArgs, mutant: Mutant, altitude: Altitude) -> Cell {
    match (altitude, mutant) {
        (Altitude::Bfs | Altitude::Walks, Mutant::Server(_)) => Cell::default(),
        (Altitude::Bfs, Mutant::Core(mutation)) => bfs(args, mutant, Some(mutation)),
        (Altitude::Bfs, Mutant::None) => bfs(args, mutant, None),
        (Altitude::Walks, Mutant::Core(mutation)) => {
            repeat(args, |seed| walks(args, mutant, Some(mutation), seed))
        }
        (Altitude::Walks, Mutant::None) => repeat(args, |seed| walks(args, mutant, None, seed)),
        (Altitude::Sim, _) => repeat(args, |seed| simulation(args, mutant, seed)),
    }
}

/// One search a seed; the first in vain ends it if none before found anything.
fn repeat(args: &MutantsArgs, mut search: impl FnMut(u64) -> Option<String>) -> Cell {
    let mut cell = Cell { found: Vec::new(), tried: args.repeat };
    for seed in 1..=args.repeat {
        let before = cpu_s();
        match search(seed) {
            Some(by) => cell.found.push(Found { cpu_s: cpu_s() - before, by }),
            None if cell.found.is_empty() => {
                cell.tried = seed;
                break;
            }
            None => {}
        }
    }
    cell
}

/// Bounds that let a mutant show itself.
fn bounds(of: Named, mutant: Mutant, mutation: Option<Mutation>) -> Bounds {
    let bounds = Bounds { mutation, ..of.bounds() };
    if mutant.is_of_membership() { Bounds { reconfigs: 2, ..bounds } } else { bounds }
}

fn bfs(args: &MutantsArgs, mutant: Mutant, mutation: Option<Mutation>) -> Cell {
    let search = Search {
        bounds: bounds(Named::Standard, mutant, mutation),
        threads: 1,
        states_max: Some(args.states),
        time_max: Some(args.time_limit),
        ..Search::of(Named::Standard)
    };
    let before = cpu_s();
    let found = search.run(|_| {}).counterexample.map(|found| Found {
        cpu_s: cpu_s() - before,
        by: format!("{}, depth {}", found.broken.name(), found.actions.len()),
    });
    Cell { found: found.into_iter().collect(), tried: 1 }
}

fn walks(args: &MutantsArgs, mutant: Mutant, mutation: Option<Mutation>, seed: u64) -> Option<String> {
    let walks = Walks {
        bounds: bounds(Named::Deep, mutant, mutation),
        seed,
        steps_max: 120,
        walks_max: u64::MAX,
        time_max: Some(args.time_limit),
        threads: 1,
    };
    walks.run().counterexample.map(|(_, found)| found.broken.name().into())
}

fn simulation(args: &MutantsArgs, mutant: Mutant, seed: u64) -> Option<String> {
    let begun = Instant::now();
    let first = 1 + (seed - 1) * 1_000_000;
    let plans = (first..first + args.seeds).map(sim::Plan::of);
    let mut in_time = plans.take_while(|_| begun.elapsed() < args.time_limit);
    in_time.find_map(|mut plan| {
        match mutant {
            Mutant::None => {}
            Mutant::Core(mutation) => plan.mutation = Some(mutation),
            Mutant::Server(plant) => {
                plan.plant = Some(plant);
                // A bug of the store shows in the workload that asks the most of it.
                match plant.area() {
                    Area::Store => plan.workload = WorkloadName::Kv,
                    Area::Lease => plan.workload = WorkloadName::Lease,
                    Area::Watch => plan.workload = WorkloadName::Watch,
                    Area::Raft | Area::Disk | Area::Image | Area::Read | Area::Reply => {}
                }
            }
        }
        sim::run(&plan, false).failure.map(|failure| failure.finder().to_string())
    })
}
