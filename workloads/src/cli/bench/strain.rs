//! Faults beside a load, and a history of it that is judged.

use super::{
    args::BenchArgs,
    session::Session,
    target::{Place, Target},
};
use crate::{
    cli::{Failure, run},
    cluster::{Cluster, Kind},
    load::{Action, Bench, BenchResults, Checked, Outage, Row, Trace, Workload},
    nemesis::{self, FaultSet, Plan, Summary},
    recorder::Recorder,
    report::{Conclusion, WorkloadResult},
    runner::{self, Member, Stop},
};
use checker::{
    History,
    history::event::{Header, VERSION, What},
};
use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Length of the intervals under faults: what is short must show.
const INTERVAL: Duration = Duration::from_millis(250);
/// Wall-clock time for the check.
const CHECK_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks whether the load has begun.
const BEGUN_POLL: Duration = Duration::from_millis(5);
/// How long the members may take to agree after the last fault.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// The history's file, in the run's folder.
const HISTORY: &str = "history.jsonl";

/// What there is beside a load.
pub(super) struct Strain {
    pub(super) faults: FaultSet,
    /// Keys that are recorded.
    keys: Option<u64>,
    /// What carries the traffic between the nodes.
    pub(super) kind: Kind,
}

impl Strain {
    /// What the arguments ask for; `None` where that is nothing. Moves into network namespaces where faults need
    /// them, so this comes before any thread.
    pub(super) fn of(
        args: &BenchArgs,
        target: &Target,
        workload: &Workload,
    ) -> Result<Option<Strain>, Failure> {
        let keys = args.check_keys(workload)?;
        if keys.is_some() {
            checkable(workload)?;
        }
        let Some(names) = &args.faults else {
            return Ok(keys.map(|keys| Strain {
                faults: FaultSet::default(),
                keys: Some(keys),
                kind: Kind::Local,
            }));
        };
        let Target::Start { nodes, system } = target else {
            return Err(Failure::Usage(
                "--faults: a store that was not started here gets no faults; leave --endpoints out".into(),
            ));
        };
        let faults = FaultSet::parse(names)
            .map_err(|error| Failure::Usage(format!("--faults: {error}; see `assay list`")))?;
        let mut notes = Vec::new();
        let kind = run::network(&mut notes)?;
        let (faults, few) = faults.for_nodes(*nodes);
        notes.extend(few.iter().map(|fault| format!("{nodes} nodes are too few for {fault}")));
        let (faults, left_out) = faults.for_cluster(kind, system);
        notes.extend(left_out.iter().map(|out| format!("{} left out: {}", out.fault, out.lack.text)));
        if faults.is_empty() {
            return Err(Failure::Usage(format!(
                "--faults {names}: nothing is left of it: {}",
                notes.join("; ")
            )));
        }
        for note in notes {
            let _ = writeln!(std::io::stderr(), "{note}");
        }
        Ok(Some(Strain { faults, keys, kind }))
    }

    /// Drives the store, with all that is beside.
    pub(super) fn drive(
        &self,
        session: &Session<'_>,
        place: &Place,
        dir: &Path,
        mut bench: Bench,
        results: BenchResults,
        each: impl FnMut(&Row),
    ) -> Result<BenchResults, Failure> {
        let unknown = |error: String| Failure::Unknown(error);
        bench.plan.interval = INTERVAL;
        bench.prepare(&session.stop).map_err(|error| unknown(error.to_string()))?;
        let recorder = self.keys.map(|_| self.recorder(session, place, dir, &bench)).transpose()?;
        let trace =
            recorder.clone().zip(self.keys).map(|(recorder, keys)| Arc::new(Trace::new(recorder, keys)));
        if let (Some(trace), Some(recorder)) = (&trace, &recorder) {
            session.runtime.block_on(trace.first_writes(&bench.plan)).map_err(unknown)?;
            recorder.append(What::Phase { f: "load".into() })?;
        }
        bench.plan.trace.clone_from(&trace);
        let faults = self.faults(session, place, &bench, recorder.clone());
        let outcome = bench.run(Some(dir), results, &session.stop, each);
        let faults = session.runtime.block_on(faults.end());
        let (mut results, _) = outcome.map_err(|error| unknown(error.to_string()))?;
        let began = bench.plan.began.get().copied();
        faults.tell(began, &mut results);
        if let (Some(trace), Some(recorder)) = (trace, recorder)
            && !session.stop.load(Ordering::Relaxed)
        {
            settle(session, place, &recorder, &mut results)?;
            recorder.append(What::Phase { f: "final".into() })?;
            session.runtime.block_on(trace.last_reads(&bench.plan)).map_err(unknown)?;
            settle(session, place, &recorder, &mut results)?;
            if let Some(error) = trace.failure() {
                return Err(unknown(format!("the history cannot be written: {error}")));
            }
            drop((bench, trace, recorder));
            results.check = Some(check(dir, self.keys.unwrap_or_default())?);
        }
        Ok(results)
    }

