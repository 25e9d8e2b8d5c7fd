//! One whole run: writes the keys there are to be, drives the store, and writes down what it came to.

use super::{
    compactor::{Compactions, Compactor},
    drive::{Load, Plan, drive},
    files::{Journal, write_results},
    interval::{Interval, Tally},
    keys::Distribution,
    mix::{Action, Kind, Mix, Workload},
    resources::{MachineUse, Sampler, Usage, Watched},
    store_drive,
    summary::{BenchResults, Collected, Row},
    tasks,
    watchers::Watchers,
};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Clients that write the keys at first.
const PRELOAD_CLIENTS: usize = 256;

/// What the events of watches are called among the operations.
const EVENT: &str = "watch-event";

/// What sends the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// The engine of this crate.
    #[default]
    Raw,
    /// tonic's client, as most Rust programs would use it.
    Tonic,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Client::Raw => "raw",
            Client::Tonic => "tonic",
        })
    }
}

/// A run to be made.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The load, its warm-up included.
    pub plan: Plan,
    /// How much of it is not counted.
    pub warmup: Duration,
    /// What sends it.
    pub client: Client,
    /// Servers whose use of the machine is watched.
    pub watched: Vec<Watched>,
}

/// Why a run could not be made.
#[derive(Debug)]
pub enum BenchError {
    /// The keys could not be written.
    Preload(String),
    /// What is to go on beside the load could not be begun.
    Beside(String),
    /// Files could not be written.
    Files(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Preload(text) => write!(f, "the keys could not be written before the load: {text}"),
            BenchError::Beside(text) => f.write_str(text),
            BenchError::Files(error) => write!(f, "the results cannot be written: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> BenchError {
        BenchError::Files(error)
    }
}

impl Bench {
    /// Names of what is measured.
    fn names(&self) -> Vec<&'static str> {
        let mut names = self.plan.workload.names();
        names.extend(self.plan.workload.watching.map(|_| EVENT));
        names
    }

    /// Makes the run. With `dir` the files are written there; `results` holds what is known beforehand; each row is
    /// shown as it comes.
    ///
    /// # Errors
    /// See [`BenchError`]. What goes wrong with the load itself is in the results.
    pub fn run(
        &self,
        dir: Option<&Path>,
        results: BenchResults,
        stop: &AtomicBool,
        each: impl FnMut(&Row),
    ) -> Result<(BenchResults, Interval), BenchError> {
        let mut prepared = self.clone();
        prepared.prepare(stop)?;
        prepared.measure(dir, results, stop, each)
    }

