//! Renewals of leases, each lease on a stream of its own: etcd's `benchmark lease-keepalive`.

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
use server::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, lease_client::LeaseClient,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

/// TTL of the leases, in s: longer than any pause of a run.
const TTL_S: i64 = 600;
/// Leases of an open loop, and so the most renewals under way.
const LEASES: usize = 256;
/// NOT_FOUND of gRPC: a lease that is gone is renewed by an answer without a TTL.
const NOT_FOUND: u32 = 5;

struct Open {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

struct Lease {
    endpoint: Endpoint,
    channel: Channel,
    id: i64,
    open: Option<Open>,
}

pub(super) struct KeepAlive {
    leases: Slots<Lease>,
    deadline: Duration,
}

impl KeepAlive {
    /// Makes the leases: one for each client of a closed loop.
    pub(super) async fn prepare(plan: &Plan) -> Result<KeepAlive, String> {
        let count = match plan.load {
            Load::Closed { clients, .. } => clients,
            Load::Open { .. } => LEASES.min(plan.in_flight_max),
        };
        let mut channels = Vec::new();
        for endpoint in plan.endpoints.iter().cycle().take(plan.connections.clamp(1, count.max(1))) {
            channels.push((endpoint, endpoint.channel()?));
        }
        let mut leases = Vec::new();
        for (endpoint, channel) in channels.iter().cycle().take(count) {
            let mut request = Request::new(LeaseGrantRequest { ttl: TTL_S, id: 0 });
            endpoint.authorize(request.metadata_mut())?;
            let mut client = LeaseClient::new(channel.clone());
            let granted = tokio::time::timeout(plan.deadline, client.lease_grant(request)).await;
            let granted = granted.map_err(|_| format!("{}: no lease within the deadline", endpoint.url))?;
            let id = granted.map_err(|error| format!("{}: no lease: {error}", endpoint.url))?.into_inner().id;
            leases.push(Lease { endpoint: (*endpoint).clone(), channel: channel.clone(), id, open: None });
        }
        Ok(KeepAlive { leases: Slots::new(leases), deadline: plan.deadline })
    }
}

impl Lease {
    async fn renew(&mut self) -> Result<i64, Status> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let gone = || Status::unavailable("the stream of renewals ended");
        let request = LeaseKeepAliveRequest { id: self.id };
        open.requests.send(request).await.map_err(|_| gone())?;
        let answer = open.answers.message().await?.ok_or_else(gone)?;
        self.open = Some(open);
        Ok(answer.ttl)
    }

    async fn open(&self) -> Result<Open, Status> {
        let (requests, queue) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(queue));
        self.endpoint.authorize(request.metadata_mut()).map_err(Status::internal)?;
        // Some servers answer a stream only once something was asked on it.
        let first = requests.clone();
        let _ = first.send(LeaseKeepAliveRequest { id: self.id }).await;
        let mut answers =
            LeaseClient::new(self.channel.clone()).lease_keep_alive(request).await?.into_inner();
        answers.message().await?;
        Ok(Open { requests, answers })
    }
}

impl Caller for KeepAlive {
    fn begin(&mut self, due_ns: u64, clock: Moment) -> Call {
        let (mut lease, deadline) = (self.leases.take(), self.deadline);
        Box::pin(async move {
            let sent_ns = clock.now_ns();
            let renewed = tokio::time::timeout(deadline, lease.get().renew()).await;
            let (result, error) = match renewed {
                Err(_) => (Err(Failure::Deadline), None),
                Ok(Err(status)) => (Err(failure(&status)), Some(status.to_string())),
                Ok(Ok(ttl)) if ttl <= 0 => {
                    (Err(Failure::Status(NOT_FOUND)), Some("the lease is gone".into()))
                }
                Ok(Ok(_)) => (Ok(Answer::default()), None),
            };
            let token = Token { due_ns, sent_ns, call_ns: sent_ns, key: 0, op: 0, calls: 0, trace: 0 };
            Outcome { token, at_ns: clock.now_ns(), result, error }
        })
    }

    fn follow(&mut self, _: &Outcome, _: Moment) -> Option<Call> {
        None
    }

    fn room(&self) -> usize {
        self.leases.count()
    }
}
