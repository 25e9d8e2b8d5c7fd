//! `assay sim`: simulates clusters, one a seed.

mod less;

use super::{Failure, UNKNOWN, merge, model::cpu_s, print};
use crate::sim::{Outcome, Plan, run};
use less::{Change, Less, shrink};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    ops::Range,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

/// Exit status for a broken promise.
const ANOMALY: u8 = 1;
/// Failures that are shown; a run ends after so many.
const FAILURES_MAX: usize = 5;

/// Arguments of `assay sim`.
#[derive(Debug, clap::Args)]
pub(super) struct SimArgs {
    /// Simulate this seed alone, and show it.
    #[arg(long, conflicts_with_all = ["seeds", "shard"])]
    seed: Option<u64>,
    /// Seeds to simulate, from --first on.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first: u64,
    /// Simulate only every Nth of the seeds, from the Ith (from 1) on: `I/N`.
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    shard: Shard,
    /// Threads [default: all].
    #[arg(long)]
    jobs: Option<usize>,
    /// Simulate each seed twice: both must be the same, step by step.
    #[arg(long)]
    check_determinism: bool,
    /// Leave out these faults of the plan, by number: `2,5`.
    #[arg(long, value_name = "FAULTS", value_delimiter = ',', requires = "seed")]
    without: Vec<usize>,
    /// Change options of the plan: `seconds=4,clients=2,loss=0`. There are seconds, clients, rate, loss, twice and late.
    #[arg(long = "with", value_name = "OPTIONS", value_delimiter = ',', requires = "seed")]
    changes: Vec<Change>,
    /// Write what was found into this file, as JSON: for `assay merge`.
    #[arg(long, value_name = "FILE")]
    out: Option<std::path::PathBuf>,
    /// A planted bug of the server.
    #[cfg(feature = "plant")]
    #[arg(long, value_name = "BUG")]
    plant: Option<server::plant::Plant>,
    /// A mistake of the core.
    #[cfg(feature = "plant")]
    #[arg(long, value_name = "MUTATION")]
    mutation: Option<raft::Mutation>,
}

/// A part of the seeds.
#[derive(Clone, Copy, Debug)]
struct Shard {
    this: u64,
    of: u64,
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.this, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let wrong = || format!("`{text}` is no shard: write I/N, with I from 1 to N");
        let (this, of) = text.split_once('/').ok_or_else(wrong)?;
        let shard = Shard { this: this.parse().map_err(|_| wrong())?, of: of.parse().map_err(|_| wrong())? };
        if (1..=shard.of).contains(&shard.this) { Ok(shard) } else { Err(wrong()) }
    }
}

/// What all seeds came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    virtual_us: u64,
    events: u64,
    ok: u64,
    failed: BTreeMap<u64, String>,
}

pub(super) fn sim(args: &SimArgs) -> Result<u8, Failure> {
    // A broken invariant is a panic in the server, and a finding here.
    std::panic::set_hook(Box::new(|_| {}));
    match args.seed {
        Some(seed) => one(args, seed),
        None => many(args),
    }
}

fn plan(args: &SimArgs, seed: u64) -> Plan {
    #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
    let mut plan = Plan::of(seed);
    #[cfg(feature = "plant")]
    {
        plan.plant = args.plant;
        plan.core.mutation = args.mutation;
    }
    let _ = args;
    plan
}

/// How the run is repeated.
fn command(args: &SimArgs, seed: u64, less: &Less) -> String {
    let mut text = format!("assay sim --seed {seed}");
    if !less.without.is_empty() {
        let list: Vec<String> = less.without.iter().map(ToString::to_string).collect();
        let _ = write!(text, " --without {}", list.join(","));
    }
    if !less.changes.is_empty() {
        let list: Vec<String> = less.changes.iter().map(ToString::to_string).collect();
        let _ = write!(text, " --with {}", list.join(","));
    }
    #[cfg(feature = "plant")]
    {
        if let Some(plant) = args.plant {
            let _ = write!(text, " --plant {plant}");
        }
        if let Some(mutation) = args.mutation {
            let _ = write!(text, " --mutation {mutation}");
        }
    }
    let _ = args;
    text
}

