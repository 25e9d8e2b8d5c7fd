//! The gRPC side of the port: finds the service, counts the call, and words refusals as etcd does.

use super::{
    Api,
    election::ElectionService,
    lease::LeaseService,
    lock::LockService,
    messages::Messages,
    methods::{self, Call, METHODS, MethodCounters, Service as Name, UNARY},
    status,
    watch::{Outgoing, WatchService},
};
use crate::{
    backend::Backend,
    proto::{
        etcdserverpb::{
            WatchRequest, auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
            lease_server::LeaseServer, maintenance_server::MaintenanceServer,
        },
        health::health_server::HealthServer,
        v3electionpb::election_server::ElectionServer,
        v3lockpb::lock_server::LockServer,
    },
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use std::{convert::Infallible, error::Error, sync::Arc};
use tonic::{Code, Status, body::Body, codegen::Service as _};
use tonic_prost::ProstCodec;

/// All gRPC services.
#[derive(Debug)]
pub(super) struct Grpc<B> {
    pub(super) api: Arc<Api<B>>,
    kv: KvServer<Api<B>>,
    lease: LeaseServer<LeaseService<B>>,
    lock: LockServer<LockService<B>>,
    election: ElectionServer<ElectionService<B>>,
    cluster: ClusterServer<Api<B>>,
    maintenance: MaintenanceServer<Api<B>>,
    auth: AuthServer<Api<B>>,
    health: HealthServer<Api<B>>,
    pub(super) counters: Arc<MethodCounters>,
}

impl<B: Backend> Grpc<B> {
    pub(super) fn new(api: &Arc<Api<B>>) -> Grpc<B> {
        let limit = api.limits().max_message_bytes();
        Grpc {
            kv: KvServer::from_arc(Arc::clone(api)).max_decoding_message_size(limit),
            lease: LeaseServer::new(LeaseService(Arc::clone(api))).max_decoding_message_size(limit),
            lock: LockServer::new(LockService(Arc::clone(api))).max_decoding_message_size(limit),
            election: ElectionServer::new(ElectionService(Arc::clone(api))).max_decoding_message_size(limit),
            cluster: ClusterServer::from_arc(Arc::clone(api)).max_decoding_message_size(limit),
            maintenance: MaintenanceServer::from_arc(Arc::clone(api)).max_decoding_message_size(limit),
            auth: AuthServer::from_arc(Arc::clone(api)).max_decoding_message_size(limit),
            health: HealthServer::from_arc(Arc::clone(api)).max_decoding_message_size(limit),
            api: Arc::clone(api),
            counters: Arc::default(),
        }
    }

    pub(super) fn close(&self) {
        self.api.close();
    }

    pub(super) async fn call<R>(&self, request: Request<R>) -> Response<Body>
    where
        R: hyper::body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let Some(at) = methods::find(request.uri().path()) else {
            return status::unknown(request.uri().path()).into_http();
        };
        let mut call = self.counters.start(at);
        if let Err(error) = self.may_begin(at, wants_leader(request.headers())) {
            call.code = status::code(error);
            return Status::from(error).into_http();
        }
        let streams = METHODS[at].kind != UNARY;
        if !streams {
            self.counters.add_received(at, 1);
        }
        let (counters, mut messages) = (Arc::clone(&self.counters), Messages::default());
        let request = request.map(|body| {
            body.map_frame(move |frame| {
                if let Some(bytes) = frame.data_ref().filter(|_| streams) {
                    counters.add_received(at, messages.pass(bytes));
                }
                frame
            })
        });
        let served = match METHODS[at].service {
            Name::Kv => self.kv.clone().call(request).await,
            Name::Watch => {
                // By hand: its answers are put together from parts that are encoded already.
                let codec = ProstCodec::<Outgoing, WatchRequest>::default();
                let limit = self.api.limits().max_message_bytes();
                let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(limit);
                Ok(grpc.streaming(WatchService(Arc::clone(&self.api)), request).await)
            }
            Name::Lease => self.lease.clone().call(request).await,
            Name::Lock => self.lock.clone().call(request).await,
            Name::Election => self.election.clone().call(request).await,
            Name::Cluster => self.cluster.clone().call(request).await,
            Name::Maintenance => self.maintenance.clone().call(request).await,
            Name::Auth => self.auth.clone().call(request).await,
            Name::Health => self.health.clone().call(request).await,
        };
        let response = served.unwrap_or_else(|never: Infallible| match never {});
        // Only refusals say how they ended in the headers.
        let Some(refusal) = Status::from_header_map(response.headers()) else {
            if streams {
                return response.map(|body| until_end(call, body));
            }
            call.code = Code::Ok;
            call.add_sent(1);
            return response;
        };
        let refusal = status::reword(refusal, self.api.limits().max_message_bytes());
        call.code = refusal.code();
        refusal.into_http()
    }
}

/// The body of an answer that streams, with its messages and its end counted for its call.
fn until_end(mut call: Call, body: Body) -> Body {
    let mut messages = Messages::default();
    Body::new(body.map_frame(move |frame| {
        if let Some(bytes) = frame.data_ref() {
            call.add_sent(messages.pass(bytes));
        }
        if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
            call.code = status.code();
        }
        frame
    }))
}

/// Whether a request is for this side of the port.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// Whether the client wants to be refused where there is no leader.
pub(super) fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}
