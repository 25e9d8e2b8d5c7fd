//! Makes the operations of the `kv` workload.

use super::{Generator, Space, kv_seen::Seen};
use crate::generator::{Purpose, rng};
use checker::spec::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, Request, TxnRequest,
};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The keys, without their prefix.
const KEYS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
/// How deep transactions nest: 1 is one that holds none.
const DEPTH_MAX: u32 = 3;

/// The workload's generator. Which choices it makes follows from the seed; revisions and operands of
/// comparisons are taken from what has been seen of the store, so that they often hit.
#[derive(Clone, Debug)]
pub struct KvGenerator {
    rng: ChaCha8Rng,
    space: Space,
    alone: bool,
    seen: Arc<Mutex<Seen>>,
    next_value: u64,
}

impl Generator for KvGenerator {
    type Op = Request;

    fn next(&mut self) -> Request {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.rng.random_range(0..1000) {
            0..380 => Request::Range(self.range(&seen, Place::Alone)),
            380..680 => {
                let key = self.key();
                Request::Put(self.put(key))
            }
            680..780 => Request::Delete(self.delete()),
            780..993 => Request::Txn(self.txn(&seen, 1)),
            _ => Request::Compact { revision: self.compaction(&seen) },
        }
    }

    fn final_reads(&self) -> Vec<Request> {
        let keys = KeyRange { key: self.space.prefix().to_string(), end: Some(self.space.end()) };
        vec![Request::Range(RangeRequest { keys, ..RangeRequest::default() })]
    }
}

/// Where a range stands: a serializable one in a transaction would say nothing about the whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Alone,
    InTxn,
}

impl KvGenerator {
    pub(super) fn new(seed: u64, space: Space, alone: bool, seen: Arc<Mutex<Seen>>) -> KvGenerator {
        KvGenerator { rng: rng(seed, Purpose::Kv), space, alone, seen, next_value: 0 }
    }

    fn key(&mut self) -> String {
        let key = KEYS.choose(&mut self.rng).expect("there are keys");
        self.space.key(key)
    }

    fn keys(&mut self) -> KeyRange {
        match self.rng.random_range(0..100) {
            0..50 => KeyRange { key: self.key(), end: None },
            50..75 => KeyRange { key: self.space.prefix().to_string(), end: Some(self.space.end()) },
            75..90 => {
                let (a, b) = (self.key(), self.key());
                KeyRange { key: a.clone().min(b.clone()), end: Some(a.max(b)) }
            }
            _ if self.alone => KeyRange { key: self.key(), end: Some("\0".to_string()) },
            _ => KeyRange { key: self.key(), end: Some(self.space.end()) },
        }
    }

    fn range(&mut self, seen: &Seen, place: Place) -> RangeRequest {
        let keys = self.keys();
        let limit = if self.rng.random_bool(0.2) { self.rng.random_range(1..4) } else { 0 };
        let revision = if self.rng.random_bool(0.25) { self.revision(seen) } else { 0 };
        let (serializable, count_only, keys_only) =
            (self.rng.random_bool(0.15), self.rng.random_bool(0.08), self.rng.random_bool(0.08));
        RangeRequest {
            keys,
            limit,
            revision,
            serializable: serializable && place == Place::Alone,
            count_only,
            keys_only: keys_only && !count_only,
        }
    }

    /// Mostly a recent revision, sometimes a compacted or a future one.
    fn revision(&mut self, seen: &Seen) -> i64 {
        let revision = match self.rng.random_range(0..100) {
            0..80 => seen.revision - self.rng.random_range(0..30),
            80..90 => seen.compacted - self.rng.random_range(0..3),
            _ => seen.revision + self.rng.random_range(1..40),
        };
        revision.max(1)
    }

