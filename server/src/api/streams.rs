//! When streams end though neither side wants them to.

use super::Api;
use crate::{backend::Backend, error::ApiError};
use raft::types::NodeId;
use std::{future::Future, pin::Pin, time::Duration};
use tokio::{
    sync::watch,
    time::{error::Elapsed, timeout},
};
use tonic::metadata::MetadataMap;

/// Waits for what ends a stream: the server stops, or there is no leader and the client does not want to be
/// served without.
pub(crate) struct End(Pin<Box<dyn Future<Output = ApiError> + Send>>);

impl End {
    /// For a gRPC call with this metadata.
    pub(super) fn of<B: Backend>(api: &Api<B>, metadata: &MetadataMap) -> End {
        End::new(api, metadata.get("hasleader").is_some_and(|value| value == "true"))
    }

    /// For a call that wants a leader, or that does not.
    pub(crate) fn new<B: Backend>(api: &Api<B>, wants_leader: bool) -> End {
        let mut closing = api.closing.subscribe();
        let leader = wants_leader.then(|| (api.backend.leader(), api.limits.leaderless_max));
        End(Box::pin(async move {
            let closed = async {
                // An error too: nobody is left to close it.
                let _ = closing.wait_for(|closing| *closing).await;
            };
            tokio::select! {
                () = closed => ApiError::Stopped,
                () = leaderless(leader) => ApiError::NoLeader,
            }
        }))
    }

    /// Why the stream ends; waits for it.
    pub(crate) async fn wait(&mut self) -> ApiError {
        (&mut self.0).await
    }
}

/// Returns once there has been no leader for a while; never, if nobody minds.
async fn leaderless(leader: Option<(watch::Receiver<Option<NodeId>>, Duration)>) {
    let Some((mut leader, most)) = leader else { return std::future::pending().await };
    loop {
        if leader.wait_for(Option::is_none).await.is_err() {
            // The node is gone, and says so otherwise.
            return std::future::pending().await;
        }
        if let Err(Elapsed { .. }) = timeout(most, leader.wait_for(Option::is_some)).await {
            return;
        }
    }
}
