//! A node's disk loses its power, is full, or cannot be written any more.
//!
//! `power-loss`: the file system stops in its tracks, then the process is killed and the disk is mounted anew.
//! What had been synced is there, what had not is gone: files that were never synced, names that were never
//! synced in their folder. `full`: no block is left; a server may end, and has to come back once there is
//! room. `read-only`: the file system refuses to be written, as it does when its disk gives errors. `slow`: the kernel
//! lets the process do 10 to 100 writes a second (a control group's throttle).
//!
//! Proof: what the system says to somebody else who writes there, or how long that takes. Undone when it works and the
//! node answers for itself. `netns` can do it, as root: each node then has a file system of its own in a file (ext4).

use super::{
    DiskTrouble, Target, kill,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged},
};
use crate::cluster::{Cluster, NodeIndex};
use rand::RngExt;
use serde_json::{Value, json};
use std::time::Instant;

/// Writes a second of a slow disk.
const SLOW_WRITES_PER_S: std::ops::RangeInclusive<u32> = 10..=100;
/// Writes that show that it is slow, and the least share of the time they should take that they do take: the kernel
/// counts in slices, and lets the first ones pass.
const TRIAL_WRITES: u32 = 12;
const TRIAL_SHARE: f64 = 0.3;

#[derive(Debug)]
struct Troubled {
    node: NodeIndex,
    trouble: DiskTrouble,
}

impl Active for Troubled {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let (cluster, node) = (&scene.cluster, self.node);
            let ended = cluster.expected_end(node).await.map(|end| end.status);
            match self.trouble {
                DiskTrouble::PowerLoss | DiskTrouble::ReadOnly => {
                    cluster.kill(node).await?;
                    cluster.replug_disk(node).await?;
                }
                DiskTrouble::Full => cluster.unfill_disk(node)?,
                DiskTrouble::Slow => cluster.speed_up_disk(node)?,
            }
            if let Some(complaint) = cluster.disk_complaint(node)? {
                return Err(FaultError::NotUndone(format!("{node}'s disk still says: {complaint}")));
            }
            let revived = kill::revive_or_restart(scene, node).await?;
            Ok(
                json!({node.to_string(): merged(revived, json!({"disk": "takes writes", "server_had_ended": ended}))}),
            )
        })
    }
}

/// Breaks the disk of one node: half the time the leader's.
pub(super) async fn strike(scene: &mut Scene, trouble: DiskTrouble) -> Result<Option<Strike>, FaultError> {
    let target = if scene.rng.random() { Target::Leader } else { Target::One };
    let Some(&node) = scene.take(target).first() else { return Ok(None) };
    let writes_per_s = scene.rng.random_range(SLOW_WRITES_PER_S);
    let mut detail = json!({"nodes": [node.to_string()]});
    match trouble {
        DiskTrouble::Slow => detail = merged(detail, json!({"writes_per_s": writes_per_s})),
        DiskTrouble::PowerLoss | DiskTrouble::Full | DiskTrouble::ReadOnly => {
            scene.cluster.expect_end(node).await
        }
    }
    let act_at = Instant::now();
    let proof = start(scene, node, trouble, writes_per_s).await;
    Ok(Some(Strike { active: Box::new(Troubled { node, trouble }), detail, act_at, proof }))
}

async fn start(
    scene: &Scene,
    node: NodeIndex,
    trouble: DiskTrouble,
    writes_per_s: u32,
) -> Result<Value, FaultError> {
    let cluster = &scene.cluster;
    let mut proof = json!({});
    match trouble {
        DiskTrouble::PowerLoss => cluster.cut_disk_power(node)?,
        DiskTrouble::Full => proof = json!({"filled_bytes": cluster.fill_disk(node)?}),
        DiskTrouble::ReadOnly => cluster.make_disk_read_only(node).await?,
        DiskTrouble::Slow => return slow(cluster, node, writes_per_s).await,
    }
    let Some(complaint) = cluster.disk_complaint(node)? else {
        return Err(FaultError::NotProved(format!("{node}'s disk still takes writes")));
    };
    proof = merged(proof, json!({"disk": complaint}));
    if trouble == DiskTrouble::PowerLoss {
        // The machine is off. The server may have ended by itself this very moment.
        let end = cluster.kill(node).await?;
        proof = merged(proof, json!({"ended": end.map(|end| end.status)}));
    }
    Ok(json!({ node.to_string(): proof }))
}

/// Slows the disk of a node down.
async fn slow(cluster: &Cluster, node: NodeIndex, writes_per_s: u32) -> Result<Value, FaultError> {
    cluster.slow_disk(node, writes_per_s).await?;
    let took = cluster.time_slow_disk(node, TRIAL_WRITES).await?;
    if took.as_secs_f64() < TRIAL_SHARE * f64::from(TRIAL_WRITES) / f64::from(writes_per_s) {
        return Err(FaultError::NotProved(format!(
            "{TRIAL_WRITES} writes to {node}'s disk took {took:?} only"
        )));
    }
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(json!({node.to_string(): {"synced_writes": TRIAL_WRITES, "took_ms": took_ms}}))
}
