//! Locks by key, which are free at first. Who releases one need not be who acquired it, as in Knossos's mutex: a
//! client whose acquisition was not answered may find out that it holds the lock, and release it as another
//! process.

use std::sync::Arc;

use super::SequentialSpec;

/// A lock of its own for each key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex;

/// One operation on one lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MutexOp {
    /// Which lock.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: MutexAction,
}

/// What is done with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MutexAction {
    /// Takes it, which needs it to be free.
    Acquire,
    /// Gives it back, which needs it to be held.
    Release,
}

impl SequentialSpec for Mutex {
    /// Whether it is held.
    type State = bool;
    type Op = MutexOp;

    fn init(&self) -> bool {
        false
    }

    fn step(&self, held: &bool, op: &MutexOp) -> Option<bool> {
        match (op.action, held) {
            (MutexAction::Acquire, false) => Some(true),
            (MutexAction::Release, true) => Some(false),
            (MutexAction::Acquire, true) | (MutexAction::Release, false) => None,
        }
    }

    fn read_only(&self, _op: &MutexOp) -> bool {
        false
    }

    fn touches<'a>(&self, op: &'a MutexOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, _op: &MutexOp, _write: &MutexOp) -> bool {
        true
    }

    fn describe(&self, held: &bool) -> String {
        if *held { "held" } else { "free" }.to_owned()
    }
}
