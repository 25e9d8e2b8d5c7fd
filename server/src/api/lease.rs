//! The Lease service.

use super::{Api, Caller, random, streams::End};
use crate::{
    auth::Needs,
    backend::{Backend, LeaseTime},
    error::ApiError,
    lease::TTL_S_MAX,
    proto::{
        etcdserverpb::{
            LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
            LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
            LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
        },
        internal::command::Request,
    },
    state_machine::Response,
};
use futures_util::{Stream, StreamExt as _, stream};
use std::{collections::VecDeque, pin::Pin, sync::Arc};
use tonic::{Status, Streaming};

/// Renewals of one stream that share a confirmation.
const RENEWALS_MAX: usize = 512;

impl<B: Backend> Api<B> {
    /// Grants a lease. The TTL is raised to the least one; without an id, one is drawn.
    ///
    /// # Errors
    /// [`ApiError::LeaseTtlTooLarge`], [`ApiError::LeaseExists`], or why the outcome is not known.
    pub async fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, ApiError> {
        // Whom etcd does not know, or an alarm, counts more than what is asked.
        self.authorize(Needs::User)?;
        if request.ttl > TTL_S_MAX {
            self.backend.state().alarms().check(&Request::LeaseGrant(request))?;
            return Err(ApiError::LeaseTtlTooLarge);
        }
        let ttl = request.ttl.max(self.limits.lease_ttl_s_min);
        loop {
            let id = if request.id == 0 { random_id() } else { request.id };
            match self.propose(Request::LeaseGrant(LeaseGrantRequest { id, ttl })).await {
                Ok(Response::LeaseGrant(mut response)) => {
                    self.complete(&mut response.header);
                    return Ok(response);
                }
                Ok(other) => panic!("a grant was answered with {other:?}"),
                Err(ApiError::LeaseExists) if request.id == 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a lease, and deletes its keys at one revision.
    ///
    /// # Errors
    /// [`ApiError::LeaseNotFound`], or why the outcome is not known.
    pub async fn lease_revoke(&self, request: LeaseRevokeRequest) -> Result<LeaseRevokeResponse, ApiError> {
        match self.propose(Request::LeaseRevoke(request)).await? {
            Response::LeaseRevoke(mut response) => {
                self.complete(&mut response.header);
                Ok(response)
            }
            other => panic!("a revocation was answered with {other:?}"),
        }
    }

    /// Renews leases. An answer for each, with TTL 0 where there is no such lease.
    ///
    /// # Errors
    /// Why no leader could be asked; nothing is known of the leases then.
    pub async fn lease_renew(&self, ids: Vec<i64>) -> Result<Vec<LeaseKeepAliveResponse>, ApiError> {
        if self.backend.auth_enabled() {
            let state = self.backend.state();
            let needs = ids.iter().map(|id| Needs::WriteLease(*id));
            self.permit(&state, [Needs::User].into_iter().chain(needs))?;
        }
        // As etcd: from before the renewal.
        let header = self.current_header();
        let times = self.backend.lease_times(ids.clone(), true).await?;
        let answer = |(id, time): (i64, Option<LeaseTime>)| LeaseKeepAliveResponse {
            header,
            id,
            ttl: time.map_or(0, |time| time.granted_ttl_s),
        };
        Ok(ids.into_iter().zip(times).map(answer).collect())
    }

    /// Tells what is left of a lease: TTL -1 where there is no such lease.
    ///
    /// # Errors
    /// Why no leader could be asked.
    pub async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, ApiError> {
        let id = request.id;
        self.authorize(Needs::User)?;
        let times = self.backend.lease_times(vec![id], false).await?;
        let time = times.into_iter().next().flatten();
        let keys = match time {
            Some(_) if request.keys => {
                self.backend.read_index().await?;
                let state = self.backend.state();
                self.permit(&state, [Needs::ReadLease(id)])?;
                state.leases().get(id).map_or_else(Vec::new, |lease| lease.keys.iter().cloned().collect())
            }
            _ => Vec::new(),
        };
        let remaining_s = |time: LeaseTime| i64::try_from(time.remaining.as_secs()).unwrap_or(i64::MAX);
        Ok(LeaseTimeToLiveResponse {
            header: self.current_header(),
            id,
            ttl: time.map_or(-1, remaining_s),
            granted_ttl: time.map_or(0, |time| time.granted_ttl_s),
            keys,
        })
    }

    /// Lists the leases, by id, for who may read all of their keys.
    ///
    /// # Errors
    /// Why no quorum confirmed that the list is of now; what the caller may not.
    pub async fn lease_leases(&self, _request: LeaseLeasesRequest) -> Result<LeaseLeasesResponse, ApiError> {
        self.backend.read_index().await?;
        let leases: Vec<LeaseStatus> = {
            let state = self.backend.state();
            let leases: Vec<_> = state.leases().iter().map(|(id, _)| LeaseStatus { id }).collect();
            let needs = leases.iter().map(|lease| Needs::ReadLease(lease.id));
            self.permit(&state, [Needs::User].into_iter().chain(needs))?;
            leases
        };
        Ok(LeaseLeasesResponse { header: self.current_header(), leases })
    }
}

/// A stream of answers to a client's renewals.
pub(crate) type KeepAlives = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

/// Answers renewals in their order. Those that have come while others were confirmed share a confirmation.
pub(crate) fn keep_alives<B, R>(api: Arc<Api<B>>, requests: R, end: End) -> KeepAlives
where
    B: Backend,
    R: Stream<Item = Result<LeaseKeepAliveRequest, Status>> + Send + Unpin + 'static,
{
    struct State<B, R> {
        api: Arc<Api<B>>,
        requests: R,
        end: Option<End>,
        answers: VecDeque<LeaseKeepAliveResponse>,
        caller: Caller,
    }
    let state = State {
        api,
        requests: requests.ready_chunks(RENEWALS_MAX),
        end: Some(end),
        answers: VecDeque::new(),
        caller: Caller::current(),
    };
    Box::pin(stream::unfold(state, |mut state| async move {
        loop {
            if let Some(answer) = state.answers.pop_front() {
                return Some((Ok(answer), state));
            }
            let end = state.end.as_mut()?;
            let renewed = tokio::select! {
                requests = state.requests.next() => {
                    let ids = requests?.into_iter().map(|request| request.map(|request| request.id));
                    match ids.collect::<Result<Vec<i64>, Status>>() {
                        Ok(ids) => tokio::select! {
                            renewed = state.caller.clone().calls(state.api.lease_renew(ids)) => renewed.map_err(Status::from),
                            error = end.wait() => Err(error.into()),
                        },
                        Err(status) => Err(status),
                    }
                }
                error = end.wait() => Err(error.into()),
            };
            match renewed {
                Ok(answers) => state.answers.extend(answers),
                Err(status) => {
                    state.end = None;
                    return Some((Err(status), state));
                }
            }
        }
    }))
}

/// A positive number that nobody can guess.
fn random_id() -> i64 {
    (random() >> 1).max(1).cast_signed()
}

#[tonic::async_trait]
impl<B: Backend> Lease for LeaseService<B> {
    async fn lease_grant(
        &self,
        request: tonic::Request<LeaseGrantRequest>,
    ) -> Result<tonic::Response<LeaseGrantResponse>, Status> {
        Ok(tonic::Response::new(self.0.lease_grant(request.into_inner()).await?))
    }

    async fn lease_revoke(
        &self,
        request: tonic::Request<LeaseRevokeRequest>,
    ) -> Result<tonic::Response<LeaseRevokeResponse>, Status> {
        Ok(tonic::Response::new(self.0.lease_revoke(request.into_inner()).await?))
    }

    type LeaseKeepAliveStream = KeepAlives;

    async fn lease_keep_alive(
        &self,
        request: tonic::Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<tonic::Response<KeepAlives>, Status> {
        let end = End::of(&self.0, request.metadata());
        Ok(tonic::Response::new(keep_alives(Arc::clone(&self.0), request.into_inner(), end)))
    }

    async fn lease_time_to_live(
        &self,
        request: tonic::Request<LeaseTimeToLiveRequest>,
    ) -> Result<tonic::Response<LeaseTimeToLiveResponse>, Status> {
        Ok(tonic::Response::new(self.0.lease_time_to_live(request.into_inner()).await?))
    }

    async fn lease_leases(
        &self,
        request: tonic::Request<LeaseLeasesRequest>,
    ) -> Result<tonic::Response<LeaseLeasesResponse>, Status> {
        Ok(tonic::Response::new(self.0.lease_leases(request.into_inner()).await?))
    }
}

/// The service as gRPC sees it: its streams outlive the call that begins them.
#[derive(Debug)]
pub(super) struct LeaseService<B>(pub(super) Arc<Api<B>>);
