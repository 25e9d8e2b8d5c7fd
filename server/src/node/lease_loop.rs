//! The thread that keeps the time of leases, and whom to ask about it.
//!
//! On the leader it looks every tenth of a second which leases have run out, and proposes their end, in
//! batches, one at a time. Whoever wants to know what is left of a lease, or to renew it, asks the leader: here
//! if this member leads, else by a message to the member that does.

use super::{
    handle::Node,
    peers::{QUEUED_BYTES_MAX, QUEUED_BYTES_MIN},
    shared::Event,
};
use crate::{
    backend::{Backend as _, LeaseTime},
    error::ApiError,
    lease::{Change, Lessor},
    proto::internal::{LeaseAnswer, LeaseQuery, command::Request},
    replica::{
        Outgoing, PeerMessage, Tag,
        office::{self, Office},
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use raft::types::{NodeId, Term};
use rustc_hash::FxHashMap;
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// How often it is looked what has run out.
const SCAN: Duration = Duration::from_millis(100);
/// Questions of peers that may wait. Who is not answered asks again.
const QUESTIONS_MAX: usize = 1024;
/// Pause before a question is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(20);

/// A peer's question about leases.
#[derive(Debug)]
pub(super) struct LeaseQuestion {
    pub(super) from: NodeId,
    pub(super) tag: Tag,
    pub(super) query: Bytes,
}

/// Where threads leave what concerns leases.
#[derive(Debug)]
pub(super) struct LeaseDesk {
    lessor: Mutex<Lessor>,
    questions: mpsc::Sender<LeaseQuestion>,
    waiting: Mutex<FxHashMap<u64, oneshot::Sender<LeaseAnswer>>>,
    stopped: watch::Sender<bool>,
}

impl LeaseDesk {
    pub(super) fn new() -> (LeaseDesk, mpsc::Receiver<LeaseQuestion>) {
        let (questions, receiver) = mpsc::channel(QUESTIONS_MAX);
        let desk = LeaseDesk {
            lessor: Mutex::default(),
            questions,
            waiting: Mutex::default(),
            stopped: watch::Sender::new(false),
        };
        (desk, receiver)
    }

    /// Leases came and went.
    pub(super) fn note(&self, changes: &[Change]) {
        if !changes.is_empty() {
            self.lessor.lock().note(changes, Instant::now());
        }
    }

    /// A peer asks.
    pub(super) fn asked(&self, question: LeaseQuestion) {
        if self.questions.try_send(question).is_err() {
            tracing::debug!("dropped a question about leases: too many wait");
        }
    }

    /// A peer answers.
    pub(super) fn answered(&self, number: u64, answer: &[u8]) {
        match LeaseAnswer::decode(answer) {
            Ok(answer) => {
                if let Some(waiting) = self.waiting.lock().remove(&number) {
                    // Who gave up waiting is not there to hear it.
                    let _ = waiting.send(answer);
                }
            }
            Err(error) => tracing::warn!(%error, "a peer's answer about leases cannot be read"),
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }
}

/// A runtime for [`run`].
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

/// Answers peers and ends what has run out, until the node stops.
pub(super) async fn run(node: Node, mut questions: mpsc::Receiver<LeaseQuestion>) {
    let mut stopped = node.0.leases.stopped.subscribe();
    let mut scan = interval(SCAN);
    scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tasks = JoinSet::new();
    let mut ending: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            Some(question) = questions.recv() => {
                let node = node.clone();
                tasks.spawn(async move { answer(&node, question).await });
            }
            Some(_) = tasks.join_next() => {}
            _ = scan.tick() => {
                if ending.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                    ending = end_expired(&node);
                }
            }
        }
    }
}

/// Begins to end the leases that have run out, if this member leads.
fn end_expired(node: &Node) -> Option<tokio::task::JoinHandle<()>> {
    let node = node.clone();
    // Looked at here, so that no task is made where nothing ran out.
    office::expired(&node).map(|expired| tokio::spawn(async move { expired.end(&node).await }))
}

/// Answers a peer.
async fn answer(node: &Node, LeaseQuestion { from, tag, query }: LeaseQuestion) {
    let Ok(query) = LeaseQuery::decode(query) else {
        tracing::warn!(peer = %from, "a question about leases cannot be read");
        return;
    };
    let answer = office::answer(node, query).await;
    let message = PeerMessage::LeaseAnswer { tag, answer: answer.encode_to_vec().into() };
    node.0.events.push(Event::Send(Outgoing { to: from, message }));
}

/// See [`Backend::lease_times`](crate::backend::Backend::lease_times).
pub(super) async fn lease_times(
    node: &Node,
    ids: Vec<i64>,
    renew: bool,
) -> Result<Vec<Option<LeaseTime>>, ApiError> {
    let asked = timeout(node.0.options.request_timeout, office::times(node, &ids, renew));
    asked.await.unwrap_or(Err(ApiError::Timeout))
}

impl Office for Node {
    fn leading(&self) -> Option<Term> {
        self.0.status.leading()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn in_office<T>(&self, term: Term, act: impl FnOnce(&mut Lessor) -> T) -> T {
        let shared = &self.0;
        let mut lessor = shared.leases.lessor.lock();
        if lessor.term() != Some(term.0) {
            // With the lessor locked: what is applied from here on is noted after this.
            let state = shared.state.read();
            lessor.promote(term.0, state.leases(), Instant::now());
            tracing::info!(node = %shared.options.id, term = term.0, leases = state.leases().len(), "keeps the time of leases");
        }
        act(&mut lessor)
    }

    fn lessor<T>(&self, act: impl FnOnce(&mut Lessor) -> T) -> T {
        act(&mut self.0.leases.lessor.lock())
    }

    async fn confirm(&self) -> Result<(), ApiError> {
        self.read_index().await
    }

    async fn replicate(&self, request: Request) -> Result<(), ApiError> {
        self.propose(request).await.map(drop)
    }

    async fn pause(&self) -> Result<(), ApiError> {
        if *self.0.leases.stopped.borrow() {
            return Err(ApiError::Stopped);
        }
        sleep(ASK_PAUSE).await;
        Ok(())
    }

    async fn leader_elsewhere(&self) -> Result<Option<NodeId>, ApiError> {
        let mut leader = self.0.leader.subscribe();
        let wait = 2 * self.0.options.election;
        let known = match timeout(wait, leader.wait_for(Option::is_some)).await {
            Ok(Ok(known)) => *known,
            Ok(Err(_)) => return Err(ApiError::Stopped),
            Err(_) => return Err(ApiError::NoLeader),
        };
        Ok(known.filter(|leader| *leader != self.0.options.id))
    }

    async fn ask(&self, leader: NodeId, query: LeaseQuery) -> Option<LeaseAnswer> {
        let shared = &self.0;
        let number = self.number();
        let (sender, receiver) = oneshot::channel();
        shared.leases.waiting.lock().insert(number, sender);
        let _asked = Asked { desk: &shared.leases, number };
        let query = Bytes::from(query.encode_to_vec());
        let weight = query.len() + QUEUED_BYTES_MIN;
        let message = PeerMessage::LeaseQuery { tag: Tag { epoch: shared.epoch, number }, query };
        let send = Event::Send(Outgoing { to: leader, message });
        shared.events.offer(send, weight, QUEUED_BYTES_MAX).ok()?;
        timeout(shared.options.election, receiver).await.ok()?.ok()
    }
}

/// Takes a question back when nobody waits for its answer any more.
struct Asked<'a> {
    desk: &'a LeaseDesk,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.desk.waiting.lock().remove(&self.number);
    }
}
