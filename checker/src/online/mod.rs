//! Judges a run while it goes on: event by event, in memory that depends on what is open and not on how long the run is,
//! up to the first anomaly.
//!
//! Whatever is found here is an anomaly. That nothing is found proves less than the check of the whole history does:
//! each file says what it leaves out.
mod intervals;
mod key_values;
mod lists;
mod pairing;
mod registers;
mod sets;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

pub use key_values::KeyValues;
pub use lists::Lists;
pub use registers::Registers;
pub use sets::Sets;

use crate::history::event::Event;

/// A check that goes on while a history is made.
pub trait Check: Send {
    /// Takes the next event of the history. A sentence, if it shows an anomaly.
    fn event(&mut self, event: &Event) -> Option<String>;

    /// What was seen so far.
    fn seen(&self) -> Seen;
}

/// What a check that went on while a history was made has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Operations that were decided.
    pub decided: u64,
    /// The most operations that were held in memory at once.
    pub held_max: usize,
    /// Parts that were left to the check of the whole history.
    pub given_up: BTreeSet<String>,
}

/// The hash of a name, for those that are forgotten otherwise.
fn hash_of(name: &str) -> u64 {
    let mut hasher = FxHasher::default();
    name.hash(&mut hasher);
    hasher.finish()
}
