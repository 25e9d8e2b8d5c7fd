//! Where the API of a simulated member meets its replica: what is asked lies here until the world takes it,
//! answers until the client looks. Every life of a member has a door of its own.

use super::{member::TICK_US, plan::Micros, time::SimTime};
use prost::Message as _;
use raft::{LogIndex, Membership, NodeId, Role, Term};
use server::{
    auth::Principal,
    backend::{Backend, LeaseTime, NodeStatus},
    cluster::Roster,
    error::ApiError,
    lease::Lessor,
    proto::internal::{LeaseAnswer, LeaseQuery, command::Request},
    replica::{Outgoing, PeerMessage, Tag, office::Office},
    state_machine::{News, Response, StateMachine},
    watch::Hub,
};
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Instant,
};
use tokio::sync::watch;

/// How long a question about leases is asked of one leader.
const ASK_US: Micros = 1_000_000;
/// How long a leader is waited for.
const LEADERLESS_US: Micros = 2_000_000;

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
    epoch: u64,
    time: SimTime,
    state: RwLock<StateMachine>,
    /// Whether the member takes requests: it is up, and holds all that it knew to be committed.
    serving: AtomicBool,
    /// Whether this life is over.
    stopped: AtomicBool,
    desk: Mutex<Desk>,
    hub: Arc<Hub>,
    leader: watch::Sender<Option<NodeId>>,
    /// The term that this member leads, 0 for none.
    leading: AtomicU64,
    lessor: Mutex<Lessor>,
}

#[derive(Default)]
struct Desk {
    next: u64,
    asked: Vec<Ask>,
    replies: BTreeMap<u64, Result<Reply, ApiError>>,
    /// What is to be said to peers.
    said: Vec<Outgoing>,
    /// What leaders answered about leases.
    leases: BTreeMap<u64, LeaseAnswer>,
}

impl Door {
    /// A door of the life `epoch` of a member, which begins with this state.
    pub(super) fn new(id: NodeId, epoch: u64, time: SimTime, state: StateMachine) -> Door {
        Door(Arc::new(Inner {
            id,
            epoch,
            time,
            hub: Arc::new(Hub::new(state.kv().revision())),
            state: RwLock::new(state),
            serving: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            desk: Mutex::default(),
            leader: watch::Sender::new(None),
            leading: AtomicU64::new(0),
            lessor: Mutex::default(),
        }))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn serve(&self, serving: bool) {
        self.0.serving.store(serving, Relaxed);
    }

    pub(super) fn is_serving(&self) -> bool {
        self.0.serving.load(Relaxed)
    }

    /// This life is over: who waits here learns no more.
    pub(super) fn stop(&self) {
        self.0.serving.store(false, Relaxed);
        self.0.stopped.store(true, Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Relaxed)
    }

    /// Whom the member takes for the leader, and the term that it leads itself, if it does.
    pub(super) fn follows(&self, leader: Option<NodeId>, leading: Option<Term>) {
        self.0.leading.store(leading.map_or(0, |term| term.0), Relaxed);
        self.0.leader.send_if_modified(|known| std::mem::replace(known, leader) != leader);
    }

    /// Whether anybody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.0.hub.is_watched()
    }

    /// Passes on what was applied, to whoever keeps the time of leases and to whoever watches.
    pub(super) fn tell(&self, news: News, revision: i64) {
        self.lessor(|lessor| lessor.note(&news.leases, self.now()));
        self.0.hub.publish(revision, news.events);
        self.0.hub.pass_on();
    }

    /// What is to be said to peers since the last call.
    pub(super) fn take_said(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.desk().said)
    }

    pub(super) fn say(&self, to: NodeId, message: PeerMessage) {
        self.desk().said.push(Outgoing { to, message });
    }

    /// A leader answers a question about leases.
    pub(super) fn answered(&self, number: u64, answer: LeaseAnswer) {
        self.desk().leases.insert(number, answer);
    }

    /// An id that no lease has.
    pub(super) fn fresh_lease(&self) -> i64 {
        (self.0.epoch << 24 | self.number()).cast_signed()
    }

    fn number(&self) -> u64 {
        let mut desk = self.desk();
        desk.next += 1;
        desk.next
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
        let number = self.number();
        self.desk().asked.push(make(number));
        let door = self.clone();
        poll_fn(move |_| match door.desk().replies.remove(&number) {
            Some(reply) => Poll::Ready(reply),
            None if door.is_stopped() => Poll::Ready(Err(ApiError::Stopped)),
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

    async fn lease_times(&self, ids: Vec<i64>, renew: bool) -> Result<Vec<Option<LeaseTime>>, ApiError> {
        server::replica::office::times(self, &ids, renew).await
    }

    async fn move_leader(&self, _: NodeId) -> Result<(), ApiError> {
        Err(ApiError::Unimplemented("the simulation's clients move no leader"))
    }
}

impl Office for Door {
    fn leading(&self) -> Option<Term> {
        let term = self.0.leading.load(Relaxed);
        (term != 0).then_some(Term(term))
    }

    fn now(&self) -> Instant {
        self.0.time.instant()
    }

    fn in_office<T>(&self, term: Term, act: impl FnOnce(&mut Lessor) -> T) -> T {
        let mut lessor = self.0.lessor.lock().unwrap_or_else(PoisonError::into_inner);
        if lessor.term() != Some(term.0) {
            lessor.promote(term.0, Door::state(self).leases(), self.now());
        }
        act(&mut lessor)
    }

    fn lessor<T>(&self, act: impl FnOnce(&mut Lessor) -> T) -> T {
        act(&mut self.0.lessor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn confirm(&self) -> Result<(), ApiError> {
        self.read_index().await
    }

    async fn replicate(&self, request: Request) -> Result<(), ApiError> {
        self.propose(request).await.map(drop)
    }

    async fn pause(&self) -> Result<(), ApiError> {
        self.until(self.0.time.us() + TICK_US, || None).await.unwrap_or(Ok(()))
    }

    async fn leader_elsewhere(&self) -> Result<Option<NodeId>, ApiError> {
        let known = || *self.0.leader.borrow();
        let known = self.until(self.0.time.us() + LEADERLESS_US, || known().map(Ok)).await;
        let leader = known.unwrap_or(Err(ApiError::NoLeader))?;
        Ok(Some(leader).filter(|leader| *leader != self.0.id))
    }

    async fn ask(&self, leader: NodeId, query: LeaseQuery) -> Option<LeaseAnswer> {
        let number = self.number();
        let tag = Tag { epoch: self.0.epoch, number };
        self.say(leader, PeerMessage::LeaseQuery { tag, query: query.encode_to_vec().into() });
        let answer = || self.desk().leases.remove(&number).map(Ok);
        self.until(self.0.time.us() + ASK_US, answer).await?.ok()
    }
}

impl Door {
    /// Waits for something, `None` if it is not there at a time. An error if the member dies.
    async fn until<T>(
        &self,
        at: Micros,
        mut there: impl FnMut() -> Option<Result<T, ApiError>>,
    ) -> Option<Result<T, ApiError>> {
        self.0.time.wake(at);
        poll_fn(move |_| {
            if let Some(there) = there() {
                return Poll::Ready(Some(there));
            }
            if self.is_stopped() {
                return Poll::Ready(Some(Err(ApiError::Stopped)));
            }
            if self.0.time.us() >= at { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}
