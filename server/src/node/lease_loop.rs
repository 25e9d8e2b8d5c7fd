//! The thread that keeps the time of leases, and whom to ask about it.
//!
//! On the leader it looks every tenth of a second which leases have run out, and proposes their end, in
//! batches, one at a time. Whoever wants to know what is left of a lease, or to renew it, asks the leader: here
//! if this member leads, else by a message to the member that does.

use super::{
    handle::Node,
    peers::{QUEUED_BYTES_MAX, QUEUED_BYTES_MIN},
    shared::{Event, Shared},
};
use crate::{
    backend::{Backend as _, LeaseTime},
    error::ApiError,
    lease::{Change, Lessor, Renewal},
    proto::internal::{LeaseAnswer, LeaseExpire, LeaseQuery, LeaseTime as WireTime, command::Request},
    replica::{Outgoing, PeerMessage, Tag},
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
/// Leases that one command ends.
const EXPIRE_MAX: usize = 512;
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

/// The lessor of the term that this member leads, which it is made if it is not yet.
fn in_office(shared: &Shared, term: Term) -> parking_lot::MutexGuard<'_, Lessor> {
    let mut lessor = shared.leases.lessor.lock();
    if lessor.term() != Some(term.0) {
        // With the lessor locked: what is applied from here on is noted after this.
        let state = shared.state.read();
        lessor.promote(term.0, state.leases(), Instant::now());
        tracing::info!(node = %shared.options.id, term = term.0, leases = state.leases().len(), "keeps the time of leases");
    }
    lessor
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
    let shared = &node.0;
    let Some(term) = shared.status.leading() else {
        shared.leases.lessor.lock().demote();
        return None;
    };
    let ids = in_office(shared, term).take_expired(Instant::now(), EXPIRE_MAX);
    if ids.is_empty() {
        return None;
    }
    let node = node.clone();
    Some(tokio::spawn(async move {
        let mut ids = ids;
        while !ids.is_empty() {
            let expire = LeaseExpire { term: term.0, ids: ids.clone() };
            match node.propose(Request::LeaseExpire(expire)).await {
                Ok(_) => tracing::debug!(leases = ids.len(), "leases ran out"),
                // Surely not proposed.
                Err(ApiError::NoLeader | ApiError::TooManyRequests) => {
                    node.0.leases.lessor.lock().give_back(&ids);
                    return;
                }
                // Nobody knows: as long as this member leads they may yet end, so nobody may renew them.
                Err(error) => {
                    tracing::debug!(?error, leases = ids.len(), "cannot tell whether leases were ended");
                    return;
                }
            }
            // More may have run out at once than one command ends.
            let full = ids.len() == EXPIRE_MAX && node.0.status.leading() == Some(term);
            ids = if full {
                in_office(&node.0, term).take_expired(Instant::now(), EXPIRE_MAX)
            } else {
                Vec::new()
            };
        }
    }))
}

/// Answers a peer.
async fn answer(node: &Node, LeaseQuestion { from, tag, query }: LeaseQuestion) {
    let Ok(LeaseQuery { renew, ids }) = LeaseQuery::decode(query) else {
        tracing::warn!(peer = %from, "a question about leases cannot be read");
        return;
    };
    let times = match node.0.status.leading() {
        Some(term) => times_here(node, term, &ids, renew).await.ok().flatten(),
        None => None,
    };
    let wire = |time: Option<LeaseTime>| {
        time.map_or_else(WireTime::default, |time| WireTime {
            granted_ttl_s: time.granted_ttl_s,
            remaining_ms: i64::try_from(time.remaining.as_millis()).unwrap_or(i64::MAX),
        })
    };
    let answer = LeaseAnswer {
        leads: times.is_some(),
        leases: times.unwrap_or_default().into_iter().map(wire).collect(),
    };
    let message = PeerMessage::LeaseAnswer { tag, answer: answer.encode_to_vec().into() };
    node.0.events.push(Event::Send(Outgoing { to: from, message }));
}

