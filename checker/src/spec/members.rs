//! Sets of numbers that grow and shrink, asked for one element at a time: each element is a part of its own.

use super::SequentialSpec;

/// A set, empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Members;

/// One operation on one element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembersOp {
    /// The element, as text with the set's name before it.
    pub element: String,
    /// What is done with it.
    pub action: MembersAction,
}

/// What is done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MembersAction {
    /// Puts it in; whether it was not there before, where that was answered.
    Add(Option<bool>),
    /// Takes it out; whether it was there before, where that was answered.
    Remove(Option<bool>),
    /// Looks whether it is there.
    Contains(bool),
}

impl SequentialSpec for Members {
    /// Whether the element is there.
    type State = bool;
    type Op = MembersOp;

    fn init(&self) -> bool {
        false
    }

    fn step(&self, there: &bool, op: &MembersOp) -> Option<bool> {
        match op.action {
            MembersAction::Add(new) => new.is_none_or(|new| new != *there).then_some(true),
            MembersAction::Remove(was) => was.is_none_or(|was| was == *there).then_some(false),
            MembersAction::Contains(found) => (found == *there).then_some(*there),
        }
    }

    fn read_only(&self, op: &MembersOp) -> bool {
        match op.action {
            MembersAction::Contains(_) => true,
            MembersAction::Add(changed) | MembersAction::Remove(changed) => changed == Some(false),
        }
    }

    fn touches<'a>(&self, op: &'a MembersOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.element);
        true
    }

    fn observes(&self, op: &MembersOp, _write: &MembersOp) -> bool {
        !matches!(op.action, MembersAction::Add(None) | MembersAction::Remove(None))
    }

    fn describe(&self, there: &bool) -> String {
        if *there { "there" } else { "not there" }.to_owned()
    }
}
