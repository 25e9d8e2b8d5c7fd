//! Elections: asking for votes and giving them.

#[cfg(feature = "plant")]
use crate::mutation::Mutation;
use crate::{
    canonical::Rename,
    message::Body,
    node::Node,
    quorum::Tally,
    raft::{Part, Raft},
    types::{LogIndex, NodeId, Term},
};
use std::collections::BTreeMap;

/// The votes of an election, or of the question whether to hold one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    votes: BTreeMap<NodeId, bool>,
}

impl Candidate {
    /// Counts only the first answer of each voter.
    fn count(&mut self, from: NodeId, granted: bool) {
        self.votes.entry(from).or_insert(granted);
    }

    /// A candidate's own vote is a promise like any other: it counts once it is durable.
    pub(crate) fn count_own_vote(&mut self, node: &Node) {
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::OwnVoteCountsUnsaved) {
            self.count(node.id(), true);
        }
        if node.disk.holds_vote(node.term, node.id()) {
            self.count(node.id(), true);
        }
    }

    fn tally(&self, node: &Node) -> Tally {
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::ElectedByMinority)
            && self.votes.values().filter(|granted| **granted).count() >= node.membership().voters.len() / 2
        {
            return Tally::Won;
        }
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::NewMajorityElects) {
            return node.membership().settled().tally(|id| self.votes.get(&id).copied());
        }
        node.membership().tally(|id| self.votes.get(&id).copied())
    }
}

impl Rename for Candidate {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.votes = self.votes.iter().map(|(id, granted)| (name(*id), *granted)).collect();
    }
}

impl Raft {
    pub(crate) fn campaign(&mut self) {
        if self.node.config.pre_vote { self.become_pre_candidate() } else { self.become_candidate(false) }
    }

    /// Raft thesis, section 9.6.
    fn become_pre_candidate(&mut self) {
        self.node.leader = None;
        self.node.draw_election_timeout();
        let mut candidate = Candidate::default();
        candidate.count(self.node.id(), true);
        self.part = Part::PreCandidate(candidate);
        let (last_index, last_term) = (self.node.log.last_index(), self.node.log.last_term());
        let term = self.node.term.next();
        // This promises nothing, so it need not wait for the disk.
        for peer in self.node.voting_peers() {
            self.node.send_in(term, peer, Body::PreVote { last_index, last_term });
        }
        self.tally();
    }

    /// Raft paper, section 5.2.
    pub(crate) fn become_candidate(&mut self, transfer: bool) {
        self.node.enter_term(self.node.term.next());
        self.node.vote = Some(self.node.id());
        self.node.draw_election_timeout();
        let mut candidate = Candidate::default();
        candidate.count_own_vote(&self.node);
        self.part = Part::Candidate(candidate);
        let (last_index, last_term) = (self.node.log.last_index(), self.node.log.last_term());
        // Requests wait for the disk, too: after a crash this node could ask again in the same term, with a
        // shorter log, and take late answers to the first request for answers to the second.
        for peer in self.node.voting_peers() {
            self.node.send_after(peer, Body::Vote { last_index, last_term, transfer });
        }
        self.tally();
    }

    pub(crate) fn on_pre_vote_reply(&mut self, from: NodeId, term: Term, granted: bool) {
        // A grant speaks of the term to come, a refusal of the present one.
        let expected = if granted { self.node.term.next() } else { self.node.term };
        if let Part::PreCandidate(candidate) = &mut self.part
            && term == expected
        {
            candidate.count(from, granted);
            self.tally();
        }
    }

    pub(crate) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        if let Part::Candidate(candidate) = &mut self.part {
            candidate.count(from, granted);
            self.tally();
        }
    }

    /// Moves on when an election is decided.
    pub(crate) fn tally(&mut self) {
        match &self.part {
            Part::PreCandidate(candidate) => match candidate.tally(&self.node) {
                Tally::Won => self.become_candidate(false),
                Tally::Lost => self.become_follower(self.node.term, None),
                Tally::Pending => {}
            },
            Part::Candidate(candidate) => match candidate.tally(&self.node) {
                Tally::Won => self.become_leader(),
                Tally::Lost => self.become_follower(self.node.term, None),
                Tally::Pending => {}
            },
            Part::Follower | Part::Leader(_) => {}
        }
    }
}

impl Node {
    fn voting_peers(&self) -> Vec<NodeId> {
        let membership = self.membership();
        let voters = membership.voters.union(&membership.outgoing);
        voters.copied().filter(|&id| id != self.id()).collect()
    }

    /// Whether a candidate for the current term could have this node's vote.
    fn could_vote_for(&self, from: NodeId) -> bool {
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::VotesTwice) {
            return self.leader.is_none();
        }
        self.vote == Some(from) || (self.vote.is_none() && self.leader.is_none())
    }

    fn log_allows(&self, last_index: LogIndex, last_term: Term) -> bool {
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::VoteWithoutLogCheck) {
            return true;
        }
        self.is_up_to_date(last_index, last_term)
    }

    /// Says whether it would vote, and changes nothing. Who takes part by its own view does not matter: a
    /// node may not know yet that it was made a voter.
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, term: Term, last_index: LogIndex, last_term: Term) {
        let free = !self.hears_from_leader() && (term > self.term || self.could_vote_for(from));
        let granted = free && self.log_allows(last_index, last_term);
        // A refusal names this node's own term, so that a candidate that is behind catches up.
        let reply_term = if granted { term } else { self.term };
        self.send_in(reply_term, from, Body::PreVoteReply { granted });
    }

    /// Gives or refuses a vote in the current term. Raft paper, sections 5.2 and 5.4.1.
    pub(crate) fn on_vote(&mut self, from: NodeId, last_index: LogIndex, last_term: Term) {
        if self.could_vote_for(from) && self.log_allows(last_index, last_term) {
            self.vote = Some(from);
            self.election_elapsed = 0;
            self.send_after(from, Body::VoteReply { granted: true });
        } else {
            self.send(from, Body::VoteReply { granted: false });
        }
    }
}
