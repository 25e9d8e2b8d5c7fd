//! A node's clock is not the others'.
//!
//! `forward` and `back`: its time of day jumps by a minute to a day, and back again in the end. `strobe`: it jumps to
//! and fro every few hundred milliseconds. What counts time by the time of day ends leases early, or never. `monotonic`:
//! the process is killed and starts again on a machine that seems to have been up for hours longer, and once more in the
//! end; what keeps an uptime across a restart counts wrong.
//!
//! Proof: what the member says that the time is, or the offsets that the kernel shows for its process. Undone when it
//! tells the right time, or its clock is the machine's, and it answers. `netns` and `local` can do it: the time of day
//! where libfaketime is there and the system is our own server (it does not reach programs in Go); the uptime of any
//! program where the run may make time namespaces.

use super::{
    ClockTrouble, Target, kill,
    repeat::Repeating,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged},
};
use crate::cluster::{Cluster, ClusterError, NodeIndex};
use rand::RngExt;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How far a time of day jumps, in seconds.
const JUMP_S: std::ops::RangeInclusive<i64> = 60..=86_400;
/// How far uptimes differ, in seconds.
const UPTIME_S: std::ops::RangeInclusive<u64> = 3_600..=1_000_000;
/// How long a strobe stays at a time, in ms.
const STROBE_MS: std::ops::RangeInclusive<u64> = 50..=400;
/// How exactly a member's answer must be what it was told, in seconds: the answer takes a while.
const TOLERANCE_S: f64 = 5.0;
/// How long a member may take to tell the time that it was told.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Moved {
    /// The time of day, by a jump, or by many.
    TimeOfDay { node: NodeIndex, strobe: Option<Repeating<Result<u64, ClusterError>>> },
    /// The uptime.
    Uptime { node: NodeIndex },
}

impl Active for Moved {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let cluster = &scene.cluster;
            match self {
                Moved::TimeOfDay { node, strobe } => {
                    let jumps = match strobe {
                        Some(strobe) => Some(strobe.end().await),
                        None => None,
                    };
                    cluster.set_time_of_day(*node, 0)?;
                    let told = tells(cluster, *node, 0).await.map_err(FaultError::NotUndone)?;
                    let jumps = jumps.transpose()?.transpose()?;
                    Ok(json!({node.to_string(): {"tells_s_off": told, "jumps": jumps}}))
                }
                Moved::Uptime { node } => {
                    let (node, end) = (*node, cluster.kill(*node).await?);
                    cluster.set_uptime(node, None);
                    let revived = kill::revive(cluster, node, &*scene.others_active).await?;
                    let offset = cluster.uptime_offset(node).await;
                    if offset != Some(0) {
                        return Err(FaultError::NotUndone(format!("{node}'s uptime is off by {offset:?} s")));
                    }
                    Ok(
                        json!({node.to_string(): merged(revived, json!({"killed": end.map(|end| end.status)}))}),
                    )
                }
            }
        })
    }
}

/// Moves the clock of one node: half the time the leader's.
pub(super) async fn strike(scene: &mut Scene, trouble: ClockTrouble) -> Result<Option<Strike>, FaultError> {
    let target = if scene.rng.random() { Target::Leader } else { Target::One };
    let Some(&node) = scene.take(target).first() else { return Ok(None) };
    let cluster = Arc::clone(&scene.cluster);
    let seconds = match trouble {
        ClockTrouble::Back => -scene.rng.random_range(JUMP_S),
        ClockTrouble::Forward | ClockTrouble::Strobe | ClockTrouble::Monotonic => {
            scene.rng.random_range(JUMP_S)
        }
    };
    let act_at = Instant::now();
    let mut detail = json!({"nodes": [node.to_string()], "seconds": seconds});
    let (active, proof) = match trouble {
        ClockTrouble::Forward | ClockTrouble::Back | ClockTrouble::Strobe => {
            cluster.set_time_of_day(node, seconds)?;
            let proof = tells(&cluster, node, seconds).await.map_err(FaultError::NotProved);
            let proof = proof.map(|told| json!({node.to_string(): {"tells_s_off": told}}));
            let strobe = (trouble == ClockTrouble::Strobe).then(|| strobe(scene, node, seconds));
            (Moved::TimeOfDay { node, strobe }, proof)
        }
        ClockTrouble::Monotonic => {
            let uptime = scene.rng.random_range(UPTIME_S);
            detail = json!({"nodes": [node.to_string()], "seconds": uptime});
            (Moved::Uptime { node }, restart_later(scene, node, uptime).await)
        }
    };
    Ok(Some(Strike { active: Box::new(active), detail, act_at, proof }))
}

/// Waits until a member tells a time that is so many seconds off; gives what it tells.
async fn tells(cluster: &Cluster, node: NodeIndex, seconds: i64) -> Result<i64, String> {
    let start = Instant::now();
    loop {
        let told = cluster.time_of_day_off(node).await;
        match told {
            Ok(off) if (off - seconds as f64).abs() <= TOLERANCE_S => return Ok(off.round() as i64),
            Ok(_) | Err(_) if start.elapsed() <= EFFECT_TIMEOUT => sleep(Duration::from_millis(50)).await,
            Ok(off) => return Err(format!("{node} tells a time {off:.1} s off, not {seconds} s")),
            Err(error) => return Err(format!("{node} does not tell the time: {error}")),
        }
    }
}

/// Jumps between two times of day until told to end. Gives how often.
fn strobe(scene: &Scene, node: NodeIndex, seconds: i64) -> Repeating<Result<u64, ClusterError>> {
    let (cluster, mut rng) = (Arc::clone(&scene.cluster), scene.rng.clone());
    Repeating::start(move |mut until| async move {
        let mut jumps = 1;
        while until.wait(Duration::from_millis(rng.random_range(STROBE_MS))).await {
            cluster.set_time_of_day(node, if jumps % 2 == 0 { seconds } else { 0 })?;
            jumps += 1;
        }
        Ok(jumps)
    })
}

async fn restart_later(scene: &Scene, node: NodeIndex, seconds: u64) -> Result<Value, FaultError> {
    let cluster = &scene.cluster;
    let Some(end) = cluster.kill(node).await? else {
        return Err(FaultError::NotProved(format!("{node} did not run when it was to be killed")));
    };
    cluster.set_uptime(node, Some(Duration::from_secs(seconds)));
    let revived = kill::revive(cluster, node, &*scene.others_active).await?;
    match cluster.uptime_offset(node).await {
        Some(offset) if offset == seconds => {
            let shown = json!({"killed": end.status, "uptime_offset_s": offset});
            Ok(json!({node.to_string(): merged(revived, shown)}))
        }
        offset => {
            Err(FaultError::NotProved(format!("{node}'s uptime is off by {offset:?} s, not {seconds} s")))
        }
    }
}
