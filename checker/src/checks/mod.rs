//! The checks: each takes a history and gives its own result. What a workload promises is the list of its
//! checks, in [`all`].
mod bank;
mod convergence;
mod counter;
mod election;
mod isolation;
mod lease;
mod linearizable;
mod liveness;
mod lock;
mod long_fork;
mod objects;
mod order;
mod provenance;
mod replayed;
mod serializable;
mod set;
mod unique_ids;
mod watch;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::budget::Budget;
use crate::check::{Engine, Options};
use crate::decode::{self, Decoded};
use crate::history::event::CLOCK_SESSIONS;
use crate::history::lint::{Problem, ProblemKind};
use crate::history::{History, OpId, Operation};
use crate::isolation::levels::{self, Levels};
use crate::isolation::registers::Registers;
use crate::revision::{self, Stamp, Step};
use crate::spec::append::{ListTxn, Lists};
use crate::spec::kv::{Kv, KvOp};
use crate::spec::kv_types::Request;
use crate::spec::register::{Action, Register, RegisterOp};
use crate::spec::set::{Set, SetOp};
use crate::verdict::{CheckResult, Verdict, Why};

/// Anomalies of one kind that are reported; more of the same say little.
pub(crate) const REPORTED_MAX: usize = 3;

/// A search on a whole store is only tried on so many operations.
const KV_SEARCH_MAX: usize = 2_000;

/// What every check is given.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) history: &'a History,
    pub(crate) options: &'a Options,
    pub(crate) budget: &'a Budget,
}

impl<'a> Context<'a> {
    pub(crate) fn operation(&self, id: OpId) -> &'a Operation {
        self.history.operation(id)
    }
}

/// A check under way: its result so far.
#[derive(Clone)]
pub(crate) struct Running {
    check: &'static str,
    started: Instant,
    counts: BTreeMap<&'static str, u64>,
    levels: Option<Levels>,
}

impl Running {
    pub(crate) fn new(check: &'static str) -> Running {
        Running { check, started: Instant::now(), counts: BTreeMap::new(), levels: None }
    }

    pub(crate) fn count(&mut self, name: &'static str, count: usize) {
        self.counts.insert(name, count as u64);
    }

    pub(crate) fn end(self, decided_by: &'static str, verdict: Verdict) -> CheckResult {
        let Running { check, started, counts, levels } = self;
        CheckResult { check, verdict, decided_by, elapsed: started.elapsed(), counts, levels }
    }
}

/// What a workload's checks conclude, or what keeps them from concluding anything.
pub(crate) fn all(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let history = context.history;
    if let Some(what) = cannot(context) {
        return Ok(vec![
            Running::new("isolation").end("nothing", Verdict::unknown(Why::EngineCannot { what })),
        ]);
    }
    let mut results = match history.header().scenario.as_str() {
        "register" => register(context)?,
        "kv" => kv(context)?,
        "append" | "list-append" => append_checks(context)?,
        "txn" | "rw-register" => txn_checks(context)?,
        "set" => set_checks(context)?,
        "bank" => vec![bank::check(context)?],
        "long-fork" => vec![long_fork::check(context)?],
        "counter" => vec![counter::check(context, &sound(decode::counter(history))?)],
        "unique-ids" => vec![unique_ids::check(context)],
        "watch" => watch_checks(context)?,
        scenario @ ("lock" | "lock-unfenced") => lock_checks(context, scenario == "lock")?,
        "lease" => vec![lease::check(context)?],
        "election" => vec![election::check(context)?],
        scenario if objects::NAMES.contains(&scenario) => {
            vec![objects::check(context, scenario)?]
        }
        scenario => {
            let kind = ProblemKind::UnknownScenario { scenario: scenario.to_owned() };
            return Err(vec![Problem { line: Some(1), kind }]);
        }
    };
    // Nobody asked the members of a system that others tested.
    if history.header().nodes > 0 {
        results.extend(convergence::check(context));
        results.extend(liveness::check(context));
    }
    Ok(results)
}

