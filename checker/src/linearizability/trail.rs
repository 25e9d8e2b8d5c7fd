//! How far a legal order can go: for the witness of a history that is already small.

use rustc_hash::FxHashSet;

use super::call::Call;
use crate::history::OpId;
use crate::spec::SequentialSpec;

/// A longest legal order.
#[derive(Clone, Debug, PartialEq)]
pub struct Longest<State> {
    /// The operations, in order.
    pub order: Vec<OpId>,
    /// The states after it, one for each order of the same operations that leads elsewhere.
    pub states: Vec<State>,
}

/// Finds a legal order of as many of the calls as possible, giving up after `steps_max` steps with the
/// longest found so far. Meant for at most a few dozen calls.
pub fn longest_order<S: SequentialSpec>(
    spec: &S,
    calls: &[Call<S::Op>],
    steps_max: usize,
) -> Longest<S::State> {
    let init = spec.init();
    let mut walk = Walk {
        spec,
        calls,
        steps_left: steps_max,
        done: vec![false; calls.len()],
        order: Vec::new(),
        best: Longest { order: Vec::new(), states: vec![init.clone()] },
        seen: FxHashSet::default(),
    };
    walk.from(&init);
    walk.best
}

struct Walk<'a, S: SequentialSpec> {
    spec: &'a S,
    calls: &'a [Call<S::Op>],
    steps_left: usize,
    done: Vec<bool>,
    order: Vec<OpId>,
    best: Longest<S::State>,
    seen: FxHashSet<(Vec<bool>, S::State)>,
}

impl<S: SequentialSpec> Walk<'_, S> {
    fn from(&mut self, state: &S::State) {
        if self.steps_left == 0 || !self.seen.insert((self.done.clone(), state.clone())) {
            return;
        }
        self.steps_left -= 1;
        if self.order.len() > self.best.order.len() {
            self.best = Longest { order: self.order.clone(), states: vec![state.clone()] };
        } else if self.order.len() == self.best.order.len() && !self.best.states.contains(state) {
            self.best.states.push(state.clone());
        }
        // Nothing may be put after an operation that had returned before it began.
        let first_return = self.open().filter_map(|index| self.calls[index].returned).min();
        let ready: Vec<usize> = self
            .open()
            .filter(|index| first_return.is_none_or(|returned| self.calls[*index].invoked <= returned))
            .collect();
        for index in ready {
            let Some(next) = self.spec.step(state, &self.calls[index].op) else { continue };
            self.done[index] = true;
            self.order.push(self.calls[index].id);
            self.from(&next);
            self.order.pop();
            self.done[index] = false;
        }
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.calls.len()).filter(|index| !self.done[*index])
    }
}
