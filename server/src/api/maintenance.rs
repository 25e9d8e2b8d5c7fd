//! The Maintenance service: how this member is, and a few things to do to it.

use super::{Api, ETCD_VERSION, status};
use crate::{
    backend::Backend,
    error::ApiError,
    proto::etcdserverpb::{
        AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
        MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
        alarm_request::AlarmAction, maintenance_server::Maintenance,
    },
};
use raft::types::{NodeId, Role};
use tonic::Status;

/// The answer to who wants a snapshot.
pub(crate) const NO_SNAPSHOT: ApiError =
    ApiError::Unimplemented("assay-server: snapshots in etcd's file format are not implemented");
/// The answer to who wants a downgrade.
pub(crate) const NO_DOWNGRADE: ApiError =
    ApiError::Unimplemented("assay-server: downgrades are not implemented");

impl<B: Backend> Api<B> {
    /// Reports this member's view; never waits for another member.
    ///
    /// # Errors
    /// None.
    pub async fn status(&self, _request: StatusRequest) -> Result<StatusResponse, ApiError> {
        let node = self.backend.status();
        let (revision, size, in_use) = {
            let state = self.backend.state();
            let kv = state.kv();
            (kv.revision(), kv.size_bytes(), kv.size_in_use_bytes())
        };
        let errors =
            if node.leader.is_none() { vec![status::text(ApiError::NoLeader).into()] } else { vec![] };
        Ok(StatusResponse {
            header: self.header(revision),
            version: ETCD_VERSION.into(),
            db_size: size.cast_signed(),
            leader: node.leader.map_or(0, |leader| leader.0),
            raft_index: node.committed.0,
            raft_term: node.term.0,
            raft_applied_index: node.applied.0,
            errors,
            db_size_in_use: in_use.cast_signed(),
            is_learner: node.is_learner,
            ..StatusResponse::default()
        })
    }

    /// Lists alarms: there are none, because nothing raises one yet.
    ///
    /// # Errors
    /// [`ApiError::Unimplemented`] to set or clear one.
    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, ApiError> {
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => Ok(AlarmResponse { header: self.current_header(), alarms: vec![] }),
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) => {
                Err(ApiError::Unimplemented("assay-server: alarms cannot be activated or deactivated"))
            }
            Err(_) => Err(ApiError::Unimplemented("assay-server: unknown alarm action")),
        }
    }

    /// Does nothing: the store is in memory, and compaction gives its space back by itself. There is no header,
    /// as in etcd.
    ///
    /// # Errors
    /// None.
    pub async fn defragment(&self, _request: DefragmentRequest) -> Result<DefragmentResponse, ApiError> {
        Ok(DefragmentResponse { header: None })
    }

    /// Hashes the whole store of this member, in time proportional to it.
    ///
    /// # Errors
    /// [`ApiError::Stopped`] if the server goes down meanwhile.
    pub async fn hash(&self, _request: HashRequest) -> Result<HashResponse, ApiError> {
        let backend = self.backend.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let state = backend.state();
            (state.kv().revision(), state.kv().hash())
        });
        let (revision, hash) = hashed.await.map_err(|_| ApiError::Stopped)?;
        Ok(HashResponse { header: self.header(revision), hash })
    }

    /// Hashes this member's history up to a revision (0: the newest).
    ///
    /// # Errors
    /// [`ApiError::Compacted`], [`ApiError::FutureRevision`].
    pub async fn hash_kv(&self, request: HashKvRequest) -> Result<HashKvResponse, ApiError> {
        let hashed = self.backend.state().kv().hash_kv(request.revision)?;
        Ok(HashKvResponse {
            header: self.header(hashed.revision),
            hash: hashed.hash,
            compact_revision: hashed.compact_revision,
            hash_revision: 0,
        })
    }

    /// Makes another member the leader; to be asked of the leader. There is no header, as in etcd.
    ///
    /// # Errors
    /// [`ApiError::NotLeader`]; [`ApiError::BadLeaderTransferee`] for a stranger or a learner; or why the
    /// transfer did not come about in time.
    pub async fn move_leader(&self, request: MoveLeaderRequest) -> Result<MoveLeaderResponse, ApiError> {
        let node = self.backend.status();
        if node.role != Role::Leader {
            return Err(ApiError::NotLeader);
        }
        let to = NodeId(request.target_id);
        if !self.backend.roster().voters().any(|(id, _)| id == to) {
            return Err(ApiError::BadLeaderTransferee);
        }
        if to != node.id {
            self.backend.move_leader(to).await?;
        }
        Ok(MoveLeaderResponse { header: None })
    }
}

#[tonic::async_trait]
impl<B: Backend> Maintenance for Api<B> {
    async fn alarm(
        &self,
        request: tonic::Request<AlarmRequest>,
    ) -> Result<tonic::Response<AlarmResponse>, Status> {
        Ok(tonic::Response::new(self.alarm(request.into_inner()).await?))
    }

    async fn status(
        &self,
        request: tonic::Request<StatusRequest>,
    ) -> Result<tonic::Response<StatusResponse>, Status> {
        Ok(tonic::Response::new(self.status(request.into_inner()).await?))
    }

    async fn defragment(
        &self,
        request: tonic::Request<DefragmentRequest>,
    ) -> Result<tonic::Response<DefragmentResponse>, Status> {
        Ok(tonic::Response::new(self.defragment(request.into_inner()).await?))
    }

    async fn hash(
        &self,
        request: tonic::Request<HashRequest>,
    ) -> Result<tonic::Response<HashResponse>, Status> {
        Ok(tonic::Response::new(self.hash(request.into_inner()).await?))
    }

    async fn hash_kv(
        &self,
        request: tonic::Request<HashKvRequest>,
    ) -> Result<tonic::Response<HashKvResponse>, Status> {
        Ok(tonic::Response::new(self.hash_kv(request.into_inner()).await?))
    }

    type SnapshotStream = tokio_stream::Empty<Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _request: tonic::Request<SnapshotRequest>,
    ) -> Result<tonic::Response<Self::SnapshotStream>, Status> {
        Err(NO_SNAPSHOT.into())
    }

    async fn move_leader(
        &self,
        request: tonic::Request<MoveLeaderRequest>,
    ) -> Result<tonic::Response<MoveLeaderResponse>, Status> {
        Ok(tonic::Response::new(self.move_leader(request.into_inner()).await?))
    }

    async fn downgrade(
        &self,
        _request: tonic::Request<DowngradeRequest>,
    ) -> Result<tonic::Response<DowngradeResponse>, Status> {
        Err(NO_DOWNGRADE.into())
    }
}
