//! The standard gRPC health service, for load balancers and probes.

use super::Api;
use crate::{
    backend::Backend,
    proto::health::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
    },
};
use tonic::Status;

#[tonic::async_trait]
impl<B: Backend> Health for Api<B> {
    /// The server as a whole (no name) serves as long as it answers; it has no state in which it would not.
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        if request.into_inner().service.is_empty() {
            let status = ServingStatus::Serving.into();
            Ok(tonic::Response::new(HealthCheckResponse { status }))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    /// Clients are told by the protocol to take this answer for "not supported" and to stop asking.
    async fn watch(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("assay-server: Watch of grpc.health.v1.Health is not implemented"))
    }
}
