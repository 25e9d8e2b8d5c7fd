//! Linearizable reads: all that wait in a turn share one round of ReadIndex.
//!
//! A round begins after every read in it was asked for, and has a number that no other round ever had: an
//! answer that comes late is an answer to nothing. Raft thesis, section 6.4.

use super::peer::Tag;
use raft::types::{LogIndex, NodeId, ReadId};
use std::collections::{BTreeMap, VecDeque};

/// Reads whose index is known: each may be served once that is applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What must be applied.
    pub index: LogIndex,
    /// The callers' numbers.
    pub numbers: Vec<u64>,
}

/// Reads on their way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    next: u64,
    /// Not part of a round yet: number, and tick of arrival.
    waiting: VecDeque<(u64, u64)>,
    /// Rounds that peers ask of this member as their leader, and that are not part of one here yet.
    asked_for: Vec<(NodeId, Tag)>,
    rounds: BTreeMap<ReadId, Round>,
    /// Rounds that raft would not begin yet, since no entry of its term is committed.
    early: Vec<ReadId>,
}

#[derive(Debug)]
struct Round {
    numbers: Vec<u64>,
    /// Peers' rounds that are a part of this one.
    foreign: Vec<(NodeId, Tag)>,
    /// Tick at which it began.
    begun: u64,
    /// The leader that was asked; `None` if that is this member.
    asked: Option<NodeId>,
}

/// What a round came to. Nothing, for one that was given up before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Reads of this member whose index is known.
    pub own: Option<Decided>,
    /// Peers that wait for an answer.
    pub foreign: Vec<(NodeId, Tag)>,
}

impl Reads {
    pub(super) fn ask(&mut self, number: u64, now: u64) {
        self.waiting.push_back((number, now));
    }

    /// A peer asks. It shares the next round of this member with all others: while the members of a busy
    /// cluster each had rounds of their own, the leader confirmed itself several times as often.
    pub(super) fn ask_for(&mut self, from: NodeId, tag: Tag) {
        // Who asks again has given up what it asked before.
        self.asked_for.retain(|(peer, _)| *peer != from);
        self.asked_for.push((from, tag));
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether peers wait for a round to begin.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.asked_for.is_empty()
    }

    /// Peers that wait for a round to begin: this member can give them none any more.
    pub(super) fn take_asked_for(&mut self) -> Vec<(NodeId, Tag)> {
        std::mem::take(&mut self.asked_for)
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Makes one round of all that wait; of peers' too, if no other member is asked.
    pub(super) fn begin(&mut self, now: u64, asked: Option<NodeId>) -> ReadId {
        self.next += 1;
        let id = ReadId(self.next);
        let numbers = self.waiting.drain(..).map(|(number, _)| number).collect();
        let foreign = if asked.is_none() { self.take_asked_for() } else { Vec::new() };
        self.rounds.insert(id, Round { numbers, foreign, begun: now, asked });
        id
    }

    pub(super) fn too_early(&mut self, id: ReadId) {
        self.early.push(id);
    }

    pub(super) fn take_early(&mut self) -> Vec<ReadId> {
        std::mem::take(&mut self.early)
    }

    /// What the round came to. Reads of a round that came to nothing wait for another one; peers are told.
    pub(super) fn resolve(&mut self, id: ReadId, index: Option<LogIndex>, now: u64) -> Resolved {
        let Some(Round { numbers, foreign, .. }) = self.rounds.remove(&id) else {
            return Resolved::default();
        };
        match index {
            #[cfg(feature = "plant")]
            Some(index) if crate::plant::is(crate::plant::Plant::ReadJoinsRound) => {
                let late = self.waiting.drain(..).map(|(number, _)| number);
                let own = Some(Decided { index, numbers: numbers.into_iter().chain(late).collect() });
                Resolved { own, foreign }
            }
            Some(_) if numbers.is_empty() => Resolved { own: None, foreign },
            Some(index) => Resolved { own: Some(Decided { index, numbers }), foreign },
            None => {
                self.waiting.extend(numbers.into_iter().map(|number| (number, now)));
                Resolved { own: None, foreign }
            }
        }
    }

    /// Gives up rounds that were asked of another member: all, or those that began before tick `before`.
    pub(super) fn give_up(&mut self, before: Option<u64>, now: u64) {
        let lost: Vec<ReadId> = self
            .rounds
            .iter()
            .filter(|(_, round)| round.asked.is_some() && before.is_none_or(|tick| round.begun < tick))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            // Peers' rounds are only in those that nobody else was asked.
            let _ = self.resolve(id, None, now);
        }
    }

    /// Takes out the reads that have waited for a leader since before tick `before`.
    pub(super) fn expire(&mut self, before: u64) -> Vec<u64> {
        let count = self.waiting.iter().take_while(|(_, tick)| *tick < before).count();
        self.waiting.drain(..count).map(|(number, _)| number).collect()
    }
}
