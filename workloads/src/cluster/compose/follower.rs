//! Copies what a container writes into its node's log, while it writes.

use super::{engine::Engine, frames::Frames};
use crate::cluster::{ClusterError, Node};
use http_body_util::BodyExt;
use std::{
    fs::OpenOptions,
    io::Write,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

/// How long the rest of a log may take once its container has ended.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

/// Copies what a container writes during one of its starts.
#[derive(Debug)]
pub(super) struct Follower {
    started: Arc<Notify>,
    copying: JoinHandle<()>,
}

impl Follower {
    /// Opens the log, after a line that tells which start this is. Copying waits for [`Follower::started`].
    pub(super) fn begin(
        engine: &Engine,
        container: &str,
        node: &Node,
        start: u32,
        command: &Command,
    ) -> Result<Follower, ClusterError> {
        let opening = || ClusterError::io(format!("opening {}", node.log.display()));
        let mut log = OpenOptions::new().create(true).append(true).open(&node.log).map_err(opening())?;
        writeln!(log, "--- start {start} of {}: {command:?}", node.name).map_err(opening())?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let started = Arc::new(Notify::new());
        let (engine, container, go) = (engine.clone(), container.to_owned(), Arc::clone(&started));
        let copying = tokio::spawn(async move {
            go.notified().await;
            let mut body = match engine.logs(&container, since, true).await {
                Ok(body) => body,
                Err(error) => {
                    let error = error.during("reading a container's log");
                    tracing::warn!(container, %error, "a log is missing");
                    return;
                }
            };
            let mut frames = Frames::default();
            while let Some(Ok(frame)) = body.frame().await {
                let Some(bytes) = frame.data_ref() else { continue };
                if let Err(error) = log.write_all(&frames.take(bytes)) {
                    tracing::warn!(container, %error, "a log could not be written");
                    return;
                }
            }
        });
        Ok(Follower { started, copying })
    }

    /// Says that the container has started.
    pub(super) fn started(&self) {
        self.started.notify_one();
    }

    /// Waits for the rest of what the container wrote, which must have ended.
    pub(super) async fn end(mut self) {
        if timeout(REST_TIMEOUT, &mut self.copying).await.is_err() {
            self.copying.abort();
        }
    }
}
