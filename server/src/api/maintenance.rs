//! The Maintenance service: how this member is, and a few things to do to it.

use super::{Api, CLUSTER_VERSION, ETCD_VERSION, status};
use crate::{
    auth::Needs,
    backend::Backend,
    error::ApiError,
    mvcc::Store,
    proto::{
        etcdserverpb::{
            AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
            DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
            MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest,
            StatusResponse, alarm_request::AlarmAction, downgrade_request::DowngradeAction,
            maintenance_server::Maintenance,
        },
        internal::command::Request,
    },
    snapshot_file,
    state_machine::Response,
};
use raft::types::{NodeId, Role};
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::Status;

/// Bytes of a snapshot that are copied under one short lock.
const SPOOL_CHUNK_BYTES: usize = 256 << 10;

impl<B: Backend> Api<B> {
    /// Reports this member's view; never waits for another member.
    ///
    /// # Errors
    /// What the caller may not.
    pub async fn status(&self, _request: StatusRequest) -> Result<StatusResponse, ApiError> {
        self.authorize(Needs::Root)?;
        let node = self.backend.status();
        let (revision, size, in_use, alarms) = {
            let state = self.backend.state();
            let kv = state.kv();
            let alarms = state.alarms().list(AlarmType::None);
            (kv.revision(), kv.size_bytes(), kv.size_in_use_bytes(), alarms)
        };
        let no_leader = node.leader.is_none().then(|| status::text(ApiError::NoLeader).to_string());
        let errors = no_leader.into_iter().chain(alarms.iter().map(alarm_text)).collect();
        Ok(StatusResponse {
            header: self.header(revision),
            version: ETCD_VERSION.into(),
            db_size: (Store::EMPTY_BYTES + size).cast_signed(),
            leader: node.leader.map_or(0, |leader| leader.0),
            raft_index: node.committed.0,
            raft_term: node.term.0,
            raft_applied_index: node.applied.0,
            errors,
            db_size_in_use: (Store::EMPTY_BYTES + in_use).cast_signed(),
            is_learner: node.is_learner,
            ..StatusResponse::default()
        })
    }

    /// Lists, raises or disarms alarms.
    ///
    /// # Errors
    /// What the caller may not, or why the outcome is not known.
    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, ApiError> {
        if request.action == i32::from(AlarmAction::Get) {
            self.backend.read_index().await?;
            self.authorize(Needs::User)?;
            let kind = AlarmType::try_from(request.alarm).unwrap_or(AlarmType::None);
            let alarms = self.backend.state().alarms().list(kind);
            return Ok(AlarmResponse { header: self.current_header(), alarms });
        }
        match self.propose(Request::Alarm(request)).await? {
            Response::Alarm(mut response) => {
                self.complete(&mut response.header);
                Ok(response)
            }
            other => panic!("an alarm was answered with {other:?}"),
        }
    }

    /// Does nothing: the store is in memory, and compaction gives its space back by itself. There is no header,
    /// as in etcd.
    ///
    /// # Errors
    /// What the caller may not.
    pub async fn defragment(&self, _request: DefragmentRequest) -> Result<DefragmentResponse, ApiError> {
        self.authorize(Needs::Root)?;
        Ok(DefragmentResponse { header: None })
    }

