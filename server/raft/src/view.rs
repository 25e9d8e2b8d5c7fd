//! A read-only view of a node, for models, simulators and their invariants over a whole cluster.

use crate::{
    log::Log,
    raft::Raft,
    types::{LogIndex, Membership, NodeId, Role, SnapshotMeta, Term},
};
use std::fmt;

/// What invariants over a cluster need to know of one node. Costs nothing to make.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// The node.
    pub id: NodeId,
    /// Its current term.
    pub term: Term,
    /// Whom it voted for in `term`.
    pub vote: Option<NodeId>,
    /// Its role.
    pub role: Role,
    /// Leader of `term`, as far as it knows.
    pub leader: Option<NodeId>,
    /// Last entry that it knows to be committed.
    pub commit: LogIndex,
    /// Last entry that it gave out for applying.
    pub handed: LogIndex,
    /// Its log is durable up to here.
    pub persisted: LogIndex,
    /// Its log, with the terms of all entries.
    pub log: &'a Log,
    /// Its newest state image.
    pub snapshot: &'a SnapshotMeta,
    /// The membership that it acts on.
    pub membership: &'a Membership,
}

impl Raft {
    /// A read-only view.
    pub fn view(&self) -> NodeView<'_> {
        NodeView {
            id: self.id(),
            term: self.term(),
            vote: self.vote(),
            role: self.role(),
            leader: self.leader(),
            commit: self.commit(),
            handed: self.node.handed,
            persisted: self.persisted(),
            log: self.log(),
            snapshot: self.snapshot(),
            membership: self.membership(),
        }
    }
}

/// One line: `n1@3 leader last=4@2 commit=4 vote=n1 leader=n1 {n1,n2,n3}`.
impl fmt::Display for NodeView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |id: Option<NodeId>| id.map_or("-".to_string(), |id| id.to_string());
        write!(
            f,
            "{}@{} {} last={}@{} commit={} vote={} leader={} {}",
            self.id,
            self.term,
            self.role,
            self.log.last_index(),
            self.log.last_term(),
            self.commit,
            known(self.vote),
            known(self.leader),
            self.membership
        )
    }
}
