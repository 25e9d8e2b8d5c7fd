//! The calls of etcd's lease service.

use super::{
    client::{Client, millis},
    error::DriverError,
};
use server::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseRevokeResponse,
    lease_client::LeaseClient,
};
use tokio::time::Instant;

impl Client {
    /// Makes a lease of `ttl` seconds; the server chooses its id.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn lease_grant(&mut self, ttl: i64) -> Result<LeaseGrantResponse, DriverError> {
        let request = LeaseGrantRequest { ttl, id: 0 };
        if let Some(port) = self.port() {
            let answer = port.lease_grant(request);
            return answer.await;
        }
        self.call(request, async |connection, origin, request| {
            LeaseClient::with_origin(connection, origin).lease_grant(request).await
        })
        .await
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn lease_revoke(&mut self, id: i64) -> Result<LeaseRevokeResponse, DriverError> {
        if let Some(port) = self.port() {
            let answer = port.lease_revoke(LeaseRevokeRequest { id });
            return answer.await;
        }
        self.call(LeaseRevokeRequest { id }, async |connection, origin, request| {
            LeaseClient::with_origin(connection, origin).lease_revoke(request).await
        })
        .await
    }

    /// Renews a lease once, on a stream of its own. Gives the TTL, in seconds; 0 for a lease that is gone.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn lease_keep_alive(&mut self, id: i64) -> Result<i64, DriverError> {
        if let Some(port) = self.port() {
            let answer = port.lease_keep_alive(id);
            return answer.await;
        }
        let start = Instant::now();
        let until = self.until();
        let connection = self.connected(until).await?;
        let mut leases = LeaseClient::with_origin(connection, self.origin());
        let one = async {
            let request = tokio_stream::once(LeaseKeepAliveRequest { id });
            let mut answers = leases.lease_keep_alive(request).await?.into_inner();
            answers.message().await
        };
        let result = match tokio::time::timeout_at(until, one).await {
            Err(_) => Err(DriverError::Deadline { after_ms: millis(start.elapsed()) }),
            Ok(Err(status)) => Err(DriverError::from_status(&status)),
            Ok(Ok(None)) => Err(DriverError::Malformed { text: "the stream ended without an answer".into() }),
            Ok(Ok(Some(answer))) => Ok(answer.ttl),
        };
        result.inspect_err(|error| self.after(error))
    }
}
