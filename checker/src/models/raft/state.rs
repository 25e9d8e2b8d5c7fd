//! The world as stateright sees it: a state is values, shared between states, and nothing is remembered from
//! one step to the next. Slower than [`super::search`], and its judge: both must count the same states.

use super::{
    Broken,
    action::{Act, Action, is_dead, own_acts},
    bounds::{Bounds, Used},
    ghosts::Ghosts,
    local::{Node, Outcome, logs_match},
    mail::post,
    properties,
    tables::content_hash,
};
use raft::{Message, NodeId};
use stateright::{Model, Property};
use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// The model; its value is how far it goes.
#[derive(Clone, Debug)]
pub struct RaftModel {
    /// How far it goes.
    pub bounds: Bounds,
}

/// A shared immutable value that remembers its hash.
struct Shared<T> {
    hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Shared<T> {
    fn new(value: T) -> Shared<T> {
        Shared { hash: content_hash(&value), value: Arc::new(value) }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared { hash: self.hash, value: Arc::clone(&self.value) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.hash == other.hash
    }
}

/// The whole world at one moment.
#[derive(Clone)]
pub struct State {
    nodes: Vec<Shared<Node>>,
    /// Every message ever sent that may still have an effect, by hash.
    network: Vec<Shared<Message>>,
    ghosts: Shared<Ghosts>,
    used: Used,
    broken: Option<Broken>,
    /// What the way here showed; no part of what the state is.
    marks: u8,
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.nodes == other.nodes
            && self.network == other.network
            && self.ghosts == other.ghosts
            && self.used == other.used
            && self.broken == other.broken
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for node in &self.nodes {
            hasher.write_u64(node.hash);
        }
        hasher.write_usize(self.network.len());
        for message in &self.network {
            hasher.write_u64(message.hash);
        }
        hasher.write_u64(self.ghosts.hash);
        self.used.hash(hasher);
        self.broken.hash(hasher);
    }
}

/// A line a node, as the explorer shows it.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let unsaved = node.unsaved.len();
            writeln!(f, "{} applied={} unsaved={unsaved}", node.raft.view(), node.applied)?;
        }
        for message in &self.network {
            writeln!(f, "  {}", super::action::describe(message))?;
        }
        write!(f, "{:?}", self.used)?;
        self.broken.as_ref().map_or(Ok(()), |broken| write!(f, "\n{broken}"))
    }
}

impl Model for RaftModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nodes = (1..=self.bounds.nodes).map(|id| Shared::new(Node::new(NodeId(id), &self.bounds)));
        vec![State {
            nodes: nodes.collect(),
            network: Vec::new(),
            ghosts: Shared::new(Ghosts::new(self.bounds.reads)),
            used: Used::default(),
            broken: None,
            marks: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for message in &state.network {
            let act = Act::Receive(Message::clone(message));
            actions.push(Action { node: message.to, act });
        }
        let mut acts = Vec::new();
        for node in &state.nodes {
            own_acts(&self.bounds, state.used, node, &mut acts);
            actions.extend(acts.drain(..).map(|act| Action { node: node.raft.id(), act }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let at = position(action.node);
        let slow = state.used.slow(&self.bounds);
        let Outcome { node, sent, effects } = state.nodes[at].act(&action.act, &self.bounds, slow)?;
        // A crash that nothing was lost by: whatever follows can follow without it.
        if node == *state.nodes[at] && sent.is_empty() && effects.is_empty() {
            return None;
        }
        let mut ghosts = Ghosts::clone(&state.ghosts);
        let (marks, broken) = ghosts.absorb(action.node, &effects);
        let others = state.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        ghosts.forget(others.map(|(_, node)| node.low()).fold(node.low(), Ord::min));
        let mut next = State {
            nodes: state.nodes.clone(),
            network: state.network.clone(),
            ghosts: Shared::new(ghosts),
            used: action.act.spend(state.used),
            broken,
            marks,
        };
        next.nodes[at] = Shared::new(node);
        next.network.retain(|message| !is_dead(message, &next.nodes[position(message.to)], self.bounds.late));
        next.send(sent, &self.bounds);
        next.broken = next.broken.take().or_else(|| next.judge(at));
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<RaftModel>> {
        properties::all(&self.bounds)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }
}

pub(super) fn position(id: NodeId) -> usize {
    usize::try_from(id.0).expect("few nodes") - 1
}

impl State {
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    pub(super) fn marks(&self) -> u8 {
        self.marks
    }

    fn send(&mut self, sent: Vec<Message>, bounds: &Bounds) {
        let window = bounds.window;
        // Who takes no part in the model hears nothing.
        for message in sent.into_iter().filter(|message| position(message.to) < self.nodes.len()) {
            if !is_dead(&message, &self.nodes[position(message.to)], bounds.late) {
                let key = |known: &Shared<Message>| {
                    let link = (known.from, known.to);
                    if window > 0 { (link, 0) } else { (link, known.hash) }
                };
                post(&mut self.network, Shared::new(message), window, key);
            }
        }
    }

    /// What the step of the node at `at` broke, as seen from outside.
    fn judge(&self, at: usize) -> Option<Broken> {
        let acting = &self.nodes[at];
        let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        if others.any(|(_, other)| !logs_match(&acting.raft, &other.raft)) {
            return Some(Broken::LogMatching);
        }
        self.nodes.iter().any(|node| self.ghosts.contradicts(node)).then_some(Broken::LeaderCompleteness)
    }
}
