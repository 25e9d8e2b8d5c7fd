//! Splits a history by the parts of its spec, and decides the parts on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustc_hash::FxHashMap;

use super::call::Call;
use super::search::{Decision, Stuck, search};
use super::unique;
use crate::budget::Budget;
use crate::spec::SequentialSpec;

/// The calls on one part of the state.
#[derive(Clone, Debug)]
pub struct Part<Op> {
    /// Which part; `None` for a state without parts.
    pub name: Option<String>,
    /// Its calls, in order of invocation.
    pub calls: Vec<Call<Op>>,
}

/// What decided a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The values tell the order.
    UniqueValues,
    /// A search through all orders.
    Search,
}

impl Layer {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Layer::UniqueValues => "order of unique values",
            Layer::Search => "exact search",
        }
    }
}

/// A decision, and what made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided<State> {
    /// The decision.
    pub decision: Decision<State>,
    /// What made it.
    pub by: Layer,
}

/// Decides one part, by the first layer that can.
pub fn decide_part<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>], budget: &Budget) -> Decided<S::State> {
    let decision = match spec.shortcut(calls) {
        None => return Decided { decision: search(spec, calls, budget), by: Layer::Search },
        Some(unique::Answer::Legal) => Decision::Legal,
        Some(unique::Answer::Illegal(conflict)) => {
            Decision::Illegal(Stuck { id: conflict.culprit, states: Vec::new(), shown_by: conflict.ids })
        }
    };
    Decided { decision, by: Layer::UniqueValues }
}

/// Splits calls by the part of the state that they are about, in the order of the parts' names.
pub fn split<S: SequentialSpec>(spec: &S, calls: Vec<Call<S::Op>>) -> Vec<Part<S::Op>> {
    let mut numbers: FxHashMap<String, usize> = FxHashMap::default();
    let mut parts: Vec<Part<S::Op>> = Vec::new();
    for call in calls {
        let name = spec.part(&call.op);
        // Without a name there is one part.
        let number = match numbers.get(name.unwrap_or_default()) {
            Some(number) => *number,
            None => {
                numbers.insert(name.unwrap_or_default().to_owned(), parts.len());
                parts.push(Part { name: name.map(str::to_owned), calls: Vec::new() });
                parts.len() - 1
            }
        };
        parts[number].calls.push(call);
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    parts
}

/// Decides every part; the answers are in the order of the parts, whatever the number of threads.
pub fn decide_parts<S: SequentialSpec>(
    spec: &S,
    parts: &[Part<S::Op>],
    threads: usize,
    budget: &Budget,
) -> Vec<Decided<S::State>> {
    let next = AtomicUsize::new(0);
    let answers: Vec<Mutex<Option<Decided<S::State>>>> = parts.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some((part, answer)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            parts.get(index).zip(answers.get(index))
        } {
            let decision = decide_part(spec, &part.calls, budget);
            *answer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(decision);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.clamp(1, parts.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    answers
        .into_iter()
        .map(|answer| {
            let answer = answer.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            answer.expect("every part is taken by one thread, and the scope waits for all")
        })
        .collect()
}
