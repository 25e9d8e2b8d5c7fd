//! What nodes send each other.

use crate::types::{Entry, LogIndex, NodeId, Payload, SnapshotMeta, Term};

/// One message, from one node to another. Messages may be lost, duplicated, delayed and reordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term; for `PreVote`, and replies that grant one, the term that the candidate would
    /// campaign in.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// The kinds of message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Would you vote for me? Raises nobody's term. Raft thesis, section 9.6.
    PreVote {
        /// Index of the candidate's last entry.
        last_index: LogIndex,
        /// Term of the candidate's last entry.
        last_term: Term,
    },
    /// Answer to `PreVote`.
    PreVoteReply {
        /// Whether the receiver would vote for the candidate.
        granted: bool,
    },
    /// Asks for a vote. Raft paper, figure 2.
    Vote {
        /// Index of the candidate's last entry.
        last_index: LogIndex,
        /// Term of the candidate's last entry.
        last_term: Term,
        /// The old leader asked for this election: a receiver votes even while it hears from a leader.
        transfer: bool,
    },
    /// Answer to `Vote`; sent only after the vote is durable.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// Entries for the log, none when probing. Raft paper, figure 2.
    Append {
        /// Index of the entry before `entries`.
        prev_index: LogIndex,
        /// Term of the entry before `entries`.
        prev_term: Term,
        /// Consecutive entries after `prev_index`.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: LogIndex,
    },
    /// The log matches the leader's up to `matched`, durably.
    Appended {
        /// Last index that is known to match: `prev_index` plus the entries of the request answered.
        matched: LogIndex,
    },
    /// The entry before the sent ones is missing or of another term.
    AppendRejected {
        /// `prev_index` of the request answered; tells stale answers apart.
        prev_index: LogIndex,
        /// Largest index at or below `prev_index` at which the logs may agree.
        hint_index: LogIndex,
        /// Term of the follower's entry at `hint_index`.
        hint_term: Term,
    },
    /// Keeps followers from campaigning and confirms the leader to its reads.
    Heartbeat {
        /// The leader's commit index, no further than what the receiver is known to hold.
        commit: LogIndex,
        /// Counts the leader's rounds of read confirmation within its term.
        round: u64,
    },
    /// Answer to `Heartbeat`.
    HeartbeatReply {
        /// The round answered.
        round: u64,
    },
    /// The receiver needs entries that the leader has truncated: an image was, or must be, sent ahead of
    /// this message. Whoever carries messages delivers the image before it delivers this.
    InstallSnapshot {
        /// Which image.
        meta: SnapshotMeta,
    },
    /// Start an election at once. Raft thesis, section 3.10.
    TimeoutNow,
}

/// Terms and indexes from a peer must stay far from overflow; no honest one is ever near.
const NUMBER_MAX: u64 = u64::MAX / 2;

impl Message {
    /// Whether the message can be what an honest peer sends to `id`.
    pub(crate) fn check(&self, id: NodeId) -> Result<(), &'static str> {
        if self.to != id {
            return Err("it is for another node");
        }
        if self.from == id || self.from.0 == 0 {
            return Err("its sender is nobody's peer");
        }
        let index = match &self.body {
            Body::PreVote { last_index, last_term } | Body::Vote { last_index, last_term, .. } => {
                if *last_term >= self.term {
                    return Err("its log is newer than its term");
                }
                *last_index
            }
            Body::Append { prev_index, prev_term, entries, commit } => {
                self.check_entries(*prev_index, *prev_term, entries)?;
                (*prev_index).max(*commit)
            }
            Body::Appended { matched } => *matched,
            Body::AppendRejected { prev_index, hint_index, .. } => {
                if hint_index > prev_index {
                    return Err("its hint is after what was rejected");
                }
                *prev_index
            }
            Body::Heartbeat { commit, .. } => *commit,
            Body::InstallSnapshot { meta } => {
                if meta.term > self.term {
                    return Err("its image is newer than its term");
                }
                if meta.membership.voters.is_empty() {
                    return Err("its image has no voters");
                }
                meta.index
            }
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::HeartbeatReply { .. }
            | Body::TimeoutNow => LogIndex::ZERO,
        };
        if self.term.0 > NUMBER_MAX || index.0 > NUMBER_MAX {
            return Err("a number is out of bounds");
        }
        Ok(())
    }

    fn check_entries(&self, prev: LogIndex, prev_term: Term, entries: &[Entry]) -> Result<(), &'static str> {
        let (mut last, mut last_term) = (prev.0, prev_term);
        for entry in entries {
            if last.checked_add(1) != Some(entry.index.0) {
                return Err("its entries are not consecutive");
            }
            if entry.term < last_term {
                return Err("terms of its entries fall");
            }
            if let Payload::Membership { membership, .. } = &entry.payload
                && membership.voters.is_empty()
            {
                return Err("a membership in its entries has no voters");
            }
            (last, last_term) = (entry.index.0, entry.term);
        }
        if last_term > self.term { Err("its entries are newer than its term") } else { Ok(()) }
    }
}