    /// Hashes the whole store of this member, in time proportional to it.
    ///
    /// # Errors
    /// [`ApiError::Stopped`] if the server goes down meanwhile.
    pub async fn hash(&self, _request: HashRequest) -> Result<HashResponse, ApiError> {
        self.authorize(Needs::Root)?;
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
        self.authorize(Needs::Root)?;
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
        self.authorize(Needs::Root)?;
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

    /// Says whether a downgrade to a release would be possible, begins it, or cancels it. Only the minor release
    /// before this one is; nothing but this note changes.
    ///
    /// # Errors
    /// [`ApiError::DowngradeFormat`], [`ApiError::DowngradeTarget`], [`ApiError::DowngradeInProgress`],
    /// [`ApiError::NoDowngrade`]; what the caller may not; or why the outcome is not known.
    pub async fn downgrade(&self, request: DowngradeRequest) -> Result<DowngradeResponse, ApiError> {
        self.backend.read_index().await?;
        self.authorize(Needs::Root)?;
        let is_cancel = request.action == i32::from(DowngradeAction::Cancel);
        let version = if is_cancel { String::new() } else { downgrade_target(&request.version)? };
        if self.backend.state().downgrade().is_some() && !is_cancel {
            return Err(ApiError::DowngradeInProgress);
        }
        if request.action != i32::from(DowngradeAction::Validate) {
            self.propose(Request::Downgrade(DowngradeRequest { version, ..request })).await?;
        }
        Ok(DowngradeResponse { header: self.current_header(), version: CLUSTER_VERSION.into() })
    }

    /// Streams an image of the store of now.
    ///
    /// # Errors
    /// What the caller may not; [`ApiError::Stopped`] if it cannot be written, or another state takes the place
    /// of this one meanwhile.
    pub(crate) async fn snapshot_chunks(
        &self,
    ) -> Result<impl Iterator<Item = SnapshotResponse> + Send + use<B>, ApiError> {
        self.authorize(Needs::Root)?;
        let backend = self.backend.clone();
        let written = tokio::task::spawn_blocking(move || {
            snapshot_file::spool(&backend.spool_dir(), |image| {
                let state = backend.state();
                match image {
                    Some(image) if !state.owns(image) => Err(std::io::Error::other("the state was replaced")),
                    Some(image) => {
                        Ok(snapshot_file::Step::Chunk(state.image_chunk(image, SPOOL_CHUNK_BYTES)))
                    }
                    None => Ok(snapshot_file::Step::Begun(Box::new(state.begin_image()))),
                }
            })
        });
        let spooled = match written.await {
            Ok(Ok(spooled)) => spooled,
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot write a snapshot");
                return Err(ApiError::Stopped);
            }
            Err(_) => return Err(ApiError::Stopped),
        };
        let header = self.current_header();
        Ok(spooled.map(move |(remaining_bytes, blob)| SnapshotResponse {
            header,
            remaining_bytes,
            blob,
            version: ETCD_VERSION.into(),
        }))
    }
}

/// An alarm as etcd's status words it.
fn alarm_text(alarm: &AlarmMember) -> String {
    let of = if alarm.member_id == 0 { String::new() } else { format!("memberID:{} ", alarm.member_id) };
    format!("{of}alarm:{} ", alarm.alarm().as_str_name())
}

/// The release before this one, if the text names it.
fn downgrade_target(text: &str) -> Result<String, ApiError> {
    let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    let Some([major, minor] | [major, minor, _]) = parts.as_deref() else {
        return Err(ApiError::DowngradeFormat);
    };
    let mut ours = CLUSTER_VERSION.split('.').filter_map(|part| part.parse::<u64>().ok());
    match (ours.next(), ours.next()) {
        (Some(our_major), Some(our_minor)) if *major == our_major && minor + 1 == our_minor => {
            Ok(format!("{major}.{minor}.0"))
        }
        _another => Err(ApiError::DowngradeTarget),
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

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        _request: tonic::Request<SnapshotRequest>,
    ) -> Result<tonic::Response<Self::SnapshotStream>, Status> {
        let chunks = self.snapshot_chunks().await?;
        Ok(tonic::Response::new(Box::pin(tokio_stream::iter(chunks.map(Ok)))))
    }

    async fn move_leader(
        &self,
        request: tonic::Request<MoveLeaderRequest>,
    ) -> Result<tonic::Response<MoveLeaderResponse>, Status> {
        Ok(tonic::Response::new(self.move_leader(request.into_inner()).await?))
    }

    async fn downgrade(
        &self,
        request: tonic::Request<DowngradeRequest>,
    ) -> Result<tonic::Response<DowngradeResponse>, Status> {
        Ok(tonic::Response::new(self.downgrade(request.into_inner()).await?))
    }
}
