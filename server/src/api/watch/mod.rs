//! The Watch service: many watches on one stream.
//!
//! - `wire` is the answer, which is put together from events that were encoded once;
//! - `session` is the protocol of a stream: watches come and go, are told of events, of how far they have come,
//!   and why they end;
//! - `service` connects it to gRPC.
//!
//! What a stream promises of each of its watches, as etcd does: events come in the order of their revisions,
//! each once, none is left out, all of one revision come together (or in fragments that say so), and an answer
//! without events tells a revision up to which there is nothing more to come.

mod service;
mod session;
mod wire;

pub(super) use service::WatchService;
pub(crate) use session::Session;
pub(crate) use wire::Outgoing;

use super::Api;
use crate::{
    backend::Backend,
    proto::etcdserverpb::{WatchRequest, WatchResponse},
};
use futures_util::{Stream, StreamExt as _};
use std::sync::Arc;
use tonic::Status;

impl<B: Backend> Api<B> {
    /// A stream of watches, for callers in this process.
    pub fn watch<R>(
        self: &Arc<Self>,
        requests: R,
    ) -> impl Stream<Item = Result<WatchResponse, Status>> + use<B, R>
    where
        R: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin,
    {
        let session = Session::new(Arc::clone(self), requests, super::streams::End::new(self, false));
        session.into_stream().map(|answer| answer.map(|answer| answer.to_message()))
    }
}
