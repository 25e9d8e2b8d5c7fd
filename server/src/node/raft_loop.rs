//! The thread that runs the replica.

use super::{
    apply_loop::Work,
    images,
    members::Members,
    queue::Queue,
    shared::{Event, Shared},
};
use crate::{
    clock::{Due, Ticker},
    disk::{Files, Images, SaveError, Wal},
    net::Network,
    replica::{Input, Outgoing, PeerMessage, Replica, Turn},
};
use raft::{
    StepError,
    message::{Body, Message},
    types::{LogIndex, NodeId, Role},
};
use std::{collections::BTreeSet, sync::Arc, thread, time::Instant};

pub(super) struct RaftLoop<F: Files> {
    pub(super) shared: Arc<Shared>,
    pub(super) replica: Replica,
    pub(super) wal: Wal<F>,
    pub(super) images: Images<F>,
    pub(super) network: Network,
    pub(super) apply: Arc<Queue<Work>>,
    pub(super) ticker: Ticker,
    /// So much time counts as gone when this member starts.
    pub(super) head_start_ticks: u32,
    pub(super) members: Members,
}

impl<F: Files> RaftLoop<F> {
    /// Runs until stopped.
    ///
    /// # Errors
    /// The disk's: the node must stop.
    pub(super) fn run(mut self) -> Result<(), SaveError> {
        let mut events = Vec::new();
        self.hurry();
        loop {
            // With a round of reads under way its end is sure to come, or a tick that gives it up: reads that come
            // meanwhile wait for that in any case.
            let expected = self.replica.has_reads_under_way();
            self.shared.events.take(&mut events, Some(self.ticker.next()), expected);
            for event in events.drain(..) {
                match event {
                    Event::Input(input) => self.step(input),
                    Event::Send(outgoing) => self.hand_on(vec![outgoing]),
                    Event::Roster(roster) => self.members.roster_changed(roster, &mut self.network),
                    Event::ImageWritten { index, oldest } => self.image_written(index, oldest),
                    Event::Stop { graceful: true } => return self.wal.flush(),
                    Event::Stop { graceful: false } => return Ok(()),
                }
            }
            self.ticks();
            self.step(Input::Applied(self.shared.status.applied()));
            // At least once: reads may wait though raft has nothing to say.
            self.turn()?;
            while self.replica.has_turn() {
                self.turn()?;
            }
        }
    }

    /// After a start there is little to wait for: who alone may lead leads at once, and who hears of no leader within
    /// two heartbeats need not wait for most of an election timeout more. As etcd. A vote that is asked for too early
    /// costs nothing: those who hear a leader refuse it.
    fn hurry(&mut self) {
        let membership = self.replica.raft().membership();
        let is_alone = membership.outgoing.is_empty()
            && membership.voters.len() == 1
            && membership.voters.contains(&self.shared.options.id);
        if is_alone {
            self.step(Input::Campaign);
        } else {
            (0..self.head_start_ticks).for_each(|_| self.step(Input::Tick));
        }
    }

    fn ticks(&mut self) {
        let Due { ticks, missed } = self.ticker.due(Instant::now());
        if !missed.is_zero() {
            let missed_ms = missed.as_millis() as u64;
            tracing::warn!(missed_ms, "was paused, or starved; raft does not count that time");
        }
        for _ in 0..ticks {
            self.step(Input::Tick);
        }
        if ticks > 0 {
            self.follow_roster();
        }
    }

    /// Brings raft's membership closer to the roster, if this member leads; leaves, if it shall.
    fn follow_roster(&mut self) {
        self.members.forget(Instant::now(), &mut self.network);
        if let Some(change) = self.members.next_change(&self.shared, self.replica.raft()) {
            let (node, term) = (self.shared.options.id, self.replica.raft().term().0);
            tracing::info!(%node, term, ?change, "changing the membership");
            self.step(Input::Change(change));
        }
        if self.members.is_over(&self.shared, self.replica.raft()) {
            self.shared.leave();
        }
    }

    fn step(&mut self, input: Input) {
        let Err(error) = self.replica.step(input) else { return };
        let (node, term) = (self.shared.options.id, self.replica.raft().term().0);
        match error {
            // A broken promise of some node: never normal.
            StepError::TwoLeaders { .. }
            | StepError::LogLost { .. }
            | StepError::Malformed { .. }
            | StepError::UnknownMark
            | StepError::SnapshotAhead { .. } => {
                tracing::error!(%node, term, %error, "raft refused an input")
            }
            StepError::NotLeader { .. }
            | StepError::Transferring { .. }
            | StepError::TooManyUncommitted
            | StepError::ReadTooEarly
            | StepError::ChangeTooEarly
            | StepError::ChangeInProgress
            | StepError::BadChange(_)
            | StepError::NotVoter(_) => tracing::debug!(%node, term, %error, "raft refused an input"),
        }
    }

