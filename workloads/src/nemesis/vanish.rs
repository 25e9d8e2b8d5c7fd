//! A host is gone: first nothing reaches it any more, then its process is killed.
//!
//! A kill alone is kind to the others, for the kernel of a dead process tells every peer at once. Here peers
//! hear nothing and find out by their own time limits, as when a machine loses its power. (Its disk keeps what
//! the kernel had: `disk-power-loss` is for that.)
//!
//! Proof: of the cut as for a partition, of the end as for a kill. Undone when the links are open and the node
//! answers for itself. Every cluster can do it.

use super::{
    Target, kill, partition,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged, names},
};
use crate::cluster::{Block, Link, NodeIndex};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

#[derive(Debug)]
struct Vanished {
    nodes: Vec<NodeIndex>,
    links: BTreeSet<Link>,
}

impl Active for Vanished {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            scene.cluster.mend(scene.planned.number).await?;
            let opened = partition::await_open(&scene.cluster, self.links.clone()).await?;
            let revived = kill::revive_all(scene, &self.nodes).await?;
            let probes = opened.map_err(FaultError::NotUndone)?;
            Ok(merged(revived, json!({"probes": probes})))
        })
    }
}

/// Takes a target off the network, and ends its processes.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.take(target);
    if nodes.is_empty() {
        return Ok(None);
    }
    let others: Vec<NodeIndex> = scene.cluster.indexes().filter(|node| !nodes.contains(node)).collect();
    let both = |&a: &NodeIndex, &b: &NodeIndex| [Link::new(a, b), Link::new(b, a)];
    let links: BTreeMap<Link, Block> = nodes
        .iter()
        .flat_map(|a| others.iter().flat_map(move |b| both(a, b)))
        .map(|link| (link, Block::Packets))
        .collect();
    let vanished = Vanished { nodes: nodes.clone(), links: links.keys().copied().collect() };
    let act_at = Instant::now();
    let cluster = &scene.cluster;
    let proof = async {
        let cut = match links.is_empty() {
            true => json!({}),
            false => partition::start(cluster, scene.planned.number, links).await?.1?,
        };
        Ok(merged(kill::start(cluster, &nodes).await?, json!({"cut": cut})))
    };
    let proof = proof.await;
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(vanished), detail, act_at, proof }))
}
