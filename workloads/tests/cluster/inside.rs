//! What the cases have done by a process of its own.

use crate::{
    cases,
    setup::{runtime, spec},
};
use std::{path::Path, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use workloads::cluster::{Cluster, Kind, netns};

/// Plays a part on the files in `dir`, and gives the exit status.
pub(crate) fn main(part: &str, dir: &Path) -> i32 {
    let kind = if part.ends_with("-local") { Kind::Local } else { Kind::Netns };
    if kind == Kind::Netns
        && let Err(why) = netns::enter()
    {
        eprintln!("{why}");
        return 3;
    }
    runtime().block_on(async {
        match part {
            "faults" => {
                cases::carry_out(
                    kind,
                    &format!("{},client,packet,clock-monotonic", cases::PROCESSES_AND_LINKS),
                    1,
                    dir,
                )
                .await
            }
            "basics" => cases::basics(kind, dir).await,
            "hold" | "hold-local" => return hold(kind, dir).await,
            other => panic!("no part {other}"),
        }
        0
    })
}

/// Holds a cluster until an interrupt.
async fn hold(kind: Kind, dir: &Path) -> i32 {
    let cluster = match Cluster::start(spec(kind, 3, dir)).await {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("{error}");
            return 3;
        }
    };
    // Before anybody is told that a signal may come.
    let mut interrupts = signal(SignalKind::interrupt()).expect("an interrupt can be waited for");
    println!("holding");
    let interrupted = tokio::time::timeout(Duration::from_secs(60), interrupts.recv()).await;
    cluster.stop().await;
    if interrupted.is_ok() { 42 } else { 4 }
}