    fn recorder(
        &self,
        session: &Session<'_>,
        place: &Place,
        dir: &Path,
        bench: &Bench,
    ) -> Result<Arc<Recorder>, Failure> {
        let header = Header {
            v: VERSION,
            seed: session.args.seed,
            scenario: "register".into(),
            faults: self.faults.iter().map(|fault| fault.to_string()).collect(),
            system: place.name(),
            nodes: bench.plan.endpoints.len(),
            clock: "monotonic_ns".into(),
        };
        Ok(Arc::new(Recorder::create(&dir.join(HISTORY), &header)?))
    }

    /// Begins the faults, after the warm-up.
    fn faults(
        &self,
        session: &Session<'_>,
        place: &Place,
        bench: &Bench,
        recorder: Option<Arc<Recorder>>,
    ) -> Faults {
        let mut faults = Faults { over: Stop::default(), events: Arc::default(), nemesis: None };
        let Place::Cluster(cluster) = place else { return faults };
        if self.faults.is_empty() {
            return faults;
        }
        let (warmup, duration) = (bench.warmup, bench.plan.duration.saturating_sub(bench.warmup));
        let options = nemesis::Options::new(session.args.seed, duration, self.faults.clone());
        let (plan, cluster) = (Plan::draw(&options), Arc::clone(cluster));
        let (over, events) = (faults.over.clone(), Arc::clone(&faults.events));
        let sink: nemesis::Sink = Arc::new(move |what: What| {
            if let Some(recorder) = &recorder
                && let Err(error) = recorder.append(what.clone())
            {
                tracing::error!(%error, "a fault is missing from the history");
            }
            events.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), what));
        });
        let began = Arc::clone(&bench.plan.began);
        faults.nemesis = Some(session.runtime.spawn(async move {
            // What comes before the load takes its time on a busy machine.
            while began.get().is_none() && !over.is_stopped() {
                tokio::time::sleep(BEGUN_POLL).await;
            }
            strike(plan, cluster, sink, over, warmup).await
        }));
        faults
    }
}

async fn strike(
    plan: Plan,
    cluster: Arc<Cluster>,
    sink: nemesis::Sink,
    over: Stop,
    warmup: Duration,
) -> Summary {
    tokio::select! {
        () = tokio::time::sleep(warmup) => {}
        () = over.stopped() => return Summary::default(),
    }
    let mut summary = nemesis::run(&plan, cluster, sink, over.stopped()).await;
    // The load's end is the plan's end too.
    summary.stopped = false;
    summary
}

type Events = Arc<Mutex<Vec<(Instant, What)>>>;

/// Faults under way.
struct Faults {
    over: Stop,
    events: Events,
    nemesis: Option<JoinHandle<Summary>>,
}

/// What came of them.
struct Struck {
    events: Vec<(Instant, What)>,
    summary: Option<Summary>,
    error: Option<String>,
}

impl Faults {
    /// Undoes what is left.
    async fn end(self) -> Struck {
        self.over.stop();
        let (mut summary, mut error) = (None, None);
        if let Some(nemesis) = self.nemesis {
            match nemesis.await {
                Ok(came) => summary = Some(came),
                Err(failed) => error = Some(format!("the faults ended by themselves: {failed}")),
            }
        }
        let events = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        Struck { events, summary, error }
    }
}

