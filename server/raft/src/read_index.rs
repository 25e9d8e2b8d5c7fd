//! Reads that wait for the leader to be confirmed. Raft thesis, section 6.4.
//!
//! A leader may be deposed without knowing it. So a read notes the commit index when it is accepted, and is
//! answered once a majority has replied to a heartbeat that was sent later. All reads of a turn share one
//! round of heartbeats. Rounds count up within a term from 1 and a node leads a term only once, so no reply
//! can be taken for that to another round; a heartbeat of an older term is answered with round 0.

use crate::{
    ready::ReadState,
    types::{LogIndex, ReadId},
};
use std::collections::VecDeque;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadIndex {
    /// The newest round that was sent.
    round: u64,
    /// Accepted since then.
    waiting: Vec<(ReadId, LogIndex)>,
    /// Rounds that are not confirmed, oldest first.
    rounds: VecDeque<Round>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    number: u64,
    reads: Vec<(ReadId, LogIndex)>,
}

impl ReadIndex {
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn accept(&mut self, id: ReadId, commit: LogIndex) {
        self.waiting.push((id, commit));
    }

    /// Whether reads wait for a round to begin.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether any round is not confirmed.
    pub(crate) fn has_rounds(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// Begins a round for all reads that wait.
    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
        self.rounds.push_back(Round { number: self.round, reads: std::mem::take(&mut self.waiting) });
    }

    /// A majority answered `round`, which answers all rounds before it too.
    pub(crate) fn confirmed(&mut self, round: u64, decided: &mut Vec<ReadState>) {
        while self.rounds.front().is_some_and(|oldest| oldest.number <= round) {
            let reads = self.rounds.pop_front().map(|oldest| oldest.reads).unwrap_or_default();
            decided.extend(reads.into_iter().map(|(id, index)| ReadState { id, index: Some(index) }));
        }
    }

    /// Leadership is lost: nothing is known of any read.
    pub(crate) fn abandon(self, decided: &mut Vec<ReadState>) {
        let reads = self.rounds.into_iter().flat_map(|round| round.reads).chain(self.waiting);
        decided.extend(reads.map(|(id, _)| ReadState { id, index: None }));
    }
}
