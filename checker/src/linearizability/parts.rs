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
    let decision = match spec.shortcut(calls, budget) {
        Ok(None) => return Decided { decision: search(spec, calls, budget), by: Layer::Search },
        Err(stop) => Decision::Undecided { stop, done: 0 },
        Ok(Some(unique::Answer::Legal)) => Decision::Legal,
        Ok(Some(unique::Answer::Illegal(conflict))) => {
            Decision::Illegal(Stuck { id: conflict.culprit, states: Vec::new(), shown_by: conflict.ids })
        }
    };
    Decided { decision, by: Layer::UniqueValues }
}

/// Splits calls into groups that have nothing to do with each other, as the parts that they touch tell; in the
/// order of the groups' names.
pub fn split<S: SequentialSpec>(spec: &S, calls: Vec<Call<S::Op>>) -> Vec<Part<S::Op>> {
    let Some((groups, of)) = groups(spec, &calls) else { return vec![Part { name: None, calls }] };
    let mut parts: Vec<Part<S::Op>> =
        groups.into_iter().map(|name| Part { name: Some(name), calls: Vec::new() }).collect();
    for (call, group) in calls.into_iter().zip(of) {
        parts[group].calls.push(call);
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    parts
}

/// The names of the groups, and the group of each call; `None` if the state has no parts.
fn groups<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>]) -> Option<(Vec<String>, Vec<usize>)> {
    let mut numbers: FxHashMap<&str, usize> = FxHashMap::default();
    let mut names: Vec<&str> = Vec::new();
    let mut joined = Joined::default();
    let mut first_touched = Vec::with_capacity(calls.len());
    let mut touched = Vec::new();
    for call in calls {
        touched.clear();
        if !spec.touches(&call.op, &mut touched) {
            return None;
        }
        // What touches nothing is a group with its like.
        if touched.is_empty() {
            touched.push("");
        }
        let mut first = None;
        for name in &touched {
            let number = *numbers.entry(name).or_insert_with(|| {
                names.push(name);
                joined.add()
            });
            joined.join(*first.get_or_insert(number), number);
        }
        first_touched.extend(first);
    }
    let mut group_of_root: FxHashMap<usize, usize> = FxHashMap::default();
    let mut members: Vec<Vec<&str>> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let group = *group_of_root.entry(joined.root(number)).or_insert_with(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        members[group].push(name);
    }
    let of = first_touched.into_iter().map(|number| group_of_root[&joined.root(number)]).collect();
    Some((members.into_iter().map(named).collect(), of))
}

fn named(mut parts: Vec<&str>) -> String {
    const TOLD: usize = 3;
    parts.sort_unstable();
    let more = if parts.len() > TOLD { format!(" and {} more", parts.len() - TOLD) } else { String::new() };
    parts.truncate(TOLD);
    format!("{}{more}", parts.join(", "))
}

/// Disjoint sets of numbers.
#[derive(Default)]
struct Joined {
    above: Vec<usize>,
}

impl Joined {
    fn add(&mut self) -> usize {
        self.above.push(self.above.len());
        self.above.len() - 1
    }

    fn root(&mut self, mut number: usize) -> usize {
        while self.above[number] != number {
            self.above[number] = self.above[self.above[number]];
            number = self.above[number];
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The lower is the root: names keep the order of their first appearance.
        self.above[one.max(other)] = one.min(other);
    }
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
            // Parts may be many, and too small for their searches to look.
            let decision = match budget.go_on() {
                Ok(()) => decide_part(spec, &part.calls, budget),
                Err(stop) => Decided { decision: Decision::Undecided { stop, done: 0 }, by: Layer::Search },
            };
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
