//! One whole run: writes the keys there are to be, drives the store, and writes down what it came to.

use super::{
    drive::{Load, Plan, drive},
    files::{Journal, write_results},
    interval::Interval,
    keys::Distribution,
    mix::{Action, Mix, Workload},
    resources::{Sampler, Usage, Watched},
    summary::{BenchResults, Collected, Row},
    tonic_drive,
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
    /// Files could not be written.
    Files(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Preload(text) => write!(f, "the keys could not be written before the load: {text}"),
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
    /// Names of the operations.
    fn names(&self) -> Vec<&'static str> {
        self.plan.workload.mix.0.iter().map(|(action, _)| action.name()).collect()
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
        mut each: impl FnMut(&Row),
    ) -> Result<(BenchResults, Interval), BenchError> {
        if self.plan.workload.preload {
            self.preload(stop)?;
        }
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
        let sampler = Sampler::start(self.watched.clone());
        let take = |interval: Interval| {
            let row = collected.add(&interval);
            each(row);
            if let Some(journal) = &mut journal
                && written.is_ok()
            {
                written = journal.add(&interval, row);
            }
        };
        match self.client {
            Client::Raw => drive(&self.plan, stop, take),
            Client::Tonic => tonic_drive::drive(&self.plan, stop, take),
        }
        let servers = sampler.stop();
        written?;
        let sum = collected.sum.clone();
        let mut results = collected.finish(results, &self.client.to_string());
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
        results.servers = servers;
        if let Some(dir) = dir {
            write_results(dir, &results, &sum, &names)?;
        }
        Ok((results, sum))
    }

    /// Writes every key once.
    fn preload(&self, stop: &AtomicBool) -> Result<(), BenchError> {
        let workload = Workload {
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

/// CPU of all servers for an operation, in µs; `None` where it cannot be seen.
fn cpu_us_per_op(servers: &BTreeMap<String, Vec<Usage>>, done: u64) -> Option<f64> {
    let used = servers.values().filter_map(|seen| Some(seen.last()?.cpu_s - seen.first()?.cpu_s));
    let used_s: f64 = used.sum();
    (used_s > 0.0 && done > 0).then(|| used_s * 1e6 / done as f64)
}
