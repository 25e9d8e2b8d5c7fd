//! A node as its API sees it.

use super::{
    lease_loop,
    members::addresses,
    peers::{QUEUED_BYTES_MAX, QUEUED_BYTES_MIN},
    questions::Question,
    running::net_settings,
    shared::{Event, Shared},
    waiters::{Waiter, Waiters},
};
use crate::{
    auth::Principal,
    backend::{Backend, LeaseTime, NodeStatus},
    cluster::Roster,
    error::ApiError,
    metrics::Metrics,
    net,
    proto::internal::{Command, command::Request},
    replica::{self, Input},
    state_machine::{Response, StateMachine},
    watch::Hub,
};
use bytes::Bytes;
use prost::Message as _;
use raft::types::{Membership, NodeId, Role};
use std::{
    io,
    ops::Deref,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};
use tokio::sync::{oneshot, watch};

/// Committed entries that may wait to be applied before proposals are refused. As etcd.
const UNAPPLIED_MAX: u64 = 5000;

/// A handle to a running member. The member runs as long as its [`Running`](super::Running).
#[derive(Clone)]
pub struct Node(pub(super) Arc<Shared>);

/// Takes a request back when nobody waits for it any more.
struct Waiting<'a> {
    waiters: &'a Waiters,
    number: u64,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.waiters.remove(self.number);
        }
    }
}

impl Node {
    /// The server's counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Hands leadership to a voter that can be reached, if this member leads: before a planned stop, so that
    /// nobody has to wait for an election. Gives up after an election timeout.
    pub async fn resign(&self) {
        let own = self.0.options.id;
        let to = {
            let (membership, reachable) = (self.0.membership.borrow(), self.0.reachable.lock());
            membership.voters.iter().copied().find(|id| *id != own && reachable.contains_key(id))
        };
        if let Some(to) = to.filter(|_| self.status().role == Role::Leader) {
            let moved = tokio::time::timeout(self.0.options.election, self.move_leader(to)).await;
            tracing::info!(node = %own, %to, moved = matches!(moved, Ok(Ok(()))), "handed leadership over");
        }
    }

    /// Asks a peer something, and waits for the answer.
    ///
    /// # Errors
    /// [`ApiError::Unhealthy`] if it does not answer.
    pub async fn ask(&self, peer: NodeId, question: Question) -> Result<Bytes, ApiError> {
        let shared = self.0.clone();
        let ask = move || {
            let options = &shared.options;
            let urls = shared.roster.read().members.get(&peer).map(|member| member.peer_urls.clone());
            let settings = net_settings(options, &shared.metrics);
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in addresses(&urls.unwrap_or_default()) {
                match net::ask(&address, &settings, Some(peer), question.encode()) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%peer, ?question, %error, "a peer does not answer a question");
                Err(ApiError::Unhealthy)
            }
            Err(_) => Err(ApiError::Stopped),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.0.next_number.fetch_add(1, Relaxed)
    }

    /// Queues a request for the raft thread and waits for its outcome.
    async fn wait<T>(
        &self,
        number: u64,
        waiter: Waiter,
        receiver: oneshot::Receiver<Result<T, ApiError>>,
        input: Input,
        weight: usize,
    ) -> Result<T, ApiError> {
        let shared = &self.0;
        if shared.stopping.load(Relaxed) {
            return Err(ApiError::Stopped);
        }
        shared.waiters.add(number, waiter);
        let mut waiting = Waiting { waiters: &shared.waiters, number, answered: false };
        let weight = weight + QUEUED_BYTES_MIN;
        if shared.offer(input, weight, QUEUED_BYTES_MAX).is_err() {
            return Err(ApiError::TooManyRequests);
        }
        match tokio::time::timeout(shared.options.request_timeout, receiver).await {
            Ok(Ok(outcome)) => {
                waiting.answered = true;
                outcome
            }
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }
}

impl Backend for Node {
    async fn propose_as(&self, request: Request, principal: Principal) -> Result<Response, ApiError> {
        let shared = &self.0;
        let number = self.number();
        let origin = shared.options.id.0;
        let command = Command { origin, epoch: shared.epoch, number, ..replica::command(request, principal) };
        let command = Bytes::from(command.encode_to_vec());
        if command.len() > shared.options.max_request_bytes {
            return Err(ApiError::RequestTooLarge);
        }
        let status = shared.status.get(&shared.options);
        if status.committed.0.saturating_sub(status.applied.0) > UNAPPLIED_MAX {
            return Err(ApiError::TooManyRequests);
        }
        let pending = Pending::new(&shared.metrics);
        let (sender, receiver) = oneshot::channel();
        let weight = command.len();
        let input = Input::Propose { number, command };
        let result = self.wait(number, Waiter::Proposal(sender), receiver, input, weight).await;
        pending.done(&result);
        result
    }

