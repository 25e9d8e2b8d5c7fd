//! Operations whose answers keep coming: one JSON document a line, as grpc-gateway has it.
//!
//! Requests are the JSON documents of the body, one after the other. What each of them says is done once the
//! body has ended; the client goes on listening.

use super::json;
use crate::{
    api::{
        Api, election, lease, status,
        streams::End,
        watch::{Outgoing, Session},
    },
    backend::Backend,
    proto::etcdserverpb::{LeaseKeepAliveRequest, WatchRequest},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::{Message, Name};
use serde::Serialize;
use std::{convert::Infallible, pin::Pin, sync::Arc};
use tonic::Status;

/// Lines of an answer.
pub(super) type Lines = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of an answer that keeps coming.
pub(super) fn body(lines: Lines) -> tonic::body::Body {
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
    tonic::body::Body::new(StreamBody::new(frames))
}

/// Watches; ends when the client does.
pub(super) fn watch<B: Backend>(api: &Arc<Api<B>>, body: &[u8]) -> Result<Lines, Status> {
    let session = Session::new(Arc::clone(api), requests::<WatchRequest>(body)?, End::new(api, false));
    Ok(lines(
        session.into_stream().map(|answer| answer.as_ref().map(Outgoing::to_message).map_err(Clone::clone)),
    ))
}

/// Renews leases; ends with the last request.
pub(super) fn keep_alive<B: Backend>(api: &Arc<Api<B>>, body: &[u8]) -> Result<Lines, Status> {
    let requests = requests::<LeaseKeepAliveRequest>(body)?;
    Ok(lines(lease::keep_alives(Arc::clone(api), requests, End::new(api, false))))
}

/// Follows an election; ends when the client does.
pub(super) fn observe<B: Backend>(api: &Arc<Api<B>>, body: &[u8]) -> Result<Lines, Status> {
    let request = json::decode(body)?;
    Ok(lines(election::observe(api, &request, End::new(api, false))))
}

fn requests<T: Message + Name + Default>(
    body: &[u8],
) -> Result<impl Stream<Item = Result<T, Status>> + Send + Unpin + use<T>, Status> {
    let requests: Vec<T> = json::decode_all(body)?;
    Ok(stream::iter(requests.into_iter().map(Ok)))
}

fn lines<T: Serialize + 'static>(answers: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Lines {
    Box::pin(answers.map(|answer| {
        let mut line = match answer.and_then(|answer| json::encode_result(&answer)) {
            Ok(line) => line,
            Err(status) => {
                let http = status::http_status(status.code());
                json::stream_error(status.code(), http, status.message())
            }
        };
        line.push(b'\n');
        line.into()
    }))
}
