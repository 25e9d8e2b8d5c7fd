//! `assay mutants`: every planted bug, and what finds it. In builds with the feature `plant`.

use super::{Failure, duration, model::cpu_s, print};
use crate::sim;
use checker::models::raft::{Bounds, Named, Search, Walks};
use raft::Mutation;
use server::plant::Plant;
use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Exit status where a bug was not found.
const ANOMALY: u8 = 1;

/// Arguments of `assay mutants`.
#[derive(Debug, clap::Args)]
pub(super) struct MutantsArgs {
    /// Only these, by name.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Seeds of each search by chance: the median and the worst are told.
    #[arg(long, default_value_t = 3)]
    repeat: u64,
    /// Time for one search.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    time_limit: Duration,
    /// Simulated seeds of one search.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Where the matrix is written.
    #[arg(long, value_name = "FILE", default_value = "mutants.md")]
    out: PathBuf,
}

/// A planted bug.
#[derive(Clone, Copy)]
enum Mutant {
    /// Of the core.
    Core(Mutation),
    /// Of the server.
    Server(Plant),
}

impl Mutant {
    fn name(self) -> &'static str {
        match self {
            Mutant::Core(mutation) => mutation.name(),
            Mutant::Server(plant) => plant.name(),
        }
    }

    /// Those of the server that stand for one of the core are told there.
    fn all() -> Vec<Mutant> {
        let core = Mutation::ALL.iter().map(|mutation| Mutant::Core(*mutation));
        let of_the_server = |plant: &&Plant| {
            matches!(
                plant,
                Plant::ApplyTwiceAfterRestart
                    | Plant::CasIgnoresCompare
                    | Plant::LostDelete
                    | Plant::StaleRange
                    | Plant::CountIncludesTombstones
            )
        };
        core.chain(Plant::ALL.iter().filter(of_the_server).map(|plant| Mutant::Server(*plant))).collect()
    }
}

/// One search's result: processor time until it was found, and by what.
#[derive(Clone)]
struct Found {
    cpu_s: f64,
    by: String,
}

/// All searches of one kind for a mutant: those that found it, and how many there were.
#[derive(Default)]
struct Cell {
    found: Vec<Found>,
    tried: u64,
}

impl Cell {
    fn text(&self) -> String {
        if self.tried == 0 {
            return "-".into();
        }
        let mut times: Vec<f64> = self.found.iter().map(|found| found.cpu_s).collect();
        times.sort_by(f64::total_cmp);
        let Some(worst) = times.last() else { return "not found".into() };
        let by = &self.found[0].by;
        let median = times[times.len() / 2];
        format!("{}/{}: {median:.2} s, worst {worst:.2} s ({by})", times.len(), self.tried)
    }
}

pub(super) fn mutants(args: &MutantsArgs) -> Result<u8, Failure> {
    let all = Mutant::all();
    for name in &args.only {
        if !all.iter().any(|mutant| mutant.name() == name) {
            let names: Vec<&str> = all.iter().map(|mutant| mutant.name()).collect();
            return Err(Failure::Usage(format!(
                "no mutant is named `{name}`; there are {}",
                names.join(", ")
            )));
        }
    }
    std::panic::set_hook(Box::new(|_| {}));
    let chosen =
        |mutant: &&Mutant| args.only.is_empty() || args.only.iter().any(|name| name == mutant.name());
    let mut table =
        String::from("| mutant | model: breadth first | model: walks | simulation |\n|---|---|---|---|\n");
    let (mut missed, mut count) = (Vec::new(), 0);
    for mutant in all.iter().filter(chosen) {
        let row = [bfs(args, *mutant), walks(args, *mutant), simulation(args, *mutant)];
        count += 1;
        if row.iter().all(|cell| cell.found.is_empty()) {
            missed.push(mutant.name());
        }
        let [model, walk, sim] = row.each_ref().map(Cell::text);
        let line = format!("| {} | {model} | {walk} | {sim} |\n", mutant.name());
        print(&line)?;
        table += &line;
    }
    let sum = format!(
        "\n{} of {count} found; CPU-seconds until found, over {} seeds; limits: {} s, {} simulated seeds.\n",
        count - missed.len(),
        args.repeat,
        args.time_limit.as_secs(),
        args.seeds
    );
    let _ = writeln!(table, "{sum}");
    std::fs::write(&args.out, format!("# Planted bugs and what finds them\n\n{table}"))?;
    print(&sum)?;
    if missed.is_empty() {
        return Ok(0);
    }
    print(&format!("not found: {}\n", missed.join(", ")))?;
    Ok(ANOMALY)
}

fn bounds(of: Named, mutation: Mutation) -> Bounds {
    Bounds { mutation: Some(mutation), ..of.bounds() }
}

fn bfs(args: &MutantsArgs, mutant: Mutant) -> Cell {
    let Mutant::Core(mutation) = mutant else { return Cell::default() };
    let bounds = bounds(Named::Standard, mutation);
    let search = Search {
        bounds,
        threads: 1,
        states_max: Some(3_000_000),
        time_max: Some(args.time_limit),
        ..Search::of(Named::Standard)
    };
    let before = cpu_s();
    let report = search.run(|_| {});
    let found = report.counterexample.map(|found| Found {
        cpu_s: cpu_s() - before,
        by: format!("{}, depth {}", found.broken.name(), found.actions.len()),
    });
    Cell { found: found.into_iter().collect(), tried: 1 }
}

fn walks(args: &MutantsArgs, mutant: Mutant) -> Cell {
    let Mutant::Core(mutation) = mutant else { return Cell::default() };
    let mut cell = Cell { found: Vec::new(), tried: args.repeat };
    for seed in 1..=args.repeat {
        let walks = Walks {
            bounds: bounds(Named::Deep, mutation),
            seed,
            steps_max: 120,
            walks_max: u64::MAX,
            time_max: Some(args.time_limit),
            threads: 1,
        };
        let before = cpu_s();
        if let Some((_, found)) = walks.run().counterexample {
            cell.found.push(Found { cpu_s: cpu_s() - before, by: found.broken.name().into() });
        } else if cell.found.is_empty() {
            cell.tried = seed;
            break;
        }
    }
    cell
}

fn simulation(args: &MutantsArgs, mutant: Mutant) -> Cell {
    let mut cell = Cell { found: Vec::new(), tried: args.repeat };
    for repeat in 0..args.repeat {
        let (before, begun) = (cpu_s(), Instant::now());
        let first = 1 + repeat * 1_000_000;
        let found =
            (first..first + args.seeds).take_while(|_| begun.elapsed() < args.time_limit).find_map(|seed| {
                let mut plan = sim::Plan::of(seed);
                match mutant {
                    Mutant::Core(mutation) => plan.mutation = Some(mutation),
                    Mutant::Server(plant) => plan.plant = Some(plant),
                }
                sim::run(&plan, false).failure
            });
        match found {
            Some(failure) => {
                cell.found.push(Found { cpu_s: cpu_s() - before, by: failure.finder().to_string() });
            }
            None if cell.found.is_empty() => {
                cell.tried = repeat + 1;
                break;
            }
            None => {}
        }
    }
    cell
}