    fn turn(&mut self) -> Result<(), SaveError> {
        let Turn { mut ready, outgoing, refused, reads, lost } = self.replica.turn();
        self.publish();
        self.send(std::mem::take(&mut ready.messages));
        self.hand_on(outgoing);
        self.network.flush();
        self.shared.waiters.refuse(refused);
        let mut committed = std::mem::take(&mut ready.committed);
        let install = ready.write().install.clone();
        if install.is_none() && !committed.is_empty() {
            // A majority holds them, so they may be applied though the own disk is not ready yet.
            self.apply.push(Work::Entries(std::mem::take(&mut committed)));
        }
        for decided in reads {
            if decided.index <= self.shared.status.applied() {
                self.shared.waiters.serve_reads(decided.numbers);
            } else {
                self.apply.push(Work::Reads(decided));
            }
        }
        let saved = ready.save(&mut self.wal)?;
        if let Some(meta) = install {
            self.apply.push(Work::Install(meta));
            self.apply.push(Work::Entries(committed));
        }
        if !lost.is_empty() {
            self.apply.push(Work::Lost(lost));
        }
        self.send(saved.messages);
        self.network.flush();
        self.step(Input::Persisted(saved.mark));
        Ok(())
    }

    /// Lets everybody see the raft state, and says what changed.
    fn publish(&self) {
        let (shared, raft) = (&self.shared, self.replica.raft());
        shared.status.set(raft);
        shared.metrics.proposals_committed.set(raft.commit().0);
        let leader = raft.leader();
        let changed = shared.leader.send_if_modified(|known| std::mem::replace(known, leader) != leader);
        if changed {
            let is_leader = raft.role() == Role::Leader;
            shared.metrics.has_leader.set(leader.is_some().into());
            shared.metrics.is_leader.set(is_leader.into());
            let (node, term) = (shared.options.id, raft.term().0);
            match leader {
                Some(leader) => {
                    shared.metrics.leader_changes_seen.inc();
                    tracing::info!(%node, term, leader = %leader, is_leader, "there is a leader");
                }
                None => tracing::info!(%node, term, role = %raft.role(), "there is no leader"),
            }
        }
        shared.membership.send_if_modified(|known| {
            let changed = known != raft.membership();
            if changed {
                known.clone_from(raft.membership());
            }
            changed
        });
    }

    fn send(&mut self, messages: Vec<Message>) {
        let mut lost: BTreeSet<NodeId> = BTreeSet::new();
        for message in messages {
            let to = message.to;
            if matches!(message.body, Body::InstallSnapshot { .. }) {
                self.send_image(message);
            } else if !self.network.queue(to, &PeerMessage::Raft(message)) {
                self.shared.metrics.peer_send_failures.inc();
                lost.insert(to);
            }
        }
        for peer in lost {
            self.step(Input::Unreachable(peer));
        }
    }

    fn send_image(&mut self, mut message: Message) {
        let to = message.to;
        match images::newest(&self.images) {
            Ok(source) => {
                let newest = source.meta().clone();
                tracing::info!(peer = %to, index = newest.index.0, "sending a snapshot image");
                if let Body::InstallSnapshot { meta } = &mut message.body
                    && newest.index > meta.index
                {
                    *meta = newest;
                }
                self.network.send_image(message, Box::new(source));
            }
            Err(error) => {
                tracing::error!(peer = %to, %error, "cannot read a snapshot image");
                self.step(Input::SnapshotReport { to, ok: false });
            }
        }
    }

    fn hand_on(&mut self, outgoing: Vec<Outgoing>) {
        for outgoing in outgoing {
            if !self.network.queue(outgoing.to, &outgoing.message) {
                self.step(Input::Undelivered(outgoing));
            }
        }
    }

    fn image_written(&mut self, index: LogIndex, oldest: LogIndex) {
        let keep = self.shared.options.catch_up_entries;
        self.step(Input::SnapshotTaken { index, keep });
        let obsolete = self.wal.release(oldest);
        // Unlinking a large file can take a while.
        let removal = thread::Builder::new().name("remove".into()).spawn(move || match obsolete.remove() {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(segments, "removed log segments"),
            Err(error) => tracing::warn!(%error, "cannot remove log segments; tried again at the next start"),
        });
        if let Err(error) = removal {
            tracing::warn!(%error, "cannot start a thread");
        }
    }
}
