//! The searches that are set on a mutant.

use super::{MutantsArgs, gallery::Mutant};
use crate::{cli::model::cpu_s, scenario::WorkloadName, sim};
use checker::models::raft::{Bounds, Named, Search, Walks};
use server::plant::Area;
use std::fmt;

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

/// All searches of one kind for a mutant: how many there were, and what became of those that found it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    tried: u64,
    found: Option<Finds>,
}

/// Searches that found a mutant.
#[derive(Clone, Debug, PartialEq)]
struct Finds {
    count: u64,
    /// Processor time, in seconds.
    median_s: f64,
    worst_s: f64,
    /// What gave it away, most often first.
    by: String,
}

impl Cell {
    fn new(tried: u64, found: &[Found]) -> Cell {
        let mut times: Vec<f64> = found.iter().map(|found| found.cpu_s).collect();
        times.sort_by(f64::total_cmp);
        let Some(&worst_s) = times.last() else { return Cell { tried, found: None } };
        // What gave it away most often, with the rest's names behind it.
        let mut by: Vec<(&str, usize)> = Vec::new();
        for found in found {
            match by.iter_mut().find(|(name, _)| *name == found.by) {
                Some((_, count)) => *count += 1,
                None => by.push((&found.by, 1)),
            }
        }
        by.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let by: Vec<&str> = by.into_iter().map(|(name, _)| name).take(3).collect();
        let (count, median_s) = (found.len() as u64, times[times.len() / 2]);
        Cell { tried, found: Some(Finds { count, median_s, worst_s, by: by.join(", ") }) }
    }

    pub(super) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// Of those that found it.
    pub(super) fn median_s(&self) -> Option<f64> {
        self.found.as_ref().map(|found| found.median_s)
    }

    /// As a table shows it.
    pub(super) fn text(&self) -> String {
        match (self.tried, &self.found) {
            (0, _) => "-".into(),
            (_, None) => "not found".into(),
            (1, Some(Finds { median_s, by, .. })) => format!("{median_s:.2} s: {by}"),
            (tried, Some(Finds { count, median_s, worst_s, by })) => {
                format!("{count}/{tried}, {median_s:.2} s, {worst_s:.2} s: {by}")
            }
        }
    }

    /// Reads back what [`text`](Cell::text) wrote; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Cell> {
        let seconds = |text: &str| text.strip_suffix(" s")?.parse::<f64>().ok();
        match text {
            "-" => return Some(Cell::default()),
            "not found" => return Some(Cell { tried: 1, found: None }),
            _ => {}
        }
        let (numbers, by) = text.split_once(": ")?;
        let by = by.to_string();
        let (tried, count, median_s, worst_s) = match numbers.split(", ").collect::<Vec<_>>()[..] {
            [only] => (1, 1, seconds(only)?, seconds(only)?),
            [counts, median, worst] => {
                let (count, tried) = counts.split_once('/')?;
                (tried.parse().ok()?, count.parse().ok()?, seconds(median)?, seconds(worst)?)
            }
            _ => return None,
        };
        Some(Cell { tried, found: Some(Finds { count, median_s, worst_s, by }) })
    }
}

/// Looks for a mutant from one altitude.
pub(super) fn search(args: &MutantsArgs, mutant: Mutant, altitude: Altitude) -> Cell {
    let has_core = mutant == Mutant::None || mutant.core().is_some();
    match altitude {
        Altitude::Bfs | Altitude::Walks if !has_core => Cell::default(),
        Altitude::Bfs => bfs(args, mutant),
        Altitude::Walks => repeat(args, |seed| walks(args, mutant, seed)),
        Altitude::Sim => repeat(args, |seed| simulation(args, mutant, seed)),
    }
}

/// One search a seed; the first in vain ends it if none before found anything.
fn repeat(args: &MutantsArgs, mut search: impl FnMut(u64) -> Option<String>) -> Cell {
    let mut found = Vec::new();
    for seed in 1..=args.repeat {
        let before = cpu_s();
        match search(seed) {
            Some(by) => found.push(Found { cpu_s: cpu_s() - before, by }),
            None if found.is_empty() => return Cell::new(seed, &found),
            None => {}
        }
    }
    Cell::new(args.repeat, &found)
}

/// Processor time that a search may take. Time on a clock would depend on what else the machine does.
struct Budget {
    until_s: f64,
}

impl Budget {
    fn of(args: &MutantsArgs) -> Budget {
        Budget { until_s: cpu_s() + args.cpu_limit.as_secs_f64() }
    }

