//! The model's state and its transitions.

use super::{
    Action, Bounds, Broken, Reconfiguration,
    ghosts::{Ghosts, Put, Read, command_value},
    hashed::Hashed,
    node::Node,
    properties,
};
use bytes::Bytes;
use raft::{Body, Input, LogIndex, Message, NodeId, Raft, ReadId, Ready, Role, StepError};
use stateright::{Model, Property};
use std::{
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The model; its value is how far it goes.
#[derive(Clone, Debug)]
pub struct RaftModel {
    /// How far it goes.
    pub bounds: Bounds,
}

/// The whole world at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    nodes: Vec<Hashed<Node>>,
    /// Every message ever sent, by hash.
    network: Vec<Hashed<Message>>,
    ghosts: Hashed<Ghosts>,
    used: Used,
    broken: Option<Broken>,
}

/// What of the bounds is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Used {
    puts: u8,
    reads: u8,
    crashes: u8,
    snapshots: u8,
    reconfigs: u8,
    transfers: u8,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for node in &self.nodes {
            node.hash(hasher);
        }
        hasher.write_usize(self.network.len());
        for message in &self.network {
            message.hash(hasher);
        }
        self.ghosts.hash(hasher);
        self.used.hash(hasher);
        self.broken.hash(hasher);
    }
}

