//! `set`: elements added to sets, each set held in one key.
//!
//! An add reads the set and writes it back with one more element, guarded by the revision that it read; if
//! somebody else was faster it reads again, a few times. That is a new request after a definite "no", not a
//! retry: after anything uncertain the add ends as `info`. Sets rotate, so a value stays small.

use super::{
    Completion, Generator, Invocation, Space, Workload,
    list::{self, List},
};
use crate::{
    driver::{Client, revision},
    generator::{KeyPool, Purpose, rng},
};
use checker::history::event::OpError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::etcdserverpb::TxnRequest;

/// How many sets are in use at a time.
const KEYS: usize = 2;
/// After how many operations a set retires.
const OPS_PER_KEY: u64 = 200;
/// How often an add reads and tries before it gives way to the others.
const TRIES_MAX: u32 = 5;

/// The workload.
#[derive(Clone, Debug)]
pub struct Set {
    space: Space,
}

/// An operation on the set with this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetOp {
    key: String,
    act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Add(u64),
    Read,
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct SetGenerator {
    rng: ChaCha8Rng,
    /// The state of a key is the newest element made for it.
    keys: KeyPool<u64>,
}

impl Set {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Set {
        Set { space }
    }
}

impl Generator for SetGenerator {
    type Op = SetOp;

    fn next(&mut self) -> SetOp {
        let add = self.rng.random_bool(0.6);
        let (number, newest) = self.keys.pick(&mut self.rng);
        let act = if add {
            *newest += 1;
            Act::Add(*newest)
        } else {
            Act::Read
        };
        SetOp { key: format!("s{number}"), act }
    }

    fn final_reads(&self) -> Vec<SetOp> {
        (0..self.keys.used()).map(|key| SetOp { key: format!("s{key}"), act: Act::Read }).collect()
    }
}

impl Workload for Set {
    type Op = SetOp;
    type Generator = SetGenerator;

    fn generator(&self, seed: u64) -> SetGenerator {
        SetGenerator { rng: rng(seed, Purpose::Set), keys: KeyPool::new(KEYS, OPS_PER_KEY) }
    }

    fn invocation(&self, op: &SetOp) -> Invocation {
        let (f, value) = match op.act {
            Act::Add(element) => ("add", json!(element)),
            Act::Read => ("read", Value::Null),
        };
        Invocation { f, key: Some(op.key.clone()), value }
    }

    async fn execute(&self, op: &SetOp, client: &mut Client) -> Completion {
        match op.act {
            Act::Read => self.read(&op.key, client).await,
            Act::Add(element) => self.add(&op.key, element, client).await,
        }
    }
}

impl Set {
    async fn read(&self, key: &str, client: &mut Client) -> Completion {
        match client.range(list::read(&self.space, key)).await.and_then(|answer| List::of_range(&answer)) {
            Ok((List { mut items, .. }, rev)) => {
                items.sort_unstable();
                Completion::Ok { value: json!(items), rev: Some(rev) }
            }
            Err(error) => Completion::of_read_error(&error),
        }
    }

    async fn add(&self, key: &str, element: u64, client: &mut Client) -> Completion {
        for _ in 0..TRIES_MAX {
            let read = client.range(list::read(&self.space, key)).await;
            let List { mut items, mod_revision } = match read.and_then(|answer| List::of(&answer.kvs)) {
                Ok(list) => list,
                Err(error) => return Completion::of_read_error(&error),
            };
            items.push(element);
            let request = TxnRequest {
                compare: vec![list::unchanged(&self.space, key, mod_revision)],
                success: vec![list::put(&self.space, key, &items)],
                failure: Vec::new(),
            };
            let written = client.txn(request).await;
            match written.and_then(|answer| Ok((answer.succeeded, revision(answer.header.as_ref())?))) {
                Ok((true, rev)) => return Completion::Ok { value: Value::Null, rev: Some(rev) },
                Ok((false, _)) => {}
                Err(error) => return Completion::of_write_error(&error),
            }
        }
        Completion::Fail(OpError {
            kind: "contention".into(),
            text: format!("others wrote first, {TRIES_MAX} times"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn ops(seed: u64, n: usize) -> Vec<SetOp> {
        let mut generator = Set::new(Space::new("", "set")).generator(seed);
        (0..n).map(|_| generator.next()).collect()
    }

    #[test]
    fn operations_follow_from_the_seed() {
        assert_eq!(ops(7, 300), ops(7, 300));
        assert_ne!(ops(7, 300), ops(8, 300));
    }

    #[test]
    fn no_element_is_added_twice_and_sets_rotate() {
        let mut added = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for op in ops(7, 2000) {
            keys.insert(op.key.clone());
            if let Act::Add(element) = op.act {
                assert!(added.insert((op.key.clone(), element)), "{element} twice to {}", op.key);
            }
        }
        assert!((10..14).contains(&keys.len()), "{keys:?}");
    }
}
