//! Requests and answers that have a task of their own: what passes between it and the connection.

use crate::{
    api::{App, CommonName},
    backend::Backend,
    http2::code,
};
use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::body::{Body, Frame};
use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender},
};
use tonic::Status;

/// So many parts of an answer wait in a connection for room; the task that makes them waits with more.
pub(super) const PARTS_MAX: usize = 2;

/// What a task tells its connection about a stream.
#[derive(Debug)]
pub(super) enum Said {
    /// The head of the answer; with `end` it is all of it.
    Head { status: u16, headers: HeaderMap, end: bool },
    /// A part of the answer.
    Data(Bytes),
    /// The end of the answer.
    End(Option<HeaderMap>),
    /// There is no rest of the answer.
    Failed(u32),
    /// So many bytes of the request were taken in.
    Consumed(usize),
    /// What a call of the KV service came to.
    Called(Result<Vec<u8>, Status>),
}

/// A way to tell it.
#[derive(Clone, Debug)]
pub(super) struct Tell {
    pub(super) stream: u32,
    pub(super) sender: UnboundedSender<(u32, Said)>,
}

impl Tell {
    pub(super) fn say(&self, said: Said) {
        // A connection that is gone has nobody to tell.
        let _ = self.sender.send((self.stream, said));
    }
}

/// The body of a request, as it comes.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) parts: UnboundedReceiver<Bytes>,
    pub(super) tell: Tell,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = ready!(self.parts.poll_recv(cx));
        Poll::Ready(part.map(|part| {
            self.tell.say(Said::Consumed(part.len()));
            Ok(Frame::data(part))
        }))
    }
}

/// Answers a request, part by part.
pub(super) async fn answer<B: Backend>(
    app: Arc<App<B>>,
    mut request: Request<Incoming>,
    name: Option<CommonName>,
    tell: Tell,
    room: Arc<Semaphore>,
) {
    if let Some(name) = name {
        request.extensions_mut().insert(name);
    }
    let without_body = request.method() == http::Method::HEAD;
    let (mut head, body) = app.handle(request).await.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|_| !head.headers.contains_key("grpc-status")) {
        head.headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    let end = body.is_end_stream() || without_body;
    tell.say(Said::Head { status: head.status.as_u16(), headers: head.headers, end });
    if end {
        return;
    }
    let mut body = pin!(body);
    loop {
        let frame = match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer has no rest");
                return tell.say(Said::Failed(code::INTERNAL_ERROR));
            }
            None => return tell.say(Said::End(None)),
        };
        match frame.into_data() {
            Ok(data) => {
                let Ok(permit) = room.acquire().await else { return };
                // The connection gives it back when the part is sent.
                permit.forget();
                tell.say(Said::Data(data));
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return tell.say(Said::End(Some(trailers)));
                }
            }
        }
    }
}
