//! What the API layers need of a server: implemented by a running node, and by a single in-memory store
//! for tests.

pub use crate::lease::LeaseTime;

use crate::{
    auth::Principal,
    cluster::Roster,
    error::ApiError,
    proto::internal::command::Request,
    state_machine::{Response, StateMachine},
    watch::Hub,
};
use raft::types::{LogIndex, Membership, NodeId, Role, Term};
use std::{future::Future, ops::Deref, path::PathBuf, sync::Arc, time::Instant};
use tokio::sync::watch;

/// What a member knows of itself and of the cluster's raft state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// This member.
    pub id: NodeId,
    /// Identity of the cluster.
    pub cluster_id: u64,
    /// Its part in the current term.
    pub role: Role,
    /// The current term.
    pub term: Term,
    /// The leader, where known.
    pub leader: Option<NodeId>,
    /// Known to be committed.
    pub committed: LogIndex,
    /// Applied to the local state.
    pub applied: LogIndex,
    /// Whether this member has no vote.
    pub is_learner: bool,
}

/// A server as its API sees it. Cloning gives another handle to the same server.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Replicates a request in somebody's name and waits until it is applied here.
    ///
    /// # Errors
    /// What the request itself came to, or why its outcome is not known.
    fn propose_as(
        &self,
        request: Request,
        principal: Principal,
    ) -> impl Future<Output = Result<Response, ApiError>> + Send;

    /// As [`propose_as`](Self::propose_as), in the server's own name: everything is permitted.
    ///
    /// # Errors
    /// As [`propose_as`](Self::propose_as).
    fn propose(&self, request: Request) -> impl Future<Output = Result<Response, ApiError>> + Send {
        self.propose_as(request, Principal::Server)
    }

    /// Whether callers are asked who they are, as far as is known here.
    fn auth_enabled(&self) -> bool;

    /// Bytes that the store takes, as of a moment ago.
    fn size_bytes(&self) -> u64;

    /// Where large files may lie for a while.
    fn spool_dir(&self) -> PathBuf;

    /// Returns once the local state holds everything that was committed, by any member, when this was
    /// called: what a linearizable read must wait for. Raft thesis, section 6.4.
    fn read_index(&self) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The local state, locked for reading: keep it for no longer than one evaluation.
    fn state(&self) -> impl Deref<Target = StateMachine>;

    /// Raft's view.
    fn status(&self) -> NodeStatus;

    /// Who shall take part, as far as it is known here.
    fn roster(&self) -> Arc<Roster>;

    /// Since when there is a connection to this peer.
    fn connected_since(&self, id: NodeId) -> Option<Instant>;

    /// Waits until raft's membership is settled and as wanted.
    fn membership_becomes(
        &self,
        wanted: impl Fn(&Membership) -> bool + Send + Sync,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Whether a learner holds nearly the whole log, so that it may vote.
    fn has_caught_up(&self, learner: NodeId) -> impl Future<Output = Result<bool, ApiError>> + Send;

    /// Where those who watch are told of what is applied here.
    fn hub(&self) -> &Arc<Hub>;

    /// The leader, as it changes; `None` while there is none.
    fn leader(&self) -> watch::Receiver<Option<NodeId>>;

    /// What is left of leases, which only the leader knows; `None` for a lease that there is not. With
    /// `renew`, each gets its whole TTL again, from when this was called or later. The leader is asked wherever
    /// this is called, and answers after a majority has confirmed that it leads.
    ///
    /// # Errors
    /// Why nobody answered; some leases may have been renewed then.
    fn lease_times(
        &self,
        ids: Vec<i64>,
        renew: bool,
    ) -> impl Future<Output = Result<Vec<Option<LeaseTime>>, ApiError>> + Send;

    /// Makes another member the leader, and waits until it is.
    fn move_leader(&self, to: NodeId) -> impl Future<Output = Result<(), ApiError>> + Send;
}
