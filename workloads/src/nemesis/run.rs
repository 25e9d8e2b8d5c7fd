//! Carrying out a plan.

use super::{
    Outcome, Plan, Planned, Result as FaultResult, Summary,
    strike::{self, FaultError, Held},
};
use crate::cluster::{Cluster, Link, Probe, ProcessState};
use checker::history::event::What;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// Takes the nemesis's events, in the order in which they happen: the recorder's `append`.
pub type Sink = Arc<dyn Fn(What) + Send + Sync>;

/// What the faults under way share.
struct Shared {
    cluster: Arc<Cluster>,
    sink: Sink,
    start: Instant,
    held: Arc<Held>,
    /// Faults under way.
    active: Arc<AtomicUsize>,
}

/// Carries out a plan, and undoes everything at the end: when all faults had their turn, when the time is up,
/// or when `stop` completes. Let it run to its end and use `stop` to end it early: dropped half-way it undoes
/// nothing.
///
/// Events go to `sink`: a start when a fault has been proved, an end when its undoing has, an error where
/// either failed.
pub async fn run(plan: &Plan, cluster: Arc<Cluster>, sink: Sink, stop: impl Future<Output = ()>) -> Summary {
    let shared = Arc::new(Shared {
        cluster,
        sink,
        start: Instant::now(),
        held: Arc::default(),
        active: Arc::default(),
    });
    let crashes_before = shared.cluster.crashes().await;
    let lanes = Arc::new(Semaphore::new(plan.overlap));
    let (stopping, _) = watch::channel(false);
    let mut summary = Summary::default();
    let mut under_way = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    for &planned in &plan.faults {
        let turn = tokio::select! {
            biased;
            () = &mut stop, if !summary.stopped => { summary.stopped = true; None }
            turn = shared.turn(plan, planned, &lanes), if !summary.stopped => turn,
            else => None,
        };
        match turn {
            Some(lane) => {
                let (shared, stopped) = (Arc::clone(&shared), stopping.subscribe());
                under_way.spawn(async move {
                    let outcome = shared.carry_out(planned, stopped).await;
                    drop(lane);
                    outcome
                });
            }
            None => summary.outcomes.push(Outcome { planned, result: FaultResult::NotReached }),
        }
    }
    while !under_way.is_empty() {
        if summary.stopped {
            stopping.send_replace(true);
        }
        tokio::select! {
            () = &mut stop, if !summary.stopped => summary.stopped = true,
            Some(ended) = under_way.join_next() => match ended {
                Ok(outcome) => summary.outcomes.push(outcome),
                Err(error) => summary.heal_errors.push(format!("a fault ended the nemesis: {error}")),
            },
        }
    }
    summary.outcomes.sort_by_key(|outcome| outcome.planned.number);
    summary.heal_errors.extend(heal(&shared.cluster).await);
    summary.crashes = shared.cluster.crashes().await;
    summary.crashes.retain(|crash| !crashes_before.contains(crash));
    summary
}

/// Undoes whatever is left, and looks whether all is well: what is not.
async fn heal(cluster: &Arc<Cluster>) -> Vec<String> {
    let mut errors = Vec::new();
    if let Err(error) = cluster.heal().await {
        errors.push(format!("healing: {error}"));
    }
    for node in cluster.indexes() {
        match cluster.state(node).await {
            ProcessState::Running { .. } => {}
            other => errors.push(format!("{node} does not run after healing: {other:?}")),
        }
    }
    let mut probes = JoinSet::new();
    for from in cluster.indexes() {
        for to in cluster.indexes().filter(|&to| to != from) {
            let (cluster, link) = (Arc::clone(cluster), Link::new(from, to));
            probes.spawn(async move {
                let mut outcome = cluster.probe(link).await;
                // A loaded machine may be slow once.
                for _ in 0..10 {
                    match outcome {
                        Ok(Probe::Arrived) => return None,
                        Ok(Probe::NotConnected | Probe::Lost) | Err(_) => outcome = cluster.probe(link).await,
                    }
                }
                Some(format!("{link} is not open after healing: {outcome:?}"))
            });
        }
    }
    errors.extend(probes.join_all().await.into_iter().flatten());
    errors
}

impl Shared {
    /// Waits for a fault's time and for a free lane. `None` when the time is up before.
    async fn turn(
        &self,
        plan: &Plan,
        planned: Planned,
        lanes: &Arc<Semaphore>,
    ) -> Option<OwnedSemaphorePermit> {
        sleep_until(self.start + Duration::from_millis(planned.start_ms)).await;
        let waited = lanes.available_permits() == 0;
        let lane = Arc::clone(lanes).acquire_owned().await.expect("nobody closes the lanes");
        if waited {
            sleep(Duration::from_millis(plan.gap_min_ms)).await;
        }
        (self.now_ms() + planned.duration_ms <= plan.time_limit_ms).then_some(lane)
    }

    /// One fault from its beginning to its end. The plan in the outcome tells when it began and what its choice
    /// was made from.
    async fn carry_out(&self, mut planned: Planned, mut stopped: watch::Receiver<bool>) -> Outcome {
        let (f, fault) = (planned.fault.family().to_string(), planned.number);
        let failed = |error: FaultError| {
            let error = error.to_string();
            tracing::warn!(fault, name = %planned.fault, error, "a fault failed");
            (self.sink)(What::NemesisError { f: f.clone(), fault, error: error.clone() });
            FaultResult::Failed { error }
        };
        self.active.fetch_add(1, Ordering::SeqCst);
        let active = Arc::clone(&self.active);
        let others_active = Arc::new(move || active.load(Ordering::SeqCst) > 1);
        let began_ms = self.now_ms();
        let result = match strike::begin(&self.cluster, &self.held, planned, others_active).await {
            Err(error) => failed(error),
            Ok(None) => FaultResult::Skipped,
            Ok(Some(mut struck)) => {
                (planned.view, planned.start_ms) = (Some(struck.view()), began_ms);
                let start_ms = self.now_ms();
                let (value, proof) = (struck.value.clone(), struck.proof.clone());
                (self.sink)(What::NemesisStart { f: f.clone(), fault, value, proof });
                tokio::select! {
                    () = sleep(Duration::from_millis(planned.duration_ms)) => {}
                    _ = stopped.wait_for(|&stopped| stopped) => {}
                }
                match strike::undo(&mut struck).await {
                    Ok(proof) => {
                        (self.sink)(What::NemesisEnd { f, fault, proof });
                        FaultResult::Proved { start_ms, end_ms: self.now_ms() }
                    }
                    Err(error) => failed(error),
                }
            }
        };
        self.active.fetch_sub(1, Ordering::SeqCst);
        Outcome { planned, result }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
