//! All processes restart, one after the other, as in an upgrade: SIGTERM, start, wait until it serves, next.
//!
//! Every leader there is loses its office once, and no more than one member is away at a time. It goes on
//! until every member had its turn, however long that takes.
//!
//! Proof: of each stop as `stop` gives it, and that each node answered for itself again. Every cluster can do
//! it.

use super::{
    Target,
    kill::revive,
    repeat::Repeating,
    stop::stop,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Instant};

type Proofs = Result<Map<String, Value>, FaultError>;

#[derive(Debug)]
struct Rolling {
    /// `None` where the first stop failed.
    rest: Option<Repeating<Proofs>>,
}

impl Active for Rolling {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let restarted = match &mut self.rest {
                Some(rest) => rest.outcome().await??,
                None => Map::new(),
            };
            for node in scene.cluster.indexes() {
                scene.cluster.start_node(node).await?;
            }
            Ok(json!({"restarted": restarted}))
        })
    }
}

/// Begins with one member.
pub(super) async fn strike(scene: &mut Scene) -> Result<Option<Strike>, FaultError> {
    let mut nodes = scene.take(Target::All);
    if nodes.len() < scene.cluster.nodes().len() {
        return Ok(None);
    }
    nodes.shuffle(&mut scene.rng);
    let detail = json!({"nodes": names(&nodes)});
    let act_at = Instant::now();
    let first = stop(&scene.cluster, nodes[0]).await;
    let rest = first.is_ok().then(|| {
        let (cluster, others_active) = (Arc::clone(&scene.cluster), Arc::clone(&scene.others_active));
        Repeating::start(|_| async move {
            let mut proofs = Map::new();
            for (turn, &node) in nodes.iter().enumerate() {
                let stopped = if turn == 0 { Value::Null } else { stop(&cluster, node).await? };
                let started = revive(&cluster, node, &*others_active).await?;
                proofs.insert(node.to_string(), json!({"stopped": stopped, "started": started}));
            }
            Ok(proofs)
        })
    });
    Ok(Some(Strike { active: Box::new(Rolling { rest }), detail, act_at, proof: first }))
}
