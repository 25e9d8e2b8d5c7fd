//! Compaction beside a load: without it a store that is written to grows for as long as a run lasts.

use super::endpoint::Endpoint;
use server::proto::etcdserverpb::{CompactionRequest, RangeRequest, kv_client::KvClient};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::watch;
use tonic::{Code, Request, Status, transport::Channel};

/// Revisions before the newest that are kept. As etcd's `benchmark put --compact-index-delta`.
const KEPT: i64 = 1000;
/// How long each of the two calls may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// What became of the compactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compactions {
    pub done: u64,
    pub failed: u64,
    /// Text of the last error.
    pub error: Option<String>,
}

/// Compacts again and again until it is stopped.
#[derive(Debug)]
pub(super) struct Compactor {
    end: watch::Sender<bool>,
    seen: Arc<Mutex<Compactions>>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    /// Begins; the first compaction comes after `every`.
    ///
    /// # Errors
    /// A text for the user.
    pub(super) fn start(endpoint: Endpoint, every: Duration) -> Result<Compactor, String> {
        let (end, mut ends) = watch::channel(false);
        let seen: Arc<Mutex<Compactions>> = Arc::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime for compactions: {error}"))?;
        let notes = Arc::clone(&seen);
        let compact = async move {
            let Ok(channel) = endpoint.channel() else { return };
            loop {
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    _ = ends.wait_for(|end| *end) => return,
                }
                let outcome = compact(&endpoint, channel.clone()).await;
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(()) => notes.done += 1,
                    Err(error) => {
                        notes.failed += 1;
                        notes.error = Some(format!("compaction: {error}"));
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("compactor".into()).spawn(move || runtime.block_on(compact));
        let thread = thread.map_err(|error| format!("no thread for compactions: {error}"))?;
        Ok(Compactor { end, seen, thread: Some(thread) })
    }

    /// Ends it, and tells what there was.
    pub(super) fn stop(mut self) -> Compactions {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, what was noted is still there.
            let _ = thread.join();
        }
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn compact(endpoint: &Endpoint, channel: Channel) -> Result<(), Status> {
    let late = |_| Status::deadline_exceeded("no answer in time");
    let mut client = KvClient::new(channel);
    let range = RangeRequest { key: vec![0].into(), count_only: true, ..RangeRequest::default() };
    let mut request = Request::new(range);
    endpoint.authorize(request.metadata_mut()).map_err(Status::internal)?;
    let newest = tokio::time::timeout(CALL_LIMIT, client.range(request)).await.map_err(late)??;
    let newest = newest.into_inner().header.map_or(0, |header| header.revision);
    if newest <= KEPT {
        return Ok(());
    }
    let mut request = Request::new(CompactionRequest { revision: newest - KEPT, physical: false });
    endpoint.authorize(request.metadata_mut()).map_err(Status::internal)?;
    match tokio::time::timeout(CALL_LIMIT, client.compact(request)).await.map_err(late)? {
        // Already compacted there: nothing was written since.
        Err(status) if status.code() == Code::OutOfRange => Ok(()),
        outcome => outcome.map(drop),
    }
}
