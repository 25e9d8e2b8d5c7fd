//! One fault: whom it hits, bringing it about, undoing it.

use super::{
    Fault, Planned, Target, View, admin, client, clock, cpu, disk, kill, member, memory, moment, packet,
    partition, pause, rolling, stop, syscall, target, vanish,
};
use crate::cluster::{Cluster, ClusterError, NodeIndex};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    pin::Pin,
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

/// What a fault works with.
pub(super) struct Scene {
    pub(super) cluster: Arc<Cluster>,
    pub(super) planned: Planned,
    /// Who led and who lagged when it began.
    pub(super) view: View,
    /// Drawn from the plan's number.
    pub(super) rng: ChaCha8Rng,
    /// Whether other faults are under way.
    pub(super) others_active: Arc<dyn Fn() -> bool + Send + Sync>,
    held: Arc<Held>,
    taken: Vec<NodeIndex>,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("planned", &self.planned).field("view", &self.view).finish()
    }
}

impl Scene {
    /// Draws the nodes that a target stands for, and keeps other faults from their processes until this
    /// fault is undone. None at all when others hold them.
    pub(super) fn take(&mut self, target: Target) -> Vec<NodeIndex> {
        let (nodes, view, rng) = (self.cluster.nodes().len(), self.view, &mut self.rng);
        let chosen = self.held.take(|held| target::draw(target, nodes, view, held, rng));
        self.taken.extend(&chosen);
        chosen
    }

    /// Takes one more node, if nobody holds it.
    pub(super) fn take_node(&mut self, node: NodeIndex) -> bool {
        let chosen = self.held.take(|held| if held.contains(&node) { Vec::new() } else { vec![node] });
        self.taken.extend(&chosen);
        !chosen.is_empty()
    }

    /// Another node than these, the leader if it is none of them: one to ask for something.
    pub(super) fn other_than(&self, nodes: &[NodeIndex]) -> Option<NodeIndex> {
        let leader = self.view.leader.into_iter();
        leader.chain(self.cluster.indexes()).find(|node| !nodes.contains(node))
    }

    fn release(&mut self) {
        self.held.release(&self.taken);
        self.taken.clear();
    }
}

/// What undoing a fault takes.
pub(super) type Undoing<'a> = Pin<Box<dyn Future<Output = Result<Value, FaultError>> + Send + 'a>>;

/// A fault under way.
pub(super) trait Active: Send + Sync + fmt::Debug {
    /// Undoes it, and gives what showed that.
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a>;
}

/// What came of bringing a fault about.
#[derive(Debug)]
pub(super) struct Strike {
    /// What its undoing needs, proved or not: some of it may have come about.
    pub(super) active: Box<dyn Active>,
    /// Whom it hit and how.
    pub(super) detail: Value,
    /// When it was done: the proof took the time since.
    pub(super) act_at: Instant,
    /// What showed it.
    pub(super) proof: Result<Value, FaultError>,
}

/// A fault that has taken effect.
#[derive(Debug)]
pub(super) struct Struck {
    active: Box<dyn Active>,
    scene: Scene,
    /// What it is and whom it hit.
    pub(super) value: Value,
    /// What showed it.
    pub(super) proof: Value,
}

impl Struck {
    /// What the choice of nodes was made from.
    pub(super) fn view(&self) -> View {
        self.scene.view
    }
}

/// Brings a fault about. `None` when there is nobody to hit, or no occasion.
pub(super) async fn begin(
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    planned: Planned,
    others_active: Arc<dyn Fn() -> bool + Send + Sync>,
) -> Result<Option<Struck>, FaultError> {
    let view = match planned.view {
        Some(view) => view,
        None => target::view(cluster).await,
    };
    let mut scene = Scene {
        cluster: Arc::clone(cluster),
        planned,
        view,
        rng: ChaCha8Rng::seed_from_u64(planned.choice),
        others_active,
        held: Arc::clone(held),
        taken: Vec::new(),
    };
    let scene_ref = &mut scene;
    let struck = match planned.fault {
        Fault::Kill(target) => kill::strike(scene_ref, target).await,
        Fault::KillAt(moment) => moment::strike(scene_ref, moment).await,
        Fault::Stop(target) => stop::strike(scene_ref, target).await,
        Fault::Rolling => rolling::strike(scene_ref).await,
        Fault::Pause(target) => pause::strike(scene_ref, target).await,
        Fault::Vanish(target) => vanish::strike(scene_ref, target).await,
        Fault::Partition(shape) => partition::strike(scene_ref, shape).await,
        Fault::Client(target) => client::strike(scene_ref, target).await,
        Fault::Packet(effect) => packet::strike(scene_ref, effect).await,
        Fault::Syscall(call) => syscall::strike(scene_ref, call).await,
        Fault::Disk(trouble) => disk::strike(scene_ref, trouble).await,
        Fault::Cpu(target) => cpu::strike(scene_ref, target).await,
        Fault::Memory(target) => memory::strike(scene_ref, target).await,
        Fault::Clock(trouble) => clock::strike(scene_ref, trouble).await,
        Fault::Member(change) => member::strike(scene_ref, change).await,
        Fault::Admin(task) => admin::strike(scene_ref, task).await,
    };
    let strike = match struck {
        Ok(Some(strike)) => strike,
        Ok(None) => {
            scene.release();
            return Ok(None);
        }
        Err(error) => {
            // It may have begun: nobody else will start what it ended.
            for &node in &scene.taken {
                scene.cluster.resume(node).await?;
                scene.cluster.start_node(node).await?;
            }
            scene.cluster.mend(planned.number).await?;
            scene.release();
            return Err(error);
        }
    };
    let Strike { mut active, detail, act_at, proof } = strike;
    let leader = view.leader.map(|leader| leader.to_string());
    let value = merged(json!({"fault": planned.fault.to_string(), "leader": leader}), detail);
    match proof {
        Ok(proof) => Ok(Some(Struck { active, scene, value, proof: timed(proof, act_at) })),
        Err(error) => {
            let undone = active.undo(&scene).await;
            scene.release();
            undone?;
            Err(error)
        }
    }
}

/// Undoes a fault, and gives what showed it.
pub(super) async fn undo(struck: &mut Struck) -> Result<Value, FaultError> {
    let act_at = Instant::now();
    let undone = struck.active.undo(&struck.scene).await;
    struck.scene.release();
    Ok(timed(undone?, act_at))
}

/// Adds how long after the act the proof was complete: so much earlier than its event a fault began or
/// ended, at most.
fn timed(proof: Value, act_at: Instant) -> Value {
    merged(proof, json!({"proved_after_ms": act_at.elapsed().as_millis() as u64}))
}

/// Both objects in one.
pub(super) fn merged(mut into: Value, from: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut into, from) {
        all.extend(more);
    }
    into
}

/// The names of nodes.
pub(super) fn names(nodes: &[NodeIndex]) -> Vec<String> {
    nodes.iter().map(NodeIndex::to_string).collect()
}
