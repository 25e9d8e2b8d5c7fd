//! Actions carried out one after the other, with everything that they make visible.

use super::{
    Act, Action, Bounds, Broken,
    bounds::Used,
    ghosts::{Effect, Ghosts},
    local::{Node, Outcome, logs_match},
    state::position,
};
use raft::{Message, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// A world that does what it is told.
pub struct Replay {
    bounds: Bounds,
    nodes: Vec<Node>,
    ghosts: Ghosts,
    used: Used,
    /// All messages of each link, in the order in which they were sent.
    sent: BTreeMap<(NodeId, NodeId), Vec<Message>>,
    /// Whose disks wait for [`Act::Persist`], where that does not follow from the bounds.
    held: Option<BTreeSet<NodeId>>,
}

/// What an action did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replayed {
    /// A line for each thing that can be seen.
    pub lines: Vec<String>,
    /// What it broke.
    pub broken: Option<Broken>,
}

impl Replay {
    /// The first state.
    pub fn new(bounds: &Bounds) -> Replay {
        let nodes = (1..=bounds.nodes).map(|id| Node::new(NodeId(id), bounds)).collect();
        Replay {
            bounds: bounds.clone(),
            nodes,
            // Of these worlds nobody asks whether two are equal.
            ghosts: Ghosts::new(u8::MAX),
            used: Used::default(),
            sent: BTreeMap::new(),
            held: None,
        }
    }

    /// The first state of a world whose disks write at once, unless they are told to wait.
    pub fn with_quick_disks(bounds: &Bounds) -> Replay {
        Replay { held: Some(BTreeSet::new()), ..Replay::new(bounds) }
    }

    /// A node's disk waits for [`Act::Persist`] from here on, or no longer.
    pub fn hold(&mut self, id: NodeId, hold: bool) {
        let held = self.held.get_or_insert_default();
        if hold {
            held.insert(id)
        } else {
            held.remove(&id)
        };
    }

    /// Turns of a node that wait for its disk.
    pub fn unsaved(&self, id: NodeId) -> usize {
        self.nodes.get(position(id)).map_or(0, |node| node.unsaved.len())
    }

    /// The messages of a link so far, in the order in which they were sent.
    pub fn link(&self, from: NodeId, to: NodeId) -> &[Message] {
        self.sent.get(&(from, to)).map_or(&[], Vec::as_slice)
    }

    /// Whether a node's writes wait for [`Act::Persist`] now.
    pub fn is_slow(&self, id: NodeId) -> bool {
        self.held.as_ref().map_or_else(|| self.used.slow(&self.bounds), |held| held.contains(&id))
    }

    /// Carries out an action; `None` where it is not possible here, or refused.
    pub fn step(&mut self, action: &Action) -> Option<Replayed> {
        let at = position(action.node);
        if let Act::Receive(message) = &action.act
            && !self.link(message.from, message.to).contains(message)
        {
            return None;
        }
        let slow = self.is_slow(action.node);
        let Outcome { node, sent, effects } = self.nodes.get(at)?.act(&action.act, &self.bounds, slow)?;
        let before = std::mem::replace(&mut self.nodes[at], node);
        self.used = action.act.spend(self.used);
        if let (Act::Reboot, Some(held)) = (&action.act, &mut self.held) {
            held.remove(&action.node);
        }
        let (_, broken) = self.ghosts.absorb(action.node, &effects);
        let mut replayed = Replayed { lines: Vec::new(), broken };
        let (old, new) = (before.raft.view(), self.nodes[at].raft.view());
        if (old.role, old.term) != (new.role, new.term) {
            replayed.lines.push(format!("{} is {} of term {}", action.node, new.role, new.term));
        }
        replayed.lines.extend(effects.iter().filter_map(|effect| tell(action.node, effect)));
        replayed.lines.extend(sent.iter().map(super::action::describe));
        for message in sent {
            self.sent.entry((message.from, message.to)).or_default().push(message);
        }
        replayed.broken = replayed.broken.take().or_else(|| self.judge());
        Some(replayed)
    }

    fn judge(&self) -> Option<Broken> {
        for (at, one) in self.nodes.iter().enumerate() {
            if self.nodes[..at].iter().any(|other| !logs_match(&one.raft, &other.raft)) {
                return Some(Broken::LogMatching);
            }
        }
        self.nodes.iter().any(|node| self.ghosts.contradicts(node)).then_some(Broken::LeaderCompleteness)
    }

    /// Last entry that a node has applied.
    pub fn applied(&self, id: NodeId) -> u64 {
        self.nodes.get(position(id)).map_or(0, |node| node.applied.0)
    }

    /// A line for each node.
    pub fn status(&self) -> Vec<String> {
        let line = |node: &Node| {
            let terms: Vec<String> =
                node.raft.log().entries().map(|entry| format!("{}@{}", entry.index, entry.term)).collect();
            format!("{} log=[{}] applied={}", node.raft.view(), terms.join(" "), node.applied)
        };
        self.nodes.iter().map(line).collect()
    }
}

fn tell(node: NodeId, effect: &Effect) -> Option<String> {
    match effect {
        Effect::Applied { entry, .. } => Some(format!("{node} applies {}@{}", entry.index, entry.term)),
        Effect::Installed => Some(format!("{node} takes over an image")),
        Effect::PutDone { client } => Some(format!("client {client} is told that its write is done")),
        Effect::ReadDone { client, applied, .. } => {
            Some(format!("client {client} reads the state after {applied}"))
        }
        Effect::Leads(_) | Effect::AskedPut { .. } | Effect::AskedRead { .. } | Effect::Broke(_) => None,
    }
}
