//! A process is killed when it is busy with something that is seldom interrupted.
//!
//! `after-election`: the leader is killed, and so is its successor as soon as there is one. `while-lagging`: a
//! follower is stopped until it is many entries behind, and killed before it catches up. `in-defrag`,
//! `in-snapshot`, `in-compaction`: a member is killed 0-250 ms into it. `loop`: a member is killed again and
//! again, 20-800 ms after each start.
//!
//! Proof: as for a kill, and what was under way. Undone when each node answers for itself. Every cluster can do
//! it, where the system knows the request.

use super::{
    Moment, Target,
    kill::{self, Killed},
    repeat::Repeating,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged, names},
};
use crate::cluster::{Cluster, NodeIndex};
use rand::RngExt;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long the others may take to elect a leader.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a follower is held back at most, to lag.
const LAG_TIMEOUT: Duration = Duration::from_secs(8);
/// Entries that it must be behind at least.
const LAG_MIN: u64 = 10;
/// How long after a start a member of a crash loop is killed, in ms.
const UPTIME_MS: std::ops::RangeInclusive<u64> = 20..=800;
/// Revisions that a compaction leaves.
const KEPT: i64 = 20;

#[derive(Debug)]
struct CrashLoop {
    node: NodeIndex,
    crashes: Option<Repeating<Result<u64, FaultError>>>,
}

impl Active for CrashLoop {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let crashes = match &mut self.crashes {
                Some(crashes) => crashes.end().await?,
                None => Ok(0),
            };
            let revived = kill::revive_all(scene, &[self.node]).await?;
            Ok(merged(revived, json!({"crashes": 1 + crashes?})))
        })
    }
}

/// Kills at a moment.
pub(super) async fn strike(scene: &mut Scene, moment: Moment) -> Result<Option<Strike>, FaultError> {
    let target = match moment {
        Moment::Election => Target::Leader,
        Moment::Lag => Target::Follower,
        Moment::Defrag | Moment::Snapshot | Moment::Compaction | Moment::Start => Target::One,
    };
    let Some(&node) = scene.take(target).first() else { return Ok(None) };
    let act_at = Instant::now();
    let cluster = Arc::clone(&scene.cluster);
    let delay = Duration::from_millis(scene.rng.random_range(0..=250));
    let mut nodes = vec![node];
    let proof = match moment {
        Moment::Election => after_election(scene, node, &mut nodes).await,
        Moment::Lag => while_lagging(scene, node).await,
        Moment::Defrag => {
            let busy = tokio::spawn({
                let cluster = Arc::clone(&cluster);
                async move { cluster.defragment(node).await }
            });
            sleep(delay).await;
            let killed = kill::start(&cluster, &nodes).await;
            killed.map(|proof| merged(proof, json!({"defrag": under_way(&busy, delay)})))
        }
        Moment::Snapshot => match cluster.snapshot(node).await {
            Ok(mut snapshot) => {
                let first = snapshot.message().await.ok().flatten().map_or(0, |part| part.blob.len());
                let killed = kill::start(&cluster, &nodes).await;
                killed.map(|proof| merged(proof, json!({"snapshot": {"first_part_bytes": first}})))
            }
            Err(error) => Err(FaultError::NotProved(format!("{node} begins no snapshot: {error}"))),
        },
        Moment::Compaction => in_compaction(&cluster, node, delay).await,
        Moment::Start => {
            let proof = kill::start(&cluster, &nodes).await;
            let detail = json!({"nodes": names(&nodes)});
            let crashes = proof.is_ok().then(|| crash_again(scene, node));
            return Ok(Some(Strike { active: Box::new(CrashLoop { node, crashes }), detail, act_at, proof }));
        }
    };
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike { active: Box::new(Killed(nodes)), detail, act_at, proof }))
}

fn under_way<T>(task: &tokio::task::JoinHandle<T>, after: Duration) -> Value {
    json!({"killed_after_ms": after.as_millis() as u64, "had_answered": task.is_finished()})
}

async fn after_election(
    scene: &mut Scene,
    first: NodeIndex,
    nodes: &mut Vec<NodeIndex>,
) -> Result<Value, FaultError> {
    let cluster = Arc::clone(&scene.cluster);
    let proof = kill::start(&cluster, &[first]).await?;
    let start = Instant::now();
    let second = loop {
        match cluster.leader().await.filter(|&leader| leader != first) {
            Some(leader) => break leader,
            None if start.elapsed() > ELECTION_TIMEOUT => {
                return Err(FaultError::NotProved(format!("nobody is elected after {first}")));
            }
            None => sleep(Duration::from_millis(5)).await,
        }
    };
    let elected_ms = start.elapsed().as_millis() as u64;
    if !scene.take_node(second) {
        return Err(FaultError::NotProved(format!("another fault holds the new leader, {second}")));
    }
    nodes.push(second);
    let proof = merged(proof, kill::start(&cluster, &[second]).await?);
    Ok(merged(proof, json!({"elected": second.to_string(), "elected_after_ms": elected_ms})))
}

async fn while_lagging(scene: &mut Scene, node: NodeIndex) -> Result<Value, FaultError> {
    let cluster = Arc::clone(&scene.cluster);
    let wanted: u64 = scene.rng.random_range(50..=500);
    let index = async |cluster: &Cluster| {
        let statuses = cluster.statuses().await;
        statuses.values().map(|status| status.raft_index).max().unwrap_or(0)
    };
    cluster.pause(node).await?;
    let (start, at_pause) = (Instant::now(), index(&cluster).await);
    let lag = loop {
        let lag = index(&cluster).await.saturating_sub(at_pause);
        if lag >= wanted || start.elapsed() > LAG_TIMEOUT {
            break lag;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let proof = kill::start(&cluster, &[node]).await?;
    if lag < LAG_MIN {
        return Err(FaultError::NotProved(format!("{node} lags by {lag} entries only")));
    }
    Ok(merged(proof, json!({"lag_entries": lag})))
}

async fn in_compaction(
    cluster: &Arc<Cluster>,
    node: NodeIndex,
    delay: Duration,
) -> Result<Value, FaultError> {
    let asked = cluster.status(node).await;
    let status =
        asked.map_err(|error| FaultError::NotProved(format!("{node} tells no revision: {error}")))?;
    let revision = (status.revision - KEPT).max(1);
    let busy = tokio::spawn({
        let cluster = Arc::clone(cluster);
        async move { cluster.compact(node, revision).await }
    });
    sleep(delay).await;
    let proof = kill::start(cluster, &[node]).await?;
    let compaction = merged(under_way(&busy, delay), json!({"revision": revision}));
    Ok(merged(proof, json!({"compaction": compaction})))
}

/// Starts the process and kills it, until told to end. Gives how often.
fn crash_again(scene: &Scene, node: NodeIndex) -> Repeating<Result<u64, FaultError>> {
    let (cluster, mut rng) = (Arc::clone(&scene.cluster), scene.rng.clone());
    Repeating::start(|mut until| async move {
        let mut crashes = 0;
        while until.goes_on() {
            cluster.start_node(node).await?;
            if !until.wait(Duration::from_millis(rng.random_range(UPTIME_MS))).await {
                break;
            }
            crashes += u64::from(cluster.kill(node).await?.is_some());
        }
        Ok(crashes)
    })
}
