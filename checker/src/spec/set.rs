//! Sets of numbers by key, which only grow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::SequentialSpec;

/// A set of its own for each key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set;

/// One operation on one set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetOp {
    /// Which set.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: SetAction,
}

/// What is done with a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetAction {
    /// Adds an element.
    Add(i64),
    /// Reads all; what was found, in ascending order.
    Read(Vec<i64>),
}

impl SequentialSpec for Set {
    type State = BTreeSet<i64>;
    type Op = SetOp;

    fn init(&self) -> BTreeSet<i64> {
        BTreeSet::new()
    }

    fn step(&self, state: &BTreeSet<i64>, op: &SetOp) -> Option<BTreeSet<i64>> {
        match &op.action {
            SetAction::Add(element) => {
                let mut next = state.clone();
                next.insert(*element);
                Some(next)
            }
            SetAction::Read(found) => state.iter().eq(found).then(|| state.clone()),
        }
    }

    fn read_only(&self, op: &SetOp) -> bool {
        match op.action {
            SetAction::Add(_) => false,
            SetAction::Read(_) => true,
        }
    }

    fn touches<'a>(&self, op: &'a SetOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, op: &SetOp, write: &SetOp) -> bool {
        match (&op.action, &write.action) {
            (SetAction::Read(found), SetAction::Add(element)) => found.contains(element),
            (SetAction::Add(_), _) | (SetAction::Read(_), SetAction::Read(_)) => false,
        }
    }

    fn describe(&self, state: &BTreeSet<i64>) -> String {
        format!("{state:?}")
    }
}
