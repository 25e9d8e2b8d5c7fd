//! Processes stop by SIGSTOP, and run on.
//!
//! A stopped process keeps its memory and its connections, and its kernel goes on taking in what peers send:
//! to itself it seems that no time has passed, while the others have gone on. Longer than an election
//! timeout, it makes a leader that does not know that it is one no more. Needs nothing beyond owning the
//! processes.
//!
//! In a `compose` cluster docker freezes the container instead, which to a process is the same.
//!
//! Proof: the state that /proc/PID/stat shows, `T` while stopped and another after; of a container, the state
//! that docker tells.

use super::{
    Target,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::{Cluster, NodeIndex, ProcessState};
use serde_json::{Map, Value, json};
use std::time::Instant;

#[derive(Debug)]
struct Paused(Vec<NodeIndex>);

impl Active for Paused {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(undo(&scene.cluster, &self.0))
    }
}

/// Stops the processes of a target.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.take(target);
    if nodes.is_empty() {
        return Ok(None);
    }
    let act_at = Instant::now();
    let proof = start(&scene.cluster, &nodes).await;
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(Paused(nodes)), detail, act_at, proof }))
}

/// Stops the processes of `nodes`, and proves it.
pub(super) async fn start(cluster: &Cluster, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let mut proof = Map::new();
    for &node in nodes {
        match cluster.pause(node).await? {
            state @ ProcessState::Paused { .. } => {
                proof.insert(node.to_string(), cluster.evidence(node, &state).await);
            }
            other => return Err(FaultError::NotProved(format!("{node} is not stopped but {other:?}"))),
        }
    }
    Ok(Value::Object(proof))
}

/// Lets the processes run on.
pub(super) async fn undo(cluster: &Cluster, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let (mut proof, mut trouble) = (Map::new(), None);
    for &node in nodes {
        match cluster.resume(node).await {
            Ok(state @ ProcessState::Running { .. }) => {
                proof.insert(node.to_string(), cluster.evidence(node, &state).await);
            }
            Ok(other) => {
                trouble = Some(FaultError::NotUndone(format!("{node} does not run on but is {other:?}")))
            }
            Err(error) => trouble = Some(error.into()),
        }
    }
    match trouble {
        Some(error) => Err(error),
        None => Ok(Value::Object(proof)),
    }
}
