//! Workloads: what is asked of the store, and how its answers are recorded. One file each.
//!
//! | workload | operations | what it shows |
//! |---|---|---|
//! | [`register`](Register) | read, write, cas on many keys | linearizability of single keys; what serializable reads promise |
//! | [`kv`](Kv) | puts, deletes, ranges, nested transactions, compaction on ten keys | the whole store, revisions included, against a sequential reference |
//! | [`append`](Append) | transactions that read lists and append to them | isolation: strict serializability of transactions |
//! | [`set`](Set) | elements added to a set by guarded writes | lost, stale and phantom elements |
//! | [`txn`](Txn) | transactions that read and write several keys in one request | isolation, with the order of versions known |
//! | [`bank`](Bank) | transfers between accounts, reads of all | the total is kept, nothing is overdrawn |
//! | [`watch`](Watch) | writes, and watches of ranges from old, new and future revisions | etcd's guarantees of watches |
//! | [`lock`](Lock) | sections under a lock of a lease, fenced or not | mutual exclusion |
//! | [`election`](Election) | campaigns and observations | one leader a term |
//! | [`lease`](Lease) | leases kept alive and left to end | never early, in time, all keys at once |
//!
//! A workload says nothing about faults or time: [`crate::runner`] brings those. Its checks are named in
//! [`crate::scenario`].

mod append;
mod bank;
mod election;
mod kv;
mod kv_convert;
mod kv_generator;
mod kv_seen;
mod lease;
mod list;
mod lock;
mod register;
mod set;
mod txn;
mod watch;

pub use append::Append;
pub use bank::Bank;
pub use election::Election;
pub use kv::{Kv, TxnRevisions};
pub use lease::Lease;
pub use lock::Lock;
pub use register::Register;
pub use set::Set;
pub use txn::Txn;
pub use watch::{Pace as WatchPace, Watch};

use crate::driver::{Certainty, Client, DriverError};
use checker::history::event::OpError;
use serde_json::Value;
use std::{fmt::Debug, future::Future};

/// What an operation came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Completion {
    /// It surely took effect, and this is its answer.
    Ok {
        /// The function's result, null where it has none.
        value: Value,
        /// The revision that the answer gave, where it did.
        rev: Option<i64>,
    },
    /// It surely took no effect.
    Fail(OpError),
    /// Nobody knows.
    Info(OpError),
}

impl Completion {
    /// Of a pure read that erred: it had no effect, whatever the error.
    pub fn of_read_error(error: &DriverError) -> Completion {
        Completion::Fail(error.op_error())
    }

    /// Of a request that erred and may change something.
    pub fn of_write_error(error: &DriverError) -> Completion {
        match error.certainty() {
            Certainty::Definite => Completion::Fail(error.op_error()),
            Certainty::Indeterminate => Completion::Info(error.op_error()),
        }
    }
}

/// An operation as its invocation is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// The function.
    pub f: &'static str,
    /// The key, where the function has one.
    pub key: Option<String>,
    /// The argument, null where there is none.
    pub value: Value,
}

/// Makes operations, one after another, all from the run's seed (and, for guesses about the store's state,
/// from what has been observed).
pub trait Generator: Send + 'static {
    /// What it makes.
    type Op;

    /// The next operation.
    fn next(&mut self) -> Self::Op;

    /// Reads that together cover everything written so far: done by every member when all faults are
    /// healed.
    fn final_reads(&self) -> Vec<Self::Op>;
}

/// One kind of operations against the store, shared between all processes.
pub trait Workload: Send + Sync + 'static {
    /// One operation.
    type Op: Clone + Debug + Send + Sync + 'static;
    /// What makes them.
    type Generator: Generator<Op = Self::Op>;

    /// Operations for the run with this seed.
    fn generator(&self, seed: u64) -> Self::Generator;

    /// How the operation is recorded.
    fn invocation(&self, op: &Self::Op) -> Invocation;

    /// Says that no further operation follows but the final reads: what would go on for long comes to its end.
    fn wind_down(&self) {}

    /// Does it, with requests to one member. Nothing is sent again after an error.
    fn execute(&self, op: &Self::Op, client: &mut Client) -> impl Future<Output = Completion> + Send;
}

/// Where a workload keeps its keys: a prefix of its own, so that several can share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space(String);

impl Space {
    /// The keys of `workload` in the run named `run` (may be empty, on a store of the run's own).
    pub fn new(run: &str, workload: &str) -> Space {
        Space(format!("{run}{workload}/"))
    }

    /// The store's key for the workload's `key`.
    pub fn key(&self, key: &str) -> String {
        format!("{}{key}", self.0)
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// The workload's name of a store's key.
    ///
    /// # Errors
    /// [`DriverError::Malformed`] for a key of somebody else.
    pub fn strip(&self, key: &[u8]) -> Result<String, DriverError> {
        let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&self.0));
        name.map(str::to_owned).ok_or_else(|| DriverError::Malformed {
            text: format!("`{}` is none of the keys under `{}`", String::from_utf8_lossy(key), self.0),
        })
    }

    /// The exclusive end of the range of all keys.
    pub fn end(&self) -> String {
        // The prefix ends with `/`, and `0` is the character after it.
        format!("{}0", self.0.trim_end_matches('/'))
    }
}

/// A value that is a number in decimal digits.
fn number(value: &[u8]) -> Result<i64, DriverError> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| DriverError::Malformed {
        text: format!("`{}` is not a number", String::from_utf8_lossy(value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_ends_where_its_prefix_does() {
        let space = Space::new("", "kv");
        assert_eq!((space.prefix(), space.end().as_str()), ("kv/", "kv0"));
        assert!(space.key("a").starts_with(space.prefix()) && space.key("\u{10ffff}") < space.end());
    }

    #[test]
    fn a_failed_read_had_no_effect_but_a_failed_write_may_have() {
        let lost = DriverError::Lost { text: "reset".into() };
        let refused = DriverError::Refused { text: "refused".into() };
        assert!(matches!(Completion::of_read_error(&lost), Completion::Fail(_)));
        assert!(matches!(Completion::of_write_error(&lost), Completion::Info(_)));
        assert!(matches!(Completion::of_write_error(&refused), Completion::Fail(_)));
    }
}
