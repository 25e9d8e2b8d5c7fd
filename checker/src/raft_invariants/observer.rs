//! The observer.

use super::promises::{Forgotten, Promises};
use raft::{Entry, LogIndex, Message, NodeId, NodeView, Role, Term};
use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Election safety: two leaders in one term.
    TwoLeaders {
        /// The term.
        term: Term,
        /// Both.
        leaders: [NodeId; 2],
    },
    /// Leader completeness: a leader lacks what was committed in an earlier term.
    Incomplete {
        /// The leader.
        leader: NodeId,
        /// Its term.
        term: Term,
        /// What it lacks.
        index: LogIndex,
    },
    /// State machine safety: two nodes applied different entries at one index.
    Diverged {
        /// Who applied the second.
        node: NodeId,
        /// Where.
        index: LogIndex,
    },
    /// Two nodes came to different states by the same entries.
    Digest {
        /// Who came to the second.
        node: NodeId,
        /// After which entry.
        index: LogIndex,
    },
    /// Two votes in one term, be it in one life or in two.
    TwoVotes {
        /// Who voted.
        voter: NodeId,
        /// The term.
        term: Term,
        /// For whom.
        candidates: [NodeId; 2],
    },
    /// Durable before sent: a node that started again does not stand by what it had told others.
    Forgot {
        /// The node.
        node: NodeId,
        /// The term in which it had told it.
        term: Term,
        /// What.
        forgotten: Forgotten,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::TwoLeaders { term, leaders: [one, other] } => {
                write!(f, "election safety: {one} and {other} lead term {term}")
            }
            Violation::Incomplete { leader, term, index } => write!(
                f,
                "leader completeness: {leader} leads term {term} without entry {index}, which was committed before"
            ),
            Violation::Diverged { node, index } => {
                write!(f, "state machine safety: {node} applied another entry at {index} than others did")
            }
            Violation::Digest { node, index } => {
                write!(f, "equal logs, different states: {node} after entry {index}")
            }
            Violation::TwoVotes { voter, term, candidates: [one, other] } => {
                write!(f, "one vote a term: {voter} voted for {one} and {other} in term {term}")
            }
            Violation::Forgot { node, term, forgotten } => {
                write!(f, "durable before sent: {node} of term {term} started again without {forgotten}")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    term: Term,
    digest: u64,
    /// The smallest term of a node that applied it.
    in_term: Term,
    /// The state after it, where somebody told.
    state: Option<u64>,
}

/// What an all-seeing observer remembers.
#[derive(Debug, Default)]
pub struct Observer {
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<LogIndex, Known>,
    /// Leaders whose logs were compared with what was committed before.
    judged: BTreeMap<Term, LogIndex>,
    promises: Promises,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new() -> Observer {
        Observer::default()
    }

    /// Last entry that anybody applied.
    pub fn committed(&self) -> LogIndex {
        self.committed.last_key_value().map_or(LogIndex::ZERO, |(index, _)| *index)
    }

    /// The node stepped.
    ///
    /// # Errors
    /// Two leaders in a term, or a leader without what was committed before its term.
    pub fn saw(&mut self, node: &NodeView<'_>) -> Result<(), Violation> {
        if node.role != Role::Leader {
            return Ok(());
        }
        let known = *self.leaders.entry(node.term).or_insert(node.id);
        if known != node.id {
            return Err(Violation::TwoLeaders { term: node.term, leaders: [known, node.id] });
        }
        let newest = self.committed();
        let judged = self.judged.insert(node.term, newest).unwrap_or(LogIndex::ZERO);
        let base = node.log.base_index().max(judged);
        for (index, known) in self.committed.range(base.next()..) {
            if known.in_term < node.term && node.log.term_at(*index) != Some(known.term) {
                return Err(Violation::Incomplete { leader: node.id, term: node.term, index: *index });
            }
        }
        Ok(())
    }

    /// A message leaves its sender, whether or not it arrives.
    ///
    /// # Errors
    /// A second vote in a term.
    pub fn sent(&mut self, message: &Message) -> Result<(), Violation> {
        self.promises.sent(message)
    }

    /// A node started on what its disk holds.
    ///
    /// # Errors
    /// It forgot what it had promised.
    pub fn started(&self, node: &NodeView<'_>) -> Result<(), Violation> {
        self.promises.started(node)
    }

    /// A node in `term` gave out an entry for applying, and its state is now `state`.
    ///
    /// # Errors
    /// Another entry was applied there before, or the same one led to another state.
    pub fn applied(
        &mut self,
        node: NodeId,
        term: Term,
        entry: &Entry,
        state: Option<u64>,
    ) -> Result<(), Violation> {
        let mut hasher = DefaultHasher::new();
        entry.hash(&mut hasher);
        let digest = hasher.finish();
        let index = entry.index;
        let fresh = Known { term: entry.term, digest, in_term: term, state };
        let known = self.committed.entry(index).or_insert(fresh);
        if known.digest != digest {
            return Err(Violation::Diverged { node, index });
        }
        known.in_term = known.in_term.min(term);
        match (known.state, state) {
            (Some(one), Some(other)) if one != other => Err(Violation::Digest { node, index }),
            (None, Some(_)) => {
                known.state = state;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{Config, Durable, Input, Membership, Payload, Raft};

    fn entry(index: u64, term: u64, text: &str) -> Entry {
        let payload = Payload::Command(text.to_string().into());
        Entry { index: LogIndex(index), term: Term(term), payload }
    }

    #[test]
    fn different_entries_and_different_states_are_seen() {
        let mut observer = Observer::new();
        let (one, two, term) = (NodeId(1), NodeId(2), Term(3));
        observer.applied(one, term, &entry(1, 1, "a"), Some(7)).unwrap();
        observer.applied(two, term, &entry(1, 1, "a"), Some(7)).unwrap();
        let digest = observer.applied(two, term, &entry(1, 1, "a"), Some(8));
        assert_eq!(digest, Err(Violation::Digest { node: two, index: LogIndex(1) }));
        let other = observer.applied(two, term, &entry(1, 2, "a"), None);
        assert_eq!(other, Err(Violation::Diverged { node: two, index: LogIndex(1) }));
    }

    #[test]
    fn votes_terms_and_acknowledgements_outlive_a_crash() {
        let promise = |body| Message { from: NodeId(1), to: NodeId(2), term: Term(3), body };
        let vote = promise(raft::Body::VoteReply { granted: true });
        let forgot = |forgotten| Err(Violation::Forgot { node: NodeId(1), term: Term(3), forgotten });
        let start = |term: u64, vote: Option<NodeId>, last: u64| {
            let mut durable = Durable::bootstrap(Membership::of_voters([1, 2, 3].map(NodeId)));
            durable.hard_state.term = Term(term);
            durable.hard_state.vote = vote;
            durable.entries = (1..=last).map(|index| entry(index, 1, "x")).collect();
            Raft::new(Config::new(NodeId(1), 1), durable).unwrap()
        };
        let mut observer = Observer::new();
        assert_eq!(observer.started(&start(1, None, 0).view()), Ok(()));
        observer.sent(&vote).unwrap();
        observer.sent(&promise(raft::Body::Appended { matched: LogIndex(4) })).unwrap();
        assert_eq!(observer.started(&start(2, None, 4).view()), forgot(Forgotten::Term));
        assert_eq!(observer.started(&start(3, None, 4).view()), forgot(Forgotten::Vote(NodeId(2))));
        assert_eq!(
            observer.started(&start(3, Some(NodeId(2)), 3).view()),
            forgot(Forgotten::Entry(LogIndex(4)))
        );
        assert_eq!(observer.started(&start(3, Some(NodeId(2)), 4).view()), Ok(()));
        assert_eq!(
            observer.started(&start(4, None, 0).view()),
            Ok(()),
            "a newer leader may have cut the log"
        );
        let candidates = [NodeId(2), NodeId(3)];
        let two = Violation::TwoVotes { voter: NodeId(1), term: Term(3), candidates };
        assert_eq!(observer.sent(&Message { to: NodeId(3), ..vote }), Err(two));
    }

    #[test]
    fn leaders_are_one_a_term_and_hold_what_was_committed() {
        let lead = |id: u64| {
            let durable = Durable::bootstrap(Membership::of_voters([NodeId(id)]));
            let mut raft = Raft::new(Config::new(NodeId(id), 1), durable).unwrap();
            raft.step(Input::Campaign).unwrap();
            struct Nowhere;
            impl raft::Storage for Nowhere {
                type Error = std::convert::Infallible;
                fn save(&mut self, _: &raft::Write) -> Result<(), Self::Error> {
                    Ok(())
                }
            }
            while raft.has_ready() {
                let Ok(saved) = raft.ready().save(&mut Nowhere);
                raft.step(Input::Persisted(saved.mark)).unwrap();
            }
            raft
        };
        let (one, two) = (lead(1), lead(2));
        let mut observer = Observer::new();
        observer.saw(&one.view()).unwrap();
        let both = Violation::TwoLeaders { term: Term(1), leaders: [NodeId(1), NodeId(2)] };
        assert_eq!(observer.saw(&two.view()), Err(both));
        let mut observer = Observer::new();
        observer.applied(NodeId(3), Term(0), &entry(5, 0, "lost"), None).unwrap();
        let lacks = Violation::Incomplete { leader: NodeId(1), term: Term(1), index: LogIndex(5) };
        assert_eq!(observer.saw(&one.view()), Err(lacks));
    }
}
