//! Checks a history while it is made, in bounded memory, and finds the first anomaly soon after it happened.
//!
//! Each part of the state is checked for itself, a window at a time: once nothing on it is open but operations
//! that nobody will hear of again, all its operations since the last such moment are decided, and only what may be
//! the case then is kept ([`Border`]). So memory depends on how long a part is never at rest, and not on how long
//! the run is. An operation that touches several parts is not for this.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::call::Call;
use super::search::{Border, Decision, Stuck, search_between};
use crate::budget::{Budget, Stop};
use crate::history::OpId;
use crate::spec::SequentialSpec;

/// What a check that goes on found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<Op, State> {
    /// No order explains the answers on a part.
    Anomaly {
        /// The part.
        part: String,
        /// Where every order fails.
        stuck: Stuck<State>,
        /// The operations of the window, and those before it that may have taken effect in it.
        calls: Vec<Call<Op>>,
        /// What was possible where the window began.
        began: Vec<Border<State>>,
    },
    /// A part can no longer be checked.
    Undecided {
        /// The part.
        part: String,
        /// What ended.
        stop: Stop,
    },
}

/// A check that goes on while a history is made.
pub struct Online<'s, S: SequentialSpec> {
    spec: &'s S,
    budget: Budget,
    window_max: usize,
    parts: BTreeMap<String, Window<S>>,
    decided: u64,
}

/// What is known of one part.
struct Window<S: SequentialSpec> {
    /// When those that are open were invoked.
    open: FxHashMap<OpId, u64>,
    /// Operations since the last border.
    calls: Vec<Call<S::Op>>,
    /// Operations before it that may have taken effect, or may yet.
    infos: Vec<Call<S::Op>>,
    borders: Vec<Border<S::State>>,
    /// It was undecided once: nothing follows from what comes after.
    lost: bool,
}

impl<'s, S: SequentialSpec> Online<'s, S> {
    /// Begins a check. A part with more than `window_max` operations between two moments of rest is given up.
    pub fn new(spec: &'s S, budget: Budget, window_max: usize) -> Online<'s, S> {
        Online { spec, budget, window_max, parts: BTreeMap::new(), decided: 0 }
    }

    /// An operation on a part was invoked, at a position.
    pub fn invoked(&mut self, part: &str, id: OpId, at: u64) {
        let spec = self.spec;
        let window = match self.parts.get_mut(part) {
            Some(window) => window,
            None => self.parts.entry(part.to_owned()).or_insert_with(|| Window::new(spec)),
        };
        window.open.insert(id, at);
    }

    /// An operation was answered, at a position.
    pub fn returned(&mut self, part: &str, id: OpId, op: S::Op, at: u64) -> Option<Found<S::Op, S::State>> {
        let window = self.parts.get_mut(part)?;
        let invoked = window.open.remove(&id)?;
        window.calls.push(Call { id, op, invoked, returned: Some(at) });
        self.settle(part)
    }

    /// Nobody will hear of an operation again: it may take effect at any time, or never.
    pub fn lost(&mut self, part: &str, id: OpId, op: S::Op) -> Option<Found<S::Op, S::State>> {
        let window = self.parts.get_mut(part)?;
        let invoked = window.open.remove(&id)?;
        if !self.spec.read_only(&op) {
            window.calls.push(Call { id, op, invoked, returned: None });
        }
        self.settle(part)
    }

    /// An operation surely has taken no effect.
    pub fn failed(&mut self, part: &str, id: OpId) -> Option<Found<S::Op, S::State>> {
        self.parts.get_mut(part)?.open.remove(&id)?;
        self.settle(part)
    }

    /// Operations that were decided.
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// Operations that are held in memory.
    pub fn held(&self) -> usize {
        self.parts.values().map(|window| window.open.len() + window.calls.len() + window.infos.len()).sum()
    }

    /// Decides a window, if it ends here.
    fn settle(&mut self, part: &str) -> Option<Found<S::Op, S::State>> {
        let window = self.parts.get_mut(part)?;
        if window.lost {
            window.calls.clear();
            return None;
        }
        if !window.open.is_empty() {
            if window.calls.len() < self.window_max {
                return None;
            }
            window.give_up();
            return Some(Found::Undecided { part: part.to_owned(), stop: Stop::States });
        }
        let mut calls = std::mem::take(&mut window.infos);
        self.decided += window.calls.len() as u64;
        calls.append(&mut window.calls);
        match search_between(self.spec, &window.borders, &calls, &self.budget) {
            Ok(borders) => {
                window.infos = calls.into_iter().filter(|call| call.returned.is_none()).collect();
                window.borders = borders;
                window.forget_used();
                // At rest a part takes little: there may be many that nobody comes back to.
                window.infos.shrink_to_fit();
                window.borders.shrink_to_fit();
                window.open = FxHashMap::default();
                None
            }
            Err(Decision::Illegal(stuck)) => {
                let began = std::mem::take(&mut window.borders);
                window.give_up();
                Some(Found::Anomaly { part: part.to_owned(), stuck, calls, began })
            }
            Err(Decision::Undecided { stop, .. }) => {
                window.give_up();
                Some(Found::Undecided { part: part.to_owned(), stop })
            }
            Err(Decision::Legal) => unreachable!("a legal window leads to borders"),
        }
    }
}

impl<S: SequentialSpec> Window<S> {
    fn new(spec: &S) -> Window<S> {
        let borders = vec![Border { state: spec.init(), used: Vec::new() }];
        Window { open: FxHashMap::default(), calls: Vec::new(), infos: Vec::new(), borders, lost: false }
    }

    fn give_up(&mut self) {
        self.lost = true;
        self.calls = Vec::new();
        self.infos = Vec::new();
        self.borders = Vec::new();
    }

    /// Forgets operations that have taken effect whatever is the case.
    fn forget_used(&mut self) {
        let borders = &mut self.borders;
        let everywhere = |id: &OpId| borders.iter().all(|border| border.used.contains(id));
        let (done, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.infos).into_iter().partition(|call| everywhere(&call.id));
        for border in borders {
            border.used.retain(|id| done.iter().all(|call| call.id != *id));
        }
        self.infos = left;
    }
}
