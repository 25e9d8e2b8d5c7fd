//! Processes end by SIGKILL, and start again on the data they have.
//!
//! What a process had not written to a file is lost; what it had written and not synced is not, since the
//! kernel lives on. Peers see their connections reset at once. Needs nothing beyond owning the processes.
//!
//! Proof: the kernel says how each process ended, and its client port refuses connections. Undone when each
//! node answers for itself again.

use super::strike::FaultError;
use crate::cluster::{Cluster, NodeIndex};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// How long the port of a process that is gone may take to refuse: one packet each way, on a loaded machine.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a node may take from its start until it answers. After the kill of a majority that includes an
/// election.
const START_TIMEOUT: Duration = Duration::from_secs(15);

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
        let start = Instant::now();
        while !cluster.refuses(node).await {
            if start.elapsed() > REFUSE_TIMEOUT {
                let status = end.status;
                return Err(FaultError::NotProved(format!("{node}'s port does not refuse, after {status}")));
            }
        }
        proof.insert(node.to_string(), json!({"pid": end.pid, "ended": end.status, "port": "refuses"}));
    }
    Ok(Value::Object(proof))
}

/// Starts the processes again, and waits until each answers for itself. While other faults are `active` a
/// node need only run: etcd, for one, answers nothing before it has found a quorum.
pub(super) async fn undo(
    cluster: &Arc<Cluster>,
    nodes: &[NodeIndex],
    others_active: impl Fn() -> bool + Clone + Send + 'static,
) -> Result<Value, FaultError> {
    let mut starts = JoinSet::new();
    for &node in nodes {
        let (cluster, others_active) = (Arc::clone(cluster), others_active.clone());
        starts.spawn(async move { (node, revive(&cluster, node, others_active).await) });
    }
    let mut proof = Map::new();
    for (node, outcome) in starts.join_all().await {
        proof.insert(node.to_string(), outcome?);
    }
    Ok(Value::Object(proof))
}

async fn revive(
    cluster: &Cluster,
    node: NodeIndex,
    others_active: impl Fn() -> bool,
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
