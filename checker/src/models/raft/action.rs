//! What may happen next.

use raft::{MembershipChange, Message, NodeId};
use std::fmt;

/// One step of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// An election timeout passes at a node.
    Campaign(NodeId),
    /// A message arrives; it stays in the network and may arrive again.
    Deliver(Message),
    /// A node's oldest unsaved turn becomes durable.
    Persist(NodeId),
    /// A node stops and loses what is not durable.
    Crash(NodeId),
    /// A node comes back with what is durable.
    Restart(NodeId),
    /// A client asks a leader to write a new value.
    Put(NodeId),
    /// A client asks a leader for a linearizable read.
    Read(NodeId),
    /// A node takes a state image of all that it applied, and truncates its log.
    Snapshot(NodeId),
    /// A leader is asked to change the membership.
    Reconfigure(NodeId, Reconfiguration),
    /// A leader is asked to hand over.
    Transfer(NodeId, NodeId),
}

/// The changes of membership that a model tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconfiguration {
    /// Take a voter away.
    Remove(NodeId),
    /// Make a node that is no voter one.
    Add(NodeId),
}

impl Reconfiguration {
    pub(super) fn change(self) -> MembershipChange {
        let mut change = MembershipChange::default();
        match self {
            Reconfiguration::Remove(node) => change.remove.insert(node),
            Reconfiguration::Add(node) => change.add_voters.insert(node),
        };
        change
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Campaign(node) => write!(f, "{node} campaigns"),
            Action::Deliver(message) => {
                write!(f, "{} -> {} @{}: {:?}", message.from, message.to, message.term, message.body)
            }
            Action::Persist(node) => write!(f, "{node} saves a turn"),
            Action::Crash(node) => write!(f, "{node} crashes"),
            Action::Restart(node) => write!(f, "{node} restarts"),
            Action::Put(node) => write!(f, "a client puts at {node}"),
            Action::Read(node) => write!(f, "a client reads at {node}"),
            Action::Snapshot(node) => write!(f, "{node} takes an image"),
            Action::Reconfigure(node, change) => write!(f, "{node} is asked to {change:?}"),
            Action::Transfer(node, to) => write!(f, "{node} is asked to hand over to {to}"),
        }
    }
}
