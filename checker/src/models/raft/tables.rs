//! Numbers for the parts of states, and what acts do to them, computed once.
//!
//! A state of the world is a few numbers: one a node, one for the observer, one for each message. What an
//! act does depends on one node's state alone, and there are few of those (thousands) where there are many
//! states of the world (millions), so nearly every transition is a look into a table; [`raft::Raft::step`]
//! runs only the first time.
//!
//! Each part has a hash for each way of renaming the nodes. The sum of the parts' hashes under one renaming
//! is a hash of the renamed world, so the smallest sum names a state and all its mirror images alike.

use super::{
    Broken,
    action::{Act, is_dead},
    bounds::Bounds,
    ghosts::{Effect, Ghosts},
    local::{Node, Outcome, logs_match},
    state::position,
};
use raft::{Message, NodeId, Rename, Role, Term};
use rustc_hash::FxHashMap;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

/// Hash of a value, the same in every run of one build.
pub(super) fn content_hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Renamings that are looked at: all of three nodes.
pub(super) const RENAMINGS: usize = 6;

/// A hash for each renaming.
pub(super) type Hashes = [u64; RENAMINGS];

pub(super) fn add(sum: &mut Hashes, part: &Hashes) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum = sum.wrapping_add(*part);
    }
}

pub(super) fn take(sum: &mut Hashes, part: &Hashes) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum = sum.wrapping_sub(*part);
    }
}

/// The ways to rename the nodes of a model; the same one again and again where symmetry is not used.
#[derive(Clone, Debug)]
pub(super) struct Renamings(Vec<Vec<u64>>);

impl Renamings {
    /// Of clusters of up to three nodes, unless `symmetry` is off or members come and go.
    pub(super) fn new(bounds: &Bounds, symmetry: bool) -> Renamings {
        let identity: Vec<u64> = (1..=bounds.nodes).collect();
        if !symmetry || bounds.nodes > 3 || bounds.reconfigs > 0 {
            return Renamings(vec![identity]);
        }
        let longer = |names: Vec<u64>| {
            let free: Vec<u64> = identity.iter().filter(|id| !names.contains(id)).copied().collect();
            free.into_iter().map(move |id| [names.clone(), vec![id]].concat())
        };
        let mut all = vec![Vec::new()];
        for _ in 0..bounds.nodes {
            all = all.into_iter().flat_map(longer).collect();
        }
        Renamings(all)
    }

    /// How many different ones there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    fn hashes<T: Clone + Hash + Rename>(&self, value: &T) -> Hashes {
        let mut hashes = [0; RENAMINGS];
        for (at, hash) in hashes.iter_mut().enumerate() {
            let Some(names) = self.0.get(at) else { break };
            let mut renamed = value.clone();
            renamed.rename(&|id| NodeId(names[position(id)]));
            *hash = content_hash(&renamed);
        }
        for at in self.0.len()..RENAMINGS {
            hashes[at] = hashes[at - self.0.len()];
        }
        hashes
    }
}

/// A part of a state, with what is often asked of it.
pub(super) struct Part<T> {
    pub(super) value: T,
    pub(super) hashes: Hashes,
}

/// All parts of one kind, by number. Shared by all workers.
struct Pool<T>(Mutex<Numbered<T>>);

/// Parts by number, and the number of each content hash.
type Numbered<T> = (FxHashMap<u64, u32>, Vec<Arc<Part<T>>>);

impl<T: Clone + Hash + Rename> Pool<T> {
    fn new() -> Pool<T> {
        Pool(Mutex::new((FxHashMap::default(), Vec::new())))
    }

    fn number(&self, value: T, renamings: &Renamings) -> u32 {
        let hash = content_hash(&value);
        if let Some(number) = self.lock().0.get(&hash) {
            return *number;
        }
        let hashes = renamings.hashes(&value);
        let mut pool = self.lock();
        let next = u32::try_from(pool.1.len()).expect("fewer than 2^32 parts");
        let number = *pool.0.entry(hash).or_insert(next);
        if number == next {
            pool.1.push(Arc::new(Part { value, hashes }));
        }
        number
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbered<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a worker's own list up to date.
    fn catch_up(&self, list: &mut Vec<Arc<Part<T>>>) {
        let pool = self.lock();
        let known = list.len();
        list.extend(pool.1[known..].iter().cloned());
    }

    fn len(&self) -> usize {
        self.lock().1.len()
    }
}

/// What the workers of one search share.
pub(super) struct Tables {
    pub(super) bounds: Bounds,
    pub(super) renamings: Renamings,
    nodes: Pool<Node>,
    acts: Pool<Act>,
    ghosts: Pool<Ghosts>,
}

impl Tables {
    pub(super) fn new(bounds: Bounds, symmetry: bool) -> Tables {
        let renamings = Renamings::new(&bounds, symmetry);
        Tables { bounds, renamings, nodes: Pool::new(), acts: Pool::new(), ghosts: Pool::new() }
    }