    /// Mostly something that can be compacted, sometimes what already is, or what is not there yet.
    fn compaction(&mut self, seen: &Seen) -> i64 {
        let revision = match self.rng.random_range(0..100) {
            0..85 => seen.revision - self.rng.random_range(5..60),
            85..95 => seen.compacted,
            _ => seen.revision + self.rng.random_range(50..100),
        };
        revision.max(1)
    }

    fn put(&mut self, key: String) -> PutRequest {
        self.next_value += 1;
        PutRequest { key, value: format!("v{}", self.next_value), prev_kv: self.rng.random_bool(0.4) }
    }

    fn delete(&mut self) -> DeleteRequest {
        // A whole prefix rarely: it would leave little to look at.
        let keys = if self.rng.random_bool(0.75) {
            KeyRange { key: self.key(), end: None }
        } else {
            let (a, b) = (self.key(), self.key());
            KeyRange { key: a.clone().min(b.clone()), end: Some(a.max(b)) }
        };
        DeleteRequest { keys, prev_kv: self.rng.random_bool(0.5) }
    }

    fn txn(&mut self, seen: &Seen, depth: u32) -> TxnRequest {
        let compares = self.rng.random_range(0..4);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare(seen)).collect(),
            success: self.branch(seen, depth),
            failure: self.branch(seen, depth),
        }
    }

    /// A branch must not write a key twice, at whatever depth: so each key is put in one place only, and a
    /// branch that puts deletes nothing.
    fn branch(&mut self, seen: &Seen, depth: u32) -> Vec<Request> {
        let deletes = self.rng.random_bool(0.2);
        let mut free: BTreeSet<String> = KEYS.iter().map(|key| self.space.key(key)).collect();
        let length = self.rng.random_range(0..4);
        (0..length).map(|_| self.part(seen, depth, deletes, &mut free)).collect()
    }

    fn part(&mut self, seen: &Seen, depth: u32, deletes: bool, free: &mut BTreeSet<String>) -> Request {
        match self.rng.random_range(0..100) {
            0..45 if deletes => Request::Delete(self.delete()),
            0..45 => {
                let index = self.rng.random_range(0..free.len());
                let key = free.iter().nth(index).expect("fewer parts than keys").clone();
                free.remove(&key);
                Request::Put(self.put(key))
            }
            45..60 if depth < DEPTH_MAX => {
                let nested = self.txn(seen, depth + 1);
                Request::Txn(if deletes { without_puts(nested) } else { only_free(nested, free) })
            }
            _ => Request::Range(self.range(seen, Place::InTxn)),
        }
    }

    fn compare(&mut self, seen: &Seen) -> Compare {
        let keys =
            if self.rng.random_bool(0.85) { KeyRange { key: self.key(), end: None } } else { self.keys() };
        let pair = seen.pair(&keys.key);
        let op =
            *[CompareOp::Equal, CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less]
                .choose(&mut self.rng)
                .expect("there are operators");
        let off: i64 = if self.rng.random_bool(0.6) { 0 } else { self.rng.random_range(-2..=2) };
        let target = match self.rng.random_range(0..100) {
            0..25 => CompareTarget::Version((pair.version + off).max(0)),
            25..45 => CompareTarget::CreateRevision((pair.create_revision + off).max(0)),
            45..70 => CompareTarget::ModRevision((pair.mod_revision + off).max(0)),
            70..92 => CompareTarget::Value(pair.value),
            _ => CompareTarget::Lease(0),
        };
        Compare { keys, op, target }
    }
}

/// The transaction without its puts: for a place where something else is deleted.
fn without_puts(txn: TxnRequest) -> TxnRequest {
    only_free(txn, &mut BTreeSet::new())
}

