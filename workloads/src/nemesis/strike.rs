//! One fault: whom it hits, bringing it about, undoing it.

use super::{Fault, Planned, Target, kill, partition, pause, shape, target};
use crate::cluster::{Cluster, ClusterError, Link, NodeIndex};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

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

/// Nodes whose process a fault has ended or stopped: no other fault on processes hits them meanwhile.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<BTreeSet<NodeIndex>>);

impl Held {
    fn take(&self, choose: impl FnOnce(&BTreeSet<NodeIndex>) -> Vec<NodeIndex>) -> Vec<NodeIndex> {
        let mut held = self.lock();
        let chosen = choose(&held);
        held.extend(chosen.iter().copied());
        chosen
    }

    fn release(&self, nodes: &[NodeIndex]) {
        self.lock().retain(|node| !nodes.contains(node));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<NodeIndex>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fault that has taken effect.
#[derive(Debug)]
pub(super) struct Struck {
    /// What its undoing needs.
    active: Active,
    /// What it is and whom it hit.
    pub(super) value: Value,
    /// What showed it.
    pub(super) proof: Value,
}

#[derive(Debug)]
enum Active {
    Kill(Vec<NodeIndex>),
    Pause(Vec<NodeIndex>),
    Partition(u64, partition::Active),
}

/// Brings a fault about. `None` when there is nobody to hit.
pub(super) async fn begin(
    cluster: &Arc<Cluster>,
    held: &Held,
    planned: Planned,
) -> Result<Option<Struck>, FaultError> {
    let leader = target::leader(cluster).await;
    let mut rng = ChaCha8Rng::seed_from_u64(planned.choice);
    let nodes = cluster.nodes().len();
    let mut choose = |target: Target| held.take(|held| target::draw(target, nodes, leader, held, &mut rng));
    let (active, detail, act_at, proof) = match planned.fault {
        Fault::Kill(target) => {
            let chosen = choose(target);
            if chosen.is_empty() {
                return Ok(None);
            }
            let (act_at, proof) = (Instant::now(), kill::start(cluster, &chosen).await);
            let detail = json!({"nodes": names(&chosen)});
            (Active::Kill(chosen), detail, act_at, proof)
        }
        Fault::Pause(target) => {
            let chosen = choose(target);
            if chosen.is_empty() {
                return Ok(None);
            }
            let (act_at, proof) = (Instant::now(), pause::start(cluster, &chosen).await);
            let detail = json!({"nodes": names(&chosen)});
            (Active::Pause(chosen), detail, act_at, proof)
        }
        Fault::Partition(shape) => {
            let cut = shape::draw(shape, nodes, leader, &mut rng);
            let groups: Vec<_> = cut.groups.iter().map(|group| names(group)).collect();
            let links: Vec<_> = cut.links.keys().map(Link::to_string).collect();
            let act_at = Instant::now();
            let (active, proof) = partition::start(cluster, planned.number, cut.links).await?;
            let detail = json!({"groups": groups, "links": links});
            (Active::Partition(planned.number, active), detail, act_at, proof)
        }
    };
    let leader = leader.map(|leader| leader.to_string());
    let value = merged(json!({"fault": planned.fault.to_string(), "leader": leader}), detail);
    match proof {
        Ok(proof) => Ok(Some(Struck { active, value, proof: timed(proof, act_at) })),
        Err(error) => {
            // Some of it may have come about.
            undo_active(cluster, held, &active, || false).await?;
            Err(error)
        }
    }
}

/// Undoes a fault, and gives what showed it. `others_active` tells whether other faults are under way.
pub(super) async fn undo(
    cluster: &Arc<Cluster>,
    held: &Held,
    struck: &Struck,
    others_active: impl Fn() -> bool + Clone + Send + 'static,
) -> Result<Value, FaultError> {
    let act_at = Instant::now();
    let proof = undo_active(cluster, held, &struck.active, others_active).await?;
    Ok(timed(proof, act_at))
}

async fn undo_active(
    cluster: &Arc<Cluster>,
    held: &Held,
    active: &Active,
    others_active: impl Fn() -> bool + Clone + Send + 'static,
) -> Result<Value, FaultError> {
    match active {
        Active::Kill(nodes) => {
            let undone = kill::undo(cluster, nodes, others_active).await;
            held.release(nodes);
            undone
        }
        Active::Pause(nodes) => {
            let undone = pause::undo(cluster, nodes).await;
            held.release(nodes);
            undone
        }
        Active::Partition(number, active) => partition::undo(cluster, *number, active).await,
    }
}

/// Adds how long after the act the proof was complete: so much earlier than its event a fault began or
/// ended, at most.
fn timed(proof: Value, act_at: Instant) -> Value {
    merged(proof, json!({"proved_after_ms": act_at.elapsed().as_millis() as u64}))
}

fn merged(mut into: Value, from: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut into, from) {
        all.extend(more);
    }
    into
}

fn names(nodes: &[NodeIndex]) -> Vec<String> {
    nodes.iter().map(NodeIndex::to_string).collect()
}
