//! Everything that one client port answers.

use super::{
    Api, Caller, Limits, TOKEN_TTL,
    grpc::{Grpc, is_grpc},
    tokens::Tokens,
    unary::{Call, Unary},
};
use crate::{backend::Backend, gateway::Gateway, metrics::Metrics};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use std::{error::Error, sync::Arc};

/// What an [`App`] answers with: gRPC streams its body, the rest comes in one piece.
pub type Body = Either<tonic::body::Body, Full<Bytes>>;

/// gRPC, the JSON gateway, and the pages for probes and dashboards. Shared by all connections.
#[derive(Debug)]
pub struct App<B> {
    grpc: Grpc<B>,
    gateway: Gateway<B>,
    metrics: Arc<Metrics>,
}

/// Puts together what the port of a server answers.
pub fn app<B: Backend>(backend: B, limits: Limits, metrics: Arc<Metrics>) -> App<B> {
    app_with(backend, limits, metrics, Arc::new(Tokens::simple(TOKEN_TTL)))
}

/// As [`app`], with tokens of another kind.
pub fn app_with<B: Backend>(
    backend: B,
    limits: Limits,
    metrics: Arc<Metrics>,
    tokens: Arc<Tokens>,
) -> App<B> {
    let api = Arc::new(Api::with_tokens(backend, limits, tokens));
    App { grpc: Grpc::new(&api), gateway: Gateway::new(api, metrics.clone()), metrics }
}

impl<B: Backend> App<B> {
    /// Where the bytes of connections are counted.
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Bytes of any message.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.grpc.api.limits().max_message_bytes()
    }

    /// Serves a call of the KV service: its message with the prefix, or the refusal.
    pub(super) async fn unary(&self, call: &Call, unary: Unary) -> Result<Vec<u8>, tonic::Status> {
        self.grpc.unary(call, unary).await
    }

    /// Ends all streams: the server is to stop.
    pub(super) fn close(&self) {
        self.grpc.close();
    }

    /// Answers one request; every failure is an answer too.
    pub async fn handle<R>(&self, request: Request<R>) -> Response<Body>
    where
        R: hyper::body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        if is_grpc(request.headers()) {
            let caller = Caller::client(request.headers(), request.extensions().get());
            caller.calls(self.grpc.call(request)).await.map(Either::Left)
        } else {
            // Certificates name users over gRPC only. As etcd.
            let caller = Caller::client(request.headers(), None);
            caller.calls(self.gateway.handle(request, &self.grpc.counters)).await
        }
    }
}
