//! A process gets a tenth of the processor: it is stopped nine tenths of the time, in turns of 100 ms.
//!
//! To the process the machine is slow, as beside a greedy neighbour: it answers, late; a leader's heartbeats
//! come at the last moment. SIGSTOP and SIGCONT in turns do the same as a quota of the kernel's scheduler, and
//! need no more than owning the process. In a `compose` cluster docker freezes the container in turns.
//!
//! Proof: how often it was found stopped, and for how long in all. Undone when it runs on. Every cluster can do
//! it.

use super::{
    Target,
    repeat::Repeating,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::{Cluster, ClusterError, NodeIndex, ProcessState};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Of each turn, how long the process stands still, and how long it runs.
const STOPPED: Duration = Duration::from_millis(90);
const RUNNING: Duration = Duration::from_millis(10);
/// How many turns are awaited before it counts as proved, and for how long.
const TURNS_MIN: u64 = 5;
const TURNS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often processes were found stopped, and for how long.
#[derive(Debug, Default)]
struct Turns {
    count: AtomicU64,
    stopped_ms: AtomicU64,
}

#[derive(Debug)]
struct Throttled {
    nodes: Vec<NodeIndex>,
    turns: Arc<Turns>,
    start: Instant,
    task: Repeating<Result<(), ClusterError>>,
}

impl Active for Throttled {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let ended = self.task.end().await;
            for &node in &self.nodes {
                match scene.cluster.resume(node).await? {
                    ProcessState::Running { .. } => {}
                    other => {
                        return Err(FaultError::NotUndone(format!(
                            "{node} does not run on but is {other:?}"
                        )));
                    }
                }
            }
            ended??;
            let stopped_ms = self.turns.stopped_ms.load(Ordering::Relaxed);
            let all_ms = self.start.elapsed().as_millis() as u64;
            Ok(json!({"stopped_ms": stopped_ms, "of_ms": all_ms, "state": "running"}))
        })
    }
}

/// Takes the processor away from a target.
pub(super) async fn strike(scene: &mut Scene, target: Target) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.take(target);
    if nodes.is_empty() {
        return Ok(None);
    }
    let (turns, start) = (Arc::<Turns>::default(), Instant::now());
    let task = Repeating::start({
        let (cluster, nodes, turns) = (Arc::clone(&scene.cluster), nodes.clone(), Arc::clone(&turns));
        |mut until| async move {
            while until.goes_on() {
                turn(&cluster, &nodes, &turns).await?;
                until.wait(RUNNING).await;
            }
            Ok(())
        }
    });
    let proof = loop {
        let count = turns.count.load(Ordering::Relaxed);
        if count >= TURNS_MIN {
            let stopped_ms = turns.stopped_ms.load(Ordering::Relaxed);
            break Ok(json!({"turns": count, "stopped_ms": stopped_ms}));
        }
        if start.elapsed() > TURNS_TIMEOUT {
            break Err(FaultError::NotProved(format!("it was stopped only {count} times")));
        }
        sleep(Duration::from_millis(20)).await;
    };
    let detail = json!({"nodes": names(&nodes)});
    Ok(Some(Strike {
        active: Box::new(Throttled { nodes, turns, start, task }),
        detail,
        act_at: start,
        proof,
    }))
}

async fn turn(cluster: &Cluster, nodes: &[NodeIndex], turns: &Turns) -> Result<(), ClusterError> {
    let start = Instant::now();
    for &node in nodes {
        cluster.pause(node).await?;
    }
    sleep(STOPPED).await;
    for &node in nodes {
        cluster.resume(node).await?;
    }
    turns.count.fetch_add(1, Ordering::Relaxed);
    turns.stopped_ms.fetch_add(start.elapsed().as_millis() as u64, Ordering::Relaxed);
    Ok(())
}
