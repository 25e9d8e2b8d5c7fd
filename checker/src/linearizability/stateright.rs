//! A second opinion: stateright's `LinearizabilityTester` on the same spec.
//!
//! It tries interleavings without memory of what it tried, so it is for small histories: tens of operations.
//! It shares no code with [`search`](super::search()), which makes it a judge of it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ::stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec as Reference};

use super::call::Call;
use crate::budget::{Budget, Stop};
use crate::spec::SequentialSpec;

/// Its recursion is as deep as the history is long.
const STACK_BYTES_PER_CALL: usize = 8 << 10;
const STACK_BYTES_MIN: usize = 8 << 20;
const STEPS_PER_LOOK: u32 = 256;

/// What stateright's tester concludes: whether an order exists.
///
/// # Errors
/// [`Stop`] where the budget ended first.
pub fn decide<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>], budget: &Budget) -> Result<bool, Stop> {
    let stack = STACK_BYTES_MIN + STACK_BYTES_PER_CALL * calls.len();
    std::thread::scope(|scope| {
        let tester = std::thread::Builder::new().stack_size(stack);
        match tester.spawn_scoped(scope, || ask(spec, calls, budget)) {
            Ok(handle) => handle.join().unwrap_or(Err(Stop::States)),
            Err(_) => Err(Stop::States),
        }
    })
}

fn ask<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>], budget: &Budget) -> Result<bool, Stop> {
    let watch = Rc::new(Watch { budget, stop: Cell::new(None), steps: Cell::new(0) });
    let mut tester =
        LinearizabilityTester::new(Adapter { spec, state: Arc::new(spec.init()), watch: watch.clone() });
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        if call.returned.is_none() && spec.read_only(&call.op) {
            continue;
        }
        events.push((call.invoked, false, index));
        events.extend(call.returned.map(|returned| (returned, true, index)));
    }
    events.sort_unstable();
    // Its threads do one thing at a time: a call takes the lowest that is free.
    let mut busy: Vec<bool> = Vec::new();
    let mut thread_of = vec![0; calls.len()];
    for (_, returns, index) in events {
        if returns {
            busy[thread_of[index]] = false;
            let told = tester.on_return(thread_of[index], ());
            assert!(
                told.is_ok(),
                "a call returns once, on the thread that it was invoked on: {:?}",
                told.err()
            );
        } else {
            let thread = busy.iter().position(|busy| !busy).unwrap_or(busy.len());
            busy.resize(busy.len().max(thread + 1), false);
            busy[thread] = true;
            thread_of[index] = thread;
            let told = tester.on_invoke(thread, calls[index].op.clone());
            assert!(told.is_ok(), "a free thread may invoke: {:?}", told.err());
        }
    }
    let consistent = tester.is_consistent();
    match watch.stop.get() {
        // What it answers once it was told to stop means nothing.
        Some(stop) if !consistent => Err(stop),
        Some(_) | None => Ok(consistent),
    }
}

/// Makes every further step fail once the budget has ended, so that the recursion unwinds.
struct Watch<'a> {
    budget: &'a Budget,
    stop: Cell<Option<Stop>>,
    steps: Cell<u32>,
}

impl Watch<'_> {
    fn goes_on(&self) -> bool {
        if self.stop.get().is_some() {
            return false;
        }
        self.steps.set(self.steps.get().wrapping_add(1));
        if self.steps.get().is_multiple_of(STEPS_PER_LOOK) {
            self.stop.set(self.budget.go_on().err());
        }
        self.stop.get().is_none()
    }
}

struct Adapter<'a, S: SequentialSpec> {
    spec: &'a S,
    state: Arc<S::State>,
    watch: Rc<Watch<'a>>,
}

impl<S: SequentialSpec> Clone for Adapter<'_, S> {
    fn clone(&self) -> Self {
        Adapter { spec: self.spec, state: self.state.clone(), watch: self.watch.clone() }
    }
}

impl<S: SequentialSpec> Reference for Adapter<'_, S> {
    type Op = S::Op;
    type Ret = ();

    fn invoke(&mut self, op: &S::Op) {
        // Only asked of calls in flight, which may always take effect.
        if self.watch.goes_on()
            && let Some(next) = self.spec.step(&self.state, op)
        {
            self.state = Arc::new(next);
        }
    }

    fn is_valid_step(&mut self, op: &S::Op, _answer: &()) -> bool {
        if !self.watch.goes_on() {
            return false;
        }
        match self.spec.step(&self.state, op) {
            Some(next) => {
                self.state = Arc::new(next);
                true
            }
            None => false,
        }
    }
}
