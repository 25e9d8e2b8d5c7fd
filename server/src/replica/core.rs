//! Raft, and the requests that wait for it.

use super::{
    peer::{Outgoing, PeerMessage, Refusal, Tag},
    reads::{Decided, Reads, Resolved},
    traced::{Recorder, Traced},
};
use crate::error::ApiError;
#[cfg(feature = "plant")]
use crate::plant::Plant;
use bytes::Bytes;
use raft::{
    MembershipChange, Raft, StepError,
    message::Message,
    ready::{Mark, Ready},
    types::{LogIndex, NodeId, ReadId, Term},
};
use std::collections::VecDeque;

/// Rounds of read confirmation that may be under way. One: what comes meanwhile shares the next one. With
/// two, rounds were half as large, and a read cost more than twice the CPU time, most of it thread switches.
const ROUNDS_MAX: usize = 1;
/// Committed entries that may wait to be applied before requests are refused. As etcd.
const UNAPPLIED_MAX: u64 = 5000;

/// The parameters of a replica beside raft's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Drawn at random at each start: tells this life's requests from an earlier one's.
    pub epoch: u64,
    /// A request that finds no leader is refused after so many ticks.
    pub leader_wait_ticks: u64,
    /// A round of reads that the leader does not answer is given up after so many ticks.
    pub read_retry_ticks: u64,
    /// Requests that may wait for a leader.
    pub parked_max: usize,
    /// A proposal is remembered for so many ticks: for as long as somebody waits for it.
    pub remember_ticks: u64,
}

/// The cause of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A tick of time went by.
    Tick,
    /// Replicate an encoded `internal::Command`, whose origin, epoch and number are this replica's.
    Propose {
        /// The caller's number, never used twice.
        number: u64,
        /// The command.
        command: Bytes,
    },
    /// Say when a linearizable read may be served.
    Read {
        /// The caller's number, never used twice.
        number: u64,
    },
    /// A message came.
    Receive {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
    },
    /// A message of [`Turn::outgoing`] surely did not go out.
    Undelivered(Outgoing),
    /// Everything up to this turn is durable.
    Persisted(Mark),
    /// Everything up to this entry is applied.
    Applied(LogIndex),
    /// A state image is durable: see `raft::Input::SnapshotTaken`.
    SnapshotTaken {
        /// Last entry in the image.
        index: LogIndex,
        /// Entries to keep before it.
        keep: u64,
    },
    /// What came of streaming an image to a peer.
    SnapshotReport {
        /// The peer.
        to: NodeId,
        /// Whether it has stored the image.
        ok: bool,
    },
    /// Messages to this peer were lost.
    Unreachable(NodeId),
    /// Hand leadership to this member.
    Transfer(NodeId),
    /// Try to become leader now.
    Campaign,
    /// Change the membership, if this member leads.
    Change(MembershipChange),
}

/// The outputs of a turn.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    /// Raft's own: to be sent, saved, sent, and applied, in this order.
    pub ready: Ready,
    /// Requests and answers to peers: may be sent at once.
    pub outgoing: Vec<Outgoing>,
    /// Requests that surely had no effect, and why.
    pub refused: Vec<(u64, ApiError)>,
    /// Reads that may be served once an index is applied.
    pub reads: Vec<Decided>,
    /// Proposals that, unless they are among those that `ready.committed` and what was committed before it
    /// answer, surely never have an effect.
    pub lost: Vec<u64>,
}

/// A proposal that was appended here, or handed to the leader. Once an entry of a later term than `term` is
/// committed, it is in the log before that entry or will never be: terms only rise along a log, and whoever
/// leads another term refuses it.
#[derive(Debug)]
struct Handed {
    number: u64,
    term: Term,
    /// Tick at which it was handed out.
    at: u64,
}

#[derive(Debug)]
struct Parked {
    number: u64,
    command: Bytes,
    /// Tick of arrival.
    since: u64,
}

/// A member without its shell.
#[derive(Debug)]
pub struct Replica {
    raft: Traced,
    settings: Settings,
    now: u64,
    applied: LogIndex,
    leader: Option<NodeId>,
    /// Proposals that wait for a leader. None was ever handed out.
    parked: VecDeque<Parked>,
    /// Proposals among `outgoing` that had been parked, and since when.
    unparking: Vec<(u64, u64)>,
    /// The same of the last turn.
    unparked: Vec<(u64, u64)>,
    /// Proposals whose outcome is not known, in order of their terms; those that were answered, too, for a
    /// while.
    handed: VecDeque<Handed>,
    reads: Reads,
    /// The commit index at the last turn: raft may take reads now that it would not take then.
    committed: LogIndex,
    outgoing: Vec<Outgoing>,
    refused: Vec<(u64, ApiError)>,
    decided: Vec<Decided>,
    /// The last turn ended a round of reads while others waited for one.
    next_round: bool,
}

