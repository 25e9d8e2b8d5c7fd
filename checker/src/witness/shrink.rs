//! Makes a history that is not linearizable small.
//!
//! Every step keeps this: if the small history is not linearizable, neither was the large one. So an
//! operation that others may have seen is only left out together with all that may have seen it, or they
//! answer as they would have without it ([`SequentialSpec::without`]); a return after the failing one is forgotten, which makes its operation
//! indeterminate; and answers may lose detail ([`SequentialSpec::weaken`]).

use std::ops::Range;

use rustc_hash::FxHashSet;

use crate::budget::Budget;
use crate::history::OpId;
use crate::linearizability::{Call, Decision, Stuck, search};
use crate::spec::SequentialSpec;

/// A small history that still shows the violation.
#[derive(Clone, Debug)]
pub struct Shrunk<S: SequentialSpec> {
    /// Its operations.
    pub calls: Vec<Call<S::Op>>,
    /// Where it fails.
    pub stuck: Stuck<S::State>,
}

/// Leaves out what can be left out of `calls`, which fail at `stuck`, within a budget.
pub fn shrink<S: SequentialSpec>(
    spec: &S,
    calls: &[Call<S::Op>],
    stuck: Stuck<S::State>,
    budget: &Budget,
) -> Shrunk<S> {
    let mut shrunk = Shrunk { calls: cut(calls, stuck.id), stuck };
    if !shrunk.stuck.shown_by.is_empty() {
        let shown_by: FxHashSet<OpId> = shrunk.stuck.shown_by.iter().copied().collect();
        let few: Vec<Call<S::Op>> =
            calls.iter().filter(|call| shown_by.contains(&call.id)).cloned().collect();
        if !shrunk.try_smaller(spec, few.clone(), budget) {
            // Too many for a search, but evidence all the same.
            return Shrunk { calls: few, stuck: shrunk.stuck };
        }
    }
    let weak: Vec<Call<S::Op>> =
        shrunk.calls.iter().map(|call| Call { op: spec.weaken(&call.op), ..call.clone() }).collect();
    shrunk.try_smaller(spec, weak, budget);
    let mut chunk = shrunk.calls.len().div_ceil(2);
    while chunk > 0 && budget.go_on().is_ok() {
        let before = shrunk.calls.len();
        pass(spec, &mut shrunk, chunk, budget);
        // The last size is repeated until nothing can be left out.
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if shrunk.calls.len() == before {
            break;
        }
    }
    shrunk
}

impl<S: SequentialSpec> Shrunk<S> {
    /// Takes the smaller history if it fails too.
    fn try_smaller(&mut self, spec: &S, calls: Vec<Call<S::Op>>, budget: &Budget) -> bool {
        match search(spec, &calls, budget) {
            Decision::Illegal(stuck) => {
                *self = Shrunk { calls: cut(&calls, stuck.id), stuck };
                true
            }
            Decision::Legal | Decision::Undecided { .. } => false,
        }
    }
}

/// What had begun when the failing operation returned; what returned later has not returned yet.
fn cut<Op: Clone>(calls: &[Call<Op>], failing: OpId) -> Vec<Call<Op>> {
    let end = calls.iter().find(|call| call.id == failing).and_then(|call| call.returned);
    let Some(end) = end else { return calls.to_vec() };
    let begun = calls.iter().filter(|call| call.invoked < end);
    begun
        .map(|call| Call { returned: call.returned.filter(|returned| *returned <= end), ..call.clone() })
        .collect()
}

/// Tries to leave out each run of `chunk` operations, from the oldest.
fn pass<S: SequentialSpec>(spec: &S, shrunk: &mut Shrunk<S>, chunk: usize, budget: &Budget) {
    let mut from = 0;
    while from < shrunk.calls.len() && budget.go_on().is_ok() {
        let to = (from + chunk).min(shrunk.calls.len());
        let kept = without(spec, &shrunk.calls, from..to);
        if kept.is_empty() || !shrunk.try_smaller(spec, kept, budget) {
            from = to;
        }
    }
}

/// What is left without some calls: those that observed them are left out too, or answer as if they had not.
fn without<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>], out: Range<usize>) -> Vec<Call<S::Op>> {
    let mut kept: Vec<Option<Call<S::Op>>> = calls.iter().cloned().map(Some).collect();
    let mut gone: Vec<Call<S::Op>> = kept[out].iter_mut().filter_map(Option::take).collect();
    while let Some(write) = gone.pop() {
        if spec.read_only(&write.op) {
            continue;
        }
        for place in &mut kept {
            let Some(call) = place else { continue };
            match spec.without(&call.op, &write.op) {
                Some(op) => call.op = op,
                None => gone.extend(place.take()),
            }
        }
    }
    kept.into_iter().flatten().collect()
}
