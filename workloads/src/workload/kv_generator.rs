//! Makes the operations of the `kv` workload.

use super::{
    Generator, Space,
    kv::{TxnRevisions, only_reads},
    kv_seen::Seen,
};
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
    places: Places,
    seen: Arc<Mutex<Seen>>,
    next_value: u64,
}

/// Where the generator may reach.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub space: Space,
    pub alone: bool,
    pub revisions: TxnRevisions,
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
            780..993 => {
                let txn = Request::Txn(self.txn(&seen, 1));
                match self.places.revisions {
                    TxnRevisions::ReadOnly if !only_reads(&txn) => at_newest(txn),
                    TxnRevisions::ReadOnly | TxnRevisions::Any => txn,
                }
            }
            _ => {
                let revision = self.compaction(&seen);
                // The history of a store that others use is not this run's to forget.
                if self.places.alone {
                    Request::Compact { revision }
                } else {
                    Request::Range(self.range(&seen, Place::Alone))
                }
            }
        }
    }

    fn final_reads(&self) -> Vec<Request> {
        let keys =
            KeyRange { key: self.places.space.prefix().to_string(), end: Some(self.places.space.end()) };
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
    pub(super) fn new(seed: u64, places: Places, seen: Arc<Mutex<Seen>>) -> KvGenerator {
        KvGenerator { rng: rng(seed, Purpose::Kv), places, seen, next_value: 0 }
    }

    fn key(&mut self) -> String {
        let key = KEYS.choose(&mut self.rng).expect("there are keys");
        self.places.space.key(key)
    }

    fn keys(&mut self) -> KeyRange {
        match self.rng.random_range(0..100) {
            0..50 => KeyRange { key: self.key(), end: None },
            50..75 => {
                KeyRange { key: self.places.space.prefix().to_string(), end: Some(self.places.space.end()) }
            }
            75..90 => {
                let (a, b) = (self.key(), self.key());
                KeyRange { key: a.clone().min(b.clone()), end: Some(a.max(b)) }
            }
            _ if self.places.alone => KeyRange { key: self.key(), end: Some("\0".to_string()) },
            _ => KeyRange { key: self.key(), end: Some(self.places.space.end()) },
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
        let mut free: BTreeSet<String> = KEYS.iter().map(|key| self.places.space.key(key)).collect();
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

/// The request with all its ranges at the newest revision.
fn at_newest(request: Request) -> Request {
    let all = |requests: Vec<Request>| requests.into_iter().map(at_newest).collect();
    match request {
        Request::Range(range) => Request::Range(RangeRequest { revision: 0, ..range }),
        Request::Txn(txn) => Request::Txn(TxnRequest {
            compare: txn.compare,
            success: all(txn.success),
            failure: all(txn.failure),
        }),
        Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => request,
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
        let places = Places { space: Space::new("", "kv"), alone: true, revisions: TxnRevisions::Any };
        KvGenerator::new(seed, places, Arc::new(Mutex::new(Seen::at(50))))
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

    /// On a store that holds other things nothing is asked for beyond the space, and nothing is compacted.
    #[test]
    fn a_store_of_others_is_left_alone() {
        fn ends<'a>(request: &'a Request, found: &mut Vec<&'a str>) {
            let keys = match request {
                Request::Range(range) => &range.keys,
                Request::Delete(delete) => &delete.keys,
                Request::Txn(txn) => {
                    found.extend(txn.compare.iter().filter_map(|compare| compare.keys.end.as_deref()));
                    txn.success.iter().chain(&txn.failure).for_each(|part| ends(part, found));
                    return;
                }
                Request::Put(_) => return,
                Request::Compact { .. } => panic!("a compaction"),
            };
            found.extend(keys.end.as_deref());
        }
        let mut generator = generator(7);
        generator.places.alone = false;
        let ops: Vec<Request> = (0..5000).map(|_| generator.next()).collect();
        let mut found = Vec::new();
        ops.iter().for_each(|op| ends(op, &mut found));
        assert!(found.len() > 1000 && found.iter().all(|end| end.starts_with("kv")), "{found:?}");
    }

    #[test]
    fn writing_transactions_can_be_kept_from_ranging_at_revisions() {
        fn ranges_at_revision(request: &Request) -> bool {
            match request {
                Request::Range(range) => range.revision != 0,
                Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(ranges_at_revision),
                Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => false,
            }
        }
        let mut generator = generator(7);
        generator.places.revisions = TxnRevisions::ReadOnly;
        let ops: Vec<Request> = (0..5000).map(|_| generator.next()).collect();
        let txns = || ops.iter().filter(|op| matches!(op, Request::Txn(_)) && ranges_at_revision(op));
        assert!(txns().count() > 20 && txns().all(only_reads));
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
