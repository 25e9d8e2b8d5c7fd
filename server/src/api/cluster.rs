//! The Cluster service: who the members are. Changing them is not done yet.

use super::Api;
use crate::{
    backend::{Backend, MemberInfo},
    error::ApiError,
    proto::etcdserverpb::{
        Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, cluster_server::Cluster,
    },
};
use tonic::Status;

/// The answer to changes of membership.
pub(crate) const FIXED: ApiError =
    ApiError::Unimplemented("assay-server: members cannot be changed while it runs");

impl<B: Backend> Api<B> {
    /// Lists the members, by id. The header has no revision, as in etcd.
    ///
    /// # Errors
    /// Why no quorum confirmed the list, if the request says `linearizable`.
    pub async fn member_list(&self, request: MemberListRequest) -> Result<MemberListResponse, ApiError> {
        if request.linearizable {
            self.backend.read_index().await?;
        }
        let members = self.backend.members().into_iter().map(Member::from).collect();
        Ok(MemberListResponse { header: self.header(0), members })
    }
}

impl From<MemberInfo> for Member {
    fn from(member: MemberInfo) -> Member {
        Member {
            id: member.id.0,
            name: member.name,
            peer_ur_ls: member.peer_urls,
            client_ur_ls: member.client_urls,
            is_learner: member.is_learner,
        }
    }
}

#[tonic::async_trait]
impl<B: Backend> Cluster for Api<B> {
    async fn member_add(
        &self,
        _request: tonic::Request<MemberAddRequest>,
    ) -> Result<tonic::Response<MemberAddResponse>, Status> {
        Err(FIXED.into())
    }

    async fn member_remove(
        &self,
        _request: tonic::Request<MemberRemoveRequest>,
    ) -> Result<tonic::Response<MemberRemoveResponse>, Status> {
        Err(FIXED.into())
    }

    async fn member_update(
        &self,
        _request: tonic::Request<MemberUpdateRequest>,
    ) -> Result<tonic::Response<MemberUpdateResponse>, Status> {
        Err(FIXED.into())
    }

    async fn member_list(
        &self,
        request: tonic::Request<MemberListRequest>,
    ) -> Result<tonic::Response<MemberListResponse>, Status> {
        Ok(tonic::Response::new(self.member_list(request.into_inner()).await?))
    }

    async fn member_promote(
        &self,
        _request: tonic::Request<MemberPromoteRequest>,
    ) -> Result<tonic::Response<MemberPromoteResponse>, Status> {
        Err(FIXED.into())
    }
}
