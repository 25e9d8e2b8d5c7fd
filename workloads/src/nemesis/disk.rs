//! A node's disk loses its power, is full, or cannot be written any more.
//!
//! `power-loss`: the file system stops in its tracks, then the process is killed and the disk is mounted anew.
//! What had been synced is there, what had not is gone: files that were never synced, names that were never
//! synced in their folder. `full`: no block is left; a server may end, and has to come back once there is
//! room. `read-only`: the file system refuses to be written, as it does when its disk gives errors.
//!
//! Proof: what the system says to somebody else who writes there. Undone when that works and the node answers
//! for itself. `netns` can do it, as root: each node then has a file system of its own in a file (ext4).

use super::{
    DiskTrouble, Target, kill,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged},
};
use crate::cluster::{NodeIndex, ProcessState};
use rand::RngExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a server that lived through a full disk may take until it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

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
                DiskTrouble::Full => {
                    cluster.unfill_disk(node)?;
                    let start = Instant::now();
                    // One that neither ended nor answers is started anew too.
                    while matches!(cluster.state(node).await, ProcessState::Running { .. })
                        && cluster.status(node).await.is_err()
                    {
                        if start.elapsed() > ANSWER_TIMEOUT {
                            cluster.kill(node).await?;
                        }
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            if let Some(complaint) = cluster.disk_complaint(node)? {
                return Err(FaultError::NotUndone(format!("{node}'s disk still says: {complaint}")));
            }
            let revived = kill::revive(cluster, node, &*scene.others_active).await?;
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
    scene.cluster.expect_end(node).await;
    let act_at = Instant::now();
    let proof = start(scene, node, trouble).await;
    let detail = json!({"nodes": [node.to_string()]});
    Ok(Some(Strike { active: Box::new(Troubled { node, trouble }), detail, act_at, proof }))
}

async fn start(scene: &Scene, node: NodeIndex, trouble: DiskTrouble) -> Result<Value, FaultError> {
    let cluster = &scene.cluster;
    let mut proof = json!({});
    match trouble {
        DiskTrouble::PowerLoss => cluster.cut_disk_power(node)?,
        DiskTrouble::Full => proof = json!({"filled_bytes": cluster.fill_disk(node)?}),
        DiskTrouble::ReadOnly => cluster.make_disk_read_only(node).await?,
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
