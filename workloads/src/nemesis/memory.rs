//! A process gets no more memory than it has.
//!
//! What asks for more is told that there is none, and most programs end of it; in a `compose` cluster the kernel kills.
//! One that lives on serves with what it has. It is the end in the middle of anything at all that is the test, since
//! what takes memory is everything that a server does.
//!
//! Proof: the limit that the kernel, or docker, says is in force, and how the process ended if it did. Undone when there
//! is no limit and the node answers for itself. Every cluster can do it.

use super::{
    Target, kill,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged},
};
use crate::cluster::NodeIndex;
use serde_json::{Value, json};
use std::time::Instant;

#[derive(Debug)]
struct Limited(NodeIndex);

impl Active for Limited {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let (cluster, node) = (&scene.cluster, self.0);
            let ended = cluster.expected_end(node).await.map(|end| end.status);
            cluster.unlimit_memory(node).await?;
            let revived = kill::revive_or_restart(scene, node).await?;
            Ok(json!({node.to_string(): merged(revived, json!({"server_had_ended": ended}))}))
        })
    }
}

/// Limits the memory of a target's nodes, of which there is one.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let Some(&node) = scene.take(target).first() else { return Ok(None) };
    // Whoever gets no memory is right to end.
    scene.cluster.expect_end(node).await;
    let act_at = Instant::now();
    let proof = start(scene, node).await;
    let detail = json!({"nodes": [node.to_string()]});
    Ok(Some(Strike { active: Box::new(Limited(node)), detail, act_at, proof }))
}

async fn start(scene: &Scene, node: NodeIndex) -> Result<Value, FaultError> {
    let limit = scene.cluster.limit_memory(node).await?;
    Ok(json!({node.to_string(): {"limit_bytes": limit.limit, "in_use_bytes": limit.in_use}}))
}
