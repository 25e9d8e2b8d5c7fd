//! One phase of a run: some workloads at the same time, faults beside them, and then the truth.

use super::{
    config::{Config, Target},
    job::{Job, JobPlan, Work},
    load::LoadOutcome,
    member::Member,
    online::{Online, OnlineOutcome},
    roles::observe_roles,
    settle::{newest_revision, settle},
    stop::Stop,
};
use crate::{
    cluster::{Cluster, NodeIndex, ProcessState},
    generator::Rate,
    nemesis::{self, Family, Plan, PlanFile, Summary},
    recorder::{Record, Recorder},
    report::{Doubt, DoubtKind, Progress, Tally},
    scenario::{PhasePlan, WorkloadName},
};
use checker::history::event::{Header, VERSION, What};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long a cluster may take, once healed, until all its members agree; and to answer the final reads.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// The same where a member has ended by itself.
const CRASHED_LIMIT: Duration = Duration::from_secs(2);
/// The same where they have not come to agree before: whatever still answers does so soon.
const UNSETTLED_LIMIT: Duration = Duration::from_secs(5);
/// How long the store may take to give its revision before the load.
const BASE_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks whether a member has ended by itself.
const GONE_POLL: Duration = Duration::from_millis(200);

/// What the phases of a run share.
pub(super) struct Env {
    pub config: Arc<Config>,
    pub cluster: Option<Arc<Cluster>>,
    pub members: Vec<Member>,
    /// The system under test, with its version.
    pub system: String,
    /// The histories' time 0.
    pub start: Instant,
    pub progress: Arc<Progress>,
    pub stop: Stop,
    /// What the faults of all phases were.
    pub plan_file: Arc<Mutex<PlanFile>>,
}

/// What a phase left behind, beside its histories.
#[derive(Debug, Default)]
pub(super) struct PhaseOutcome {
    pub parts: Vec<Part>,
    /// Why the phase proves less than it should.
    pub doubts: Vec<Doubt>,
    /// Kinds of faults that were proved.
    pub proved: BTreeSet<Family>,
}

/// A workload's part of a phase.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub workload: WorkloadName,
    /// Relative to the run's folder.
    pub history: PathBuf,
    pub rate: Rate,
    /// Missing where the load did not come to its end.
    pub outcome: Option<LoadOutcome>,
    pub tally: Arc<Tally>,
    /// What the check saw that went on beside the load, where there was one.
    pub online: Option<OnlineOutcome>,
}

/// The jobs of a phase, by their place among its parts.
type Jobs = Vec<(usize, Box<dyn Job>)>;

impl Env {
    /// Runs a phase whose load lasts `duration`; `number` counts from 1.
    ///
    /// # Errors
    /// When no history could be made: then nothing was done.
    pub(super) async fn phase(
        &self,
        plan: &PhasePlan,
        number: usize,
        duration: Duration,
    ) -> io::Result<PhaseOutcome> {
        let base = newest_revision(&self.members, BASE_LIMIT).await.map_err(io::Error::other)?;
        let mut phase = PhaseOutcome::default();
        let (mut jobs, mut recorders) = (Jobs::new(), Vec::new());
        let (load, mut checks) = (Stop::default(), Vec::new());
        let rate = self.config.rate.share(plan.workloads.len());
        for (index, workload) in plan.workloads.iter().copied().enumerate() {
            let history = PathBuf::from(workload.name()).join("history.jsonl");
            fs::create_dir_all(self.config.out.join(workload.name()))?;
            let path = self.config.out.join(&history);
            let recorder = Arc::new(Recorder::create_at(&path, &self.header(workload), self.start)?);
            let tally = Arc::new(Tally::default());
            let (outcome, online) = (None, None);
            let part = Part { workload, history, rate, outcome, tally, online };
            recorders.push(Arc::clone(&recorder));
            if self.config.online {
                let check = Online::begin(workload, &recorder, base, load.clone())?;
                checks.extend(check.map(|check| (index, check)));
            }
            jobs.push((index, self.job(&part, base, duration, recorder, load.clone())));
            phase.parts.push(part);
        }
        let steps = async {
            tokio::select! {
                steps = self.steps(jobs, &recorders, number, duration, base, &mut phase) => steps,
                // Whoever stops the run stops the load.
                never = async { self.stop.stopped().await; load.stop(); std::future::pending().await } => never,
            }
        }
        .await;
        for (index, check) in checks {
            // It may have a window to finish.
            phase.parts[index].online = tokio::task::spawn_blocking(|| check.end()).await.ok();
        }
        let flushed: io::Result<()> = recorders.iter().try_for_each(|recorder| recorder.flush());
        if let Err(error) = steps.and(flushed) {
            phase.doubts.push(Doubt::new(DoubtKind::HarnessError, error.to_string()));
        }
        Ok(phase)
    }

