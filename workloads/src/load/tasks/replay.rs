//! Watches of the past: how long it takes until a new watch has been told what was before. etcd's `benchmark
//! watch-get`.

use super::{
    pacer::{Call, Caller, Moment, Outcome},
    slots::Slots,
    unary::failure,
};
use crate::load::{
    drive::{Load, Plan},
    endpoint::Endpoint,
    http2::{Answer, Failure},
    source::Token,
};
use bytes::Bytes;
use server::proto::etcdserverpb::{
    PutRequest, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse, kv_client::KvClient,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

/// Streams of an open loop, and so the most watches under way.
const STREAMS: usize = 64;

struct Open {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

struct Stream {
    endpoint: Endpoint,
    channel: Channel,
    open: Option<Open>,
}

pub(super) struct Replay {
    streams: Slots<Stream>,
    past: Past,
    deadline: Duration,
}

/// What each watch is told.
#[derive(Clone)]
struct Past {
    key: Bytes,
    from: i64,
    events: u64,
}

impl Replay {
    /// Writes a key so many times.
    pub(super) async fn prepare(plan: &Plan, events: u64) -> Result<Replay, String> {
        let count = match plan.load {
            Load::Closed { clients, .. } => clients,
            Load::Open { .. } => STREAMS.min(plan.in_flight_max),
        };
        let mut channels = Vec::new();
        for endpoint in plan.endpoints.iter().cycle().take(plan.connections.clamp(1, count.max(1))) {
            channels.push((endpoint, endpoint.channel()?));
        }
        let (endpoint, channel) = &channels[0];
        let mut key = Vec::new();
        plan.workload.write_key(0, &mut key);
        let key = Bytes::from(key);
        let value = Bytes::from(vec![b'x'; plan.workload.values.max()]);
        let mut kv = KvClient::new(channel.clone());
        let mut from = 0;
        for _ in 0..events {
            let put = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
            let mut request = Request::new(put);
            endpoint.authorize(request.metadata_mut())?;
            let put = tokio::time::timeout(plan.deadline, kv.put(request)).await;
            let put = put.map_err(|_| format!("{}: no put within the deadline", endpoint.url))?;
            let put = put.map_err(|error| format!("{}: no put: {error}", endpoint.url))?.into_inner();
            let revision = put.header.map_or(0, |header| header.revision);
            from = if from == 0 { revision } else { from };
        }
        let stream = |(endpoint, channel): &(&Endpoint, Channel)| Stream {
            endpoint: (*endpoint).clone(),
            channel: channel.clone(),
            open: None,
        };
        let streams = Slots::new(channels.iter().cycle().take(count).map(stream).collect());
        Ok(Replay { streams, past: Past { key, from, events }, deadline: plan.deadline })
    }
}

impl Stream {
    /// Creates a watch, and waits until it was told all of the past. The watch is still there.
    async fn replay(&mut self, past: &Past) -> Result<i64, Status> {
        let create = WatchCreateRequest {
            key: past.key.clone(),
            start_revision: past.from,
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let mut open = match self.open.take() {
            Some(open) => {
                open.requests.send(create).await.map_err(|_| gone())?;
                open
            }
            None => self.open(create).await?,
        };
        let mut seen = 0;
        loop {
            let answer = open.answers.message().await?.ok_or_else(gone)?;
            if answer.canceled {
                return Err(Status::aborted(answer.cancel_reason));
            }
            seen += answer.events.len() as u64;
            if seen >= past.events {
                self.open = Some(open);
                return Ok(answer.watch_id);
            }
        }
    }

    /// Cancels a watch, so that the stream is as it was before.
    async fn cancel(&mut self, watch_id: i64) -> Result<(), Status> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
        let request = WatchRequest { request_union: Some(cancel) };
        open.requests.send(request).await.map_err(|_| gone())?;
        loop {
            let answer = open.answers.message().await?.ok_or_else(gone)?;
            if answer.canceled && answer.watch_id == watch_id {
                self.open = Some(open);
                return Ok(());
            }
        }
    }

    async fn open(&self, create: WatchRequest) -> Result<Open, Status> {
        let (requests, queue) = mpsc::channel(1);
        // Sent first: a server may answer a stream only once something was asked on it.
        requests.send(create).await.map_err(|_| gone())?;
        let mut request = Request::new(ReceiverStream::new(queue));
        self.endpoint.authorize(request.metadata_mut()).map_err(Status::internal)?;
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let answers = client.watch(request).await?.into_inner();
        Ok(Open { requests, answers })
    }
}

fn gone() -> Status {
    Status::unavailable("the stream of watches ended")
}

impl Caller for Replay {
    fn begin(&mut self, due_ns: u64, clock: Moment) -> Call {
        let (mut stream, past, deadline) = (self.streams.take(), self.past.clone(), self.deadline);
        Box::pin(async move {
            let sent_ns = clock.now_ns();
            let replayed = tokio::time::timeout(deadline, stream.get().replay(&past)).await;
            let at_ns = clock.now_ns();
            let (result, error) = match replayed {
                Err(_) => (Err(Failure::Deadline), None),
                Ok(Err(status)) => (Err(failure(&status)), Some(status.to_string())),
                Ok(Ok(watch_id)) => {
                    // One that cannot be cancelled is left to the end of its stream.
                    let cancelled = tokio::time::timeout(deadline, stream.get().cancel(watch_id)).await;
                    let error = cancelled.ok().and_then(Result::err).map(|status| status.to_string());
                    (Ok(Answer::default()), error)
                }
            };
            let token = Token { due_ns, sent_ns, call_ns: sent_ns, key: 0, op: 0, calls: 0, trace: 0 };
            Outcome { token, at_ns, result, error }
        })
    }

    fn follow(&mut self, _: &Outcome, _: Moment) -> Option<Call> {
        None
    }

    fn room(&self) -> usize {
        self.streams.count()
    }
}
