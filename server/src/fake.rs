//! A single node in memory that applies requests as they come: for tests, and as a reference.
//!
//! It leaves out everything that makes a cluster: no log, no disk, no other member. What it would answer in
//! trouble can be set, and its leases run out only when it is told that time has passed.

use crate::{
    auth::Principal,
    backend::{Backend, LeaseTime, NodeStatus},
    cluster::{Member, Roster},
    error::ApiError,
    lease::{Lessor, Renewal},
    proto::internal::{LeaseExpire, command::Request},
    replica::command,
    state_machine::{Outcome, Response, StateMachine},
    watch::Hub,
};
use parking_lot::{Mutex, RwLock};
use raft::types::{LogIndex, Membership, NodeId, Role, Term};
use std::{
    collections::VecDeque,
    ops::Deref,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The one member.
pub const MEMBER: NodeId = NodeId(0x8e9e_05c5_2164_694d);
/// Identity of its cluster.
pub const CLUSTER_ID: u64 = 0xcdf8_1818_1818_1818;
/// Its term.
const TERM: u64 = 2;
/// Between two looks at the leases, when time passes.
const SCAN: Duration = Duration::from_millis(500);

/// A store without a cluster. Cloning gives another handle to the same store.
#[derive(Clone, Debug)]
pub struct Fake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: RwLock<StateMachine>,
    trouble: Mutex<Trouble>,
    hub: Arc<Hub>,
    leader: watch::Sender<Option<NodeId>>,
    clock: Mutex<Clock>,
}

/// What goes wrong.
#[derive(Debug, Default)]
struct Trouble {
    leaderless: bool,
    proposals: VecDeque<ApiError>,
}

/// The time of leases, which stands still unless it is moved.
#[derive(Debug)]
struct Clock {
    now: Instant,
    lessor: Lessor,
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
        let state = StateMachine::of_new_cluster(roster);
        let mut clock = Clock { now: Instant::now(), lessor: Lessor::default() };
        clock.lessor.promote(TERM, state.leases(), clock.now);
        Fake(Arc::new(Inner {
            hub: Arc::new(Hub::new(state.kv().revision())),
            state: RwLock::new(state),
            trouble: Mutex::default(),
            leader: watch::Sender::new(Some(MEMBER)),
            clock: Mutex::new(clock),
        }))
    }

    /// Takes the leader away, or gives it back. Without one nothing is proposed and no linearizable read is
    /// confirmed.
    pub fn set_leaderless(&self, leaderless: bool) {
        self.0.trouble.lock().leaderless = leaderless;
        self.0.leader.send_replace((!leaderless).then_some(MEMBER));
    }

    /// Answers the next proposal with an error, without applying it. Several calls queue up.
    pub fn fail_next_proposal(&self, error: ApiError) {
        self.0.trouble.lock().proposals.push_back(error);
    }

    /// Lets time pass for the leases, and ends those that run out.
    pub fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(SCAN);
            left -= step;
            let mut clock = self.0.clock.lock();
            clock.now += step;
            let now = clock.now;
            let ids = clock.lessor.take_expired(now, usize::MAX);
            drop(clock);
            if !ids.is_empty() {
                // Whatever it is answered: they are gone.
                let _ = self.apply(Request::LeaseExpire(LeaseExpire { term: TERM, ids }), Principal::Server);
            }
        }
    }

    fn apply(&self, request: Request, principal: Principal) -> Outcome {
        let command = command(request, principal);
        let mut state = self.0.state.write();
        state.record_events(self.0.hub.is_watched());
        let index = state.applied().next();
        let outcome = state.apply(index, &command);
        let news = state.take_news();
        let mut clock = self.0.clock.lock();
        let now = clock.now;
        clock.lessor.note(&news.leases, now);
        drop(clock);
        // With the state locked, so that the hub learns of revisions in their order.
        self.0.hub.publish(state.kv().revision(), news.events);
        self.0.hub.pass_on();
        state.scrub(usize::MAX);
        outcome
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
        self.apply(request, principal)
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
            term: Term(TERM),
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

    fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.0.leader.subscribe()
    }

    async fn lease_times(&self, ids: Vec<i64>, renew: bool) -> Result<Vec<Option<LeaseTime>>, ApiError> {
        self.read_index().await?;
        let mut clock = self.0.clock.lock();
        let now = clock.now;
        let times = ids.into_iter().map(|id| {
            if renew && clock.lessor.renew(TERM, id, now) == Renewal::Unknown {
                return None;
            }
            let (granted_ttl_s, remaining) = clock.lessor.remaining(id, now)?;
            Some(LeaseTime { granted_ttl_s, remaining })
        });
        Ok(times.collect())
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), ApiError> {
        if to == MEMBER { Ok(()) } else { Err(ApiError::BadLeaderTransferee) }
    }
}
