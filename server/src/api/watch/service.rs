//! The service as gRPC sees it.

use super::{Outgoing, Session};
use crate::{
    api::{Api, streams::End},
    backend::Backend,
    proto::etcdserverpb::WatchRequest,
};
use futures_util::{Stream, future};
use std::{pin::Pin, sync::Arc};
use tonic::{Request, Response, Status, Streaming, server::StreamingService};

/// Answers calls of `Watch`.
#[derive(Debug)]
pub(in crate::api) struct WatchService<B>(pub(in crate::api) Arc<Api<B>>);

impl<B: Backend> StreamingService<WatchRequest> for WatchService<B> {
    type Response = Outgoing;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Outgoing, Status>> + Send>>;
    type Future = future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        let end = End::of(&self.0, request.metadata());
        let session = Session::new(Arc::clone(&self.0), request.into_inner(), end);
        future::ready(Ok(Response::new(Box::pin(session.into_stream()))))
    }
}
