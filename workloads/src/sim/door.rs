//! Where the API of a simulated member meets its replica: what is asked lies here until the world takes it,
//! answers until the client looks.

use crate::driver::{Answer, DriverError, Port};
use raft::{LogIndex, Membership, NodeId, Role, Term};
use server::{
    api::{Api, Limits},
    auth::Principal,
    backend::{Backend, LeaseTime, NodeStatus},
    cluster::Roster,
    error::ApiError,
    proto::{
        etcdserverpb::{
            CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
            PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
        },
        internal::command::Request,
    },
    state_machine::{Response, StateMachine},
    watch::Hub,
};
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Instant,
};
use tokio::sync::watch;
use tonic::Status;

/// What a client asks of a replica, under a number that is never used twice.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Replicate this, in somebody's name.
    Propose(u64, Request, Principal),
    /// Say when a linearizable read may be served.
    Read(u64),
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// It was applied.
    Applied(Response),
    /// It may be served.
    Serve,
}

/// A member's door. Clones are the same one.
#[derive(Clone)]
pub(super) struct Door(Arc<Inner>);

struct Inner {
    id: NodeId,
    state: RwLock<StateMachine>,
    /// Whether the member takes requests: it is up, and holds all that it knew to be committed.
    serving: AtomicBool,
    desk: Mutex<Desk>,
    /// Nobody watches in a simulation, so nothing is ever told here.
    hub: Arc<Hub>,
    leader: watch::Sender<Option<NodeId>>,
}

#[derive(Default)]
struct Desk {
    next: u64,
    asked: Vec<Ask>,
    replies: BTreeMap<u64, Result<Reply, ApiError>>,
}

impl Door {
    pub(super) fn new(id: NodeId) -> Door {
        Door(Arc::new(Inner {
            id,
            state: RwLock::default(),
            serving: AtomicBool::new(false),
            desk: Mutex::default(),
            hub: Arc::new(Hub::new(1)),
            leader: watch::Sender::new(None),
        }))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn serve(&self, serving: bool) {
        self.0.serving.store(serving, Relaxed);
    }

    pub(super) fn id(&self) -> NodeId {
        self.0.id
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, StateMachine> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, StateMachine> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since the last call.
    pub(super) fn take_asked(&self) -> Vec<Ask> {
        std::mem::take(&mut self.desk().asked)
    }

    pub(super) fn reply(&self, number: u64, reply: Result<Reply, ApiError>) {
        self.desk().replies.entry(number).or_insert(reply);
    }

    fn ask(&self, make: impl FnOnce(u64) -> Ask) -> impl Future<Output = Result<Reply, ApiError>> + Send {
        let number = {
            let mut desk = self.desk();
            desk.next += 1;
            let number = desk.next;
            desk.asked.push(make(number));
            number
        };
        let door = self.clone();
        poll_fn(move |_| match door.desk().replies.remove(&number) {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        })
    }
}

impl Backend for Door {
    async fn propose_as(&self, request: Request, principal: Principal) -> Result<Response, ApiError> {
        match self.ask(|number| Ask::Propose(number, request, principal)).await? {
            Reply::Applied(response) => Ok(response),
            Reply::Serve => panic!("a proposal was answered as a read"),
        }
    }

    fn auth_enabled(&self) -> bool {
        Door::state(self).auth().enabled
    }

    fn size_bytes(&self) -> u64 {
        Door::state(self).kv().size_bytes()
    }

    fn spool_dir(&self) -> PathBuf {
        std::env::temp_dir()
    }

    async fn read_index(&self) -> Result<(), ApiError> {
        self.ask(Ask::Read).await.map(drop)
    }

    fn state(&self) -> impl Deref<Target = StateMachine> {
        Door::state(self)
    }

    fn status(&self) -> NodeStatus {
        // Clients of a simulation ask for nothing in it but whether the member votes.
        NodeStatus {
            id: self.0.id,
            cluster_id: super::member::CLUSTER,
            role: Role::Follower,
            term: Term::ZERO,
            leader: None,
            committed: LogIndex::ZERO,
            applied: Door::state(self).applied(),
            is_learner: false,
        }
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::new(Door::state(self).roster().clone())
    }

    fn connected_since(&self, _: NodeId) -> Option<Instant> {
        None
    }

    async fn membership_becomes(
        &self,
        _: impl Fn(&Membership) -> bool + Send + Sync,
    ) -> Result<(), ApiError> {
        Err(ApiError::Unimplemented("the simulation changes no membership"))
    }

    async fn has_caught_up(&self, _: NodeId) -> Result<bool, ApiError> {
        Err(ApiError::Unimplemented("the simulation changes no membership"))
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.0.leader.subscribe()
    }

    async fn lease_times(&self, _: Vec<i64>, _: bool) -> Result<Vec<Option<LeaseTime>>, ApiError> {
        Err(ApiError::Unimplemented("the simulation's clients hold no leases"))
    }

    async fn move_leader(&self, _: NodeId) -> Result<(), ApiError> {
        Err(ApiError::Unimplemented("the simulation's clients move no leader"))
    }
}

/// The API of a member, as the driver's client sees it.
pub(super) struct SimPort(pub(super) Arc<Api<Door>>);

impl SimPort {
    pub(super) fn new(door: Door) -> SimPort {
        SimPort(Arc::new(Api::new(door, Limits::default())))
    }

    fn call<T: Send + 'static, F: Future<Output = Result<T, ApiError>> + Send + 'static>(
        &self,
        call: impl FnOnce(Arc<Api<Door>>) -> F,
    ) -> Answer<T> {
        if !self.0.backend().0.serving.load(Relaxed) {
            return Box::pin(async { Err(DriverError::Refused { text: "simulated: not serving".into() }) });
        }
        let answer = call(Arc::clone(&self.0));
        Box::pin(async move { answer.await.map_err(|error| DriverError::from_status(&Status::from(error))) })
    }
}

impl Port for SimPort {
    fn range(&self, request: RangeRequest) -> Answer<RangeResponse> {
        self.call(|api| async move { api.range(request).await })
    }

    fn put(&self, request: PutRequest) -> Answer<PutResponse> {
        self.call(|api| async move { api.put(request).await })
    }

    fn delete_range(&self, request: DeleteRangeRequest) -> Answer<DeleteRangeResponse> {
        self.call(|api| async move { api.delete_range(request).await })
    }

    fn txn(&self, request: TxnRequest) -> Answer<TxnResponse> {
        self.call(|api| async move { api.txn(request).await })
    }

    fn compact(&self, request: CompactionRequest) -> Answer<CompactionResponse> {
        // Memory is freed by the world's ticks, not while a client waits.
        self.call(|api| async move { api.compact(CompactionRequest { physical: false, ..request }).await })
    }
}
