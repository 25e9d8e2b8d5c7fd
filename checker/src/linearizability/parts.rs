//! Splits a history by the parts of its spec, and decides the parts on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustc_hash::FxHashMap;

use super::call::Call;
use super::search::{Decision, search};
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
) -> Vec<Decision<S::State>> {
    let next = AtomicUsize::new(0);
    let answers: Vec<Mutex<Option<Decision<S::State>>>> = parts.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some((part, answer)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            parts.get(index).zip(answers.get(index))
        } {
            let decision = search(spec, &part.calls, budget);
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