fn one(args: &SimArgs, seed: u64) -> Result<u8, Failure> {
    let full = plan(args, seed);
    if let Some(number) = args.without.iter().find(|number| !(1..=full.faults.len()).contains(number)) {
        return Err(Failure::Usage(format!(
            "--without {number}: seed {seed} has {} faults",
            full.faults.len()
        )));
    }
    let less = Less { without: args.without.clone(), changes: args.changes.clone() };
    let plan = less.of(&full);
    print(&plan.to_string())?;
    let outcome = run(&plan, true);
    let again = args.check_determinism.then(|| run(&plan, false));
    if let Some(again) = again
        && again.trace != outcome.trace
    {
        print(&format!("seed {seed} is not deterministic: {:x}, then {:x}\n", outcome.trace, again.trace))?;
        return Ok(ANOMALY);
    }
    print(&format!(
        "{:.1} s of virtual time, {} events, {} operations succeeded, trace {:016x}\n",
        outcome.virtual_us as f64 / 1e6,
        outcome.events,
        outcome.ok,
        outcome.trace
    ))?;
    match &outcome.failure {
        None => {
            print("every promise is kept\n")?;
            Ok(0)
        }
        Some(failure) => {
            print(&format!("{}\n{failure}\n", outcome.diagram))?;
            let less = shrink(&full, less, failure.finder());
            print(&format!("{}\n", command(args, seed, &less)))?;
            Ok(ANOMALY)
        }
    }
}

fn many(args: &SimArgs) -> Result<u8, Failure> {
    let seeds: Range<u64> = args.first..args.first + args.seeds;
    let jobs = args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1);
    let next = AtomicU64::new(seeds.start + args.shard.this - 1);
    let over = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(args.shard.of, Relaxed);
                    if seed >= seeds.end || over.load(Relaxed) {
                        return;
                    }
                    let found = simulate(args, seed);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    if total.add(seed, found) {
                        over.store(true, Relaxed);
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_s());
    let hours = total.virtual_us as f64 / 3.6e9;
    let mut text = String::new();
    for (seed, failure) in &total.failed {
        let first: String = failure.lines().take(6).collect::<Vec<_>>().join("\n    ");
        let _ = writeln!(text, "seed {seed}: {first}\n  {}", command(args, *seed, &Less::default()));
    }
    let _ = writeln!(
        text,
        "{} seeds in {wall:.1} s and {cpu:.1} CPU-seconds: {} failed; {hours:.1} simulated hours, {:.0} a \
         CPU-hour; {} operations succeeded, {} events",
        total.seeds,
        total.failed.len(),
        hours / (cpu / 3600.0),
        total.ok,
        total.events
    );
    print(&text)?;
    if let Some(file) = &args.out {
        let shard = merge::Shard {
            version: env!("CARGO_PKG_VERSION").into(),
            first: args.first,
            count: args.seeds,
            shard: (args.shard.this, args.shard.of),
            seeds: total.seeds,
            virtual_us: total.virtual_us,
            events: total.events,
            ok: total.ok,
            cpu_s: cpu,
            failed: total.failed.clone(),
        };
        let json = serde_json::to_string(&shard).map_err(|error| Failure::Unknown(error.to_string()))?;
        std::fs::write(file, format!("{json}\n"))
            .map_err(|error| Failure::Unknown(format!("{}: {error}", file.display())))?;
    }
    match (total.failed.is_empty(), total.seeds) {
        (false, _) => Ok(ANOMALY),
        (true, 0) => Ok(UNKNOWN),
        (true, _) => Ok(0),
    }
}

fn simulate(args: &SimArgs, seed: u64) -> Outcome {
    let plan = plan(args, seed);
    let mut outcome = run(&plan, false);
    if args.check_determinism {
        let again = run(&plan, false);
        if again.trace != outcome.trace {
            let text = format!("not deterministic: {:x}, then {:x}", outcome.trace, again.trace);
            outcome.failure = Some(crate::sim::Failure::Safety(text));
        }
    }
    outcome
}

impl Total {
    /// Returns whether that is enough.
    fn add(&mut self, seed: u64, outcome: Outcome) -> bool {
        self.seeds += 1;
        self.virtual_us += outcome.virtual_us;
        self.events += outcome.events;
        self.ok += outcome.ok;
        if let Some(failure) = outcome.failure {
            self.failed.insert(seed, failure.to_string());
        }
        self.failed.len() >= FAILURES_MAX
    }
}
