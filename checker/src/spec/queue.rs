//! Queues and stacks of numbers, by key: what is taken out was put in and is gone then.

use std::sync::Arc;

use super::SequentialSpec;

/// Which of the elements is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The oldest: a queue.
    Fifo,
    /// The newest: a stack.
    Lifo,
    /// Any: an unordered queue, a bag.
    Any,
}

/// A queue or stack of its own for each key, empty at first.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Which of the elements is taken out.
    pub discipline: Discipline,
}

/// One operation on one queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueOp {
    /// Which queue.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: QueueAction,
}

/// What is done with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueAction {
    /// Puts an element in.
    Put(i64),
    /// Takes an element out; `None` where it was empty.
    Take(Option<i64>),
    /// Takes an element out, if there is one; nobody knows which.
    TakeUnknown,
}

impl SequentialSpec for Queue {
    /// The elements, oldest first; of a bag in ascending order.
    type State = Vec<i64>;
    type Op = QueueOp;

    fn init(&self) -> Vec<i64> {
        Vec::new()
    }

    fn step(&self, state: &Vec<i64>, op: &QueueOp) -> Option<Vec<i64>> {
        let mut next = state.clone();
        match (op.action, self.discipline) {
            (QueueAction::Put(element), Discipline::Fifo | Discipline::Lifo) => next.push(element),
            (QueueAction::Put(element), Discipline::Any) => {
                next.insert(state.partition_point(|other| *other < element), element);
            }
            (QueueAction::Take(None), _) => return state.is_empty().then_some(next),
            (QueueAction::Take(Some(element)), Discipline::Fifo) => {
                if state.first() != Some(&element) {
                    return None;
                }
                next.remove(0);
            }
            (QueueAction::Take(Some(element)), Discipline::Lifo) => {
                if next.pop() != Some(element) {
                    return None;
                }
            }
            (QueueAction::Take(Some(element)), Discipline::Any) => {
                next.remove(state.binary_search(&element).ok()?);
            }
            (QueueAction::TakeUnknown, Discipline::Fifo) if !state.is_empty() => {
                next.remove(0);
            }
            (QueueAction::TakeUnknown, Discipline::Lifo) => {
                next.pop();
            }
            (QueueAction::TakeUnknown, Discipline::Fifo) => {}
            // A step leads to one state: an element that was taken so stays, which is told of as never found.
            (QueueAction::TakeUnknown, Discipline::Any) => {}
        }
        Some(next)
    }

    fn read_only(&self, op: &QueueOp) -> bool {
        match op.action {
            QueueAction::Take(None) => true,
            QueueAction::Put(_) | QueueAction::Take(Some(_)) => false,
            QueueAction::TakeUnknown => self.discipline == Discipline::Any,
        }
    }

    fn touches<'a>(&self, op: &'a QueueOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, op: &QueueOp, write: &QueueOp) -> bool {
        let element = |op: &QueueOp| match op.action {
            QueueAction::Put(element) | QueueAction::Take(Some(element)) => Some(element),
            QueueAction::Take(None) | QueueAction::TakeUnknown => None,
        };
        match element(write) {
            // Whatever it took out would still be there.
            None => true,
            // An element goes with all that is done with it.
            written => element(op) == written,
        }
    }

    fn describe(&self, state: &Vec<i64>) -> String {
        if state.is_empty() { "empty".to_owned() } else { format!("{state:?}") }
    }
}
