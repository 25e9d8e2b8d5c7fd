//! One HTTP/2 connection, as a service for tonic's clients.
//!
//! tonic's own channel reconnects and queues by itself, so a caller cannot tell a request that never left
//! from one that was lost on the way. Here there is one TCP connection, made on purpose, and every failure
//! says on which side of that line it fell.

use super::error::{DriverError, chain};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tonic::body::Body;

/// An open connection to one member. Clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    sender: http2::SendRequest<Body>,
}

impl Connection {
    /// Connects to `authority` (`host:port`). Nothing of any request has been sent when this fails.
    pub(super) async fn open(authority: &str, within: Duration) -> Result<Connection, DriverError> {
        let after_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(within, Connection::connect(authority))
            .await
            .unwrap_or(Err(DriverError::ConnectTimeout { after_ms }))
    }

    async fn connect(authority: &str) -> Result<Connection, DriverError> {
        let refused = |error: &(dyn std::error::Error + 'static)| DriverError::Refused { text: chain(error) };
        let stream = TcpStream::connect(authority).await.map_err(|error| refused(&error))?;
        stream.set_nodelay(true).map_err(|error| refused(&error))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| refused(&error))?;
        // Ends when the last sender is dropped, or when the connection breaks; each call in flight learns
        // of it by itself.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "a connection broke");
            }
        });
        Ok(Connection { sender })
    }

    /// Whether the connection is known to be unusable.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl tower::Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = DriverError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DriverError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DriverError>> {
        self.sender.poll_ready(context).map_err(|error| DriverError::NotSent { text: chain(&error) })
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.sender.try_send_request(request);
        Box::pin(async move {
            answer.await.map_err(|mut error| {
                // The request comes back only if no part of it was written to the connection.
                if error.take_message().is_some() {
                    DriverError::NotSent { text: chain(error.error()) }
                } else {
                    DriverError::Lost { text: chain(error.error()) }
                }
            })
        })
    }
}
