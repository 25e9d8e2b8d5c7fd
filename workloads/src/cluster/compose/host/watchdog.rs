//! Watches over the front: when it is killed, everything of its project is removed, faults before all.
//!
//! Links open without it, as soon as the harness is gone: see [`machine`](super::super::machine()).

use super::{docker::docker, project::Project};
use crate::cluster::ClusterError;
use std::{
    env,
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::time::timeout;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "compose-watchdog";

/// What the front says when there is nothing left to watch.
const DISMISSED: u8 = b'.';

/// How long a harness that was told to stop may take to write down what it has.
const HARNESS_TIMEOUT: Duration = Duration::from_secs(40);

/// The front's hold on its watchdog.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

/// Starts a watchdog over a project.
pub(super) fn post(project: &Project) -> Result<Watchdog, ClusterError> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(env::args_os().next().unwrap_or_else(|| "assay".into()))
        .arg(SUBCOMMAND)
        .args(project.words());
    // Beyond the reach of what a terminal sends, and with nothing of the front's that somebody may wait for
    // the end of.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(ClusterError::io("starting the watchdog"))?;
    Ok(Watchdog(child))
}

impl Watchdog {
    /// Ends the watch.
    pub(super) fn dismiss(mut self) {
        if let Some(stdin) = &mut self.0.stdin {
            // If it is gone, it is gone.
            let _ = stdin.write_all(&[DISMISSED]);
        }
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits until the front has ended; unless it said that all is done, ends and removes what belongs to the
/// project.
///
/// # Errors
/// When something is left, or the words name no project.
pub async fn watch(compose: &str, project: &str) -> Result<(), ClusterError> {
    let Some(project) = Project::from_words(compose, project) else {
        return Err(ClusterError::Spec(format!("{SUBCOMMAND} is started by a run, not by hand")));
    };
    let mut said = Vec::new();
    // An error is as good as an end.
    let _ = std::io::stdin().read_to_end(&mut said);
    if said == [DISMISSED] {
        return Ok(());
    }
    let harness = project.harness();
    // It heals, ends its servers and writes down what it has. If it is not there, there is nothing to wait
    // for.
    if docker(["kill", "--signal", "INT", &harness]).await.is_ok() {
        let _ = timeout(HARNESS_TIMEOUT, docker(["wait", &harness])).await;
    }
    project.remove().await
}