/// The transaction without what may not be written in its place: puts of keys outside `free`, which are used
/// up, and deletions, which might meet a put elsewhere.
fn only_free(txn: TxnRequest, free: &mut BTreeSet<String>) -> TxnRequest {
    let mut keep = |requests: Vec<Request>| -> Vec<Request> {
        requests
            .into_iter()
            .filter_map(|request| match request {
                Request::Put(put) => free.remove(&put.key).then_some(Request::Put(put)),
                Request::Delete(_) => None,
                Request::Txn(inner) => Some(Request::Txn(only_free(inner, free))),
                Request::Range(_) | Request::Compact { .. } => Some(request),
            })
            .collect()
    };
    let (success, failure) = (keep(txn.success), keep(txn.failure));
    TxnRequest { compare: txn.compare, success, failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(seed: u64) -> KvGenerator {
        KvGenerator::new(seed, Space::new("", "kv"), true, Arc::new(Mutex::new(Seen::at(50))))
    }

    fn ops(seed: u64, n: usize) -> Vec<Request> {
        let mut generator = generator(seed);
        (0..n).map(|_| generator.next()).collect()
    }

    #[test]
    fn operations_follow_from_the_seed() {
        assert_eq!(ops(7, 500), ops(7, 500));
        assert_ne!(ops(7, 500), ops(8, 500));
    }

    /// What was seen changes operands, never which operations come.
    #[test]
    fn what_was_seen_does_not_change_the_choices() {
        let kinds = |seen: Seen| -> Vec<std::mem::Discriminant<Request>> {
            let mut generator = generator(7);
            generator.seen = Arc::new(Mutex::new(seen));
            (0..500).map(|_| std::mem::discriminant(&generator.next())).collect()
        };
        assert_eq!(kinds(Seen::at(1)), kinds(Seen::at(5000)));
    }

    /// Keys put, and ranges deleted, anywhere below a branch.
    fn writes<'a>(branch: &'a [Request], puts: &mut Vec<&'a str>, deletes: &mut usize) {
        for request in branch {
            match request {
                Request::Put(put) => puts.push(&put.key),
                Request::Delete(_) => *deletes += 1,
                Request::Txn(txn) => {
                    writes(&txn.success, puts, deletes);
                    writes(&txn.failure, puts, deletes);
                }
                Request::Range(_) | Request::Compact { .. } => {}
            }
        }
    }

    #[test]
    fn no_branch_writes_a_key_twice() {
        let mut nested = 0;
        for op in ops(7, 5000) {
            let Request::Txn(txn) = &op else { continue };
            for branch in [&txn.success, &txn.failure] {
                let (mut puts, mut deletes) = (Vec::new(), 0);
                writes(branch, &mut puts, &mut deletes);
                let distinct: BTreeSet<&str> = puts.iter().copied().collect();
                assert_eq!(distinct.len(), puts.len(), "{op:?}");
                assert!(deletes == 0 || puts.is_empty(), "{op:?}");
                nested += usize::from(branch.iter().any(|part| matches!(part, Request::Txn(_))));
            }
        }
        assert!(nested > 100, "{nested} branches nest");
    }

    #[test]
    fn the_unusual_is_asked_for_too() {
        let ops = ops(7, 5000);
        let count = |wanted: fn(&Request) -> bool| ops.iter().filter(|op| wanted(op)).count();
        assert!(count(|op| matches!(op, Request::Compact { .. })) > 10);
        assert!(count(|op| matches!(op, Request::Range(range) if range.revision > 50)) > 20);
        assert!(count(|op| matches!(op, Request::Range(range) if range.serializable)) > 100);
        let historic = |op: &Request| match op {
            Request::Txn(txn) => {
                txn.success.iter().any(|part| matches!(part, Request::Range(range) if range.revision > 0))
            }
            _ => false,
        };
        assert!(ops.iter().filter(|op| historic(op)).count() > 50);
        let targets: BTreeSet<String> = ops
            .iter()
            .filter_map(|op| if let Request::Txn(txn) = op { Some(&txn.compare) } else { None })
            .flatten()
            .map(|compare| format!("{:?}", compare.target).split('(').next().unwrap().to_string())
            .collect();
        assert_eq!(targets.len(), 5, "{targets:?}");
    }
}
