//! A watch: one stream of etcd's watch service.

use super::{
    client::{Client, millis},
    error::DriverError,
};
use server::proto::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use std::pin::Pin;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::Streaming;

/// Requests that may wait to be sent on one stream.
const REQUESTS_MAX: usize = 16;

/// A watch under way. Ends when it is dropped.
pub struct WatchStream {
    requests: mpsc::Sender<WatchRequest>,
    responses: Responses,
}

/// Where a stream's responses come from.
pub enum Responses {
    /// A connection.
    Remote(Box<Streaming<WatchResponse>>),
    /// A member in this process.
    Here(Pin<Box<dyn Stream<Item = Result<WatchResponse, DriverError>> + Send>>),
}

impl Client {
    /// Opens a stream and creates one watch on it. The operation's deadline bounds that, and not the stream.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn watch(&mut self, create: WatchCreateRequest) -> Result<WatchStream, DriverError> {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(create).map_err(|error| DriverError::NotSent { text: error.to_string() })?;
        if let Some(port) = self.port() {
            return Ok(WatchStream { requests, responses: port.watch(queue)? });
        }
        let start = Instant::now();
        let until = self.until();
        let connection = self.connected(until).await?;
        let mut watches =
            WatchClient::with_origin(connection, self.origin()).max_decoding_message_size(usize::MAX);
        let opened = tokio::time::timeout_at(until, watches.watch(ReceiverStream::new(queue))).await;
        let result = match opened {
            Err(_) => Err(DriverError::Deadline { after_ms: millis(start.elapsed()) }),
            Ok(Err(status)) => Err(DriverError::from_status(&status)),
            Ok(Ok(answer)) => {
                Ok(WatchStream { requests, responses: Responses::Remote(Box::new(answer.into_inner())) })
            }
        };
        result.inspect_err(|error| self.after(error))
    }
}

impl WatchStream {
    /// The next response; `None` where the server ended the stream. Nothing is lost when it is not awaited to
    /// its end.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, DriverError> {
        match &mut self.responses {
            Responses::Remote(responses) => {
                responses.message().await.map_err(|status| DriverError::from_status(&status))
            }
            Responses::Here(responses) => responses.next().await.transpose(),
        }
    }

    /// Asks how far the watch is, unless the server is behind with such requests already.
    pub fn ask_progress(&self) {
        let request = RequestUnion::ProgressRequest(WatchProgressRequest {});
        // A full queue has such a request in it; a closed one shows at the next response.
        let _ = self.requests.try_send(WatchRequest { request_union: Some(request) });
    }
}