impl Replica {
    /// A replica around a raft node whose state machine holds everything up to `applied`.
    pub fn new(raft: Raft, settings: Settings, applied: LogIndex) -> Replica {
        Replica {
            leader: raft.leader(),
            committed: raft.commit(),
            raft: Traced::new(raft),
            settings,
            now: 0,
            applied,
            parked: VecDeque::new(),
            unparking: Vec::new(),
            unparked: Vec::new(),
            handed: VecDeque::new(),
            reads: Reads::default(),
            outgoing: Vec::new(),
            refused: Vec::new(),
            decided: Vec::new(),
            next_round: false,
        }
    }

    /// Has everything written down that raft takes and gives out from now on.
    pub fn record(&mut self, recorder: Box<dyn Recorder>) {
        self.raft.record(recorder);
    }

    /// Raft's state, to look at.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Takes one input. Refused requests show up in the next [`turn`](Self::turn); the error tells what
    /// raft made of an input that nobody waits for.
    ///
    /// # Errors
    /// Raft's own.
    ///
    /// # Panics
    /// If an invariant of raft is broken: the node must stop then.
    pub fn step(&mut self, input: Input) -> Result<(), StepError> {
        match input {
            Input::Tick => self.tick(),
            Input::Propose { number, command } => {
                self.propose(number, command, self.now);
                Ok(())
            }
            #[cfg(feature = "plant")]
            Input::Read { number } if crate::plant::is(Plant::LocalRead) => {
                self.decided.push(Decided { index: LogIndex::ZERO, numbers: vec![number] });
                Ok(())
            }
            Input::Read { number } => {
                self.reads.ask(number, self.now);
                Ok(())
            }
            Input::Receive { from, message } => self.receive(from, message),
            Input::Undelivered(outgoing) => {
                self.undelivered(outgoing);
                Ok(())
            }
            Input::Persisted(mark) => self.raft.step(raft::Input::Persisted(mark)),
            Input::Applied(index) => {
                self.applied = index;
                Ok(())
            }
            Input::SnapshotTaken { index, keep } => {
                self.raft.step(raft::Input::SnapshotTaken { index, keep })
            }
            Input::SnapshotReport { to, ok } => self.raft.step(raft::Input::SnapshotReport { to, ok }),
            Input::Unreachable(peer) => {
                if self.leader == Some(peer) {
                    self.reads.give_up(None, self.now);
                }
                self.raft.step(raft::Input::Unreachable(peer))
            }
            Input::Transfer(to) => self.raft.step(raft::Input::Transfer(to)),
            Input::Campaign => self.raft.step(raft::Input::Campaign),
            Input::Change(change) => {
                self.raft.step(raft::Input::ProposeMembership { change, context: Bytes::new() })
            }
        }
    }

    /// Whether a round of reads is under way: reads that come now wait until it is over.
    pub fn has_reads_under_way(&self) -> bool {
        self.reads.rounds() >= ROUNDS_MAX
    }

    /// Whether [`turn`](Self::turn) would give anything out.
    pub fn has_turn(&self) -> bool {
        self.raft.has_ready()
            || !self.outgoing.is_empty()
            || !self.refused.is_empty()
            || !self.decided.is_empty()
            || self.next_round
    }

    /// Gives out what the steps since the last call produced.
    pub fn turn(&mut self) -> Turn {
        self.notice_leader();
        self.begin_reads();
        self.unparked = std::mem::take(&mut self.unparking);
        let mut ready = self.raft.ready();
        let decided = std::mem::take(&mut ready.reads);
        let any_decided = !decided.is_empty();
        for state in decided {
            self.resolve(state.id, state.index);
        }
        self.next_round = any_decided && (self.reads.is_waiting() || self.reads.is_asked_for());
        let lost = self.lost(&ready);
        Turn {
            ready,
            lost,
            outgoing: std::mem::take(&mut self.outgoing),
            refused: std::mem::take(&mut self.refused),
            reads: std::mem::take(&mut self.decided),
        }
    }

