//! System calls that touch a server's log are slow, fail, or are its last: on any program, unchanged.
//!
//! `slow-sync` and `slow-write-kill` stretch the time between a write and its sync, in which a crash loses what
//! was acknowledged too early; `stuck-sync` holds a leader up in the middle of its work while clocks and
//! leases go on; `failed-sync` gives `EIO`, after which no later sync says anything about what was written
//! before; `kill-at-write` and `kill-at-sync` end the process between two given steps of its work. `failed-rename` and
//! `kill-at-rename` do the same where a file gets its final name, as the next segment of a log, our snapshots
//! (`--settings snapshot-count=100` makes them frequent) and what etcd has defragmented, which is asked for; where none
//! does within ten seconds they do not strike.
//!
//! Proof: what strace tells of the calls that it tampered with, or, for the one sync that does not come back,
//! the thread that stands still. Undone when strace has let go and the node answers for itself. `netns` and
//! `local` can do it, where strace is there and may attach.

use super::{
    Call, Target,
    kill::{self, prove_end},
    strike::{Active, FaultError, Scene, Strike, Undoing, merged},
};
use crate::cluster::{Armed, Failpoint, NodeIndex, Tampering};
use rand::RngExt;
use serde_json::{Value, json};
use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long it may take until the server does such a call.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(10);

const SYNCS: &str = "fdatasync,fsync";
const WRITES: &str = "write,pwrite64,writev";
const RENAMES: &str = "rename,renameat,renameat2";

#[derive(Debug)]
struct Tampered {
    node: NodeIndex,
    call: Call,
    armed: Option<Armed>,
}

impl Active for Tampered {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let (cluster, node) = (&scene.cluster, self.node);
            let mut proof = json!({});
            let Some(armed) = self.armed.take() else {
                return kill::revive(cluster, node, &*scene.others_active).await;
            };
            let calls = armed.effects().len();
            if matches!(self.call, Call::SlowWriteKill | Call::FailedSync | Call::FailedRename) {
                // In the first the kill is the point; in the second nobody may trust the process any more.
                let end = cluster.kill(node).await?;
                proof = json!({"killed": end.map(|end| end.status)});
            }
            armed.disarm().await?;
            let revived = kill::revive(cluster, node, &*scene.others_active).await?;
            Ok(json!({ node.to_string(): merged(merged(proof, revived), json!({"calls": calls})) }))
        })
    }
}

/// Tampers with the calls of one node: half the time the leader's.
pub(super) async fn strike(scene: &mut Scene, call: Call) -> Result<Option<Strike>, FaultError> {
    let target = if scene.rng.random() { Target::Leader } else { Target::One };
    let Some(&node) = scene.take(target).first() else { return Ok(None) };
    let failpoint = draw(scene, call);
    // Whoever cannot sync any more is right to end.
    scene.cluster.expect_end(node).await;
    let act_at = Instant::now();
    let armed = scene.cluster.arm(node, &failpoint).await?;
    let files: Vec<String> = armed.files.iter().map(|file| file.display().to_string()).collect();
    let detail = json!({
        "nodes": [node.to_string()], "calls": failpoint.calls, "when": failpoint.when, "files": files,
        "tampering": format!("{:?}", failpoint.tampering),
    });
    if !failpoint.on_log {
        // What a defragmentation writes anew gets its name in the end, in etcd. Whether it succeeds does not matter.
        let cluster = Arc::clone(&scene.cluster);
        tokio::spawn(async move { cluster.defragment(node).await });
    }
    let proof = prove(scene, node, call, &armed).await;
    if proof.is_err() && !failpoint.on_log {
        // Files are seldom renamed: there was no occasion.
        armed.disarm().await?;
        scene.cluster.start_node(node).await?;
        return Ok(None);
    }
    let active = Box::new(Tampered { node, call, armed: Some(armed) });
    Ok(Some(Strike { active, detail, act_at, proof }))
}

fn draw(scene: &mut Scene, call: Call) -> Failpoint {
    let lasts = Duration::from_millis(scene.planned.duration_ms);
    let rng = &mut scene.rng;
    let (calls, tampering, when) = match call {
        Call::SlowSync => (SYNCS, Tampering::Delay(Duration::from_millis(rng.random_range(20..=400))), None),
        Call::StuckSync => (SYNCS, Tampering::Delay(lasts), Some(1)),
        Call::SlowWriteKill => (WRITES, Tampering::Delay(Duration::from_millis(100)), None),
        Call::FailedSync => (SYNCS, Tampering::Error("EIO"), Some(1)),
        Call::FailedRename => (RENAMES, Tampering::Error("EIO"), Some(1)),
        Call::KillAtRename => (RENAMES, Tampering::Kill, Some(1)),
        Call::KillAtWrite => (WRITES, Tampering::Kill, Some(rng.random_range(1..=8))),
        Call::KillAtSync => (SYNCS, Tampering::Kill, Some(rng.random_range(1..=4))),
    };
    let on_log = !matches!(call, Call::FailedRename | Call::KillAtRename);
    Failpoint { calls, tampering, when, on_log }
}

async fn prove(scene: &Scene, node: NodeIndex, call: Call, armed: &Armed) -> Result<Value, FaultError> {
    let start = Instant::now();
    loop {
        let effects = armed.effects();
        match call {
            Call::KillAtWrite | Call::KillAtSync | Call::KillAtRename => {
                if let Some(end) = scene.cluster.expected_end(node).await {
                    let port = prove_end(&scene.cluster, node, &end).await?;
                    return Ok(json!({node.to_string(): port, "strace": effects.last()}));
                }
            }
            Call::StuckSync => {
                if let Some(thread) = stuck_thread(armed.pid).await {
                    return Ok(json!({node.to_string(): {"pid": armed.pid, "thread_stands_still": thread}}));
                }
            }
            Call::SlowSync | Call::SlowWriteKill | Call::FailedSync | Call::FailedRename => {
                if let Some(told) = effects.last() {
                    return Ok(json!({node.to_string(): {"pid": armed.pid, "strace": told}}));
                }
            }
        }
        if start.elapsed() > EFFECT_TIMEOUT {
            let state = scene.cluster.state(node).await;
            let files = armed.files.len();
            return Err(FaultError::NotProved(format!(
                "no such call on {files} files of {node} ({state:?})"
            )));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A thread of the process that strace holds up: one that is found held in every one of several looks.
/// Others are held for microseconds at each of their calls.
async fn stuck_thread(pid: u32) -> Option<u32> {
    let held = || -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let ids = threads.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
        ids.filter(|thread| {
            let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
            // `t`: stopped by its tracer. Source: proc(5).
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('t'))
        })
        .collect()
    };
    let mut candidates = held();
    for _ in 0..8 {
        if candidates.is_empty() {
            return None;
        }
        sleep(Duration::from_millis(30)).await;
        let now = held();
        candidates.retain(|thread| now.contains(thread));
    }
    candidates.first().copied()
}