/// What is asked that the workload has no answer to.
fn cannot(context: Context<'_>) -> Option<String> {
    let header = context.history.header();
    let scenario = header.scenario.as_str();
    if header.clock == CLOCK_SESSIONS && !matches!(scenario, "txn" | "rw-register") {
        return Some(format!(
            "the history knows no real time, only what each session did; that suits rw-register, not {scenario}"
        ));
    }
    let levels = matches!(scenario, "append" | "list-append" | "txn" | "rw-register");
    let model = context.options.model.filter(|_| !levels)?;
    Some(format!("a level as {model} is asked of transactions (append, rw-register, txn), not of {scenario}"))
}

fn lock_checks(context: Context<'_>, fenced: bool) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let mut results = vec![lock::check(context, fenced)?];
    results.extend(order_checks(context, |operation| operation.f == "hold"));
    Ok(results)
}

fn watch_checks(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let mut results = vec![watch::check(context)?];
    // A deletion of what is absent makes no revision.
    let changed = |operation: &Operation| {
        let acts = operation.answer().and_then(serde_json::Value::as_array);
        acts.is_some_and(|acts| acts.iter().any(|changed| changed == true))
    };
    results.extend(order_checks(context, |operation| operation.f == "write" && changed(operation)));
    Ok(results)
}

fn register(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let decoded = sound(decode::register(context.history))?;
    let revs = |id: OpId| context.operation(id).rev();
    let steps = revision::from_register(&decoded.calls, &decoded.serializable, revs);
    let requests = Requests {
        asked: revision::register_requests(&decoded.calls),
        failed: revision::register_requests(&decoded.failed),
    };
    let versions = decoded.calls.iter().any(|call| {
        matches!(&call.op, RegisterOp { action: Action::Read(Some(found)), .. } if found.version.is_some())
    });
    let exact =
        |running| linearizable::exact(context, &Register { versions }, decoded.calls.clone(), running);
    let by_value = steps.is_none() && !decoded.serializable.is_empty();
    let mut results = store_checks(context, steps, &requests, Some(exact));
    results.extend(by_value.then(|| serializable::by_value(context, &decoded)));
    Ok(results)
}

fn kv(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let decoded: Decoded<KvOp> = sound(decode::kv(context.history))?;
    let steps = revision::from_kv(&decoded.calls, &decoded.serializable);
    let requests = Requests {
        asked: revision::kv_requests(&decoded.calls),
        failed: revision::kv_requests(&decoded.failed),
    };
    let revision = context.history.base_revision().unwrap_or(1);
    let exact = |running| linearizable::exact(context, &Kv { revision }, decoded.calls.clone(), running);
    // A search knows nothing of what others wrote meanwhile.
    let search_can = !context.options.shared_store && decoded.calls.len() <= KV_SEARCH_MAX;
    let unjudged = steps.is_none() && !decoded.serializable.is_empty();
    let mut results = store_checks(context, steps, &requests, search_can.then_some(exact));
    results.extend(unjudged.then(|| {
        let verdict = not_observed("the revision of every answer, which serializable ranges are judged by");
        Running::new("serializable").end("nothing", verdict)
    }));
    Ok(results)
}

fn append_checks(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let decoded: Decoded<ListTxn> = sound(decode::append(context.history))?;
    let mut results = vec![isolation::lists(context, &decoded)];
    if context.options.engine == Engine::Stateright {
        results.push(linearizable::exact(
            context,
            &Lists,
            decoded.calls.clone(),
            Running::new("linearizable"),
        ));
    }
    results.extend(order_checks(context, |operation| has_step(operation, "append")));
    Ok(results)
}

fn txn_checks(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let registers: Registers = decode::registers(context.history)?;
    let mut results = vec![isolation::registers(context, &registers)];
    results.extend(order_checks(context, |operation| has_step(operation, "w")));
    Ok(results)
}

/// Whether a transaction asks for a step of that name.
fn has_step(operation: &Operation, name: &str) -> bool {
    let steps = operation.value.as_array().map(Vec::as_slice).unwrap_or_default();
    steps.iter().any(|step| step.get(0).and_then(serde_json::Value::as_str) == Some(name))
}