/// See [`Backend::lease_times`](crate::backend::Backend::lease_times).
pub(super) async fn lease_times(
    node: &Node,
    ids: Vec<i64>,
    renew: bool,
) -> Result<Vec<Option<LeaseTime>>, ApiError> {
    let asked = timeout(node.0.options.request_timeout, async {
        let mut leader = node.0.leader.subscribe();
        loop {
            let times = match node.0.status.leading() {
                Some(term) => times_here(node, term, &ids, renew).await?,
                None => {
                    let wait = 2 * node.0.options.election;
                    let known = match timeout(wait, leader.wait_for(Option::is_some)).await {
                        Ok(Ok(known)) => *known,
                        Ok(Err(_)) => return Err(ApiError::Stopped),
                        Err(_) => return Err(ApiError::NoLeader),
                    };
                    match known.filter(|leader| *leader != node.0.options.id) {
                        Some(leader) => times_of(node, leader, &ids, renew).await,
                        None => None,
                    }
                }
            };
            if let Some(times) = times {
                return Ok(times);
            }
            if *node.0.leases.stopped.borrow() {
                return Err(ApiError::Stopped);
            }
            sleep(ASK_PAUSE).await;
        }
    });
    asked.await.unwrap_or(Err(ApiError::Timeout))
}

/// Looks here, as the leader of `term`. `None` if this member turns out not to lead it.
async fn times_here(
    node: &Node,
    term: Term,
    ids: &[i64],
    renew: bool,
) -> Result<Option<Vec<Option<LeaseTime>>>, ApiError> {
    let shared = &node.0;
    // A majority confirms the leadership after the question came. Where this member had ceased to lead
    // meanwhile it would not lead the same term again.
    node.read_index().await?;
    let mut times = vec![None; ids.len()];
    let mut open: Vec<usize> = (0..ids.len()).collect();
    loop {
        if shared.status.leading() != Some(term) {
            return Ok(None);
        }
        {
            let mut lessor = in_office(shared, term);
            let now = Instant::now();
            let mut still_open = Vec::new();
            for at in open {
                let id = ids[at];
                if renew {
                    match lessor.renew(term.0, id, now) {
                        Renewal::NotLeader => return Ok(None),
                        Renewal::Unknown | Renewal::Renewed { .. } => {}
                        Renewal::Ending => still_open.push(at),
                    }
                }
                times[at] = lessor
                    .remaining(id, now)
                    .map(|(granted_ttl_s, remaining)| LeaseTime { granted_ttl_s, remaining });
            }
            open = still_open;
        }
        if open.is_empty() {
            return Ok(Some(times));
        }
        // They have run out, and their end is under way: most likely they will be gone in a moment.
        sleep(ASK_PAUSE).await;
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

/// Asks the leader. `None` if it does not answer in time, or does not lead.
async fn times_of(node: &Node, leader: NodeId, ids: &[i64], renew: bool) -> Option<Vec<Option<LeaseTime>>> {
    let shared = &node.0;
    let number = node.number();
    let (sender, receiver) = oneshot::channel();
    shared.leases.waiting.lock().insert(number, sender);
    let _asked = Asked { desk: &shared.leases, number };
    let query = Bytes::from(LeaseQuery { renew, ids: ids.to_vec() }.encode_to_vec());
    let weight = query.len() + QUEUED_BYTES_MIN;
    let message = PeerMessage::LeaseQuery { tag: Tag { epoch: shared.epoch, number }, query };
    let send = Event::Send(Outgoing { to: leader, message });
    shared.events.offer(send, weight, QUEUED_BYTES_MAX).ok()?;
    let answer = timeout(shared.options.election, receiver).await;
    let answer = answer.ok()?.ok().filter(|answer| answer.leads && answer.leases.len() == ids.len())?;
    let time = |time: WireTime| {
        (time.granted_ttl_s != 0).then(|| LeaseTime {
            granted_ttl_s: time.granted_ttl_s,
            remaining: Duration::from_millis(u64::try_from(time.remaining_ms).unwrap_or(0)),
        })
    };
    Some(answer.leases.into_iter().map(time).collect())
}
