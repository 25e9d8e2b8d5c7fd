//! One form for states that differ only in what a model leaves out.

use crate::{
    message::{Body, Message},
    raft::{Part, Raft},
    ready::{Ready, Write},
    rng::Rng,
    types::{Entry, HardState, Membership, NodeId, Payload, SnapshotMeta},
};

impl Raft {
    /// Brings what depends on chance and on the number of turns into one form: the random generator, the
    /// drawn election timeout, and (when nothing waits to be saved) the numbering of turns; without
    /// check-quorum also who was heard from lately, which nothing then asks for.
    ///
    /// For model checkers, which let elections happen at any time and would otherwise see states apart that
    /// behave alike. A server never calls it: all nodes would draw the same timeouts.
    pub fn canonicalise(&mut self) {
        let ticks = self.node.config.election_ticks;
        self.node.rng = Rng::new(0);
        self.node.election_timeout = ticks * 2 - 1;
        self.node.election_elapsed = if self.node.election_elapsed < ticks { 0 } else { ticks };
        self.node.disk.renumber();
        if !self.node.config.check_quorum
            && let Part::Leader(leader) = &mut self.part
        {
            leader.forget_activity();
        }
    }
}

impl Ready {
    /// Joins to this turn one that was made after it and writes nothing: being saved after this one is all
    /// that it waits for. A message that this turn holds already is not held twice. Returns it where it does
    /// write something.
    ///
    /// For model checkers: messages that arrive again and again would make ever longer queues of such turns.
    ///
    /// # Errors
    /// The later turn, unchanged.
    pub fn join(&mut self, later: Ready) -> Result<(), Box<Ready>> {
        if later.write != Write::default() {
            return Err(Box::new(later));
        }
        for message in later.after {
            if !self.after.contains(&message) {
                self.after.push(message);
            }
        }
        Ok(())
    }
}

/// Something in which nodes may change their names. Raft treats all names alike (but for the choice between
/// equal heirs of a leader that was removed), so states that differ by a renaming alone behave alike: what
/// symmetry reduction in a model checker needs.
pub trait Rename {
    /// Gives each node the name that `name`, a bijection, has for it.
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId);
}

impl Rename for NodeId {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        *self = name(*self);
    }
}

impl<T: Rename> Rename for Option<T> {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.iter_mut().for_each(|item| item.rename(name));
    }
}

impl<T: Rename> Rename for Vec<T> {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.iter_mut().for_each(|item| item.rename(name));
    }
}

impl Rename for Membership {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        for ids in [&mut self.voters, &mut self.outgoing, &mut self.learners] {
            *ids = ids.iter().map(|id| name(*id)).collect();
        }
    }
}

impl Rename for Entry {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        match &mut self.payload {
            Payload::Membership { membership, context: _ } => membership.rename(name),
            Payload::Empty | Payload::Command(_) => {}
        }
    }
}

impl Rename for HardState {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.vote.rename(name);
    }
}

impl Rename for SnapshotMeta {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.membership.rename(name);
    }
}

impl Rename for Message {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.from.rename(name);
        self.to.rename(name);
        match &mut self.body {
            Body::Append { entries, .. } => entries.rename(name),
            Body::InstallSnapshot { meta } => meta.rename(name),
            Body::PreVote { .. }
            | Body::PreVoteReply { .. }
            | Body::Vote { .. }
            | Body::VoteReply { .. }
            | Body::Appended { .. }
            | Body::AppendRejected { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatReply { .. }
            | Body::TimeoutNow => {}
        }
    }
}

impl Rename for Write {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.install.rename(name);
        self.entries.rename(name);
        self.hard_state.rename(name);
    }
}

impl Rename for Ready {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.messages.rename(name);
        self.committed.rename(name);
        self.write.rename(name);
        self.after.rename(name);
        if let Some(soft_state) = &mut self.soft_state {
            soft_state.leader.rename(name);
        }
    }
}

impl Rename for Raft {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.node.rename(name);
        match &mut self.part {
            Part::Follower => {}
            Part::PreCandidate(candidate) | Part::Candidate(candidate) => candidate.rename(name),
            Part::Leader(leader) => leader.rename(name),
        }
    }
}