    async fn read_index(&self) -> Result<(), ApiError> {
        #[cfg(feature = "plant")]
        if self.0.options.plant == Some(crate::plant::Plant::LocalRead) {
            return Ok(());
        }
        let number = self.number();
        let (sender, receiver) = oneshot::channel();
        let result = self.wait(number, Waiter::Read(sender), receiver, Input::Read { number }, 0).await;
        if result.is_err() {
            self.0.metrics.read_indexes_failed.inc();
        }
        result
    }

    fn state(&self) -> impl Deref<Target = StateMachine> {
        self.0.state.read()
    }

    fn status(&self) -> NodeStatus {
        let status = self.0.status.get(&self.0.options);
        let is_learner = self.0.roster.read().members.get(&status.id).is_some_and(|own| own.is_learner);
        NodeStatus { is_learner, ..status }
    }

    fn auth_enabled(&self) -> bool {
        self.0.auth_enabled.load(Relaxed)
    }

    fn size_bytes(&self) -> u64 {
        self.0.size_bytes.load(Relaxed)
    }

    fn spool_dir(&self) -> PathBuf {
        self.0.options.spool_dir.clone()
    }

    fn roster(&self) -> Arc<Roster> {
        self.0.roster.read().clone()
    }

    fn connected_since(&self, id: NodeId) -> Option<Instant> {
        self.0.reachable.lock().get(&id).copied()
    }

    async fn membership_becomes(
        &self,
        wanted: impl Fn(&Membership) -> bool + Send + Sync,
    ) -> Result<(), ApiError> {
        let mut membership = self.0.membership.subscribe();
        let becomes = membership.wait_for(|membership| !membership.is_joint() && wanted(membership));
        match tokio::time::timeout(self.0.options.request_timeout, becomes).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }

    async fn has_caught_up(&self, learner: NodeId) -> Result<bool, ApiError> {
        let leader = self.status().leader.ok_or(ApiError::NoLeader)?;
        if leader == self.0.options.id {
            return Ok(self.0.caught_up.lock().contains(&learner));
        }
        let answer = self.ask(leader, Question::CaughtUp(learner)).await?;
        Ok(answer[..] == [1])
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.0.leader.subscribe()
    }

    async fn lease_times(&self, ids: Vec<i64>, renew: bool) -> Result<Vec<Option<LeaseTime>>, ApiError> {
        lease_loop::lease_times(self, ids, renew).await
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), ApiError> {
        let shared = &self.0;
        let status = self.status();
        if status.role != Role::Leader {
            return Err(ApiError::NotLeader);
        }
        if !shared.membership.borrow().voters.contains(&to) {
            return Err(ApiError::BadLeaderTransferee);
        }
        if to == status.id {
            return Ok(());
        }
        let mut leader = shared.leader.subscribe();
        shared.events.push(Event::Input(Input::Transfer(to)));
        let moved = leader.wait_for(|leader| *leader == Some(to));
        match tokio::time::timeout(shared.options.request_timeout, moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }
}

/// Counts a proposal while it waits.
struct Pending<'a>(&'a Metrics);

impl<'a> Pending<'a> {
    fn new(metrics: &'a Metrics) -> Pending<'a> {
        metrics.proposals_pending.inc();
        Pending(metrics)
    }

    fn done(&self, result: &Result<Response, ApiError>) {
        let failed = match result {
            Err(
                ApiError::Timeout
                | ApiError::LeaderChanged
                | ApiError::Stopped
                | ApiError::NoLeader
                | ApiError::TooManyRequests,
            ) => true,
            // Answers of the state machine.
            Ok(_) | Err(_) => false,
        };
        if failed {
            self.0.proposals_failed.inc();
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.proposals_pending.sub(1);
    }
}