    /// Writes the keys there are to be; the run does not do it again.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn prepare(&mut self, stop: &AtomicBool) -> Result<(), BenchError> {
        if self.plan.workload.preload {
            self.preload(stop)?;
            let workload = Workload { preload: false, ..(*self.plan.workload).clone() };
            self.plan.workload = Arc::new(workload);
        }
        Ok(())
    }

    fn measure(
        &self,
        dir: Option<&Path>,
        results: BenchResults,
        stop: &AtomicBool,
        mut each: impl FnMut(&Row),
    ) -> Result<(BenchResults, Interval), BenchError> {
        let names = self.names();
        let length_s = self.plan.interval.as_secs_f64();
        let first = (self.warmup.as_secs_f64() / length_s).ceil() as u64;
        let end = (self.plan.duration.as_secs_f64() / length_s) as u64;
        let mut journal = match dir {
            Some(dir) => Some(Journal::create(dir, names.clone(), SystemTime::now(), &results.started)?),
            None => None,
        };
        let mut collected = Collected::new(names.clone(), length_s, first, end, self.plan.workers);
        let mut written = Ok(());
        let mut stamped = 0;
        let beside = Beside::start(&self.plan)?;
        let sampler = Sampler::start(self.watched.clone());
        let machine = MachineUse::now();
        let take = |mut interval: Interval| {
            if let Some(watchers) = &beside.watchers {
                interval.push_beside(watchers.take());
            }
            stamped += stamps(&names, &interval);
            let row = collected.add(&interval);
            each(row);
            if let Some(journal) = &mut journal
                && written.is_ok()
            {
                written = journal.add(&interval, row);
            }
        };
        self.drive(stop, take);
        let machine = machine.since();
        let servers = sampler.stop();
        let (late_events, compactions, error) = beside.stop(stamped);
        collected.add_late(late_events);
        let sum = collected.sum.clone();
        let mut results = collected.finish(results, &self.client.to_string());
        results.compactions = compactions.done;
        results.invalid.extend(error);
        if let Some(error) = compactions.error {
            results.invalid.push(format!("{} compactions failed: {error}", compactions.failed));
        }
        results.partial = stop.load(Ordering::Relaxed);
        results.target_per_s = match &self.plan.load {
            Load::Open { shape, .. } => {
                let (from, to) = (self.warmup.as_secs_f64(), self.plan.duration.as_secs_f64());
                Some((shape.count_at(to) - shape.count_at(from)) / (to - from).max(f64::EPSILON))
            }
            Load::Closed { .. } => None,
        };
        let done = results.rows.iter().map(|row| row.ok + row.failed).sum::<u64>();
        results.server_cpu_us_per_op = cpu_us_per_op(&servers, done);
        let servers_s: f64 = servers.values().map(|seen| Usage::grown(seen, |usage| usage.cpu_s)).sum();
        results.others_share = machine.others(servers_s);
        results.servers = servers;
        if let Some(dir) = dir {
            let written = written.and_then(|()| write_results(dir, &results, &sum, &names));
            results.invalid.extend(written.err().map(|error| unwritten(dir, &error)));
        }
        Ok((results, sum))
    }

    fn drive(&self, stop: &AtomicBool, take: impl FnMut(Interval)) {
        match (self.plan.workload.kind, self.client) {
            (Kind::Calls, Client::Raw) => drive(&self.plan, stop, take),
            (Kind::Calls, Client::Tonic) | (Kind::KeepAlive | Kind::Replay { .. }, _) => {
                tasks::drive(&self.plan, stop, take);
            }
            (Kind::Store, _) => store_drive::drive(&self.plan, stop, take),
        }
    }

    /// Writes every key once.
    fn preload(&self, stop: &AtomicBool) -> Result<(), BenchError> {
        let workload = Workload {
            kind: Kind::Calls,
            watching: None,
            compact_every: None,
            mix: Mix::only(Action::Put),
            keys: Distribution::Sequential,
            ..(*self.plan.workload).clone()
        };
        let plan = Plan {
            load: Load::Closed {
                clients: PRELOAD_CLIENTS,
                operations_max: Some(self.plan.workload.key_count),
            },
            // However long it takes, it ends: every key is written or fails within its deadline.
            duration: Duration::from_secs(24 * 3600),
            workload: Arc::new(workload),
            trace: None,
            began: Arc::default(),
            ..self.plan.clone()
        };
        let (mut ok, mut failed, mut error) = (0, 0, None);
        let failing = AtomicBool::new(false);
        drive(&plan, &failing, |interval| {
            ok += interval.ok();
            failed += interval.failed();
            error = interval.error.or(error.take());
            // A store that takes nothing for ten intervals takes no load either.
            let hopeless = interval.index >= 10 && ok == 0;
            failing.store(hopeless || stop.load(Ordering::Relaxed), Ordering::Relaxed);
        });
        if ok == 0 || failed * 100 > ok {
            let text = error.unwrap_or_else(|| "no answers".to_owned());
            return Err(BenchError::Preload(format!("{failed} of {} failed: {text}", ok + failed)));
        }
        Ok(())
    }
}

/// What was measured is told even where it cannot be kept.
pub fn unwritten(dir: &Path, error: &io::Error) -> String {
    format!("the files in {} are not whole: {error}", dir.display())
}

/// Writes whose values carry stamps, so that each becomes an event that is told apart.
fn stamps(names: &[&str], interval: &Interval) -> u64 {
    let stamped = |name: &str| ["put", "insert"].contains(&name);
    names.iter().zip(&interval.tallies).filter(|(name, _)| stamped(name)).map(|(_, tally)| tally.ok).sum()
}

/// What goes on beside the load.
struct Beside {
    watchers: Option<Watchers>,
    compactor: Option<Compactor>,
}

impl Beside {
    fn start(plan: &Plan) -> Result<Beside, BenchError> {
        let workload = &plan.workload;
        let watchers = workload.watching.map(|watching| Watchers::start(&plan.endpoints, workload, watching));
        let watchers = watchers.transpose().map_err(BenchError::Beside)?;
        let compactor =
            workload.compact_every.map(|every| Compactor::start(plan.endpoints[0].clone(), every));
        let compactor = compactor.transpose().map_err(BenchError::Beside)?;
        Ok(Beside { watchers, compactor })
    }

    /// Waits for the events of the writes that succeeded. Gives those that came late, what was compacted, and
    /// why the watches did not last.
    fn stop(self, writes: u64) -> (Option<Tally>, Compactions, Option<String>) {
        let compactions = self.compactor.map(Compactor::stop).unwrap_or_default();
        let Some(watchers) = self.watchers else { return (None, compactions, None) };
        watchers.wait_for(writes);
        (Some(watchers.take()), compactions, watchers.error())
    }
}

/// CPU of all servers for an operation, in µs; `None` where it cannot be seen.
fn cpu_us_per_op(servers: &BTreeMap<String, Vec<Usage>>, done: u64) -> Option<f64> {
    let used_s: f64 = servers.values().map(|seen| Usage::grown(seen, |usage| usage.cpu_s)).sum();
    (used_s > 0.0 && done > 0).then(|| used_s * 1e6 / done as f64)
}
