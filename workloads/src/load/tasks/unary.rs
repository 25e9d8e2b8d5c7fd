//! Unary calls through tonic's client.

use super::pacer::{Call, Caller, Moment, Outcome};
use crate::load::{
    drive::Plan,
    http2::{Answer, Failure, Method},
    source::{KeySpace, Source, Token},
};
use bytes::{Buf, BufMut};
use std::{sync::Arc, time::Duration};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::Channel,
};

/// Passes octets through: the requests are made and the answers are read by the same code as for the raw
/// client, so that the two differ in the client alone.
#[derive(Clone, Copy, Debug, Default)]
struct Octets;

impl Codec for Octets {
    type Encode = Vec<u8>;
    type Decode = Answer;
    type Encoder = Octets;
    type Decoder = Octets;

    fn encoder(&mut self) -> Octets {
        Octets
    }

    fn decoder(&mut self) -> Octets {
        Octets
    }
}

impl Encoder for Octets {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Octets {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        let octets = message.copy_to_bytes(message.remaining());
        Ok(Some(Answer::read(&octets)))
    }
}

/// What tonic's status says of a call.
pub(super) fn failure(status: &Status) -> Failure {
    // tonic makes statuses of its own where the connection fails.
    let lost = status.code() == Code::Unknown || std::error::Error::source(status).is_some();
    match lost {
        true => Failure::Lost,
        false => Failure::Status(u32::try_from(i32::from(status.code())).unwrap_or(2)),
    }
}

/// The operations of the workload's mix.
pub(super) struct Unary {
    channels: Vec<(Channel, MetadataMap)>,
    turn: usize,
    source: Source,
    deadline: Duration,
    in_flight_max: usize,
}

impl Unary {
    pub(super) fn new(plan: &Plan) -> Result<Unary, String> {
        let space = Arc::new(KeySpace::new(plan.workload.key_count));
        let mut channels = Vec::new();
        for endpoint in plan.endpoints.iter().cycle().take(plan.connections.max(1)) {
            let mut metadata = MetadataMap::new();
            endpoint.authorize(&mut metadata)?;
            channels.push((endpoint.channel()?, metadata));
        }
        Ok(Unary {
            channels,
            turn: 0,
            source: Source::new(Arc::clone(&plan.workload), space, plan.seed, 0, 1),
            deadline: plan.deadline,
            in_flight_max: plan.in_flight_max,
        })
    }

    /// Sends the message that the source holds.
    fn call(&mut self, token: Token, method: Method, clock: Moment) -> Call {
        let at = self.turn % self.channels.len();
        self.turn += 1;
        let ((channel, metadata), deadline) = (self.channels[at].clone(), self.deadline);
        self.source.stamp(clock.shared_ns(token.due_ns), clock.shared_ns(token.sent_ns), 0);
        let message = self.source.message.clone();
        Box::pin(async move {
            let path = http::uri::PathAndQuery::from_static(method.path());
            let call = async {
                let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let request = Request::from_parts(metadata, http::Extensions::new(), message);
                grpc.unary(request, path, Octets).await
            };
            let outcome = tokio::time::timeout(deadline, call).await;
            let (result, error) = match outcome {
                Err(_) => (Err(Failure::Deadline), None),
                Ok(Ok(answer)) => (Ok(answer.into_inner()), None),
                Ok(Err(status)) => (Err(failure(&status)), Some(status.to_string())),
            };
            Outcome { token, at_ns: clock.now_ns(), result, error }
        })
    }
}

impl Caller for Unary {
    fn begin(&mut self, due_ns: u64, clock: Moment) -> Call {
        let (op, key, method) = self.source.draw();
        let now = clock.now_ns();
        self.call(Token { due_ns, sent_ns: now, call_ns: now, key, op, calls: 0, trace: 0 }, method, clock)
    }

    fn follow(&mut self, outcome: &Outcome, clock: Moment) -> Option<Call> {
        let (token, answer) = (&outcome.token, outcome.result.as_ref().ok()?);
        if !self.source.goes_on(token) {
            return None;
        }
        let method = self.source.follow(token, answer)?;
        let next = Token { call_ns: outcome.at_ns, calls: token.calls + 1, ..*token };
        Some(self.call(next, method, clock))
    }

    fn room(&self) -> usize {
        self.in_flight_max
    }
}
