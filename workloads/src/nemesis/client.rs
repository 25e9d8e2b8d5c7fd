//! Clients do not reach a node; nodes reach each other all the same.
//!
//! A leader that no client reaches goes on leading, and followers pass on what they are asked: what others can
//! be seen through and what not is a different matter from who has a quorum. Packets are dropped in silence, so
//! requests end by their time limits, and those that had arrived may have taken effect.
//!
//! Proof: a connection to the node's client port comes about neither with a handshake nor with a refusal,
//! while the links between nodes carry probes. Undone when a connection comes about, or is refused because
//! another fault has ended the process. `netns` and `compose` can do it: iptables where packets come in.

use super::{
    Target, partition,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::{Hindrance, Link, NodeIndex};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a mended port may take until it answers.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Unreachable(Vec<NodeIndex>);

impl Active for Unreachable {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            scene.cluster.mend(scene.planned.number).await?;
            let mut proof = Map::new();
            for &node in &self.0 {
                let start = Instant::now();
                let said = loop {
                    match (scene.cluster.connects(node).await, scene.cluster.refuses(node).await) {
                        (true, _) => break "accepts",
                        (false, true) => break "refuses",
                        // A process that is paused may have a full queue of connections.
                        (false, false) if (scene.others_active)() => break "not known, beside another fault",
                        (false, false) if start.elapsed() > OPEN_TIMEOUT => {
                            return Err(FaultError::NotUndone(format!(
                                "{node}'s port for clients is silent"
                            )));
                        }
                        (false, false) => sleep(Duration::from_millis(20)).await,
                    }
                };
                proof.insert(node.to_string(), json!({"port": said}));
            }
            Ok(Value::Object(proof))
        })
    }
}

/// Keeps clients from a target.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.take(target);
    if nodes.is_empty() {
        return Ok(None);
    }
    let act_at = Instant::now();
    let hindrance = Hindrance { unreachable: nodes.iter().copied().collect(), ..Hindrance::default() };
    scene.cluster.hinder(scene.planned.number, hindrance).await?;
    let proof = prove(scene, &nodes).await;
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(Unreachable(nodes)), detail, act_at, proof }))
}

async fn prove(scene: &Scene, nodes: &[NodeIndex]) -> Result<Value, FaultError> {
    let mut proof = Map::new();
    for &node in nodes {
        if scene.cluster.connects(node).await || scene.cluster.refuses(node).await {
            return Err(FaultError::NotProved(format!("{node}'s port for clients still answers")));
        }
        proof.insert(node.to_string(), json!({"port": "silent"}));
    }
    let from_peers = scene.cluster.indexes().filter(|node| !nodes.contains(node));
    let links = from_peers.flat_map(|from| nodes.iter().map(move |&to| Link::new(from, to))).collect();
    let probes = partition::await_open(&scene.cluster, links).await?.map_err(FaultError::NotProved)?;
    proof.insert("probes".to_owned(), json!(probes));
    Ok(Value::Object(proof))
}
