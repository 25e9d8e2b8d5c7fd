//! States and operations as numbers, and the steps between them, each computed once.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::spec::SequentialSpec;

/// Number of a state.
pub(super) type StateId = u32;
/// Number of an operation's content: operations with one number are interchangeable.
pub(super) type Class = u32;

const ILLEGAL: u32 = u32::MAX;
/// Steps that are remembered before they are forgotten all at once.
const STEPS_MAX: usize = 1 << 20;

/// Numbers for values, in the order of their first appearance.
#[derive(Debug)]
pub(super) struct Interner<T> {
    values: Vec<T>,
    /// The newest value of a hash, and for each value the one before it with the same hash.
    heads: FxHashMap<u64, u32>,
    before: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl<T: Eq + Hash> Interner<T> {
    pub(super) fn new() -> Interner<T> {
        Interner { values: Vec::new(), heads: FxHashMap::default(), before: Vec::new() }
    }

    pub(super) fn number(&mut self, value: T) -> u32 {
        let mut hasher = FxHasher::default();
        value.hash(&mut hasher);
        let hash = hasher.finish();
        let head = self.heads.get(&hash).copied().unwrap_or(NONE);
        let mut at = head;
        while at != NONE {
            if self.values[at as usize] == value {
                return at;
            }
            at = self.before[at as usize];
        }
        let number = u32::try_from(self.values.len()).expect("memory ends before 2^32 states");
        self.values.push(value);
        self.before.push(head);
        self.heads.insert(hash, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

/// The steps of a spec between numbered states.
pub(super) struct Table<'s, S: SequentialSpec> {
    spec: &'s S,
    states: Interner<S::State>,
    classes: Interner<S::Op>,
    read_only: Vec<bool>,
    steps: FxHashMap<(StateId, Class), u32>,
}

impl<'s, S: SequentialSpec> Table<'s, S> {
    pub(super) fn new(spec: &'s S) -> Table<'s, S> {
        Table {
            spec,
            states: Interner::new(),
            classes: Interner::new(),
            read_only: Vec::new(),
            steps: FxHashMap::default(),
        }
    }

    pub(super) fn class(&mut self, op: &S::Op) -> Class {
        let class = self.classes.number(op.clone());
        if class as usize == self.read_only.len() {
            self.read_only.push(self.spec.read_only(op));
        }
        class
    }

    pub(super) fn is_read_only(&self, class: Class) -> bool {
        self.read_only[class as usize]
    }

    pub(super) fn init(&mut self) -> StateId {
        let init = self.spec.init();
        self.states.number(init)
    }

    pub(super) fn state_of(&mut self, state: S::State) -> StateId {
        self.states.number(state)
    }

    pub(super) fn state(&self, id: StateId) -> &S::State {
        self.states.get(id)
    }

    pub(super) fn states(&self) -> usize {
        self.states.len()
    }

    pub(super) fn step(&mut self, state: StateId, class: Class) -> Option<StateId> {
        if let Some(&next) = self.steps.get(&(state, class)) {
            return (next != ILLEGAL).then_some(next);
        }
        let next = self.spec.step(self.states.get(state), self.classes.get(class));
        let next = next.map(|next| self.states.number(next));
        if self.steps.len() >= STEPS_MAX {
            self.steps.clear();
        }
        self.steps.insert((state, class), next.unwrap_or(ILLEGAL));
        next
    }

    /// Forgets all states but those given, which get new numbers.
    pub(super) fn keep_only(&mut self, kept: &mut [StateId]) {
        let mut states = Interner::new();
        for id in kept {
            *id = states.number(self.states.get(*id).clone());
        }
        self.states = states;
        self.steps.clear();
    }
}