    /// How many states of one node, acts, and states of the observer were met.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.nodes.len(), self.acts.len(), self.ghosts.len()]
    }
}

/// What an act did, in numbers.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) node: u32,
    /// Messages to members of the model, as [`Act::Receive`].
    pub(super) sent: Box<[u32]>,
    /// 0 where there are none.
    effects: u32,
    /// Whether the node's log or role changed.
    pub(super) look: bool,
    /// Whether messages to the node may have become dead.
    pub(super) deadens: bool,
}

/// What a message is to those who move it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    /// The receiver's place, or none for acts that are no messages.
    pub(super) to: u8,
    /// The sender's place.
    pub(super) from: u8,
    /// An order that is the same in every run, as numbers are not.
    pub(super) order: u64,
}

/// One worker's view of the tables, with what it has computed itself.
pub(super) struct View<'a> {
    pub(super) tables: &'a Tables,
    pub(super) nodes: Vec<Arc<Part<Node>>>,
    acts: Vec<Arc<Part<Act>>>,
    ghosts: Vec<Arc<Part<Ghosts>>>,
    letters: Vec<Letter>,
    done: FxHashMap<u64, Option<Arc<Done>>>,
    effects: Vec<Vec<Effect>>,
    effect_numbers: FxHashMap<Vec<Effect>, u32>,
    absorbed: FxHashMap<(u32, u32, u8), Absorbed>,
    forgotten: FxHashMap<(u32, u64), u32>,
    matching: FxHashMap<(u32, u32), bool>,
    contradicting: FxHashMap<(u32, u32), bool>,
    dead: FxHashMap<(u32, u32), bool>,
    own: FxHashMap<(u32, u64), Arc<[u32]>>,
}

/// What the observer made of effects.
#[derive(Clone, Debug)]
struct Absorbed {
    ghosts: u32,
    marks: u8,
    broken: Option<Broken>,
}