    fn tick(&mut self) -> Result<(), StepError> {
        self.now += 1;
        let result = self.raft.step(raft::Input::Tick);
        let waited = self.now.saturating_sub(self.settings.leader_wait_ticks);
        let refused = &mut self.refused;
        self.parked.retain(|parked| {
            let keep = parked.since >= waited;
            if !keep {
                refused.push((parked.number, ApiError::NoLeader));
            }
            keep
        });
        let forgotten = self.now.saturating_sub(self.settings.remember_ticks);
        while self.handed.front().is_some_and(|handed| handed.at < forgotten) {
            self.handed.pop_front();
        }
        if self.leader.is_none() {
            let expired = self.reads.expire(waited);
            self.refused.extend(expired.into_iter().map(|number| (number, ApiError::NoLeader)));
        }
        self.reads.give_up(Some(self.now.saturating_sub(self.settings.read_retry_ticks)), self.now);
        self.unpark();
        result
    }

    /// Proposes, hands on, parks or refuses a request that has waited since tick `since`.
    fn propose(&mut self, number: u64, command: Bytes, since: u64) {
        if self.is_busy() {
            self.refused.push((number, ApiError::TooManyRequests));
            return;
        }
        let term = self.raft.term();
        let Err(error) = self.raft.step(raft::Input::Propose(command.clone())) else {
            self.handed.push_back(Handed { number, term, at: self.now });
            return;
        };
        match Why::of(&error) {
            Why::Leader(to) => {
                if since < self.now {
                    self.unparking.push((number, since));
                }
                self.handed.push_back(Handed { number, term, at: self.now });
                let tag = Tag { epoch: self.settings.epoch, number };
                #[cfg(feature = "plant")]
                if crate::plant::is(Plant::ProposalSentTwice) && number.is_multiple_of(5) {
                    let message = PeerMessage::Propose { tag, term, command: command.clone() };
                    self.outgoing.push(Outgoing { to, message });
                }
                self.outgoing.push(Outgoing { to, message: PeerMessage::Propose { tag, term, command } });
            }
            Why::NoLeader => self.park(number, command, since),
            Why::Busy => self.refused.push((number, ApiError::TooManyRequests)),
        }
    }

    fn park(&mut self, number: u64, command: Bytes, since: u64) {
        if self.parked.len() >= self.settings.parked_max {
            self.refused.push((number, ApiError::TooManyRequests));
        } else {
            self.parked.push_back(Parked { number, command, since });
        }
    }

    /// Tries again what was parked.
    fn unpark(&mut self) {
        if self.parked.is_empty() || self.raft.leader().is_none() {
            return;
        }
        for Parked { number, command, since } in std::mem::take(&mut self.parked) {
            #[cfg(feature = "plant")]
            if crate::plant::is(Plant::RefusedAndProposed) {
                self.refused.push((number, ApiError::NoLeader));
            }
            self.propose(number, command, since);
        }
    }

    fn is_busy(&self) -> bool {
        self.raft.commit().0.saturating_sub(self.applied.0) > UNAPPLIED_MAX
    }

    fn receive(&mut self, from: NodeId, message: PeerMessage) -> Result<(), StepError> {
        match message {
            PeerMessage::Raft(message) => return self.raft.step(raft::Input::Receive(message)),
            PeerMessage::Propose { tag, term, command } => self.propose_for(from, tag, term, command),
            PeerMessage::ProposeRefused { tag, refusal } => {
                if tag.epoch == self.settings.epoch {
                    let why = match refusal {
                        Refusal::NotLeader => ApiError::NoLeader,
                        Refusal::Busy => ApiError::TooManyRequests,
                    };
                    self.refused.push((tag.number, why));
                }
            }
            PeerMessage::ReadIndex { tag } => self.reads.ask_for(from, tag),
            PeerMessage::ReadIndexed { tag, index } => {
                let mine = tag.epoch == self.settings.epoch;
                #[cfg(feature = "plant")]
                let mine = mine || crate::plant::is(Plant::ReadOfEarlierLife);
                if mine {
                    self.resolve(ReadId(tag.number), index);
                }
            }
            PeerMessage::LeaseQuery { .. } | PeerMessage::LeaseAnswer { .. } => {}
        }
        Ok(())
    }

    fn propose_for(&mut self, from: NodeId, tag: Tag, term: Term, command: Bytes) {
        let refusal = if self.is_busy() {
            Refusal::Busy
        } else if self.raft.term() != term {
            Refusal::NotLeader
        } else {
            let Err(error) = self.raft.step(raft::Input::Propose(command)) else { return };
            match Why::of(&error) {
                Why::Busy => Refusal::Busy,
                Why::Leader(_) | Why::NoLeader => Refusal::NotLeader,
            }
        };
        self.outgoing.push(Outgoing { to: from, message: PeerMessage::ProposeRefused { tag, refusal } });
    }

