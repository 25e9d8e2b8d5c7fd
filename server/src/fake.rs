//! A single node in memory that applies requests as they come: for tests, and as a reference.
//!
//! It leaves out everything that makes a cluster: no log, no disk, no other member. What it would answer in
//! trouble can be set.

use crate::{
    auth::Principal,
    backend::{Backend, NodeStatus},
    cluster::{Member, Roster},
    error::ApiError,
    proto::internal::command::Request,
    replica::command,
    state_machine::{Response, StateMachine},
};
use parking_lot::{Mutex, RwLock};
use raft::types::{LogIndex, Membership, NodeId, Role, Term};
use std::{collections::VecDeque, ops::Deref, path::PathBuf, sync::Arc, time::Instant};

/// The one member.
pub const MEMBER: NodeId = NodeId(0x8e9e_05c5_2164_694d);
/// Identity of its cluster.
pub const CLUSTER_ID: u64 = 0xcdf8_1818_1818_1818;

/// A store without a cluster. Cloning gives another handle to the same store.
#[derive(Clone, Debug)]
pub struct Fake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: RwLock<StateMachine>,
    trouble: Mutex<Trouble>,
}

/// What goes wrong.
#[derive(Debug, Default)]
struct Trouble {
    leaderless: bool,
    proposals: VecDeque<ApiError>,
}

impl Fake {
    /// An empty store, at revision 1.
    pub fn new() -> Fake {
        let own = Member {
            name: "default".into(),
            peer_urls: vec!["http://127.0.0.1:2380".into()],
            client_urls: vec!["http://127.0.0.1:2379".into()],
            is_learner: false,
        };
        let roster = Roster { members: [(MEMBER, own)].into(), ..Roster::default() };
        let state = RwLock::new(StateMachine::of_new_cluster(roster));
        Fake(Arc::new(Inner { state, trouble: Mutex::default() }))
    }

    /// Takes the leader away, or gives it back. Without one nothing is proposed and no linearizable read is
    /// confirmed.
    pub fn set_leaderless(&self, leaderless: bool) {
        self.0.trouble.lock().leaderless = leaderless;
    }

    /// Answers the next proposal with an error, without applying it. Several calls queue up.
    pub fn fail_next_proposal(&self, error: ApiError) {
        self.0.trouble.lock().proposals.push_back(error);
    }
}

impl Default for Fake {
    fn default() -> Fake {
        Fake::new()
    }
}

impl Backend for Fake {
    async fn propose_as(&self, request: Request, principal: Principal) -> Result<Response, ApiError> {
        self.read_index().await?;
        if let Some(error) = self.0.trouble.lock().proposals.pop_front() {
            return Err(error);
        }
        let command = command(request, principal);
        let mut state = self.0.state.write();
        let index = state.applied().next();
        let outcome = state.apply(index, &command);
        state.scrub(usize::MAX);
        outcome
    }

    fn auth_enabled(&self) -> bool {
        self.0.state.read().auth().enabled
    }

    fn size_bytes(&self) -> u64 {
        self.0.state.read().kv().size_bytes()
    }

    fn spool_dir(&self) -> PathBuf {
        std::env::temp_dir()
    }

    async fn read_index(&self) -> Result<(), ApiError> {
        if self.0.trouble.lock().leaderless { Err(ApiError::NoLeader) } else { Ok(()) }
    }

    fn state(&self) -> impl Deref<Target = StateMachine> {
        self.0.state.read()
    }

    fn status(&self) -> NodeStatus {
        let applied: LogIndex = self.0.state.read().applied();
        let leaderless = self.0.trouble.lock().leaderless;
        NodeStatus {
            id: MEMBER,
            cluster_id: CLUSTER_ID,
            role: if leaderless { Role::Follower } else { Role::Leader },
            term: Term(2),
            leader: (!leaderless).then_some(MEMBER),
            committed: applied,
            applied,
            is_learner: false,
        }
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::new(self.0.state.read().roster().clone())
    }

    /// Nobody else ever starts.
    fn connected_since(&self, _: NodeId) -> Option<Instant> {
        None
    }

    async fn membership_becomes(
        &self,
        _: impl Fn(&Membership) -> bool + Send + Sync,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    async fn has_caught_up(&self, _: NodeId) -> Result<bool, ApiError> {
        Ok(false)
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), ApiError> {
        if to == MEMBER { Ok(()) } else { Err(ApiError::BadLeaderTransferee) }
    }
}
