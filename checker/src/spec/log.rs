//! Logs by key: elements are appended at the end, where they stay, and are read by their offset.

use std::sync::Arc;

use super::SequentialSpec;

/// A log of its own for each key, empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

/// One operation on one log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogOp {
    /// Which log.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: LogAction,
}

/// What is done with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogAction {
    /// Appends an element.
    Append {
        /// The element.
        element: i64,
        /// Where it came to stand, where that was answered: 0 for the first.
        offset: Option<u64>,
    },
    /// Reads what stands at an offset; `None` where the log ends before it.
    Read {
        /// The offset.
        offset: u64,
        /// What was found.
        found: Option<i64>,
    },
}

impl SequentialSpec for Log {
    type State = Vec<i64>;
    type Op = LogOp;

    fn init(&self) -> Vec<i64> {
        Vec::new()
    }

    fn step(&self, state: &Vec<i64>, op: &LogOp) -> Option<Vec<i64>> {
        match op.action {
            LogAction::Append { element, offset } => {
                if offset.is_some_and(|offset| offset != state.len() as u64) {
                    return None;
                }
                let mut next = state.clone();
                next.push(element);
                Some(next)
            }
            LogAction::Read { offset, found } => {
                let held = usize::try_from(offset).ok().and_then(|offset| state.get(offset));
                (held.copied() == found).then(|| state.clone())
            }
        }
    }

    fn read_only(&self, op: &LogOp) -> bool {
        matches!(op.action, LogAction::Read { .. })
    }

    fn touches<'a>(&self, op: &'a LogOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, op: &LogOp, _write: &LogOp) -> bool {
        match op.action {
            LogAction::Append { offset, .. } => offset.is_some(),
            LogAction::Read { found, .. } => found.is_some(),
        }
    }

    fn describe(&self, state: &Vec<i64>) -> String {
        format!("{state:?}")
    }
}
