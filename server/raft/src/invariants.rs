//! What must hold after each step, checked in release builds too: all of it is cheap.

use crate::{
    progress::ProgressState,
    raft::Raft,
    types::{LogIndex, NodeId, Role, Term},
};

/// The part of a state that the next state is compared with.
pub(crate) struct Before {
    term: Term,
    vote: Option<NodeId>,
    leader: Option<NodeId>,
    commit: LogIndex,
    last: LogIndex,
    role: Role,
}

impl Before {
    pub(crate) fn of(raft: &Raft) -> Before {
        Before {
            term: raft.term(),
            vote: raft.vote(),
            leader: raft.leader(),
            commit: raft.commit(),
            last: raft.last_index(),
            role: raft.role(),
        }
    }

    /// # Panics
    /// If the step broke an invariant.
    pub(crate) fn assert_followed_by(&self, raft: &Raft) {
        self.assert_promises_kept(raft);
        assert_log_in_order(raft);
        assert_role_fits(raft);
        assert_progress_in_order(raft);
    }

    fn assert_promises_kept(&self, raft: &Raft) {
        let (term, vote, commit) = (raft.term(), raft.vote(), raft.commit());
        assert!(term >= self.term, "term fell from {} to {term}", self.term);
        assert!(commit >= self.commit, "commit fell from {} to {commit}", self.commit);
        if term != self.term {
            return;
        }
        #[cfg(feature = "plant")]
        if raft.node.config.plants(crate::Mutation::VotesTwice) {
            return;
        }
        assert!(
            self.vote.is_none() || vote == self.vote,
            "vote in term {term} changed from {:?} to {vote:?}",
            self.vote
        );
        if let (Some(old), Some(new)) = (self.leader, raft.leader()) {
            assert!(old == new, "leader of term {term} changed from {old} to {new}");
        }
        if self.role == Role::Leader {
            let last = raft.last_index();
            assert!(raft.role() != Role::Candidate, "the leader of term {term} campaigns in it again");
            assert!(
                last >= self.last,
                "the log of the leader of term {term} shrank from {} to {last}",
                self.last
            );
        }
    }
}

fn assert_log_in_order(raft: &Raft) {
    let node = &raft.node;
    let (base, commit, last) = (node.log.base_index(), node.commit, node.log.last_index());
    assert!(
        base <= node.snapshot.index,
        "the log begins after {base}, the image ends at {}",
        node.snapshot.index
    );
    assert!(node.snapshot.index <= commit, "the image ends at {}, commit is {commit}", node.snapshot.index);
    assert!(commit <= last, "commit is {commit}, the log ends at {last}");
    #[cfg(not(feature = "plant"))]
    assert!(node.handed <= commit, "{} was given out for applying, commit is {commit}", node.handed);
    let written = node.disk.written();
    assert!(base <= written && written <= last, "written up to {written}, the log is {base} to {last}");
    let persisted = node.disk.persisted();
    assert!(persisted <= written, "durable up to {persisted}, but written up to {written}");
    #[cfg(feature = "plant")]
    if node.config.plants(crate::Mutation::VoteNotPersisted) {
        return;
    }
    assert!(
        node.log.last_term() <= node.term,
        "the log's last term is {}, not {}",
        node.log.last_term(),
        node.term
    );
    let membership = node.memberships.current_index();
    assert!(membership <= last, "membership of entry {membership} is in force, the log ends at {last}");
}

fn assert_role_fits(raft: &Raft) {
    let (id, role, term) = (raft.id(), raft.role(), raft.term());
    match role {
        Role::Leader => {
            assert!(
                raft.leader() == Some(id),
                "{id} leads term {term}, but takes {:?} for its leader",
                raft.leader()
            );
            assert!(raft.vote() == Some(id), "{id} leads term {term}, but voted for {:?}", raft.vote());
        }
        Role::Candidate | Role::PreCandidate => {
            assert!(raft.leader().is_none(), "{id} is a {role} in term {term}, but has a leader");
            let voted = role == Role::PreCandidate || raft.vote() == Some(id);
            assert!(voted, "{id} is a candidate in term {term}, but voted for {:?}", raft.vote());
        }
        Role::Follower => {
            assert!(raft.leader() != Some(id), "{id} follows itself in term {term}");
        }
    }
}

fn assert_progress_in_order(raft: &Raft) {
    let (last, window) = (raft.last_index(), raft.config().max_inflight);
    for (id, peer) in raft.progress() {
        let (matched, next) = (peer.matched, peer.next);
        assert!(id != raft.id(), "{id} keeps progress for itself");
        assert!(
            matched < next && next <= last.next(),
            "{id} matched {matched}, next is {next}, last is {last}"
        );
        match &peer.state {
            ProgressState::Replicate { inflight } => {
                assert!(
                    inflight.len() <= window,
                    "{} appends to {id} are out, limit {window}",
                    inflight.len()
                );
            }
            ProgressState::Probe { .. } => {}
            ProgressState::Snapshot { index } => {
                let newest = raft.snapshot().index;
                assert!(*index <= newest, "{id} gets the image at {index}, the newest is at {newest}");
            }
        }
    }
}
