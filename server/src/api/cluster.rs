//! The Cluster service: who the members are, and changing that.
//!
//! A change is answered once raft's membership has followed the roster, so that whoever is told "removed" has
//! no vote any more.

use super::{Api, validate};
use crate::{
    auth::Needs,
    backend::Backend,
    cluster::{Member as RosterMember, joining_member_id},
    error::ApiError,
    proto::{
        etcdserverpb::{
            Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
            MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
            MemberUpdateRequest, MemberUpdateResponse, cluster_server::Cluster,
        },
        internal::{MemberAdd, MemberPromote, MemberRemove, MemberUpdate, command::Request},
    },
};
use raft::types::NodeId;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tonic::Status;

/// A peer counts as healthy once it has been connected for so long. As etcd.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

impl<B: Backend> Api<B> {
    /// Lists the members, by id. The header has no revision, as in etcd.
    ///
    /// # Errors
    /// Why no quorum confirmed the list, if the request says `linearizable`.
    pub async fn member_list(&self, request: MemberListRequest) -> Result<MemberListResponse, ApiError> {
        if request.linearizable {
            self.backend.read_index().await?;
        }
        self.authorize(Needs::User)?;
        Ok(MemberListResponse { header: self.header(0), members: self.members() })
    }

    /// Adds a member, which may then be started.
    ///
    /// # Errors
    /// [`ApiError::BadMemberUrls`]; what the roster says against it; with strict checks
    /// [`ApiError::NotEnoughStarted`] and [`ApiError::Unhealthy`]; or why the outcome is not known.
    pub async fn member_add(&self, request: MemberAddRequest) -> Result<MemberAddResponse, ApiError> {
        let MemberAddRequest { peer_ur_ls, is_learner } = request;
        // What is wrong with the URLs counts more than who asks, as in etcd.
        let peer_urls = validate::member_urls(peer_ur_ls)?;
        self.authorize(Needs::Root)?;
        if self.limits.strict_reconfig_check {
            let roster = self.backend.roster();
            if !is_learner && !roster.may_add_voter() {
                return Err(ApiError::NotEnoughStarted);
            }
            if self.healthy_voters() < roster.voters().count() {
                return Err(ApiError::Unhealthy);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = joining_member_id(&peer_urls, now.as_secs());
        let add = MemberAdd { member_id: id.0, peer_urls: peer_urls.clone(), is_learner };
        self.propose(Request::MemberAdd(add)).await?;
        self.backend.membership_becomes(|membership| membership.contains(id)).await?;
        let member = RosterMember { peer_urls, is_learner, ..RosterMember::default() };
        let member = Some(to_member(id, &member));
        Ok(MemberAddResponse { header: self.header(0), member, members: self.members() })
    }

    /// Removes a member, for good.
    ///
    /// # Errors
    /// As [`member_add`](Self::member_add).
    pub async fn member_remove(
        &self,
        request: MemberRemoveRequest,
    ) -> Result<MemberRemoveResponse, ApiError> {
        self.authorize(Needs::Root)?;
        let id = NodeId(request.id);
        if self.limits.strict_reconfig_check {
            self.check_removal(id)?;
        }
        self.propose(Request::MemberRemove(MemberRemove { member_id: id.0 })).await?;
        self.backend.membership_becomes(|membership| !membership.contains(id)).await?;
        Ok(MemberRemoveResponse { header: self.header(0), members: self.members() })
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// [`ApiError::BadMemberUrls`], [`ApiError::MemberNotFound`], [`ApiError::PeerUrlExists`], or why the
    /// outcome is not known.
    pub async fn member_update(
        &self,
        request: MemberUpdateRequest,
    ) -> Result<MemberUpdateResponse, ApiError> {
        self.authorize(Needs::Root)?;
        let known = self.backend.roster().members.contains_key(&NodeId(request.id));
        // As with etcd, that there is no such member counts more.
        let peer_urls = validate::member_urls(request.peer_ur_ls)
            .map_err(|error| if known { error } else { ApiError::MemberNotFound })?;
        let update = MemberUpdate { member_id: request.id, peer_urls };
        self.propose(Request::MemberUpdate(update)).await?;
        Ok(MemberUpdateResponse { header: self.header(0), members: self.members() })
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`ApiError::MemberNotFound`], [`ApiError::MemberNotLearner`], [`ApiError::LearnerNotReady`];
    /// otherwise as [`member_add`](Self::member_add).
    pub async fn member_promote(
        &self,
        request: MemberPromoteRequest,
    ) -> Result<MemberPromoteResponse, ApiError> {
        let id = NodeId(request.id);
        self.backend.read_index().await?;
        self.authorize(Needs::Root)?;
        let roster = self.backend.roster();
        let is_learner = roster.members.get(&id).is_some_and(|member| member.is_learner);
        // Without a learner there is nothing to look at: the roster's own refusal is the answer.
        if is_learner {
            if !self.backend.has_caught_up(id).await? {
                return Err(ApiError::LearnerNotReady);
            }
            if self.limits.strict_reconfig_check && !roster.may_add_voter() {
                return Err(ApiError::NotEnoughStarted);
            }
        }
        self.propose(Request::MemberPromote(MemberPromote { member_id: id.0 })).await?;
        self.backend.membership_becomes(|membership| membership.voters.contains(&id)).await?;
        Ok(MemberPromoteResponse { header: self.header(0), members: self.members() })
    }

    fn members(&self) -> Vec<Member> {
        self.backend.roster().members.iter().map(|(id, member)| to_member(*id, member)).collect()
    }

    /// Voters that have been connected long enough, and this member if it is one.
    fn healthy_voters(&self) -> usize {
        let own = self.backend.status().id;
        let healthy = |id| {
            let since: Option<Instant> = self.backend.connected_since(id);
            id == own || since.is_some_and(|since| since.elapsed() >= HEALTHY_AFTER)
        };
        self.backend.roster().voters().filter(|(id, _)| healthy(*id)).count()
    }

    /// Whether the cluster would work without a member. Source: etcd's `mayRemoveMember`.
    fn check_removal(&self, id: NodeId) -> Result<(), ApiError> {
        let roster = self.backend.roster();
        match roster.members.get(&id) {
            None => return Err(ApiError::MemberNotFound),
            Some(member) if member.is_learner => return Ok(()),
            Some(_) if !roster.may_remove_voter(id) => return Err(ApiError::NotEnoughStarted),
            Some(_) => {}
        }
        // Who is down takes no part in the majority that works.
        if id != self.backend.status().id && self.backend.connected_since(id).is_none() {
            return Ok(());
        }
        let others_needed = 1 + (roster.voters().count() - 1) / 2;
        if self.healthy_voters() <= others_needed { Err(ApiError::Unhealthy) } else { Ok(()) }
    }
}

fn to_member(id: NodeId, member: &RosterMember) -> Member {
    Member {
        id: id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

#[tonic::async_trait]
impl<B: Backend> Cluster for Api<B> {
    async fn member_add(
        &self,
        request: tonic::Request<MemberAddRequest>,
    ) -> Result<tonic::Response<MemberAddResponse>, Status> {
        Ok(tonic::Response::new(self.member_add(request.into_inner()).await?))
    }

    async fn member_remove(
        &self,
        request: tonic::Request<MemberRemoveRequest>,
    ) -> Result<tonic::Response<MemberRemoveResponse>, Status> {
        Ok(tonic::Response::new(self.member_remove(request.into_inner()).await?))
    }

    async fn member_update(
        &self,
        request: tonic::Request<MemberUpdateRequest>,
    ) -> Result<tonic::Response<MemberUpdateResponse>, Status> {
        Ok(tonic::Response::new(self.member_update(request.into_inner()).await?))
    }

    async fn member_list(
        &self,
        request: tonic::Request<MemberListRequest>,
    ) -> Result<tonic::Response<MemberListResponse>, Status> {
        Ok(tonic::Response::new(self.member_list(request.into_inner()).await?))
    }

    async fn member_promote(
        &self,
        request: tonic::Request<MemberPromoteRequest>,
    ) -> Result<tonic::Response<MemberPromoteResponse>, Status> {
        Ok(tonic::Response::new(self.member_promote(request.into_inner()).await?))
    }
}