    fn job(
        &self,
        part: &Part,
        base: i64,
        duration: Duration,
        recorder: Arc<Recorder>,
        stop: Stop,
    ) -> Box<dyn Job> {
        let config = &self.config;
        let Part { workload, rate, tally, .. } = part;
        let (workload, rate, tally) = (*workload, *rate, Arc::clone(tally));
        let (prefix, own_store) = match &config.target {
            Target::Start { .. } => ("", true),
            Target::Running { prefix, .. } => (prefix.as_str(), false),
        };
        let plan = JobPlan {
            workload,
            space: workload.space(prefix),
            own_store,
            txn_revisions: config.txn_revisions,
            base,
            seed: config.seed,
            rate,
            processes: config.concurrency,
            duration,
            deadline: config.deadline,
            members: self.members.clone(),
            recorder,
            tally,
            stop,
        };
        plan.job()
    }

    fn header(&self, workload: WorkloadName) -> Header {
        Header {
            v: VERSION,
            seed: self.config.seed,
            scenario: workload.name().into(),
            faults: self.config.faults.iter().map(|fault| fault.to_string()).collect(),
            system: self.system.clone(),
            nodes: self.members.len(),
            clock: "monotonic_ns".into(),
        }
    }

    async fn steps(
        &self,
        jobs: Jobs,
        recorders: &[Arc<Recorder>],
        number: usize,
        duration: Duration,
        base: i64,
        phase: &mut PhaseOutcome,
    ) -> io::Result<()> {
        let tallies: Vec<Arc<Tally>> = phase.parts.iter().map(|part| Arc::clone(&part.tally)).collect();
        let names: Vec<&str> = phase.parts.iter().map(|part| part.workload.name()).collect();
        let name = format!("phase {number}: {}", names.join(", "));
        // On a store of its own, a workload that runs alone has made every revision after the base.
        let alone = names.len() == 1 && matches!(self.config.target, Target::Start { .. });
        recorders.record(What::Observe {
            node: self.members[0].name.clone(),
            f: "base".into(),
            value: json!({ "revision": base, "alone": alone }),
        })?;

        recorders.record(What::Phase { f: "load".into() })?;
        self.progress.phase_of(&name, tallies, duration);
        let loads = self.each(jobs, |job| job.load());
        let (jobs, errors) = self.load_beside_faults(loads, recorders, number, duration, phase).await;

        // Whatever became of the load, the cluster is made whole again.
        recorders.record(What::Phase { f: "heal".into() })?;
        self.progress.phase(&format!("{name}: healing"), Vec::new());
        self.heal(&mut phase.doubts).await;
        if self.stop.is_stopped() || !errors.is_empty() {
            phase.doubts.extend(harness_errors(errors));
            return Ok(());
        }
        let settled = self.settle(recorders, phase, SETTLE_LIMIT).await?;

        recorders.record(What::Phase { f: "final".into() })?;
        self.progress.phase(&format!("{name}: final reads"), Vec::new());
        let limit = if settled { SETTLE_LIMIT } else { UNSETTLED_LIMIT };
        let patience = self.patience(limit).await;
        let (_, errors, _) = self.each(jobs, move |job| job.final_reads(patience)).await;
        phase.doubts.extend(errors.into_iter().map(|error| Doubt::new(DoubtKind::NotSettled, error)));
        // Again, for what the reads may have brought about.
        self.settle(recorders, phase, limit).await?;
        Ok(())
    }

