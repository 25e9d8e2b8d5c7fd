//! Durable before sent: what a node told others it would stand by, it stands by after a restart too. Source: Raft
//! paper, figure 2 ("updated on stable storage before responding to RPCs").

use super::Violation;
use raft::{Body, LogIndex, Message, NodeId, NodeView, Term};
use std::{collections::BTreeMap, fmt};

/// What a node did not know any more when it started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// That it was in this term.
    Term,
    /// Whom it gave its vote in this term.
    Vote(NodeId),
    /// An entry that it acknowledged in this term: the last one.
    Entry(LogIndex),
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forgotten::Term => write!(f, "the term"),
            Forgotten::Vote(candidate) => write!(f, "its vote for {candidate}"),
            Forgotten::Entry(index) => write!(f, "entry {index}, which it had acknowledged"),
        }
    }
}

/// What one node promised in the newest term in which it promised anything.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    term: Term,
    vote: Option<NodeId>,
    acknowledged: LogIndex,
}

/// What all nodes promised.
#[derive(Debug, Default)]
pub(super) struct Promises(BTreeMap<NodeId, Promise>);

impl Promises {
    /// A message leaves its sender.
    ///
    /// # Errors
    /// A second vote in a term.
    pub(super) fn sent(&mut self, message: &Message) -> Result<(), Violation> {
        let (node, term) = (message.from, message.term);
        let (vote, acknowledged) = match &message.body {
            Body::VoteReply { granted: true } => (Some(message.to), LogIndex::ZERO),
            // A candidate's vote is its own.
            Body::Vote { .. } => (Some(node), LogIndex::ZERO),
            Body::Appended { matched } => (None, *matched),
            Body::VoteReply { granted: false }
            | Body::PreVote { .. }
            | Body::PreVoteReply { .. }
            | Body::Append { .. }
            | Body::AppendRejected { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatReply { .. }
            | Body::InstallSnapshot { .. }
            | Body::TimeoutNow => return Ok(()),
        };
        let known = self.0.entry(node).or_default();
        if term > known.term {
            *known = Promise { term, ..Promise::default() };
        } else if term < known.term {
            return Ok(());
        }
        known.acknowledged = known.acknowledged.max(acknowledged);
        match (known.vote, vote) {
            (Some(one), Some(other)) if one != other => {
                Err(Violation::TwoVotes { voter: node, term, candidates: [one, other] })
            }
            (_, Some(_)) => {
                known.vote = vote;
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }

    /// A node started on what its disk holds.
    ///
    /// # Errors
    /// The first thing that it forgot.
    pub(super) fn started(&self, node: &NodeView<'_>) -> Result<(), Violation> {
        let Some(known) = self.0.get(&node.id) else { return Ok(()) };
        let forgotten = if node.term < known.term {
            Forgotten::Term
        } else if node.term > known.term {
            // A newer term's leader may have replaced what was acknowledged.
            return Ok(());
        } else if let Some(vote) = known.vote.filter(|vote| node.vote != Some(*vote)) {
            Forgotten::Vote(vote)
        } else if node.log.last_index() < known.acknowledged {
            Forgotten::Entry(known.acknowledged)
        } else {
            return Ok(());
        };
        Err(Violation::Forgot { node: node.id, term: known.term, forgotten })
    }
}
