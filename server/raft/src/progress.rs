//! What a leader knows of one follower.

use crate::types::LogIndex;
use std::collections::VecDeque;

/// What a leader knows of one follower. Raft paper, figure 2, with the states of etcd's raft.
///
/// Invariant: `next > matched`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The follower's log is known to agree, durably, up to here.
    pub matched: LogIndex,
    /// The next entry to send.
    pub next: LogIndex,
    /// How entries are sent.
    pub state: ProgressState,
    /// Whether the follower was heard from since the quorum was last checked.
    pub active: bool,
    /// The newest round of read confirmation that it answered.
    pub round: u64,
    /// The commit index that it was last sent.
    pub(crate) commit_sent: LogIndex,
    /// Set by every heartbeat that is due, cleared by the first answer: paces repetitions, since
    /// heartbeats for reads may be far more frequent.
    pub(crate) may_repeat: bool,
    /// `matched` when the last heartbeat was due: still the same when it is answered means that something
    /// may be lost.
    pub(crate) matched_at_beat: LogIndex,
    /// Send an append even if the window is full and there is nothing new, to learn what was lost.
    pub(crate) nudge: bool,
}

/// How entries are sent to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// Where the logs agree is not known: one append at a time.
    Probe {
        /// One is out and was not answered.
        sent: bool,
    },
    /// The logs agree up to `next - 1`, unless something was lost: appends are pipelined.
    Replicate {
        /// Last index of each append that is out, within the window.
        inflight: VecDeque<LogIndex>,
    },
    /// An image is being delivered; nothing is sent until that is reported.
    Snapshot {
        /// Where the image ends.
        index: LogIndex,
    },
}

impl Progress {
    /// Nothing is known; `next` is a guess.
    pub(crate) fn new(next: LogIndex) -> Progress {
        Progress {
            matched: LogIndex::ZERO,
            next,
            state: ProgressState::Probe { sent: false },
            active: false,
            round: 0,
            commit_sent: LogIndex::ZERO,
            may_repeat: false,
            matched_at_beat: LogIndex::ZERO,
            nudge: false,
        }
    }

    /// Looks for agreement at `next - 1`, but never at what is known to agree.
    pub(crate) fn probe(&mut self, next: LogIndex, sent: bool) {
        self.next = next.max(self.matched.next());
        self.state = ProgressState::Probe { sent };
        self.nudge = false;
    }

    /// The follower acknowledged `matched`. Returns whether that is news.
    pub(crate) fn acknowledged(&mut self, matched: LogIndex) -> bool {
        let news = matched > self.matched;
        if news {
            self.matched = matched;
            self.next = self.next.max(matched.next());
        }
        match &mut self.state {
            ProgressState::Probe { .. } if matched >= self.matched => self.replicate(),
            ProgressState::Snapshot { index } if matched >= *index => self.replicate(),
            ProgressState::Probe { .. } | ProgressState::Snapshot { .. } => {}
            ProgressState::Replicate { inflight } => {
                while inflight.front().is_some_and(|&last| last <= matched) {
                    inflight.pop_front();
                }
            }
        }
        news
    }

    fn replicate(&mut self) {
        self.next = self.matched.next();
        self.state = ProgressState::Replicate { inflight: VecDeque::new() };
        self.nudge = false;
    }

    /// Takes note that a heartbeat is due.
    pub(crate) fn beat(&mut self) {
        self.may_repeat = true;
        self.matched_at_beat = self.matched;
    }
}
