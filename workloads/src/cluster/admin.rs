//! What an operator asks of a cluster: maintenance, and changes of its membership.

use super::{Cluster, NodeIndex};
use server::proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest,
    MemberRemoveRequest, MoveLeaderRequest, RangeRequest, SnapshotRequest, SnapshotResponse,
    cluster_client::ClusterClient, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use std::time::Duration;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// How long one request may take: defragmentation and snapshots take long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a change of members may take. etcd says nothing of one that was lost with its leader.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(4);

impl Cluster {
    /// A connection for one request.
    fn channel(&self, index: NodeIndex) -> Result<Channel, Status> {
        self.channel_for(index, REQUEST_TIMEOUT)
    }

    fn channel_for(&self, index: NodeIndex, timeout: Duration) -> Result<Channel, Status> {
        let endpoint = Endpoint::from_shared(self.node(index).client_url.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(endpoint.connect_timeout(Duration::from_secs(2)).timeout(timeout).connect_lazy())
    }

    /// Has a member rewrite its data.
    ///
    /// # Errors
    /// The member's own; so for all requests here.
    pub async fn defragment(&self, index: NodeIndex) -> Result<(), Status> {
        let mut maintenance = MaintenanceClient::new(self.channel(index)?);
        maintenance.defragment(DefragmentRequest {}).await.map(drop)
    }

    /// Asks a member for a snapshot of its data.
    ///
    /// # Errors
    /// The member's own.
    pub async fn snapshot(&self, index: NodeIndex) -> Result<Streaming<SnapshotResponse>, Status> {
        let mut maintenance = MaintenanceClient::new(self.channel(index)?);
        Ok(maintenance.snapshot(SnapshotRequest {}).await?.into_inner())
    }

    /// Has all members forget history below a revision.
    ///
    /// # Errors
    /// The member's own.
    pub async fn compact(&self, index: NodeIndex, revision: i64) -> Result<(), Status> {
        let mut kv = KvClient::new(self.channel(index)?);
        kv.compact(CompactionRequest { revision, physical: true }).await.map(drop)
    }

    /// Reads at a past revision, which fails where that is compacted.
    ///
    /// # Errors
    /// The member's own.
    pub async fn read_at(&self, index: NodeIndex, revision: i64) -> Result<(), Status> {
        let mut kv = KvClient::new(self.channel(index)?);
        let request = RangeRequest { key: "assay/absent".into(), revision, ..RangeRequest::default() };
        kv.range(request).await.map(drop)
    }

    /// Has the leader, node `index`, hand over to another member.
    ///
    /// # Errors
    /// The member's own.
    pub async fn move_leader(&self, index: NodeIndex, target_id: u64) -> Result<(), Status> {
        let mut maintenance = MaintenanceClient::new(self.channel(index)?);
        maintenance.move_leader(MoveLeaderRequest { target_id }).await.map(drop)
    }

    /// The members, as node `index` knows them.
    ///
    /// # Errors
    /// The member's own.
    pub async fn members(&self, index: NodeIndex) -> Result<Vec<Member>, Status> {
        let mut cluster = ClusterClient::new(self.channel_for(index, CHANGE_TIMEOUT)?);
        let request = MemberListRequest { linearizable: true };
        Ok(cluster.member_list(request).await?.into_inner().members)
    }

    /// Removes a member, by way of node `index`.
    ///
    /// # Errors
    /// The member's own.
    pub async fn remove_member(&self, index: NodeIndex, id: u64) -> Result<(), Status> {
        let mut cluster = ClusterClient::new(self.channel_for(index, CHANGE_TIMEOUT)?);
        cluster.member_remove(MemberRemoveRequest { id }).await.map(drop)
    }

    /// Adds a node as a member, by way of node `index`: its new identity.
    ///
    /// # Errors
    /// The member's own.
    pub async fn add_member(&self, index: NodeIndex, node: NodeIndex, learner: bool) -> Result<u64, Status> {
        let mut cluster = ClusterClient::new(self.channel_for(index, CHANGE_TIMEOUT)?);
        let request =
            MemberAddRequest { peer_ur_ls: vec![self.node(node).peer_url.clone()], is_learner: learner };
        let answer = cluster.member_add(request).await?.into_inner();
        let id = answer.member.map(|member| member.id);
        id.ok_or_else(|| Status::internal("the answer names no member"))
    }

    /// Makes a learner a voter, by way of node `index`.
    ///
    /// # Errors
    /// The member's own, above all that the learner has not caught up yet.
    pub async fn promote_member(&self, index: NodeIndex, id: u64) -> Result<(), Status> {
        let mut cluster = ClusterClient::new(self.channel_for(index, CHANGE_TIMEOUT)?);
        cluster.member_promote(MemberPromoteRequest { id }).await.map(drop)
    }
}
