//! A set of numbers that only grows.

use std::collections::BTreeSet;

use super::SequentialSpec;

/// The set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set;

/// One operation on the set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetOp {
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
        match op {
            SetOp::Add(element) => {
                let mut next = state.clone();
                next.insert(*element);
                Some(next)
            }
            SetOp::Read(found) => state.iter().eq(found).then(|| state.clone()),
        }
    }

    fn read_only(&self, op: &SetOp) -> bool {
        match op {
            SetOp::Add(_) => false,
            SetOp::Read(_) => true,
        }
    }

    fn part<'a>(&self, _op: &'a SetOp) -> Option<&'a str> {
        None
    }

    fn observes(&self, op: &SetOp, write: &SetOp) -> bool {
        match (op, write) {
            (SetOp::Read(found), SetOp::Add(element)) => found.contains(element),
            (SetOp::Add(_), _) | (SetOp::Read(_), SetOp::Read(_)) => false,
        }
    }

    fn describe(&self, state: &BTreeSet<i64>) -> String {
        format!("{state:?}")
    }
}
