//! What all runs of one command share: the target, the folder, the way to drive it.

use super::{
    args::BenchArgs,
    config::command,
    strain::Strain,
    target::{Place, Target},
};
use crate::{
    cli::{Failure, out},
    cluster::Kind,
    load::{self, Bench, BenchResults, Endpoint, Load, Machine, Row, Workload},
    nemesis::FaultSet,
    report::{self, BenchMetrics, Dashboard},
    runner::Stop,
};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// What all runs of one command share.
pub(super) struct Session<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) program: &'a str,
    pub(super) target: Target,
    pub(super) workload: Workload,
    pub(super) load: Load,
    pub(super) dir: PathBuf,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) stop: Arc<AtomicBool>,
    metrics: Option<BenchMetrics>,
    strain: Option<Strain>,
}

impl<'a> Session<'a> {
    pub(super) fn new(args: &'a BenchArgs, program: &'a str) -> Result<Session<'a>, Failure> {
        let (target, workload, load) = (args.target()?, args.workload()?, args.load()?);
        if args.vs.is_some() && !(1..=100).contains(&args.rounds) {
            return Err(Failure::Usage("--rounds: choose 1 to 100".into()));
        }
        // Before any thread: it may move into namespaces.
        let strain = Strain::of(args, &target, &workload)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let stop = Arc::new(AtomicBool::new(false));
        runtime.block_on(stop_on_signals(&stop))?;
        let metrics = args.metrics.as_deref().map(|address| {
            BenchMetrics::serve(address).map_err(|error| {
                Failure::Usage(format!("--metrics {address}: {error}; name another HOST:PORT"))
            })
        });
        let metrics = metrics.transpose()?;
        let dir = out::make(args.out.as_deref(), "bench")?;
        if let Some(metrics) = &metrics {
            let _ = writeln!(std::io::stderr(), "metrics at http://{}/metrics", metrics.address());
        }
        Ok(Session { args, program, target, workload, load, dir, runtime, stop, metrics, strain })
    }

    /// Starts the target, drives it, and ends it again.
    pub(super) fn measure(&self, target: &Target, dir: &Path, load: Load) -> Result<BenchResults, Failure> {
        let place = match self.workload.kind {
            // In this process: there is nothing to be started.
            load::Kind::Store => Place::Running(Vec::new()),
            load::Kind::Calls | load::Kind::KeepAlive | load::Kind::Replay { .. } => {
                self.runtime.block_on(Place::make(target, dir, self.faults(), &self.stop))?
            }
        };
        let outcome =
            self.drive(target, &place, Some(dir), self.args.bench(Vec::new(), self.workload.clone(), load));
        let crashes = self.runtime.block_on(place.end());
        let mut results = outcome?;
        if !crashes.is_empty() {
            results.invalid.extend(crashes);
            keep(dir, &mut results, |results| load::rewrite_results(dir, results));
        }
        keep(dir, &mut results, |results| {
            std::fs::write(dir.join("report.html"), report::bench_html(results))
        });
        Ok(results)
    }

    /// The faults that are to strike, and what carries the traffic between the nodes then; `None`: the nodes reach each
    /// other without anything in between, which would take CPU, and time.
    fn faults(&self) -> Option<(Kind, &FaultSet)> {
        self.args.faults.as_ref().and(self.strain.as_ref()).map(|strain| (strain.kind, &strain.faults))
    }

    /// Whether there is a terminal on which charts can be redrawn, and they were asked for.
    fn draws(&self) -> bool {
        self.args.tui && std::io::stderr().is_terminal()
    }

    /// Where load goes, and in whose name.
    async fn endpoints(&self, place: &Place) -> Result<Vec<Endpoint>, Failure> {
        let mut endpoints = place.endpoints(self.args.target_leader).await?;
        if let Some((name, password)) = self.args.credentials()? {
            for endpoint in &mut endpoints {
                let logged_in = endpoint.log_in(&name, &password).await;
                logged_in.map_err(|error| Failure::Usage(format!("--user: {error}")))?;
            }
        }
        Ok(endpoints)
    }

    /// Drives what runs.
    pub(super) fn drive(
        &self,
        target: &Target,
        place: &Place,
        dir: Option<&Path>,
        mut bench: Bench,
    ) -> Result<BenchResults, Failure> {
        bench.plan.endpoints = self.runtime.block_on(self.endpoints(place))?;
        bench.watched = self.runtime.block_on(place.watched());
        let config = self.args.config(target, &self.workload, &bench.plan.load);
        let results = BenchResults {
            command: command(self.program, &config, &self.args.switches()),
            started: report::rfc3339(SystemTime::now()),
            target: match self.workload.kind {
                load::Kind::Store => "the store of assay-server, in this process".to_owned(),
                load::Kind::Calls | load::Kind::KeepAlive | load::Kind::Replay { .. } => place.name(),
            },
            config,
            machine: Machine::here(),
            ..BenchResults::default()
        };
        let mut dashboard = self.draws().then(Dashboard::default);
        let each = |row: &Row| {
            if let Some(metrics) = &self.metrics {
                metrics.add(row);
            }
            match &mut dashboard {
                Some(dashboard) => drop(write!(std::io::stderr(), "{}", dashboard.draw(row))),
                None if dir.is_some() => show_row(row),
                None => {}
            }
        };
        if let (Some(strain), Some(dir)) = (&self.strain, dir) {
            let mut results = strain.drive(self, place, dir, bench, results, each)?;
            keep(dir, &mut results, |results| load::rewrite_results(dir, results));
            return Ok(results);
        }
        let outcome = bench.run(dir, results, &self.stop, each);
        outcome.map(|(results, _)| results).map_err(|error| Failure::Unknown(error.to_string()))
    }
}

/// Writes results to a folder; where that fails they say so themselves.
fn keep(dir: &Path, results: &mut BenchResults, write: impl Fn(&BenchResults) -> std::io::Result<()>) {
    if let Err(error) = write(results) {
        let why = load::unwritten(dir, &error);
        if !results.invalid.contains(&why) {
            results.invalid.push(why);
        }
    }
}

/// One line a second on stderr.
fn show_row(row: &Row) {
    let _ = writeln!(
        std::io::stderr(),
        "{:>5.0} s {:>9.0}/s {:>7} failed  response p50 {:>8.2} p99 {:>8.2} max {:>8.2} ms  service p99 {:>8.2} ms  backlog {}{}",
        row.t_s,
        row.ok as f64 / row.length_s,
        row.failed,
        row.response.p50_ms,
        row.response.p99_ms,
        row.response.max_ms,
        row.service.p99_ms,
        row.backlog_max,
        if row.outside { "  (not counted)" } else { "" }
    );
}

/// From now on a Ctrl-C ends the load, not the program.
pub(super) async fn stop_on_signals(flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    let (stop, flag) = (Stop::default(), Arc::clone(flag));
    stop.on_signals(move |_| {
        flag.store(true, Ordering::Relaxed);
        let _ = writeln!(std::io::stderr(), "\nassay: told to stop: writing what there is");
    })?;
    Ok(())
}

/// Looks that endpoints can be reached at all.
pub(super) fn reach(endpoints: &[Endpoint]) -> Result<(), Failure> {
    load::reach(endpoints).map_err(|error| Failure::Usage(format!("{error}; is the store running there?")))
}