    /// Lets the faults of the phase strike while the load goes on. Gives the jobs that are still there
    /// afterwards, and what went wrong with the load.
    async fn load_beside_faults(
        &self,
        loads: impl Future<Output = (Jobs, Vec<String>, Vec<(usize, LoadOutcome)>)>,
        recorders: &[Arc<Recorder>],
        number: usize,
        duration: Duration,
        phase: &mut PhaseOutcome,
    ) -> (Jobs, Vec<String>) {
        let loaded = Stop::default();
        let load = async {
            let done = loads.await;
            loaded.stop();
            done
        };
        let plan = self.plan(number, duration, phase.parts.iter().map(|part| part.workload));
        let ((jobs, errors, outcomes), summary, ()) = tokio::join!(
            load,
            self.faults(recorders, (number, plan), &loaded),
            observe_roles(&self.members, recorders, &loaded)
        );
        phase.proved = summary.proved().into_keys().collect();
        phase.doubts.extend(self.doubts_of(summary));
        for (index, outcome) in outcomes {
            phase.parts[index].outcome = Some(outcome);
        }
        (jobs, errors)
    }

    /// Carries out the phase's faults until the load is over, or the run is told to stop.
    async fn faults(
        &self,
        recorders: &[Arc<Recorder>],
        (number, plan): (usize, Plan),
        loaded: &Stop,
    ) -> Summary {
        let Some(cluster) = &self.cluster else { return Summary::default() };
        if plan.faults.is_empty() {
            return Summary::default();
        }
        self.note(|file| file.plan(number, &plan));
        let watched = self.progress.watch(recorders.to_vec());
        let sink: nemesis::Sink = Arc::new(move |what| {
            // The recorders tell of it again when the phase ends.
            if let Err(error) = watched.record(what) {
                tracing::error!(%error, "a fault is missing from a history");
            }
        });
        let stop = async {
            tokio::select! {
                () = self.stop.stopped() => {}
                () = loaded.stopped() => {}
            }
        };
        let mut summary = nemesis::run(&plan, Arc::clone(cluster), sink, stop).await;
        // The load's end is the plan's end too.
        summary.stopped = false;
        self.note(|file| file.carried_out(number, &summary));
        summary
    }

    /// Why the faults prove less than they should.
    fn doubts_of(&self, mut summary: Summary) -> Vec<Doubt> {
        let not_healed = std::mem::take(&mut summary.heal_errors).into_iter();
        let mut doubts: Vec<Doubt> =
            not_healed.map(|error| Doubt::new(DoubtKind::NotHealed, error)).collect();
        if !self.stop.is_stopped() {
            let vain = summary.doubts().into_iter();
            doubts.extend(vain.map(|error| Doubt::new(DoubtKind::FaultWithoutEffect, error)));
        }
        doubts
    }

    /// What is to strike in a phase of these workloads: the same again, or what the seed gives.
    fn plan(
        &self,
        number: usize,
        duration: Duration,
        mut workloads: impl ExactSizeIterator<Item = WorkloadName>,
    ) -> Plan {
        if let Some(file) = &self.config.replay {
            return Plan::again(file.of_phase(number), duration);
        }
        // Each phase has a plan of its own, all from the one seed.
        let seed = self.config.seed.wrapping_add(number as u64);
        // A workload that is alone accounts for every revision, and watches know which of them may be gone since they
        // asked for it themselves.
        let counts = workloads.len() == 1 || workloads.any(|workload| workload == WorkloadName::Watch);
        let faults = &self.config.faults;
        let faults = if counts { faults.without_compaction() } else { faults.clone() };
        let mut options = nemesis::Options::new(seed, duration, faults);
        options.overlap = self.config.overlap;
        if let Some(time) = self.config.fault_time {
            options.pace = options.pace.lasting(time);
        }
        Plan::draw(&options)
    }

