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
    rounds: BTreeMap<ReadId, Round>,
    /// Rounds that peers asked for.
    foreign: BTreeMap<ReadId, (NodeId, Tag)>,
    /// Rounds that raft would not begin yet, since no entry of its term is committed.
    early: Vec<ReadId>,
}

#[derive(Debug)]
struct Round {
    numbers: Vec<u64>,
    /// Tick at which it began.
    begun: u64,
    /// The leader that was asked; `None` if that is this member.
    asked: Option<NodeId>,
}

/// What a decided round was for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Reads of this member.
    Own(Decided),
    /// A peer's.
    Foreign(NodeId, Tag),
    /// Nothing any more.
    Nothing,
}

impl Reads {
    pub(super) fn ask(&mut self, number: u64, now: u64) {
        self.waiting.push_back((number, now));
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    fn fresh(&mut self) -> ReadId {
        self.next += 1;
        ReadId(self.next)
    }

    /// Makes one round of all that wait.
    pub(super) fn begin(&mut self, now: u64, asked: Option<NodeId>) -> ReadId {
        let id = self.fresh();
        let numbers = self.waiting.drain(..).map(|(number, _)| number).collect();
        self.rounds.insert(id, Round { numbers, begun: now, asked });
        id
    }

    pub(super) fn begin_foreign(&mut self, from: NodeId, tag: Tag) -> ReadId {
        let id = self.fresh();
        self.foreign.insert(id, (from, tag));
        id
    }

    pub(super) fn too_early(&mut self, id: ReadId) {
        self.early.push(id);
    }

    pub(super) fn take_early(&mut self) -> Vec<ReadId> {
        std::mem::take(&mut self.early)
    }

    /// What the round came to. Reads of a round that came to nothing wait for another one.
    pub(super) fn resolve(&mut self, id: ReadId, index: Option<LogIndex>, now: u64) -> Resolved {
        if let Some((from, tag)) = self.foreign.remove(&id) {
            return Resolved::Foreign(from, tag);
        }
        let Some(round) = self.rounds.remove(&id) else { return Resolved::Nothing };
        match index {
            #[cfg(feature = "plant")]
            Some(index) if crate::plant::is(crate::plant::Plant::ReadJoinsRound) => {
                let late = self.waiting.drain(..).map(|(number, _)| number);
                Resolved::Own(Decided { index, numbers: round.numbers.into_iter().chain(late).collect() })
            }
            Some(index) => Resolved::Own(Decided { index, numbers: round.numbers }),
            None => {
                self.waiting.extend(round.numbers.into_iter().map(|number| (number, now)));
                Resolved::Nothing
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
            self.resolve(id, None, now);
        }
    }

    /// Takes out the reads that have waited for a leader since before tick `before`.
    pub(super) fn expire(&mut self, before: u64) -> Vec<u64> {
        let count = self.waiting.iter().take_while(|(_, tick)| *tick < before).count();
        self.waiting.drain(..count).map(|(number, _)| number).collect()
    }
}
