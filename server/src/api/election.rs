//! The Election service: one leader at a time, for clients without a library.
//!
//! As with locks, a leader whose lease has ended may not know it yet. `LeaderKey.rev` is the fence: it grows
//! from leader to leader, and a transaction that compares `create_revision(key) = rev` succeeds only while the
//! leadership lasts. `Proclaim` and `Resign` do so themselves.

use super::{
    Api,
    streams::End,
    turn::{self, Waiting, created_at, op},
    unknown,
};
use crate::{
    backend::Backend,
    error::ApiError,
    proto::{
        etcdserverpb::{
            DeleteRangeRequest, PutRequest, ResponseHeader, TxnRequest, TxnResponse, WatchResponse,
            request_op,
        },
        mvccpb::KeyValue,
        v3electionpb::{
            CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
            ProclaimResponse, ResignRequest, ResignResponse, election_server::Election,
        },
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use std::{collections::VecDeque, pin::Pin, sync::Arc};
use tonic::{Request, Response, Status};

/// Texts of etcd.
const NO_LEADER: &str = "election: no leader";
const NOT_LEADER: &str = "election: not leader";
const NO_LEADER_KEY: &str = r#""leader" field must be provided"#;

/// Waits until the caller leads, with this value for others to see.
///
/// # Errors
/// As etcd, all of them with the code `Unknown`: the lease does not exist; no leader of the cluster.
pub(crate) async fn campaign<B: Backend>(
    api: &Arc<Api<B>>,
    request: CampaignRequest,
) -> Result<CampaignResponse, Status> {
    let CampaignRequest { name, lease, value } = request;
    let place = api.take_place(&name, lease, value.clone()).await.map_err(unknown)?;
    let waiting = Waiting::new(api, &place);
    let leader = LeaderKey { name, key: place.key.clone(), rev: place.created, lease: place.lease };
    if place.found.as_ref().is_some_and(|kv| kv.value != value) {
        proclaim(api, ProclaimRequest { leader: Some(leader.clone()), value }).await?;
    }
    api.wait_turn(&place).await.map_err(unknown)?;
    waiting.keep();
    Ok(CampaignResponse { header: place.header, leader: Some(leader) })
}

/// Changes the leader's value.
///
/// # Errors
/// The caller does not lead any more; no leader of the cluster.
pub(crate) async fn proclaim<B: Backend>(
    api: &Arc<Api<B>>,
    request: ProclaimRequest,
) -> Result<ProclaimResponse, Status> {
    let leader = request.leader.ok_or_else(|| Status::unknown(NO_LEADER_KEY))?;
    let put = PutRequest {
        key: leader.key.clone(),
        value: request.value,
        lease: leader.lease,
        ..PutRequest::default()
    };
    let response = if_leading(api, &leader, request_op::Request::RequestPut(put)).await?;
    if response.succeeded {
        Ok(ProclaimResponse { header: response.header })
    } else {
        Err(Status::unknown(NOT_LEADER))
    }
}

/// Ends the leadership, so that the next in line leads. No error if it has ended already.
///
/// # Errors
/// No leader of the cluster.
pub(crate) async fn resign<B: Backend>(
    api: &Arc<Api<B>>,
    request: ResignRequest,
) -> Result<ResignResponse, Status> {
    let leader = request.leader.ok_or_else(|| Status::unknown(NO_LEADER_KEY))?;
    let delete = DeleteRangeRequest { key: leader.key.clone(), ..DeleteRangeRequest::default() };
    let response = if_leading(api, &leader, request_op::Request::RequestDeleteRange(delete)).await?;
    Ok(ResignResponse { header: response.header })
}

async fn if_leading<B: Backend>(
    api: &Arc<Api<B>>,
    leader: &LeaderKey,
    request: request_op::Request,
) -> Result<TxnResponse, Status> {
    let txn = TxnRequest {
        compare: vec![created_at(&leader.key, leader.rev)],
        success: vec![op(request)],
        failure: Vec::new(),
    };
    api.txn(txn).await.map_err(unknown)
}

/// Tells who leads.
///
/// # Errors
/// Nobody does.
pub(crate) async fn leader<B: Backend>(
    api: &Arc<Api<B>>,
    request: LeaderRequest,
) -> Result<LeaderResponse, Status> {
    let (header, kv) = api.whose_turn(&turn::prefix(&request.name)).await.map_err(unknown)?;
    let kv = kv.ok_or_else(|| Status::unknown(NO_LEADER))?;
    Ok(LeaderResponse { header, kv: Some(kv) })
}

/// Leaders and their values, from the present one on.
pub(crate) type Leaders = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

/// Follows who leads and what they proclaim. A follower that is slow may miss values, but not the newest.
pub(crate) fn observe<B: Backend>(api: &Arc<Api<B>>, request: &LeaderRequest, end: End) -> Leaders {
    let observer = Observer {
        api: Arc::clone(api),
        prefix: turn::prefix(&request.name),
        following: None,
        ready: VecDeque::new(),
    };
    Box::pin(stream::unfold(Some((observer, end)), |state| async move {
        let (mut observer, mut end) = state?;
        let seen = tokio::select! {
            seen = observer.next() => seen,
            error = end.wait() => Err(error),
        };
        match seen {
            Ok(seen) => Some((Ok(seen), Some((observer, end)))),
            Err(error) => Some((Err(unknown(error)), None)),
        }
    }))
}

type Events = Pin<Box<dyn Stream<Item = Result<WatchResponse, ApiError>> + Send>>;

struct Observer<B: Backend> {
    api: Arc<Api<B>>,
    prefix: Bytes,
    /// What happens to the leader's key.
    following: Option<Events>,
    ready: VecDeque<LeaderResponse>,
}

impl<B: Backend> Observer<B> {
    async fn next(&mut self) -> Result<LeaderResponse, ApiError> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            match &mut self.following {
                None => self.find().await?,
                Some(events) => match events.next().await {
                    Some(answer) => {
                        let answer = answer?;
                        for event in answer.events {
                            if event.r#type != 0 {
                                self.following = None;
                                break;
                            }
                            self.ready.push_back(LeaderResponse { header: answer.header, kv: event.kv });
                        }
                    }
                    // Compacted: the present is enough.
                    None => self.following = None,
                },
            }
        }
    }

    /// Finds the leader, or waits for one.
    async fn find(&mut self) -> Result<(), ApiError> {
        let (header, found) = self.api.whose_turn(&self.prefix).await?;
        let revision = header.as_ref().map_or(0, |header| header.revision);
        let (header, kv) = match found {
            Some(kv) => (header, kv),
            None => {
                let mut events = self.api.follow_prefix(&self.prefix, revision + 1);
                let Some((header, kv)) = first_put(&mut events).await? else { return Ok(()) };
                (header, kv)
            }
        };
        let from = header.as_ref().map_or(0, |header| header.revision).max(kv.mod_revision) + 1;
        self.following = Some(Box::pin(self.api.follow(kv.key.clone(), Bytes::new(), from)));
        self.ready.push_back(LeaderResponse { header, kv: Some(kv) });
        Ok(())
    }
}

/// The first pair that is put; `None` if history was compacted before.
async fn first_put(
    events: &mut (impl Stream<Item = Result<WatchResponse, ApiError>> + Unpin),
) -> Result<Option<(Option<ResponseHeader>, KeyValue)>, ApiError> {
    while let Some(answer) = events.next().await {
        let answer = answer?;
        let put = answer.events.into_iter().find(|event| event.r#type == 0).and_then(|event| event.kv);
        if let Some(kv) = put {
            return Ok(Some((answer.header, kv)));
        }
    }
    Ok(None)
}

/// The service as gRPC sees it.
#[derive(Debug)]
pub(super) struct ElectionService<B>(pub(super) Arc<Api<B>>);

#[tonic::async_trait]
impl<B: Backend> Election for ElectionService<B> {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        campaign(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        proclaim(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        leader(&self.0, request.into_inner()).await.map(Response::new)
    }

    type ObserveStream = Leaders;

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Leaders>, Status> {
        let end = End::of(&self.0, request.metadata());
        Ok(Response::new(observe(&self.0, request.get_ref(), end)))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        resign(&self.0, request.into_inner()).await.map(Response::new)
    }
}
