//! A whole run, from nothing to a report.

use super::{
    config::{Config, Target},
    judge::judge,
    member::Member,
    online::OnlineOutcome,
    phase::{Env, Part, PhaseOutcome},
    stop::Stop,
};
use crate::{
    cluster::{Cluster, Crash, Spec, is_panic},
    nemesis::{self, Family, PlanFile},
    report::{
        self, Anomaly, Check, Conclusion, Doubt, DoubtKind, FaultResult, NodeResult, Progress, Results, Run,
        Service, WorkloadResult,
    },
    scenario::phases,
};
use checker::History;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Wall-clock time for all checks of one history.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// Why there are no results at all.
#[derive(Debug)]
pub enum RunError {
    /// What was asked for cannot be: the user has to change something.
    Usage(String),
    /// The results could not be written.
    Report(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Usage(text) => f.write_str(text),
            RunError::Report(error) => write!(f, "the report cannot be written: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// What is known of a run while it goes on: kept outside of it, so that a panic loses nothing.
#[derive(Default)]
struct Known {
    system: Option<String>,
    nodes: Vec<NodeResult>,
    phases: Vec<PhaseOutcome>,
    crashes: Vec<Crash>,
    doubts: Vec<Doubt>,
    usage: Option<String>,
}

type SharedKnown = Arc<Mutex<Known>>;

fn lock(known: &SharedKnown) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs everything, and writes the results and the report into the run's folder.
///
/// # Errors
/// [`RunError`]; everything that goes wrong later than the start is a doubt in the results.
pub async fn run(config: Config, stop: Stop) -> Result<Results, RunError> {
    let (start, started) = (Instant::now(), SystemTime::now());
    let config = Arc::new(config);
    let progress = Arc::new(Progress::new(start, config.quiet));
    let known = SharedKnown::default();
    let body = tokio::spawn(body(
        Arc::clone(&config),
        start,
        Arc::clone(&progress),
        stop.clone(),
        Arc::clone(&known),
    ));
    if let Err(error) = body.await {
        lock(&known).doubts.push(Doubt::new(DoubtKind::HarnessError, format!("the harness failed: {error}")));
    }
    let known = std::mem::take(&mut *lock(&known));
    if let Some(usage) = known.usage {
        return Err(RunError::Usage(usage));
    }
    progress.phase("checking", Vec::new());
    let mut results = skeleton(&config, &known, started);
    // Whatever becomes of the checks, there is a report.
    write_early(&config.out, &results, &[]);
    let cancel = checker::Cancel::default();
    let checking = tokio::task::spawn_blocking({
        let (config, cancel, stopped) = (Arc::clone(&config), cancel.clone(), stop.is_stopped());
        move || {
            judge_all(&config, known, &cancel, stopped, &mut results);
            results
        }
    });
    tokio::pin!(checking);
    let judged = tokio::select! {
        judged = &mut checking => judged,
        () = async { stop.stopped().await; cancel.cancel() }, if !stop.is_stopped() => checking.await,
    };
    let mut results = judged.map_err(|error| RunError::Report(io::Error::other(error)))?;
    if stop.is_stopped() {
        let sentence = "the run was interrupted: faults are healed and all processes ended";
        results.doubt(Doubt::new(DoubtKind::Interrupted, sentence));
    }
    results.run.duration_s = start.elapsed().as_secs_f64();
    if let Some((baseline, tolerance)) = &config.baseline
        && !stop.is_stopped()
    {
        results.add_check(report::compare(&results, baseline, *tolerance));
    }
    if results.verdict == Conclusion::Valid {
        remove_data(&config);
    }
    report::write_all(&config.out, &results).map_err(RunError::Report)?;
    Ok(results)
}

/// The nodes' data is large, and of no use where nothing is wrong; their logs stay.
fn remove_data(config: &Config) {
    let Target::Start { nodes, .. } = &config.target else { return };
    for number in 1..=*nodes {
        let nodes = config.out.join("nodes");
        // Either of the two, with a disk of its own or without.
        for folder in ["data", "disk"].map(|what| nodes.join(format!("n{number}.{what}"))) {
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::debug!(folder = %folder.display(), %error, "data of a node stays");
            }
        }
        let _ = std::fs::remove_file(nodes.join(format!("n{number}.disk.img")));
    }
}

async fn body(config: Arc<Config>, start: Instant, progress: Arc<Progress>, stop: Stop, known: SharedKnown) {
    let (cluster, members) = match reach(&config, &progress, &known, &stop).await {
        Some(reached) => reached,
        None => return,
    };
    let system = lock(&known).system.clone().unwrap_or_default();
    let env = Env {
        config: Arc::clone(&config),
        cluster: cluster.clone(),
        members,
        system,
        start,
        progress: Arc::clone(&progress),
        stop: stop.clone(),
        plan_file: Arc::new(Mutex::new(PlanFile::new(config.args.clone()))),
    };
    let plan = phases(&config.workloads);
    let duration = config.time_limit / u32::try_from(plan.len()).unwrap_or(u32::MAX);
    for (index, phase) in plan.iter().enumerate() {
        if stop.is_stopped() {
            break;
        }
        match env.phase(phase, index + 1, duration).await {
            Ok(outcome) => lock(&known).phases.push(outcome),
            Err(error) => {
                let doubt = Doubt::new(DoubtKind::NoStore, format!("phase {}: {error}", index + 1));
                lock(&known).doubts.push(doubt);
            }
        }
        // What a broken cluster does further says little.
        if let Some(cluster) = &cluster
            && !cluster.crashes().await.is_empty()
        {
            break;
        }
    }
    progress.phase("ending the cluster", Vec::new());
    drop(env);
    if let Some(cluster) = &cluster {
        let crashes = cluster.crashes().await;
        lock(&known).crashes = crashes;
    }
    if let Some(cluster) = cluster.and_then(Arc::into_inner) {
        cluster.stop().await;
    }
}

/// The store, started or found. `None` when it is not to be had: why is in `known` then.
async fn reach(
    config: &Config,
    progress: &Progress,
    known: &SharedKnown,
    stop: &Stop,
) -> Option<(Option<Arc<Cluster>>, Vec<Member>)> {
    let (kind, system, nodes) = match &config.target {
        Target::Start { kind, system, nodes } => (*kind, system, *nodes),
        Target::Running { members, .. } => {
            let mut known = lock(known);
            known.system = Some("a running store".into());
            known.nodes = members.iter().map(|member| node(member, None)).collect();
            return Some((None, members.clone()));
        }
    };
    progress.phase(&format!("starting {nodes} nodes of {system} ({kind})"), Vec::new());
    let dir = config.out.join("nodes");
    // Node programs get their folders as arguments, and must not depend on where they run.
    let mut spec = Spec::new(kind, system.clone(), nodes, std::path::absolute(&dir).unwrap_or(dir));
    spec.tuning = config.tuning;
    nemesis::prepare(&mut spec, config.to_strike());
    lock(known).system = Some(system.to_string());
    let cluster = tokio::select! {
        cluster = Cluster::start(spec) => cluster,
        () = stop.stopped() => return None,
    };
    match cluster {
        Ok(cluster) => {
            let members: Vec<Member> = cluster
                .nodes()
                .iter()
                .map(|node| Member { name: node.name.clone(), url: node.client_url.clone() })
                .collect();
            let mut known = lock(known);
            known.system = Some(format!("{system} {}", cluster.version()));
            let logs = cluster
                .nodes()
                .iter()
                .map(|node| node.log.file_name().map(|name| Path::new("nodes").join(name)));
            known.nodes = members.iter().zip(logs).map(|(member, log)| node(member, log)).collect();
            Some((Some(Arc::new(cluster)), members))
        }
        Err(error) if error.is_usage() => {
            lock(known).usage = Some(error.to_string());
            None
        }
        Err(error) => {
            let doubt = Doubt::new(DoubtKind::NoStore, format!("the cluster did not start: {error}"));
            lock(known).doubts.push(doubt);
            None
        }
    }
}

fn node(member: &Member, log: Option<PathBuf>) -> NodeResult {
    NodeResult { name: member.name.clone(), url: member.url.clone(), log }
}

/// Everything that is known before the histories are looked at.
fn skeleton(config: &Config, known: &Known, started: SystemTime) -> Results {
    Results {
        v: report::VERSION,
        verdict: Conclusion::Valid,
        run: Run {
            command: config.command.clone(),
            started: report::rfc3339_ms(started),
            duration_s: 0.0,
            seed: config.seed,
            system: known.system.clone().unwrap_or_default(),
            cluster: config.target.cluster_name(),
            faults: config.faults.iter().map(|fault| fault.to_string()).collect(),
            rate_per_s: config.rate.per_s(),
            concurrency: config.concurrency,
            time_limit_s: config.time_limit.as_secs_f64(),
        },
        notes: config.notes.clone(),
        nodes: known.nodes.clone(),
        ..Results::default()
    }
}

/// Looks at every history there is, and takes all doubts together.
fn judge_all(config: &Config, known: Known, cancel: &checker::Cancel, stopped: bool, results: &mut Results) {
    known.doubts.into_iter().for_each(|doubt| results.doubt(doubt));
    if !stopped {
        never_struck(config, &known.phases, results);
    }
    for (index, phase) in known.phases.into_iter().enumerate() {
        let (mut service, mut faults, mut not_begun) = (Service::default(), Vec::new(), 0);
        for (n, part) in phase.parts.iter().enumerate() {
            let mut workload = WorkloadResult {
                name: part.workload.name().into(),
                phase: index + 1,
                history: part.history.clone(),
                rate_per_s: part.rate.per_s(),
                not_begun: part.outcome.map_or(0, |outcome| outcome.due - outcome.invoked),
                verdict: Conclusion::Unknown,
                ..WorkloadResult::default()
            };
            match History::load(&config.out.join(&part.history)) {
                Ok(history) => {
                    report::measure(&history, &mut workload);
                    service.add(&history, workload.rate_per_s);
                    if n == 0 {
                        faults = report::faults(&history, index + 1);
                    }
                    if !stopped {
                        let options = checker::Options {
                            time_limit: CHECK_LIMIT,
                            cancel: cancel.clone(),
                            ..Default::default()
                        };
                        judge_guarded(&history, &options, &mut workload, &config.out, results);
                    }
                }
                Err(error) => results.doubt(Doubt::new(
                    DoubtKind::HarnessError,
                    format!("{}: its history cannot be read: {error}", workload.name),
                )),
            }
            doubts_of(part, &workload, results);
            online(part, &mut workload, results);
            results.verdict = results.verdict.max(workload.verdict);
            not_begun += workload.not_begun;
            let broken = workload.verdict == Conclusion::Anomaly;
            results.workloads.push(workload);
            if broken {
                write_early(&config.out, results, &faults);
            }
        }
        service.impacts(&mut faults);
        results.faults.extend(faults);
        results.availability = results.availability.plus(service.availability(not_begun));
        for Doubt { kind, sentence } in phase.doubts {
            results.doubt(Doubt::new(kind, format!("phase {}: {sentence}", index + 1)));
        }
    }
    let stayed_up = members_stay_up(&known.crashes);
    results.verdict = results.verdict.max(stayed_up.verdict);
    results.checks.push(stayed_up);
    if results.workloads.is_empty() {
        results.doubt(Doubt::new(DoubtKind::NoStore, "no operation was done"));
    }
    let problems = std::mem::take(&mut results.reasons);
    results.reasons = verdict_reasons(results);
    results.reasons.extend(problems);
}

/// Tells of the kinds of faults that were asked for and did not come: a run without them proves less.
fn never_struck(config: &Config, phases: &[PhaseOutcome], results: &mut Results) {
    let Target::Start { .. } = config.target else { return };
    let proved = |family: &Family| phases.iter().any(|phase| phase.proved.contains(family));
    let missing: Vec<String> =
        config.families().iter().filter(|family| !proved(family)).map(ToString::to_string).collect();
    if missing.is_empty() {
        return;
    }
    let text = format!(
        "no fault of the kind {} took effect; a longer --time-limit has room for more, and what compacts strikes \
         beside two workloads or more",
        missing.join(", ")
    );
    match config.faults_named {
        true => results.doubt(Doubt::new(DoubtKind::FaultWithoutEffect, text)),
        false => results.notes.push(text),
    }
}

/// Writes what is known so far, for evidence is not to be lost with a check that takes the whole program down.
fn write_early(out: &Path, results: &Results, faults: &[FaultResult]) {
    let mut early = results.clone();
    early.faults.extend_from_slice(faults);
    early.reasons.splice(0..0, verdict_reasons(results));
    let sentence = "this was written before all checks had ended: the harness has not come to its end since";
    early.doubt(Doubt::new(DoubtKind::HarnessError, sentence));
    if let Err(error) = report::write_all(out, &early) {
        tracing::warn!(%error, "the early report is not written");
    }
}

/// The check that every member's process ran until it was told to end. One that ends by itself broke a
/// promise, and mostly says which: servers stop rather than go on with a state that cannot be. Only who was
/// killed from outside, as by a kernel without memory, did not.
fn members_stay_up(crashes: &[Crash]) -> Check {
    let mut check = Check { name: "members".into(), ..Check::default() };
    for Crash { node, status, log_tail } in crashes {
        if status.contains("SIGKILL") {
            check.verdict = check.verdict.max(Conclusion::Unknown);
            check.reasons.push(format!("{node} was killed, and not by this run: {status}"));
            continue;
        }
        let words = last_words(log_tail);
        check.verdict = Conclusion::Anomaly;
        check.anomalies.push(Anomaly {
            kind: "crash".into(),
            sentence: format!(
                "a member runs until it is told to end, but {node} ended by itself ({status}): {words}"
            ),
            text: log_tail.clone(),
            ..Anomaly::default()
        });
    }
    check
}

/// What a program said of its own end: its panic, else its last line.
fn last_words(log_tail: &str) -> String {
    let lines: Vec<&str> = log_tail.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.iter().position(|line| is_panic(line)) {
        Some(at) => lines[at..].iter().take(2).copied().collect::<Vec<_>>().join(": "),
        None => lines.last().copied().unwrap_or_default().to_owned(),
    }
}

/// A checker that panics has not judged.
fn judge_guarded(
    history: &History,
    options: &checker::Options,
    workload: &mut WorkloadResult,
    out: &Path,
    results: &mut Results,
) {
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut judged = workload.clone();
        judge(history, options, &mut judged, Some(out));
        judged
    }));
    match judged {
        Ok(judged) => *workload = judged,
        Err(_) => results.doubt(Doubt::new(
            DoubtKind::HarnessError,
            format!("{}: the checker failed; its message is on stderr", workload.name),
        )),
    }
}

