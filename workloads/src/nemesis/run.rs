//! Carrying out a plan.

use super::{
    Fault, Outcome, Plan, Planned, Result as FaultResult, Summary, kill, partition, pause, shape, target,
};
use crate::cluster::{Cluster, ClusterError, Link, NodeIndex, Probe, ProcessState};
use checker::history::event::What;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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

/// Why a fault did not do what it should.
#[derive(Debug)]
pub(super) enum FaultError {
    /// The cluster refused.
    Cluster(ClusterError),
    /// It took no effect that could be shown.
    NotProved(String),
    /// It could not be undone, or that could not be shown.
    NotUndone(String),
}

impl From<ClusterError> for FaultError {
    fn from(error: ClusterError) -> FaultError {
        FaultError::Cluster(error)
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultError::Cluster(error) => error.fmt(f),
            FaultError::NotProved(what) => write!(f, "no effect is proved: {what}"),
            FaultError::NotUndone(what) => write!(f, "not undone: {what}"),
        }
    }
}

/// What the faults under way share.
struct Shared {
    cluster: Arc<Cluster>,
    sink: Sink,
    start: Instant,
    /// Nodes whose process a fault has ended or stopped.
    held: Mutex<BTreeSet<NodeIndex>>,
    /// Faults under way.
    active: Arc<AtomicUsize>,
}

/// A fault that has taken effect, and what its undoing needs.
enum Active {
    Kill(Vec<NodeIndex>),
    Pause(Vec<NodeIndex>),
    Partition(partition::Active),
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
        held: Mutex::default(),
        active: Arc::default(),
    });
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
                    let result = shared.carry_out(planned, stopped).await;
                    drop(lane);
                    Outcome { planned, result }
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

    /// One fault from its beginning to its end.
    async fn carry_out(&self, planned: Planned, mut stopped: watch::Receiver<bool>) -> FaultResult {
        let (f, fault) = (planned.fault.family().to_string(), planned.number);
        let failed = |error: FaultError| {
            let error = error.to_string();
            tracing::warn!(fault, name = %planned.fault, error, "a fault failed");
            (self.sink)(What::NemesisError { f: f.clone(), fault, error: error.clone() });
            FaultResult::Failed { error }
        };
        self.active.fetch_add(1, Ordering::SeqCst);
        let begun = self.begin(planned).await;
        let result = match begun {
            Err(error) => failed(error),
            Ok(None) => FaultResult::Skipped,
            Ok(Some((active, value, proof))) => {
                let start_ms = self.now_ms();
                (self.sink)(What::NemesisStart { f: f.clone(), fault, value, proof });
                tokio::select! {
                    () = sleep(Duration::from_millis(planned.duration_ms)) => {}
                    _ = stopped.wait_for(|&stopped| stopped) => {}
                }
                match self.undo(planned.number, &active).await {
                    Ok(proof) => {
                        (self.sink)(What::NemesisEnd { f, fault, proof });
                        FaultResult::Proved { start_ms, end_ms: self.now_ms() }
                    }
                    Err(error) => failed(error),
                }
            }
        };
        self.active.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Brings a fault about: what it is, whom it hit, and the proof. `None` when there is nobody to hit.
    async fn begin(&self, planned: Planned) -> Result<Option<(Active, Value, Value)>, FaultError> {
        let (cluster, nodes) = (&self.cluster, self.cluster.nodes().len());
        let mut rng = ChaCha8Rng::seed_from_u64(planned.choice);
        let leader = target::leader(cluster).await;
        let describe = |detail: Value| {
            let mut value =
                json!({"fault": planned.fault.to_string(), "leader": leader.map(|l| l.to_string())});
            if let (Value::Object(all), Value::Object(detail)) = (&mut value, detail) {
                all.extend(detail);
            }
            value
        };
        let names = |nodes: &[NodeIndex]| nodes.iter().map(NodeIndex::to_string).collect::<Vec<_>>();
        match planned.fault {
            Fault::Kill(target) | Fault::Pause(target) => {
                let chosen = {
                    let mut held = self.held();
                    let chosen = target::draw(target, nodes, leader, &held, &mut rng);
                    held.extend(chosen.iter().copied());
                    chosen
                };
                if chosen.is_empty() {
                    return Ok(None);
                }
                let value = describe(json!({"nodes": names(&chosen)}));
                let is_kill = matches!(planned.fault, Fault::Kill(_));
                let proof = match is_kill {
                    true => kill::start(cluster, &chosen).await,
                    false => pause::start(cluster, &chosen).await,
                };
                let active = if is_kill { Active::Kill(chosen) } else { Active::Pause(chosen) };
                match proof {
                    Ok(proof) => Ok(Some((active, value, proof))),
                    Err(error) => {
                        self.undo(planned.number, &active).await?;
                        Err(error)
                    }
                }
            }
            Fault::Partition(shape) => {
                let cut = shape::draw(shape, nodes, leader, &mut rng);
                let groups: Vec<_> = cut.groups.iter().map(|group| names(group)).collect();
                let links: Vec<_> = cut.links.keys().map(Link::to_string).collect();
                let value = describe(json!({"groups": groups, "links": links}));
                let (active, proof) = partition::start(cluster, planned.number, cut.links).await?;
                Ok(Some((Active::Partition(active), value, proof)))
            }
        }
    }

    /// Undoes a fault.
    async fn undo(&self, number: u64, active: &Active) -> Result<Value, FaultError> {
        match active {
            Active::Kill(nodes) => {
                let active = Arc::clone(&self.active);
                let beside_others = move || active.load(Ordering::SeqCst) > 1;
                let undone = kill::undo(&self.cluster, nodes, beside_others).await;
                self.release(nodes);
                undone
            }
            Active::Pause(nodes) => {
                let undone = pause::undo(&self.cluster, nodes).await;
                self.release(nodes);
                undone
            }
            Active::Partition(active) => partition::undo(&self.cluster, number, active).await,
        }
    }

    fn release(&self, nodes: &[NodeIndex]) {
        self.held().retain(|node| !nodes.contains(node));
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<NodeIndex>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
