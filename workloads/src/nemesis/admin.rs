//! Maintenance goes on beside the load: defragmentation, a snapshot, compaction.
//!
//! Proof: the members' own answers; of a snapshot, how many bytes came; of a compaction, that a revision before
//! it cannot be read any more. There is nothing to undo. Every cluster can do it, where the system can;
//! `compact` does not strike beside a workload that accounts for every revision.

use super::{
    Target, Task,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::NodeIndex;
use serde_json::{Map, Value, json};
use std::time::Instant;
use tonic::Code;

/// Revisions that a compaction leaves.
const KEPT: i64 = 100;

/// Nothing to undo.
#[derive(Debug)]
struct Done;

impl Active for Done {
    fn undo<'a>(&'a mut self, _scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async { Ok(json!({})) })
    }
}

/// Does maintenance.
pub(super) async fn strike(scene: &mut Scene, task: Task) -> Result<Option<Strike>, FaultError> {
    let target = match task {
        Task::Defrag => Target::All,
        Task::Snapshot | Task::Compact => Target::One,
    };
    // Those that other faults hold would not answer.
    let nodes = scene.take(target);
    let Some(&first) = nodes.first() else { return Ok(None) };
    let act_at = Instant::now();
    let proof = match task {
        Task::Defrag => defragment(scene, &nodes).await,
        Task::Snapshot => snapshot(scene, first).await,
        Task::Compact => compact(scene, first).await,
    };
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(Done), detail, act_at, proof }))
}

async fn defragment(scene: &Scene, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let mut proof = Map::new();
    for &node in nodes {
        let start = Instant::now();
        let failed = |error: tonic::Status| FaultError::NotProved(format!("{node}: {}", error.message()));
        scene.cluster.defragment(node).await.map_err(failed)?;
        proof.insert(node.to_string(), json!({"took_ms": start.elapsed().as_millis() as u64}));
    }
    Ok(Value::Object(proof))
}

async fn snapshot(scene: &Scene, node: NodeIndex) -> Result<Value, FaultError> {
    let failed = |error: tonic::Status| FaultError::NotProved(format!("{node}: {}", error.message()));
    let mut parts = scene.cluster.snapshot(node).await.map_err(failed)?;
    let mut bytes = 0;
    while let Some(part) = parts.message().await.map_err(failed)? {
        bytes += part.blob.len();
    }
    match bytes {
        0 => Err(FaultError::NotProved(format!("{node}'s snapshot is empty"))),
        bytes => Ok(json!({node.to_string(): {"snapshot_bytes": bytes}})),
    }
}

async fn compact(scene: &Scene, node: NodeIndex) -> Result<Value, FaultError> {
    let failed = |error: tonic::Status| FaultError::NotProved(format!("{node}: {}", error.message()));
    let revision = scene.cluster.status(node).await.map_err(failed)?.revision - KEPT;
    if revision < 2 {
        return Err(FaultError::NotProved(format!("there is nothing to compact before {KEPT} revisions")));
    }
    let asked = scene.cluster.compact(node, revision).await;
    let read = scene.cluster.read_at(node, revision - 1).await;
    match read {
        Err(error) if error.code() == Code::OutOfRange => {
            Ok(json!({node.to_string(): {"revision": revision, "read_before_it": error.message()}}))
        }
        Ok(()) | Err(_) => {
            Err(FaultError::NotProved(format!("{node} still reads before {revision}: {asked:?}")))
        }
    }
}