impl Struck {
    /// Writes into the results what the faults cost, and why they prove less than they should.
    fn tell(self, began: Option<Instant>, results: &mut BenchResults) {
        results.invalid.extend(self.error);
        let Some(summary) = self.summary else { return };
        results.invalid.extend(summary.doubts().into_iter().map(|doubt| format!("faults: {doubt}")));
        if summary.proved().is_empty() {
            let text = "no fault took effect; a longer --time-limit has room for more";
            results.invalid.push(text.to_owned());
        }
        let Some(began) = began else { return };
        results.faults = outages(&self.events, began);
        let counted: Vec<Row> = results.rows.iter().filter(|row| !row.outside).cloned().collect();
        let due_per_s = results.target_per_s.unwrap_or_else(|| median_per_s(&counted));
        results.faults.iter_mut().for_each(|outage| outage.measure(&counted, due_per_s));
    }
}

/// What a closed loop does in most of the time is what it is expected to do.
fn median_per_s(rows: &[Row]) -> f64 {
    let mut rates: Vec<f64> = rows.iter().map(|row| row.ok as f64 / row.length_s).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

fn outages(events: &[(Instant, What)], began: Instant) -> Vec<Outage> {
    let mut outages: Vec<Outage> = Vec::new();
    for (at, what) in events {
        let t_s = at.saturating_duration_since(began).as_secs_f64();
        match what {
            What::NemesisStart { f, fault, value, .. } => outages.push(Outage {
                fault: f.clone(),
                number: *fault,
                what: value.to_string(),
                start_s: t_s,
                ..Outage::default()
            }),
            What::NemesisEnd { fault, .. } => {
                if let Some(outage) = outages.iter_mut().find(|outage| outage.number == *fault) {
                    outage.end_s = Some(t_s);
                }
            }
            _other_than_faults => {}
        }
    }
    outages
}

/// Waits until all members agree, and records what they say then: what their state is, and its hash.
fn settle(
    session: &Session<'_>,
    place: &Place,
    recorder: &Recorder,
    results: &mut BenchResults,
) -> Result<(), Failure> {
    let Place::Cluster(cluster) = place else { return Ok(()) };
    let member =
        |node: &crate::cluster::Node| Member { name: node.name.clone(), url: node.client_url.clone() };
    let members: Vec<Member> = cluster.nodes().iter().map(member).collect();
    match session.runtime.block_on(runner::settle(&members, SETTLE_LIMIT, &Stop::default())) {
        Ok(observations) => observations.into_iter().try_for_each(|what| recorder.append(what).map(drop))?,
        Err(missing) => results.invalid.push(format!("the members did not come to agree: {missing}")),
    }
    Ok(())
}

/// Only what the workload `register` does can be judged as it.
fn checkable(workload: &Workload) -> Result<(), Failure> {
    let fits = |action: &Action| {
        matches!(action, Action::Put | Action::Get | Action::GetSerializable | Action::ReadModifyWrite)
    };
    if workload.kind == crate::load::Kind::Calls && workload.mix.0.iter().all(|(action, _)| fits(action)) {
        return Ok(());
    }
    let text = "--check: only loads of put, get, get-serializable and rmw can be judged; ycsb-a, ycsb-b and ycsb-f are \
                such, or --workload mix with a --mix of these";
    Err(Failure::Usage(text.into()))
}

/// Judges the history in a run's folder.
fn check(dir: &Path, keys: u64) -> Result<Checked, Failure> {
    let path = dir.join(HISTORY);
    let history =
        History::load(&path).map_err(|error| Failure::Unknown(format!("{}: {error}", path.display())))?;
    let options = checker::Options { time_limit: CHECK_LIMIT, ..checker::Options::default() };
    let mut result = WorkloadResult { name: String::new(), ..WorkloadResult::default() };
    runner::judge(&history, &options, &mut result, Some(dir));
    let mut reasons = Vec::new();
    for check in &result.checks {
        let anomalies = check.anomalies.iter().map(|anomaly| &anomaly.sentence);
        reasons.extend(anomalies.chain(&check.reasons).map(|text| format!("{}: {text}", check.name)));
    }
    let verdict = match result.verdict {
        Conclusion::Valid => "valid",
        Conclusion::Unknown => "unknown",
        Conclusion::Anomaly => "anomaly",
    };
    Ok(Checked {
        verdict: verdict.to_owned(),
        status: result.verdict.exit_code(),
        keys,
        operations: history.operations().len() as u64,
        reasons,
    })
}