impl<'a> View<'a> {
    pub(super) fn new(tables: &'a Tables) -> View<'a> {
        View {
            tables,
            nodes: Vec::new(),
            acts: Vec::new(),
            ghosts: Vec::new(),
            letters: Vec::new(),
            done: FxHashMap::default(),
            effects: vec![Vec::new()],
            effect_numbers: FxHashMap::default(),
            absorbed: FxHashMap::default(),
            forgotten: FxHashMap::default(),
            matching: FxHashMap::default(),
            contradicting: FxHashMap::default(),
            dead: FxHashMap::default(),
            own: FxHashMap::default(),
        }
    }

    pub(super) fn node_number(&self, node: Node) -> u32 {
        self.tables.nodes.number(node, &self.tables.renamings)
    }

    pub(super) fn ghosts_number(&self, ghosts: Ghosts) -> u32 {
        self.tables.ghosts.number(ghosts, &self.tables.renamings)
    }

    pub(super) fn act_number(&self, act: Act) -> u32 {
        self.tables.acts.number(act, &self.tables.renamings)
    }

    pub(super) fn node(&mut self, number: u32) -> &Part<Node> {
        if number as usize >= self.nodes.len() {
            self.tables.nodes.catch_up(&mut self.nodes);
        }
        &self.nodes[number as usize]
    }

    pub(super) fn ghost(&mut self, number: u32) -> &Part<Ghosts> {
        if number as usize >= self.ghosts.len() {
            self.tables.ghosts.catch_up(&mut self.ghosts);
        }
        &self.ghosts[number as usize]
    }

    fn catch_up_acts(&mut self, number: u32) {
        if number as usize >= self.acts.len() {
            self.tables.acts.catch_up(&mut self.acts);
            for part in &self.acts[self.letters.len()..] {
                let (to, from) = match &part.value {
                    Act::Receive(message) => (position(message.to) as u8, position(message.from) as u8),
                    _ => (u8::MAX, u8::MAX),
                };
                let letter = Letter { to, from, order: part.hashes[0] };
                self.letters.push(letter);
            }
        }
    }

    pub(super) fn act(&mut self, number: u32) -> &Part<Act> {
        self.catch_up_acts(number);
        &self.acts[number as usize]
    }

    /// All letters that were asked for so far.
    pub(super) fn letters(&self) -> &[Letter] {
        &self.letters
    }

    pub(super) fn letter(&mut self, number: u32) -> Letter {
        self.catch_up_acts(number);
        self.letters[number as usize]
    }

    /// What an act does to a node; `None` where it is refused or does nothing.
    pub(super) fn act_on(&mut self, node: u32, act: u32, slow: bool) -> Option<Arc<Done>> {
        let key = u64::from(node) << 32 | u64::from(act) << 1 | u64::from(slow);
        if let Some(done) = self.done.get(&key) {
            return done.clone();
        }
        let done = self.compute(node, act, slow).map(Arc::new);
        self.done.insert(key, done.clone());
        done
    }

    fn compute(&mut self, number: u32, act: u32, slow: bool) -> Option<Done> {
        self.act(act);
        self.node(number);
        let before = &self.nodes[number as usize].value;
        let outcome = before.act(&self.acts[act as usize].value, &self.tables.bounds, slow);
        let Outcome { node, sent, effects } = outcome?;
        let look = node.raft.log() != before.raft.log() || node.raft.role() != before.raft.role();
        let lately = |node: &Node| (node.raft.role(), node.raft.term(), node.durable.hard_state.term);
        let deadens = lately(&node) != lately(before);
        let node = self.node_number(node);
        let within = |message: &Message| message.to.0 <= self.tables.bounds.nodes;
        let sent = sent.into_iter().filter(within).map(|message| self.act_number(Act::Receive(message)));
        let sent: Box<[u32]> = sent.collect();
        if node == number && sent.is_empty() && effects.is_empty() {
            return None;
        }
        let effects = self.effects_number(effects);
        Some(Done { node, sent, effects, look, deadens })
    }

    fn effects_number(&mut self, effects: Vec<Effect>) -> u32 {
        if effects.is_empty() {
            return 0;
        }
        if let Some(number) = self.effect_numbers.get(&effects) {
            return *number;
        }
        let number = u32::try_from(self.effects.len()).expect("fewer than 2^32 effects");
        self.effects.push(effects.clone());
        self.effect_numbers.insert(effects, number);
        number
    }

    /// What the observer makes of what was done at the node in place `at`.
    pub(super) fn absorb(&mut self, ghosts: u32, done: &Done, at: usize) -> (u32, u8, Option<Broken>) {
        if done.effects == 0 {
            return (ghosts, 0, None);
        }
        let key = (ghosts, done.effects, at as u8);
        if let Some(Absorbed { ghosts, marks, broken }) = self.absorbed.get(&key) {
            return (*ghosts, *marks, broken.clone());
        }
        let mut next = self.ghost(ghosts).value.clone();
        let id = NodeId(at as u64 + 1);
        let (marks, broken) = next.absorb(id, &self.effects[done.effects as usize]);
        let next = self.ghosts_number(next);
        self.absorbed.insert(key, Absorbed { ghosts: next, marks, broken: broken.clone() });
        (next, marks, broken)
    }

    /// What the observer still remembers once every node is in term `low` or later.
    pub(super) fn forget(&mut self, ghosts: u32, low: Term) -> u32 {
        if let Some(known) = self.forgotten.get(&(ghosts, low.0)) {
            return *known;
        }
        let mut next = self.ghost(ghosts).value.clone();
        next.forget(low);
        let next = self.ghosts_number(next);
        self.forgotten.insert((ghosts, low.0), next);
        next
    }

    /// Whether two nodes' logs match.
    pub(super) fn match_logs(&mut self, left: u32, right: u32) -> bool {
        let key = (left.min(right), left.max(right));
        if let Some(known) = self.matching.get(&key) {
            return *known;
        }
        self.node(key.1);
        let (left, right) = (&self.nodes[left as usize], &self.nodes[right as usize]);
        let matching = logs_match(&left.value.raft, &right.value.raft);
        self.matching.insert(key, matching);
        matching
    }

    /// Whether a node is a leader without something that was committed before its term.
    pub(super) fn contradicts(&mut self, ghosts: u32, node: u32) -> bool {
        if self.node(node).value.raft.role() != Role::Leader {
            return false;
        }
        if let Some(known) = self.contradicting.get(&(ghosts, node)) {
            return *known;
        }
        self.ghost(ghosts);
        let result = self.ghosts[ghosts as usize].value.contradicts(&self.nodes[node as usize].value);
        self.contradicting.insert((ghosts, node), result);
        result
    }

    /// Whether a message is dead for a node in this state.
    pub(super) fn is_dead(&mut self, message: u32, node: u32) -> bool {
        if let Some(known) = self.dead.get(&(message, node)) {
            return *known;
        }
        self.act(message);
        self.node(node);
        let dead = match &self.acts[message as usize].value {
            Act::Receive(message) => {
                is_dead(message, &self.nodes[node as usize].value, self.tables.bounds.late)
            }
            _ => false,
        };
        self.dead.insert((message, node), dead);
        dead
    }

    /// The acts other than arrivals that are possible at a node.
    pub(super) fn own_acts(&mut self, node: u32, used: u64) -> Arc<[u32]> {
        if let Some(known) = self.own.get(&(node, used)) {
            return known.clone();
        }
        let mut acts = Vec::new();
        self.node(node);
        let bounds = &self.tables.bounds;
        let used_up = super::bounds::Used::unpack(used);
        super::action::own_acts(bounds, used_up, &self.nodes[node as usize].value, &mut acts);
        let numbers: Arc<[u32]> = acts.into_iter().map(|act| self.act_number(act)).collect();
        self.own.insert((node, used), numbers.clone());
        numbers
    }
}