/// Adds what the check has seen that went on beside the load.
fn online(part: &Part, workload: &mut WorkloadResult, results: &mut Results) {
    match part.online.as_ref().map(OnlineOutcome::check) {
        Some(Ok(check)) => {
            // Where the history could not be judged, that is not made good by this.
            workload.verdict = workload.verdict.max(check.verdict);
            workload.checks.push(check);
        }
        Some(Err(why)) => {
            results.notes.push(format!("{}: checked after the load and not beside it: {why}", workload.name));
        }
        None => {}
    }
}

fn doubts_of(part: &Part, workload: &WorkloadResult, results: &mut Results) {
    if part.outcome.is_none() {
        let sentence = format!("{}: the load did not come to its end", workload.name);
        results.doubt(Doubt::new(DoubtKind::HarnessError, sentence));
    }
    let malformed = part.tally.malformed();
    if malformed > 0 {
        let sentence = format!("{}: {malformed} answers break the contract of etcd's API", workload.name);
        results.doubt(Doubt::new(DoubtKind::MalformedAnswers, sentence));
    }
}

/// One sentence for each check that did not end in valid.
fn verdict_reasons(results: &Results) -> Vec<String> {
    let of_workloads = results.workloads.iter().flat_map(|workload| {
        workload.checks.iter().map(|check| (format!("{}: {}", workload.name, check.name), check))
    });
    let of_run = results.checks.iter().map(|check| (check.name.clone(), check));
    let mut reasons = Vec::new();
    for (name, check) in of_workloads.chain(of_run) {
        reasons.extend(
            check.anomalies.iter().map(|anomaly| format!("{name} ({}): {}", anomaly.kind, anomaly.sentence)),
        );
        reasons.extend(check.reasons.iter().map(|reason| format!("{name}: {reason}")));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_ends_by_itself_is_an_anomaly_with_its_last_words() {
        assert_eq!(members_stay_up(&[]).verdict, Conclusion::Valid);
        let crash = Crash {
            node: "n2".into(),
            status: "signal: 6".into(),
            log_tail: "x\nthread panicked at y\nsplit brain\nz".into(),
        };
        let check = members_stay_up(&[crash]);
        assert_eq!(check.verdict, Conclusion::Anomaly);
        let sentence = &check.anomalies[0].sentence;
        assert!(
            sentence.contains("n2") && sentence.ends_with("thread panicked at y: split brain"),
            "{sentence}"
        );
        let killed =
            Crash { node: "n2".into(), status: "signal: 9 (SIGKILL)".into(), log_tail: String::new() };
        assert_eq!(members_stay_up(&[killed]).verdict, Conclusion::Unknown, "nobody's fault");
        let results = Results { checks: vec![check], ..Results::default() };
        assert!(
            verdict_reasons(&results)[0].starts_with("members (crash): "),
            "{:?}",
            verdict_reasons(&results)
        );
    }
}