    /// Notes something in the file of faults, and writes it.
    fn note(&self, what: impl FnOnce(&mut PlanFile)) {
        let mut file = self.plan_file.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut file);
        if let Err(error) = file.write(&self.config.out) {
            tracing::warn!(%error, "{} cannot be written", PlanFile::NAME);
        }
    }

    /// Does the same with every job at the same time. A job that panics is lost, and leaves an error.
    async fn each<T: Send + 'static>(
        &self,
        jobs: Jobs,
        work: impl for<'a> Fn(&'a mut dyn Job) -> Work<'a, T> + Copy + Send + 'static,
    ) -> (Jobs, Vec<String>, Vec<(usize, T)>) {
        let mut tasks = JoinSet::new();
        for (index, mut job) in jobs {
            tasks.spawn(async move {
                let outcome = work(job.as_mut()).await;
                (index, job, outcome)
            });
        }
        let (mut jobs, mut errors, mut outcomes) = (Jobs::new(), Vec::new(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((index, job, outcome)) => {
                    jobs.push((index, job));
                    match outcome {
                        Ok(outcome) => outcomes.push((index, outcome)),
                        Err(error) => errors.push(error.to_string()),
                    }
                }
                Err(error) => errors.push(format!("the harness failed: {error}")),
            }
        }
        jobs.sort_by_key(|(index, _)| *index);
        (jobs, errors, outcomes)
    }

    async fn heal(&self, doubts: &mut Vec<Doubt>) {
        if let Some(cluster) = &self.cluster
            && let Err(error) = cluster.heal().await
        {
            doubts.push(Doubt::new(DoubtKind::NotHealed, format!("healing failed: {error}")));
        }
    }

    /// How long to wait for all members: who has ended by itself will not answer any more, though the others
    /// may still tell something. At most `limit`.
    async fn patience(&self, limit: Duration) -> Duration {
        match self.gone().await {
            Some(_) => limit.min(CRASHED_LIMIT),
            None => limit,
        }
    }

    /// Waits until the members agree, for `limit` at most, and records what they say then. Gives whether they
    /// did.
    async fn settle(
        &self,
        recorders: &[Arc<Recorder>],
        phase: &mut PhaseOutcome,
        limit: Duration,
    ) -> io::Result<bool> {
        let settled = tokio::select! {
            settled = settle(&self.members, limit, &self.stop) => settled,
            gone = self.member_gone() => Err(format!("{gone} has ended by itself")),
        };
        match settled {
            Ok(observations) => {
                observations.into_iter().try_for_each(|what| recorders.record(what))?;
                Ok(true)
            }
            Err(missing) => {
                let sentence = format!("the members did not come to agree after healing: {missing}");
                phase.doubts.push(Doubt::new(DoubtKind::NotSettled, sentence));
                Ok(false)
            }
        }
    }

    /// Returns once a member's process has ended by itself: it will not come back.
    async fn member_gone(&self) -> NodeIndex {
        loop {
            if let Some(gone) = self.gone().await {
                return gone;
            }
            tokio::time::sleep(GONE_POLL).await;
        }
    }

    /// A member whose process has ended by itself, if there is one.
    pub(super) async fn gone(&self) -> Option<NodeIndex> {
        let cluster = self.cluster.as_ref()?;
        for index in cluster.indexes() {
            if let ProcessState::Exited { .. } = cluster.state(index).await {
                return Some(index);
            }
        }
        None
    }
}

fn harness_errors(errors: Vec<String>) -> impl Iterator<Item = Doubt> {
    errors.into_iter().map(|error| Doubt::new(DoubtKind::HarnessError, error))
}
