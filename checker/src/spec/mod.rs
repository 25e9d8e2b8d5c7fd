//! Sequential references: what a correct system answers when it is asked one thing at a time.
//!
//! A [`SequentialSpec`] judges an operation together with its answer, so that a search for an order needs
//! nothing else. An operation without an answer is one that nobody knows the outcome of.

use std::fmt::Debug;
use std::hash::Hash;

use crate::budget::{Budget, Stop};
use crate::linearizability::{Call, unique};

pub mod append;
pub mod counter;
pub mod kv;
pub mod kv_types;
pub mod log;
pub mod members;
pub mod multi_register;
pub mod mutex;
pub mod queue;
pub mod register;
pub mod set;
pub mod strings;

/// What a correct system does when it is asked one thing at a time.
pub trait SequentialSpec: Sync {
    /// What the system holds.
    type State: Clone + Debug + Eq + Hash + Send + Sync;
    /// What is asked, with what was answered where it was.
    type Op: Clone + Debug + Eq + Hash + Send + Sync;

    /// What the system holds at first.
    fn init(&self) -> Self::State;

    /// What the system holds after `op`; `None` if it would have answered otherwise in this state. An
    /// operation without an answer that would be refused leaves the state as it is.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether `op` leaves every state as it is.
    fn read_only(&self, op: &Self::Op) -> bool;

    /// Adds the names of the parts of the state that `op` reads or writes; `false` if the state has no parts.
    /// Operations that touch no common part, not even through others, have nothing to do with each other: a
    /// history is legal if and only if each such group is (locality; Horn and Kroening, "Faster
    /// linearizability checking via P-compositionality", FORTE 2015).
    fn touches<'a>(&self, op: &'a Self::Op, parts: &mut Vec<&'a str>) -> bool;

    /// Whether what `op` answered may depend on `write` having taken effect, or having done so at most once,
    /// where `op` may also be legal without. Must be true unless it surely is false: a history without
    /// `write` and without all that may have observed it is legal if the history was.
    fn observes(&self, op: &Self::Op, write: &Self::Op) -> bool;

    /// What `op` would have answered if `write` had never been, in a history that was legal; `None` if that is
    /// not known, and so `op` must be left out with it.
    fn without(&self, op: &Self::Op, write: &Self::Op) -> Option<Self::Op> {
        (!self.observes(op, write)).then(|| op.clone())
    }

    /// The same operation with an answer that says less, and so is legal wherever `op` is.
    fn weaken(&self, op: &Self::Op) -> Self::Op {
        op.clone()
    }

    /// Decides the calls on one part by a faster way than a search, where they allow one: `None` where not.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    fn shortcut(&self, _calls: &[Call<Self::Op>], _budget: &Budget) -> Result<Option<unique::Answer>, Stop> {
        Ok(None)
    }

    /// The state in a few words, for a witness.
    fn describe(&self, state: &Self::State) -> String;
}
