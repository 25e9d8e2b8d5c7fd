//! `assay run`: a cluster, workloads, faults, a verdict.

mod args;
mod repeat;

use super::{Failure, Format, colour, containers, log, out, print, series};
use crate::{
    cluster::{Kind, System, Tuning, compose, netns},
    nemesis::PlanFile,
    report,
    runner::{self, Config, Member, RunError, Stop, Target},
    scenario::WorkloadName,
    workload::TxnRevisions,
};
use args::ClusterArg;
pub(super) use args::{Profile, RunArgs};
use repeat::{command, words};
use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Moves into namespaces where the cluster needs them: the rest of the program then runs in there.
fn kind(arg: ClusterArg, notes: &mut Vec<String>) -> Result<Kind, Failure> {
    match arg {
        ClusterArg::Local => return Ok(Kind::Local),
        ClusterArg::Compose => return Ok(Kind::Compose),
        ClusterArg::Auto => {
            if let Err(why) = netns::available() {
                notes.push(format!("the cluster is local, for netns is not to be had here: {why}"));
                return Ok(Kind::Local);
            }
        }
        ClusterArg::Netns => {}
    }
    netns::enter().map_err(|why| Failure::Usage(format!("--cluster netns: {why}")))?;
    Ok(Kind::Netns)
}

/// What `auto` comes to: netns where it works, else local. Call it before there is any thread.
pub(super) fn network(notes: &mut Vec<String>) -> Result<Kind, Failure> {
    kind(ClusterArg::Auto, notes)
}

pub(super) fn run(args: &RunArgs, program: &str) -> Result<u8, Failure> {
    args.bounds()?;
    // Whatever is wrong with the arguments is found before anything is made.
    args.workloads()?;
    let baseline = args.baseline()?;
    let mut notes = Vec::new();
    let target = if args.endpoints.is_empty() {
        let system = args.system()?;
        Target::Start { kind: kind(args.cluster, &mut notes)?, system, nodes: args.nodes }
    } else {
        let members =
            Member::at(&args.endpoints).map_err(|error| Failure::Usage(format!("--endpoints: {error}")))?;
        Target::Running { members, prefix: format!("assay-{:x}/", fresh_number()) }
    };
    args.faults(&target, &mut Vec::new())?;
    if let Target::Start { kind: Kind::Compose, system, nodes } = &target
        && !compose::inside()
    {
        let store = args.out.as_deref().unwrap_or(Path::new(out::STORE));
        return containers::front(system, *nodes, store, program);
    }
    let setting = Setting { target, notes, baseline, program: containers::program(program) };
    let seed = args.seed.unwrap_or_else(|| fresh_number() % 1_000_000_000);
    let outcome = match args.profile {
        None | Some(Profile::Smoke) => once(args, &setting, seed),
        Some(Profile::Regression) => series::regression(args, &setting),
        Some(Profile::Soak) => series::soak(args, &setting, seed),
    };
    if compose::inside() {
        containers::leave();
    }
    outcome
}

/// What all runs of one call share.
pub(super) struct Setting {
    target: Target,
    notes: Vec<String>,
    baseline: Option<(report::Results, report::Tolerance)>,
    program: String,
}

impl Setting {
    /// A run with these arguments, into a folder that is there.
    pub(super) fn config(&self, args: &RunArgs, seed: u64, out: PathBuf) -> Result<Config, Failure> {
        let mut target = self.target.clone();
        if let (Target::Start { system: System::Assay { plant, .. }, .. }, Some(bug)) =
            (&mut target, &args.plant)
        {
            *plant = Some(bug.clone());
        }
        let workloads = args.workloads()?;
        let mut notes = self.notes.clone();
        let faults = args.faults(&target, &mut notes)?;
        let txn_revisions = match workloads.contains(&WorkloadName::Kv) {
            true => args.txn_revisions(&target, &mut notes),
            false => TxnRevisions::Any,
        };
        let replay = args.replay.as_deref().map(PlanFile::read).transpose();
        let replay = replay.map_err(|error| Failure::Usage(format!("--replay: {error}")))?;
        let tuning = Tuning { trace: args.trace, ..args.settings.tuning(seed, &mut notes) };
        Ok(Config {
            command: command(&self.program, &words(args, &target, seed)),
            args: words(&args.in_full(), &target, seed),
            faults_named: !args.asks_for_all(),
            overlap: args.overlap,
            fault_time: args.fault_time,
            replay,
            tuning,
            target,
            workloads,
            faults,
            txn_revisions,
            time_limit: args.time_limit(),
            rate: args.rate,
            concurrency: args.concurrency,
            deadline: args.deadline,
            seed,
            out,
            notes,
            baseline: self.baseline.clone(),
            online: !args.no_online,
            quiet: false,
        })
    }

    /// The command that repeats all of it.
    pub(super) fn command(&self, args: &RunArgs, seed: u64) -> String {
        command(&self.program, &words(args, &self.target, seed))
    }
}

fn once(args: &RunArgs, setting: &Setting, seed: u64) -> Result<u8, Failure> {
    let workloads = args.workloads()?;
    let name = if let Some(scenario) = args.scenario {
        scenario.name.to_string()
    } else if workloads == WorkloadName::ALL.into() {
        "all".to_string()
    } else {
        workloads.iter().map(|workload| workload.name()).collect::<Vec<_>>().join("+")
    };
    let dir = out::make(args.out.as_deref(), &name)?;
    log();
    let results = with_runtime(async |stop| carry_out(setting.config(args, seed, dir.clone())?, stop).await)?;
    tell_ci(&report::summary(&results));
    match args.format {
        Format::Text => print(&report::text(&results, &dir, colour()))?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&results).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))?;
        }
    }
    Ok(results.verdict.exit_code())
}

/// Runs something that Ctrl-C stops.
pub(super) fn with_runtime<T>(work: impl AsyncFnOnce(Stop) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = Stop::default();
        stop.on_signals(|times| {
            let text = if times == 1 {
                "told to stop: healing every fault and ending every process"
            } else {
                "still healing and ending processes; it will not take long"
            };
            let _ = writeln!(std::io::stderr(), "\nassay: {text}");
        })?;
        work(stop).await
    })
}

/// One run.
pub(super) async fn carry_out(config: Config, stop: Stop) -> Result<report::Results, Failure> {
    let dir = config.out.clone();
    let _ = writeln!(std::io::stderr(), "seed {}, results in {}", config.seed, dir.display());
    runner::run(config, stop).await.map_err(|error| match error {
        RunError::Usage(text) => {
            // Nothing was run: an empty folder would only be in the way.
            let _ = std::fs::remove_dir_all(dir.join("nodes"));
            let _ = std::fs::remove_dir(&dir);
            Failure::Usage(text)
        }
        RunError::Report(_) => Failure::Unknown(error.to_string()),
    })
}

/// Puts a summary onto the page of the CI job, where there is one.
pub(super) fn tell_ci(summary: &str) {
    if let Err(error) = report::tell_ci(summary, |name| std::env::var(name).ok()) {
        let _ = writeln!(std::io::stderr(), "assay: the summary is not on the job's page: {error}");
    }
}

/// A number that no other run is likely to have.
fn fresh_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ns = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
    // Neighbouring times give numbers that differ in all digits. Source: Steele et al., SplitMix64.
    let mixed = (ns ^ (ns >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27) ^ u64::from(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn fresh_numbers_differ() {
        let numbers: BTreeSet<u64> = (0..100).map(|_| fresh_number()).collect();
        assert!(numbers.len() > 90, "{}", numbers.len());
    }
}