fn set_checks(context: Context<'_>) -> Result<Vec<CheckResult>, Vec<Problem>> {
    let decoded: Decoded<SetOp> = sound(decode::set(context.history))?;
    let mut results = vec![set::check(context, &decoded)];
    if context.options.engine == Engine::Stateright {
        results.push(linearizable::exact(context, &Set, decoded.calls.clone(), Running::new("linearizable")));
    }
    results.extend(order_checks(context, |operation| operation.f == "add"));
    Ok(results)
}

/// The checks of revisions, for workloads that are not judged by a replay; none where answers have none, or where
/// less is asked for than what they are about.
fn order_checks(context: Context<'_>, writes: impl Fn(&Operation) -> bool) -> Vec<CheckResult> {
    if context.options.model.is_some_and(|model| model != levels::STRONGEST) {
        return Vec::new();
    }
    let stamps = stamps(context, writes);
    if stamps.is_empty() {
        return Vec::new();
    }
    vec![order::sessions(context, &stamps), order::real_time(context, &stamps)]
}

/// What was asked of a store, apart from what was answered.
pub(crate) struct Requests {
    pub(crate) asked: Vec<(OpId, Request)>,
    pub(crate) failed: Vec<(OpId, Request)>,
}

/// The checks of a workload on a store: by the order of revisions where every answer has one, else by an
/// exact search, where one can.
fn store_checks(
    context: Context<'_>,
    steps: Option<Vec<Step<'_>>>,
    requests: &Requests,
    search: Option<impl FnOnce(Running) -> CheckResult>,
) -> Vec<CheckResult> {
    let mut results = Vec::new();
    let running = Running::new("linearizable");
    let Some(steps) = steps else {
        results.push(searched(running, search));
        return results;
    };
    let stamps = stamps_of(context, &steps);
    results.push(provenance::check(context, &steps, requests));
    results.push(order::sessions(context, &stamps));
    let real_time = order::real_time(context, &stamps);
    let in_order = real_time.verdict.is_valid();
    results.push(real_time);
    match context.options.engine {
        Engine::Assay => {
            match replayed::check(context, &steps, requests, search.is_some(), in_order, running) {
                replayed::Decided::Yes(decided) => results.extend(decided),
                replayed::Decided::No(running, decided) => {
                    results.push(searched(running, search));
                    results.extend(decided);
                }
            }
        }
        Engine::Stateright => results.push(searched(running, search)),
    }
    results
}

fn searched(running: Running, search: Option<impl FnOnce(Running) -> CheckResult>) -> CheckResult {
    match search {
        Some(search) => search(running),
        None => {
            let what = "no exact search on a store that is this large, or that others write to".to_owned();
            running.end("nothing", Verdict::unknown(Why::EngineCannot { what }))
        }
    }
}

fn sound<Op>(decoded: Decoded<Op>) -> Result<Decoded<Op>, Vec<Problem>> {
    if decoded.problems.is_empty() { Ok(decoded) } else { Err(decoded.problems) }
}

fn stamps_of(context: Context<'_>, steps: &[Step<'_>]) -> Vec<Stamp> {
    let answered = steps.iter().filter(|step| step.rev > 0 && !step.is_compaction());
    answered
        .map(|step| Stamp {
            id: step.id,
            process: context.operation(step.id).process,
            rev: step.rev,
            write: step.is_write(),
            stale_allowed: step.stale_allowed,
            invoked: step.invoked,
            returned: step.returned,
        })
        .collect()
}

fn stamps(context: Context<'_>, writes: impl Fn(&Operation) -> bool) -> Vec<Stamp> {
    let stamp = |operation: &Operation| {
        Some(Stamp {
            id: operation.id,
            process: operation.process,
            rev: operation.rev()?,
            write: writes(operation),
            stale_allowed: false,
            invoked: operation.invoked.i,
            returned: operation.returned()?.i,
        })
    };
    context.history.operations().iter().filter_map(stamp).collect()
}

/// Valid, or the anomalies; of many only the first few.
pub(crate) fn conclude<T>(found: &[T], anomaly: impl Fn(&T) -> crate::verdict::Anomaly) -> Verdict {
    Verdict::of(found.iter().take(REPORTED_MAX).map(anomaly).collect())
}

/// Unknown, since something was not observed.
pub(crate) fn not_observed(what: impl Into<String>) -> Verdict {
    Verdict::unknown(Why::NotObserved { what: what.into() })
}
