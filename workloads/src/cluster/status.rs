//! What a member says of itself, and whether it serves.

use server::proto::etcdserverpb::{
    RangeRequest, StatusRequest, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use std::time::Duration;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// How long a member may take over one answer about itself.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1000);

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its identity in the cluster.
    pub member_id: u64,
    /// Whom it takes for the leader; `None` where it knows of none.
    pub leader: Option<u64>,
    /// Its current term.
    pub raft_term: u64,
    /// Its last committed index.
    pub raft_index: u64,
    /// Its last applied index.
    pub raft_applied_index: u64,
    /// Its newest revision.
    pub revision: i64,
    /// Its version.
    pub version: String,
    /// What it complains of, in its own words.
    pub errors: Vec<String>,
}

/// A connection to one member that is made when first needed, and again when lost.
#[derive(Clone, Debug)]
pub(super) struct MemberClient {
    channel: Channel,
}

impl MemberClient {
    /// A client of the member at `url`. Call it inside a tokio runtime.
    pub(super) fn new(url: &str) -> Result<MemberClient, String> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|e| format!("{url}: {e}"))?
            .connect_timeout(ANSWER_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        Ok(MemberClient { channel: endpoint.connect_lazy() })
    }

    /// Asks for the member's status.
    pub(super) async fn status(&self) -> Result<MemberStatus, Status> {
        let call =
            async { MaintenanceClient::new(self.channel.clone()).status(StatusRequest::default()).await };
        let answer = within(call).await?.into_inner();
        let header = answer.header.unwrap_or_default();
        Ok(MemberStatus {
            member_id: header.member_id,
            leader: Some(answer.leader).filter(|&leader| leader != 0),
            raft_term: answer.raft_term,
            raft_index: answer.raft_index,
            raft_applied_index: answer.raft_applied_index,
            revision: header.revision,
            version: answer.version,
            errors: answer.errors,
        })
    }

    /// Does a linearizable read of a key that nobody writes.
    pub(super) async fn linearizable_read(&self) -> Result<(), Status> {
        let request = RangeRequest { key: "assay/ready".into(), count_only: true, ..Default::default() };
        let call = async { KvClient::new(self.channel.clone()).range(request).await };
        within(call).await.map(drop)
    }
}

/// The channel's own time limit begins when the request is sent: this one bounds the connecting too.
async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, "no answer in time")),
    }
}