    fn is_left(&self) -> bool {
        cpu_s() < self.until_s
    }
}

/// Bounds that let a mutant show itself.
fn bounds(of: Named, mutant: Mutant) -> Bounds {
    let bounds = Bounds { mutation: mutant.core(), ..of.bounds() };
    let changes = mutant.is_of_membership() && bounds.reconfigs == 0;
    if changes { Bounds { reconfigs: 2, ..bounds } } else { bounds }
}

fn bfs(args: &MutantsArgs, mutant: Mutant) -> Cell {
    let search = Search {
        // What is left out so that the search comes to its end may be just what a mutant is about.
        bounds: Bounds { unheard: true, late: true, ..bounds(Named::Standard, mutant) },
        threads: 1,
        states_max: Some(args.states),
        time_max: None,
        ..Search::of(Named::Standard)
    };
    let before = cpu_s();
    let found = search.run(|_| {}).counterexample.map(|found| Found {
        cpu_s: cpu_s() - before,
        by: format!("{}, depth {}", found.broken.name(), found.actions.len()),
    });
    Cell::new(1, found.as_slice())
}

/// Where walks are taken, in turn, and how many for each one elsewhere: those of `churn` are short, and what they look
/// for is rare.
const WALKED: [(Named, u64); 4] =
    [(Named::Deep, 1), (Named::Churn, 8), (Named::Members, 1), (Named::Five, 1)];
/// Walks at first, and at most: every turn takes twice as many as the one before.
const WALKS_FIRST: u64 = 500;
const WALKS_MOST: u64 = 32_000;

fn walks(args: &MutantsArgs, mutant: Mutant, seed: u64) -> Option<String> {
    let budget = Budget::of(args);
    let (mut seed, mut count) = (seed << 32, WALKS_FIRST);
    while budget.is_left() {
        for (named, share) in WALKED {
            let (bounds, walks_max) = (bounds(named, mutant), share * count);
            let walks = Walks { bounds, seed, steps_max: 120, walks_max, time_max: None, threads: 1 };
            if let Some((_, found)) = walks.run().counterexample {
                return Some(found.broken.name().into());
            }
        }
        (seed, count) = (seed + 1, (2 * count).min(WALKS_MOST));
    }
    None
}

fn simulation(args: &MutantsArgs, mutant: Mutant, seed: u64) -> Option<String> {
    let budget = Budget::of(args);
    let first = 1 + (seed - 1) * 1_000_000;
    let plans = (first..first + args.seeds).map(sim::Plan::of);
    let mut in_time = plans.take_while(|_| budget.is_left());
    in_time.find_map(|mut plan| {
        match mutant {
            Mutant::None => {}
            Mutant::Core(mutation) => plan.core.mutation = Some(mutation),
            Mutant::Server(plant) => {
                plan.plant = Some(plant);
                // A bug of the store shows in the workload that asks the most of it.
                match plant.area() {
                    Area::Store => plan.ask(WorkloadName::Kv),
                    Area::Lease => plan.ask(WorkloadName::Lease),
                    Area::Watch => plan.ask(WorkloadName::Watch),
                    Area::Raft | Area::Disk | Area::Image | Area::Read | Area::Reply | Area::Members => {}
                }
            }
        }
        // A check that could not decide has found nothing.
        sim::run(&plan, false)
            .failure
            .filter(sim::Failure::is_finding)
            .map(|failure| failure.finder().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_shows_is_read_back() {
        let found = |times: &[(f64, &str)]| -> Vec<Found> {
            times.iter().map(|(cpu_s, by)| Found { cpu_s: *cpu_s, by: (*by).into() }).collect()
        };
        let cells = [
            Cell::default(),
            Cell::new(1, &[]),
            Cell::new(1, &found(&[(0.25, "log matching, depth 4")])),
            Cell::new(3, &found(&[(1.5, "invariants"), (0.5, "liveness"), (0.75, "liveness")])),
        ];
        for cell in cells {
            assert_eq!(Cell::parse(&cell.text()), Some(cell.clone()), "{}", cell.text());
        }
        let text = "2/3, 0.75 s, 1.50 s: liveness, invariants";
        assert_eq!(Cell::parse(text).map(|cell| cell.text()), Some(text.into()));
        for other in ["", "not searched", "at once: log matching (c)", "3 of the first 37 seeds: invariants"]
        {
            assert_eq!(Cell::parse(other), None, "{other}");
        }
    }
}