    fn undelivered(&mut self, outgoing: Outgoing) {
        match outgoing.message {
            // It was never handed out, so it may be tried again: at the next tick.
            PeerMessage::Propose { tag, command, .. } => {
                if let Some(at) = self.handed.iter().rposition(|handed| handed.number == tag.number) {
                    self.handed.remove(at);
                }
                let parked = self.unparked.iter().find(|(number, _)| *number == tag.number);
                let since = parked.map_or(self.now, |(_, since)| *since);
                self.park(tag.number, command, since);
            }
            PeerMessage::ReadIndex { tag } => self.resolve(ReadId(tag.number), None),
            PeerMessage::Raft(Message { to, .. }) => {
                // No effect but on what is sent next.
                let _ = self.raft.step(raft::Input::Unreachable(to));
            }
            // Whoever asked gives up by itself.
            PeerMessage::ProposeRefused { .. }
            | PeerMessage::ReadIndexed { .. }
            | PeerMessage::LeaseQuery { .. }
            | PeerMessage::LeaseAnswer { .. } => {}
        }
    }

    /// What the newly committed entries show to be lost.
    fn lost(&mut self, ready: &Ready) -> Vec<u64> {
        if let Some(meta) = &ready.write().install {
            // The image may hold them: nothing is known.
            while self.handed.front().is_some_and(|handed| handed.term <= meta.term) {
                self.handed.pop_front();
            }
        }
        let Some(newest) = ready.committed.last().map(|entry| entry.term) else { return Vec::new() };
        #[cfg(feature = "plant")]
        let newest = Term(newest.0 + u64::from(crate::plant::is(Plant::LostTooEarly)));
        let count = self.handed.iter().take_while(|handed| handed.term < newest).count();
        self.handed.drain(..count).map(|handed| handed.number).collect()
    }

    fn notice_leader(&mut self) {
        let leader = self.raft.leader();
        if leader != self.leader {
            self.leader = leader;
            self.reads.give_up(None, self.now);
            self.unpark();
        }
    }

    /// Begins a round for the reads that wait, here and of peers, and tries again what raft would not begin
    /// earlier.
    fn begin_reads(&mut self) {
        if self.committed != self.raft.commit() || self.raft.role() != raft::Role::Leader {
            self.committed = self.raft.commit();
            for id in self.reads.take_early() {
                self.ask_raft(id);
            }
        }
        if self.raft.role() != raft::Role::Leader {
            for (to, tag) in self.reads.take_asked_for() {
                self.outgoing.push(Outgoing { to, message: PeerMessage::ReadIndexed { tag, index: None } });
            }
        }
        let waits = self.reads.is_waiting() || self.reads.is_asked_for();
        if !waits || self.reads.rounds() >= ROUNDS_MAX {
            return;
        }
        match self.leader {
            None => {}
            Some(leader) if leader == self.raft.id() => {
                let id = self.reads.begin(self.now, None);
                self.ask_raft(id);
            }
            Some(leader) => {
                let id = self.reads.begin(self.now, Some(leader));
                let tag = Tag { epoch: self.settings.epoch, number: id.0 };
                self.outgoing.push(Outgoing { to: leader, message: PeerMessage::ReadIndex { tag } });
            }
        }
    }

    fn ask_raft(&mut self, id: ReadId) {
        match self.raft.step(raft::Input::Read(id)) {
            Ok(()) => {}
            Err(StepError::ReadTooEarly) => self.reads.too_early(id),
            Err(_) => self.resolve(id, None),
        }
    }

    fn resolve(&mut self, id: ReadId, index: Option<LogIndex>) {
        let Resolved { own, foreign } = self.reads.resolve(id, index, self.now);
        self.decided.extend(own);
        for (to, tag) in foreign {
            self.outgoing.push(Outgoing { to, message: PeerMessage::ReadIndexed { tag, index } });
        }
    }
}

/// Why raft does not take a proposal, as far as it decides what becomes of it.
enum Why {
    /// This member leads.
    Leader(NodeId),
    /// Nobody leads, or nobody will in a moment.
    NoLeader,
    /// The leader has too much to do.
    Busy,
}

impl Why {
    fn of(error: &StepError) -> Why {
        match error {
            StepError::NotLeader { leader: Some(leader) } => Why::Leader(*leader),
            StepError::NotLeader { leader: None } | StepError::Transferring { .. } => Why::NoLeader,
            StepError::TooManyUncommitted => Why::Busy,
            StepError::ReadTooEarly
            | StepError::ChangeTooEarly
            | StepError::ChangeInProgress
            | StepError::BadChange(_)
            | StepError::NotVoter(_)
            | StepError::SnapshotAhead { .. }
            | StepError::UnknownMark
            | StepError::Malformed { .. }
            | StepError::TwoLeaders { .. }
            | StepError::LogLost { .. } => unreachable!("no answer to a proposal: {error}"),
        }
    }
}
