//! What may happen next.

use super::bounds::{Bounds, Used};
use super::local::Node;
use raft::{Body, MembershipChange, Message, NodeId, Rename, Role};
use std::fmt;

/// One step of the world: something happens at one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// Where.
    pub node: NodeId,
    /// What.
    pub act: Act,
}

/// What can happen at a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A message arrives; it stays in the network and may arrive again.
    Receive(Message),
    /// An election timeout passes.
    Campaign,
    /// The oldest unsaved turn becomes durable.
    Persist,
    /// The node stops, loses what is not durable, and starts again with what is.
    Reboot,
    /// A client asks to write a new value.
    Put {
        /// Its number; each client acts once.
        client: u8,
        /// The value; each is written once.
        value: u8,
    },
    /// A client asks for a linearizable read.
    Read {
        /// Its number.
        client: u8,
    },
    /// The node takes a state image of all that it applied, and truncates its log.
    Snapshot,
    /// The leader is asked to change the membership.
    Reconfigure(Reconfiguration),
    /// The leader is asked to hand over.
    Transfer(NodeId),
    /// A heartbeat is due at a leader.
    Beat,
}

/// The changes of membership that a model tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconfiguration {
    /// Take a voter away.
    Remove(NodeId),
    /// Make a node that is no voter one.
    Add(NodeId),
    /// Make a voter a learner.
    Demote(NodeId),
}

impl Reconfiguration {
    pub(super) fn change(self) -> MembershipChange {
        let mut change = MembershipChange::default();
        match self {
            Reconfiguration::Remove(node) => change.remove.insert(node),
            Reconfiguration::Add(node) => change.add_voters.insert(node),
            Reconfiguration::Demote(node) => change.add_learners.insert(node),
        };
        change
    }
}

impl Rename for Act {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        match self {
            Act::Receive(message) => message.rename(name),
            Act::Reconfigure(
                Reconfiguration::Remove(node) | Reconfiguration::Add(node) | Reconfiguration::Demote(node),
            )
            | Act::Transfer(node) => node.rename(name),
            Act::Campaign
            | Act::Persist
            | Act::Reboot
            | Act::Put { .. }
            | Act::Read { .. }
            | Act::Snapshot
            | Act::Beat => {}
        }
    }
}

impl Act {
    /// What of the bounds it uses up.
    pub(super) fn spend(&self, mut used: Used) -> Used {
        match self {
            Act::Receive(_) | Act::Campaign | Act::Persist => {}
            Act::Reboot => used.crashes += 1,
            Act::Put { .. } => used.puts += 1,
            Act::Read { .. } => used.reads += 1,
            Act::Snapshot => used.snapshots += 1,
            Act::Reconfigure(_) => used.reconfigs += 1,
            Act::Transfer(_) => used.transfers += 1,
            Act::Beat => used.beats += 1,
        }
        used
    }
}

/// Everything but the arrival of messages that may happen at a node.
pub(super) fn own_acts(bounds: &Bounds, used: Used, node: &Node, acts: &mut Vec<Act>) {
    let raft = &node.raft;
    if !node.unsaved.is_empty() {
        acts.push(Act::Persist);
    }
    if used.crashes < bounds.crashes {
        acts.push(Act::Reboot);
    }
    if raft.role() != Role::Leader {
        if raft.term().0 < bounds.terms {
            acts.push(Act::Campaign);
        }
    } else {
        leader_acts(bounds, used, node, acts);
    }
    if used.snapshots < bounds.snapshots && node.applied > raft.snapshot().index {
        acts.push(Act::Snapshot);
    }
}

