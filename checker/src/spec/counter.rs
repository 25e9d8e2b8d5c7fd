//! Counters by key, which begin at 0.

use std::sync::Arc;

use super::SequentialSpec;

/// A counter of its own for each key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// One operation on one counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterOp {
    /// Which counter.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: CounterAction,
}

/// What is done with a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterAction {
    /// Adds, or takes away where negative.
    Add(i64),
    /// Reads.
    Read(i64),
}

impl SequentialSpec for Counter {
    type State = i64;
    type Op = CounterOp;

    fn init(&self) -> i64 {
        0
    }

    fn step(&self, state: &i64, op: &CounterOp) -> Option<i64> {
        match op.action {
            CounterAction::Add(more) => state.checked_add(more),
            CounterAction::Read(found) => (*state == found).then_some(*state),
        }
    }

    fn read_only(&self, op: &CounterOp) -> bool {
        matches!(op.action, CounterAction::Read(_) | CounterAction::Add(0))
    }

    fn touches<'a>(&self, op: &'a CounterOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, op: &CounterOp, _write: &CounterOp) -> bool {
        matches!(op.action, CounterAction::Read(_))
    }

    fn describe(&self, state: &i64) -> String {
        state.to_string()
    }
}