impl Model for RaftModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nodes = (1..=self.bounds.nodes).map(|id| Hashed::new(Node::new(NodeId(id), &self.bounds)));
        vec![State {
            nodes: nodes.collect(),
            network: Vec::new(),
            ghosts: Hashed::new(Ghosts::new()),
            used: Used::default(),
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for message in &state.network {
            if state.node(message.to).raft.is_some() {
                actions.push(Action::Deliver(Message::clone(message)));
            }
        }
        for node in &state.nodes {
            self.node_actions(state, node, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut turn = Turn {
            bounds: &self.bounds,
            network: state.network.clone(),
            ghosts: Ghosts::clone(&state.ghosts),
            used: state.used,
            broken: None,
        };
        let id = action.node();
        let mut node = Node::clone(state.node(id));
        let answered = state.ghosts.clients.clone();
        // A broken invariant of the core is a panic there and a finding here.
        let outcome = catch_unwind(AssertUnwindSafe(|| turn.take(&mut node, action)));
        match outcome {
            Ok(true) => {}
            Ok(false) => return None,
            Err(panic) => turn.broken = Some(Broken::Invariant(panic_text(panic.as_ref()))),
        }
        let mut next = State {
            nodes: state.nodes.clone(),
            network: turn.network,
            ghosts: Hashed::new(turn.ghosts),
            used: turn.used,
            broken: turn.broken,
        };
        let node = Hashed::new(node);
        let changed = node.hash != state.node(id).hash;
        next.nodes[position(id)] = node;
        if !changed && next.network.len() == state.network.len() && next.ghosts.hash == state.ghosts.hash {
            return None;
        }
        if next.broken.is_none() {
            next.broken = next.judge(id);
        }
        if next.broken.is_none() && next.ghosts.clients != answered && !next.clients_are_consistent() {
            next.broken = Some(Broken::Linearizability);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<RaftModel>> {
        properties::all(&self.bounds)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }
}

impl RaftModel {
    fn node_actions(&self, state: &State, node: &Node, actions: &mut Vec<Action>) {
        let (bounds, used, id) = (&self.bounds, state.used, node.id);
        let Some(raft) = &node.raft else {
            actions.push(Action::Restart(id));
            return;
        };
        if !node.unsaved.is_empty() {
            actions.push(Action::Persist(id));
        }
        if used.crashes < bounds.crashes {
            actions.push(Action::Crash(id));
        }
        if raft.role() != Role::Leader {
            if raft.term().0 < bounds.terms {
                actions.push(Action::Campaign(id));
            }
        } else {
            self.leader_actions(state, raft, actions);
        }
        if used.snapshots < bounds.snapshots && node.applied > raft.snapshot().index {
            actions.push(Action::Snapshot(id));
        }
    }

    fn leader_actions(&self, state: &State, raft: &Raft, actions: &mut Vec<Action>) {
        let (bounds, used, id) = (&self.bounds, state.used, raft.id());
        if used.puts < bounds.puts {
            actions.push(Action::Put(id));
        }
        if used.reads < bounds.reads {
            actions.push(Action::Read(id));
        }
        for other in (1..=bounds.nodes).map(NodeId) {
            if used.reconfigs < bounds.reconfigs {
                let voter = raft.membership().voters.contains(&other);
                let change = if voter { Reconfiguration::Remove(other) } else { Reconfiguration::Add(other) };
                actions.push(Action::Reconfigure(id, change));
            }
            if used.transfers < bounds.transfers && other != id && raft.term().0 < bounds.terms {
                actions.push(Action::Transfer(id, other));
            }
        }
    }
}

fn position(id: NodeId) -> usize {
    usize::try_from(id.0).expect("few nodes") - 1
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string())).unwrap_or_default()
}

impl Action {
    /// Where it happens.
    fn node(&self) -> NodeId {
        match self {
            Action::Deliver(message) => message.to,
            Action::Campaign(node)
            | Action::Persist(node)
            | Action::Crash(node)
            | Action::Restart(node)
            | Action::Put(node)
            | Action::Read(node)
            | Action::Snapshot(node)
            | Action::Reconfigure(node, _)
            | Action::Transfer(node, _) => *node,
        }
    }
}

impl State {
    fn node(&self, id: NodeId) -> &Hashed<Node> {
        &self.nodes[position(id)]
    }

    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    pub(super) fn ghosts(&self) -> &Ghosts {
        &self.ghosts
    }

    /// What the step at `id` broke, as seen from outside.
    fn judge(&self, id: NodeId) -> Option<Broken> {
        let acting = self.node(id).raft.as_ref()?;
        for other in self.nodes.iter().filter(|other| other.id != id) {
            if other.raft.as_ref().is_some_and(|other| !logs_match(acting, other)) {
                return Some(Broken::LogMatching);
            }
        }
        let leaders = self.nodes.iter().filter_map(|node| node.raft.as_ref());
        for leader in leaders.filter(|raft| raft.role() == Role::Leader) {
            let lacks = self.ghosts.committed.iter().any(|known| {
                known.in_term < leader.term()
                    && known.entry.index > leader.log().base_index()
                    && leader.log().term_at(known.entry.index) != Some(known.entry.term)
            });
            if lacks {
                return Some(Broken::LeaderCompleteness);
            }
        }
        None
    }
}

/// From the last index at which both have the same term on, everything before must be the same.
fn logs_match(left: &Raft, right: &Raft) -> bool {
    let (left, right) = (left.log(), right.log());
    let first = left.base_index().max(right.base_index());
    let mut index = left.last_index().min(right.last_index());
    let mut agree = false;
    while index > first {
        match (left.get(index), right.get(index)) {
            (Some(a), Some(b)) if agree || a.term == b.term => {
                if a != b {
                    return false;
                }
                agree = true;
            }
            _ => {}
        }
        index = LogIndex(index.0 - 1);
    }
    true
}

/// One step in the making.
struct Turn<'a> {
    bounds: &'a Bounds,
    network: Vec<Hashed<Message>>,
    ghosts: Ghosts,
    used: Used,
    broken: Option<Broken>,
}

impl Turn<'_> {
    /// Returns whether the action was possible.
    fn take(&mut self, node: &mut Node, action: Action) -> bool {
        match action {
            Action::Campaign(_) => self.step(node, Input::Campaign),
            Action::Deliver(message) => self.step(node, Input::Receive(message)),
            Action::Persist(_) => {
                let Some(ready) = node.unsaved.pop_front() else { return false };
                self.save(node, ready);
                self.settle(node);
                true
            }
            Action::Crash(id) => {
                self.used.crashes += 1;
                self.ghosts.crashed(id);
                node.crash();
                node.value = self.ghosts.value_at(node.applied);
                true
            }
            Action::Restart(_) => {
                if node.start(self.bounds).is_err() {
                    self.broken = Some(Broken::Restart);
                } else {
                    self.settle(node);
                }
                true
            }
            Action::Put(id) => self.put(node, id),
            Action::Read(id) => self.read(node, id),
            Action::Snapshot(_) => {
                self.used.snapshots += 1;
                let index = node.applied;
                let taken = self.step(node, Input::SnapshotTaken { index, keep: 0 });
                node.keep_image();
                taken
            }
            Action::Reconfigure(_, change) => {
                self.used.reconfigs += 1;
                let change = change.change();
                self.step(node, Input::ProposeMembership { change, context: Bytes::new() })
            }
            Action::Transfer(_, to) => {
                self.used.transfers += 1;
                self.step(node, Input::Transfer(to))
            }
        }
    }

    fn put(&mut self, node: &mut Node, id: NodeId) -> bool {
        let client = self.used.puts + self.used.reads;
        self.used.puts += 1;
        let value = self.used.puts;
        let Some(raft) = &mut node.raft else { return false };
        if raft.step(Input::Propose(Bytes::from(vec![value]))).is_err() {
            return false;
        }
        self.ghosts.invoke_put(client, value);
        self.ghosts.puts.push(Put { client, node: id, index: raft.last_index(), term: raft.term() });
        self.settle(node);
        true
    }

    fn read(&mut self, node: &mut Node, id: NodeId) -> bool {
        let client = self.used.puts + self.used.reads;
        self.used.reads += 1;
        let Some(raft) = &mut node.raft else { return false };
        if raft.step(Input::Read(ReadId(u64::from(client)))).is_err() {
            return false;
        }
        self.ghosts.invoke_read(client);
        self.ghosts.reads.push(Read { client, node: id, index: None });
        self.settle(node);
        true
    }

    fn step(&mut self, node: &mut Node, input: Input) -> bool {
        let Some(raft) = &mut node.raft else { return false };
        match raft.step(input) {
            Ok(()) => {}
            Err(StepError::TwoLeaders { .. }) => self.broken = Some(Broken::ElectionSafety),
            Err(StepError::LogLost { .. }) => self.broken = Some(Broken::DurableBeforeSent),
            Err(_) => return false,
        }
        self.settle(node);
        true
    }

    /// Carries out all that the node has ready.
    fn settle(&mut self, node: &mut Node) {
        while let Some(raft) = &mut node.raft {
            if raft.role() == Role::Leader && !self.ghosts.saw_leader(raft.term(), raft.id()) {
                self.broken = Some(Broken::ElectionSafety);
            }
            if !raft.has_ready() {
                raft.canonicalise();
                return;
            }
            let mut ready = raft.ready();
            self.send(node, std::mem::take(&mut ready.messages));
            self.apply(node, &mut ready);
            let wait = self.bounds.slow_disk && ready.write().must_sync;
            if wait || !node.unsaved.is_empty() {
                node.unsaved.push_back(ready);
            } else {
                self.save(node, ready);
            }
        }
    }

    fn save(&mut self, node: &mut Node, ready: Ready) {
        struct Done;
        impl raft::Storage for Done {
            type Error = std::convert::Infallible;
            fn save(&mut self, _: &raft::Write) -> Result<(), Self::Error> {
                Ok(())
            }
        }
        node.write(ready.write());
        let Ok(saved) = ready.save(&mut Done);
        for message in &saved.messages {
            if !is_backed(node, message) {
                self.broken = Some(Broken::DurableBeforeSent);
            }
        }
        self.send(node, saved.messages);
        if let Some(raft) = &mut node.raft {
            raft.step(Input::Persisted(saved.mark)).expect("the mark is the node's own");
        }
    }

    fn send(&mut self, node: &mut Node, messages: Vec<Message>) {
        for message in messages {
            if let (Body::InstallSnapshot { .. }, Some(raft)) = (&message.body, &mut node.raft) {
                let report = Input::SnapshotReport { to: message.to, ok: true };
                raft.step(report).expect("a report is always taken");
            }
            let message = Hashed::new(message);
            if let Err(at) = self.network.binary_search_by_key(&message.hash, |known| known.hash) {
                self.network.insert(at, message);
            }
        }
    }

    fn apply(&mut self, node: &mut Node, ready: &mut Ready) {
        let Some(raft) = &node.raft else { return };
        let (id, term) = (raft.id(), raft.term());
        if let Some(image) = &ready.write().install {
            self.ghosts.installed = true;
            node.applied = image.index;
            node.value = self.ghosts.value_at(image.index);
        }
        for entry in std::mem::take(&mut ready.committed) {
            let in_order = entry.index == node.applied.next();
            if !in_order || !self.ghosts.saw_committed(&entry, term) {
                self.broken = Some(Broken::StateMachineSafety);
            }
            node.applied = entry.index;
            node.value = command_value(&entry).or(node.value);
            self.ghosts.applied_at(id, &entry);
        }
        for decided in std::mem::take(&mut ready.reads) {
            let reads = &mut self.ghosts.reads;
            if decided.index.is_none() {
                reads.retain(|read| u64::from(read.client) != decided.id.0);
            } else if let Some(read) = reads.iter_mut().find(|read| u64::from(read.client) == decided.id.0) {
                read.index = decided.index;
            }
        }
        let served = self.ghosts.serve_reads(id, node.applied, node.value);
        let first = self.ghosts.leaders.iter().position(Option::is_some).map_or(0, |at| at as u64 + 1);
        self.ghosts.read_by_new_leader |= served > 0 && term.0 > first;
    }
}

/// Whether the sender's disk holds what the message promises.
fn is_backed(node: &Node, message: &Message) -> bool {
    let disk = &node.durable;
    match &message.body {
        Body::VoteReply { granted: true } => {
            disk.hard_state.term > message.term
                || (disk.hard_state.term == message.term && disk.hard_state.vote == Some(message.to))
        }
        Body::Appended { matched } => {
            let image = disk.snapshot.as_ref().map_or(LogIndex::ZERO, |image| image.index);
            let last = disk.entries.last().map_or(image, |entry| entry.index.max(image));
            // A newer term may have cut the log after this was promised in an older one.
            disk.hard_state.term > message.term || last >= *matched
        }
        _ => true,
    }
}
