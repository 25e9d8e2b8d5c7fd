//! Processes are asked to end by SIGTERM, and start again on the data they have.
//!
//! Unlike a kill this lets a server finish: hand over its leadership, answer what it has begun, sync and close
//! its files. What it does in its last moments is code that kills never reach.
//!
//! Proof: the kernel, or docker, says how the process ended, and its client port refuses connections. Undone
//! when the node answers for itself again. Every cluster can do it.

use super::{
    Target,
    kill::{Killed, prove_end},
    strike::{FaultError, Scene, Strike, names},
};
use crate::cluster::{Cluster, NodeIndex};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Asks the processes of a target to end.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.take(target);
    if nodes.is_empty() {
        return Ok(None);
    }
    let act_at = Instant::now();
    let proof = start(&scene.cluster, &nodes).await;
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(Killed(nodes)), detail, act_at, proof }))
}

async fn start(cluster: &Cluster, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let mut proof = Map::new();
    for &node in nodes {
        proof.insert(node.to_string(), stop(cluster, node).await?);
    }
    Ok(Value::Object(proof))
}

/// Asks one process to end, and proves that it did.
pub(super) async fn stop(cluster: &Cluster, node: NodeIndex) -> Result<Value, FaultError> {
    let Some(end) = cluster.terminate(node).await? else {
        return Err(FaultError::NotProved(format!("{node} did not run when it was to be stopped")));
    };
    prove_end(cluster, node, &end).await
}