fn leader_acts(bounds: &Bounds, used: Used, node: &Node, acts: &mut Vec<Act>) {
    let raft = &node.raft;
    if used.puts < bounds.puts && raft.last_index().0 < bounds.log {
        acts.push(Act::Put { client: used.client(), value: used.puts + 1 });
    }
    if used.reads < bounds.reads {
        acts.push(Act::Read { client: used.client() });
    }
    if used.beats < bounds.beats {
        acts.push(Act::Beat);
    }
    for other in (1..=bounds.nodes).map(NodeId) {
        if used.reconfigs < bounds.reconfigs {
            if raft.membership().voters.contains(&other) {
                acts.push(Act::Reconfigure(Reconfiguration::Remove(other)));
                acts.push(Act::Reconfigure(Reconfiguration::Demote(other)));
            } else {
                acts.push(Act::Reconfigure(Reconfiguration::Add(other)));
            }
        }
        if used.transfers < bounds.transfers && other != raft.id() && raft.term().0 < bounds.terms {
            acts.push(Act::Transfer(other));
        }
    }
}

/// Whether a message can never again have an effect at its receiver. Leaving such messages out of the state
/// loses nothing and makes states equal that behave alike.
///
/// An answer of a term that the receiver has durably left is dropped on arrival, and always will be. So is
/// one of the receiver's own term once it follows in it: a node campaigns in a term only once, and what it
/// voted is durable before anybody can answer. Requests are different: even a stale one is answered, unless
/// the bounds say that what comes so `late` is lost.
pub(super) fn is_dead(message: &Message, receiver: &Node, late: bool) -> bool {
    let durable = receiver.durable.hard_state.term;
    let leads = match &message.body {
        Body::VoteReply { .. } => false,
        Body::Appended { .. } | Body::AppendRejected { .. } | Body::HeartbeatReply { .. } => {
            receiver.raft.role() == Role::Leader
        }
        Body::PreVote { .. }
        | Body::PreVoteReply { .. }
        | Body::Vote { .. }
        | Body::Append { .. }
        | Body::Heartbeat { .. }
        | Body::InstallSnapshot { .. }
        | Body::TimeoutNow => return !late && message.term < durable,
    };
    let may_still_win = receiver.raft.role() == Role::Candidate;
    let current = message.term == receiver.raft.term() && (leads || may_still_win);
    message.term < durable || (message.term == durable && message.term == receiver.raft.term() && !current)
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        match &self.act {
            Act::Receive(message) => write!(f, "{node} receives {}", describe(message)),
            Act::Campaign => write!(f, "{node} campaigns"),
            Act::Persist => write!(f, "{node}'s disk holds a turn more"),
            Act::Reboot => write!(f, "{node} crashes and starts again from its disk"),
            Act::Put { client, value } => write!(f, "client {client} asks {node} to write {value}"),
            Act::Read { client } => write!(f, "client {client} asks {node} for a read"),
            Act::Snapshot => write!(f, "{node} takes an image"),
            Act::Reconfigure(change) => write!(f, "{node} is asked for a change: {change:?}"),
            Act::Transfer(to) => write!(f, "{node} is asked to hand over to {to}"),
            Act::Beat => write!(f, "{node} sends heartbeats"),
        }
    }
}

/// A message in one line.
pub(super) fn describe(message: &Message) -> String {
    let Message { from, to, term, body } = message;
    let body = match body {
        Body::Append { prev_index, prev_term, entries, commit } => {
            let list: Vec<String> =
                entries.iter().map(|entry| format!("{}@{}", entry.index, entry.term)).collect();
            format!("Append prev={prev_index}@{prev_term} [{}] commit={commit}", list.join(" "))
        }
        Body::Vote { last_index, last_term, .. } => format!("Vote last={last_index}@{last_term}"),
        Body::VoteReply { granted } => format!("VoteReply {}", if *granted { "granted" } else { "refused" }),
        Body::Appended { matched } => format!("Appended matched={matched}"),
        Body::PreVote { .. }
        | Body::PreVoteReply { .. }
        | Body::AppendRejected { .. }
        | Body::Heartbeat { .. }
        | Body::HeartbeatReply { .. }
        | Body::InstallSnapshot { .. }
        | Body::TimeoutNow => format!("{body:?}"),
    };
    format!("{from} -> {to} term {term}: {body}")
}
