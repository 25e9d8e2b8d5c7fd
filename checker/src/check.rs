//! The one entry point: judges a history by everything that its workload promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::budget::Budget;
use crate::checks::{self, Context};
use crate::history::History;
use crate::history::lint::{self, Problem};
#[cfg(doc)]
use crate::isolation::levels;
use crate::verdict::{CheckResult, Verdict, Why};

/// Problems that a verdict repeats; the report has all.
const PROBLEMS_TOLD: usize = 5;

/// How a history is judged.
#[derive(Clone, Debug)]
pub struct Options {
    /// Wall-clock time for all checks together; what is undecided then is unknown.
    pub time_limit: Duration,
    /// How many configurations an exact search may hold at once, over all threads.
    pub states_max: usize,
    /// How much memory, in bytes, a search may make the process hold beyond what it holds when the check begins; no
    /// limit if there is none.
    pub memory_max: Option<u64>,
    /// What searches for an order of the operations.
    pub engine: Engine,
    /// Threads for independent parts.
    pub threads: usize,
    /// So many operations must have succeeded, or the history means nothing.
    pub ok_min: u64,
    /// Whether others than this history's processes wrote to the store meanwhile, to other keys: revisions
    /// that no operation of the history explains are theirs then.
    pub shared_store: bool,
    /// The consistency level that transactions are asked for, a name of [`levels::named`]; the strongest that the
    /// history can show if there is none.
    pub model: Option<&'static str>,
    /// Stops all checks soon after it is set.
    pub cancel: Cancel,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            time_limit: Duration::from_secs(60),
            states_max: 4_000_000,
            memory_max: None,
            engine: Engine::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            ok_min: 10,
            shared_store: false,
            model: None,
            cancel: Cancel::default(),
        }
    }
}

/// What searches for an order of the operations that explains their answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// This crate's.
    #[default]
    Assay,
    /// stateright's `LinearizabilityTester`: for small histories, and to judge the other engine.
    Stateright,
}

/// A request to stop; clones are one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What all checks of a history concluded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// The worst of all.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What is wrong with the history itself.
    pub problems: Vec<Problem>,
    /// Each check's conclusion.
    pub results: Vec<CheckResult>,
    /// How long all took.
    #[serde(rename = "elapsed_us", serialize_with = "crate::verdict::as_micros")]
    pub elapsed: Duration,
}

/// Judges a history by everything that its workload (`header.scenario`) promises: `register`, `kv`,
/// `append` or `set`.
///
/// Never panics on what a history says, and never takes much longer than `options.time_limit`. A history
/// that breaks an assumption of the checks, or in which too little succeeded, is never valid.
pub fn check(history: &History, options: &Options) -> CheckReport {
    let started = Instant::now();
    let budget = Budget::new(options);
    let mut problems = history.problems().to_vec();
    let mut results = Vec::new();
    if problems.is_empty() {
        problems = lint::check(history, options.shared_store);
    }
    if problems.is_empty() {
        match checks::all(Context { history, options, budget: &budget }) {
            Ok(all) => results = all,
            Err(found) => problems = found,
        }
    }
    // An anomaly is one however little there is to see; its absence is not.
    if problems.is_empty() {
        problems = lint::too_few(history, options.ok_min);
    }
    let doubts = problems.iter().take(PROBLEMS_TOLD).cloned().map(Why::Assumption).collect();
    let mut verdict = if problems.is_empty() { Verdict::Valid } else { Verdict::Unknown(doubts) };
    for result in &results {
        verdict = verdict.merge(result.verdict.clone());
    }
    CheckReport { verdict, problems, results, elapsed: started.elapsed() }
}
