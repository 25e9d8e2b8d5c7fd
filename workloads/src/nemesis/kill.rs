//! Processes end by SIGKILL, and start again on the data they have.
//!
//! What a process had not written to a file is lost; what it had written and not synced is not, since the
//! kernel lives on. Peers see their connections reset at once. Needs nothing beyond owning the processes.
//!
//! Proof: the kernel says how each process ended, and its client port refuses connections. Undone when each
//! node answers for itself again.

use super::{
    Target,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::{Cluster, Ended, NodeIndex, ProcessState};
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant as Clock},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// How long the port of a process that is gone may take to refuse: one packet each way, on a loaded machine.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a node may take from its start until it answers. After the kill of a majority that includes an
/// election.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a server that lived through something may take until it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Nodes whose processes have been ended.
#[derive(Debug)]
pub(super) struct Killed(pub(super) Vec<NodeIndex>);

impl Active for Killed {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(revive_all(scene, &self.0))
    }
}

/// Ends the processes of a target.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.take(target);
    if nodes.is_empty() {
        return Ok(None);
    }
    let act_at = Clock::now();
    let proof = start(&scene.cluster, &nodes).await;
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(Killed(nodes)), detail, act_at, proof }))
}

/// Ends the processes of `nodes`, and proves it.
pub(super) async fn start(cluster: &Cluster, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let mut ended = Vec::new();
    // All first: the sooner the last follows the first, the less the others can do meanwhile.
    for &node in nodes {
        let Some(end) = cluster.kill(node).await? else {
            return Err(FaultError::NotProved(format!("{node} did not run when it was to be killed")));
        };
        ended.push((node, end));
    }
    let mut proof = Map::new();
    for (node, end) in ended {
        proof.insert(node.to_string(), prove_end(cluster, node, &end).await?);
    }
    Ok(Value::Object(proof))
}

/// Shows that a process which is said to have ended serves no more.
pub(super) async fn prove_end(cluster: &Cluster, node: NodeIndex, end: &Ended) -> Result<Value, FaultError> {
    let (start, status) = (Instant::now(), &end.status);
    // Packets to a node that clients are kept from do not come back as refusals.
    while !cluster.unreachable().await.contains(&node) && !cluster.refuses(node).await {
        if start.elapsed() > REFUSE_TIMEOUT {
            return Err(FaultError::NotProved(format!("{node}'s port does not refuse, after {status}")));
        }
    }
    Ok(json!({"pid": end.pid, "ended": status, "port": "refuses"}))
}

/// Starts the processes again, and waits until each answers for itself. While other faults are `active` a
/// node need only run: etcd, for one, answers nothing before it has found a quorum.
pub(super) async fn revive_all(scene: &Scene, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let mut starts = JoinSet::new();
    for &node in nodes {
        let (cluster, others_active) = (Arc::clone(&scene.cluster), Arc::clone(&scene.others_active));
        starts.spawn(async move { (node, revive(&cluster, node, &*others_active).await) });
    }
    let mut proof = Map::new();
    for (node, outcome) in starts.join_all().await {
        proof.insert(node.to_string(), outcome?);
    }
    Ok(Value::Object(proof))
}

/// Waits until a node answers whose process may have ended by itself, or not have come through: one that neither ended
/// nor answers is started anew too.
pub(super) async fn revive_or_restart(scene: &Scene, node: NodeIndex) -> Result<Value, FaultError> {
    let (cluster, start) = (&scene.cluster, Clock::now());
    while matches!(cluster.state(node).await, ProcessState::Running { .. })
        && cluster.status(node).await.is_err()
    {
        if start.elapsed() > ANSWER_TIMEOUT {
            cluster.kill(node).await?;
        }
        sleep(Duration::from_millis(50)).await;
    }
    revive(cluster, node, &*scene.others_active).await
}

/// Starts one process again, and waits until it answers.
pub(super) async fn revive(
    cluster: &Cluster,
    node: NodeIndex,
    others_active: &(dyn Fn() -> bool + Send + Sync),
) -> Result<Value, FaultError> {
    let start = Instant::now();
    let pid = cluster.start_node(node).await?;
    loop {
        let answer = cluster.status(node).await;
        let after_ms = start.elapsed().as_millis() as u64;
        match answer {
            Ok(_) => return Ok(json!({"pid": pid, "serves_after_ms": after_ms})),
            Err(_) if others_active() && start.elapsed() > Duration::from_secs(1) => {
                return Ok(json!({"pid": pid, "serves": "not yet, beside another fault"}));
            }
            Err(error) if start.elapsed() > START_TIMEOUT => {
                let said = error.message();
                return Err(FaultError::NotUndone(format!(
                    "{node} does not answer {after_ms} ms after its start: {said}"
                )));
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
