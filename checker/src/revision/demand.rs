//! What answers say of writes that they do not show: a key's version counts its puts, so two answers tell
//! how many puts lie between them.

use rustc_hash::FxHashMap;

use super::evidence::{Evidence, Seen};
use super::step::{Expect, Step};
use crate::spec::kv::{Pair, Store};
use crate::spec::kv_types::{KeyRange, Request, Response};

/// What is known of one key.
#[derive(Debug, Default)]
struct Facts {
    /// Pairs that answers show, by revision of the newest write: that, creation, version. A register's
    /// answer does not tell the creation; it is never deleted.
    shown: Vec<(i64, Option<i64>, i64)>,
    /// Revisions at which it surely was put.
    puts: Vec<i64>,
    /// Revisions at which it surely, or perhaps, was deleted by an operation that was answered.
    deletes: Vec<i64>,
    /// Revisions at which it surely was absent.
    absent: Vec<i64>,
}

/// What is known of all keys.
#[derive(Debug, Default)]
pub(super) struct Demand {
    keys: FxHashMap<String, Facts>,
    /// Deletions of ranges, which may be any key's.
    range_deletes: Vec<(i64, KeyRange)>,
}

impl Demand {
    pub(super) fn new(steps: &[Step], evidence: &Evidence) -> Demand {
        let mut demand = Demand::default();
        for step in steps {
            match &step.expect {
                Expect::Response(response) => demand.response(&step.request, response, step),
                Expect::Written => demand.put(&step.request, step.rev),
                Expect::Swapped(true) => {
                    if let Request::Txn(txn) = &step.request {
                        txn.success.iter().for_each(|request| demand.put(request, step.rev));
                    }
                }
                Expect::Found(None) => {
                    if let Request::Range(range) = &step.request {
                        demand.facts(&range.keys.key).absent.push(step.rev);
                    }
                }
                Expect::Unknown | Expect::Found(Some(_)) | Expect::Swapped(false) => {}
            }
        }
        for (revision, seen) in evidence.all() {
            let Seen { key, create_revision, version, .. } = seen;
            let facts = demand.facts(key);
            facts.puts.push(revision);
            if let Some(version) = version {
                facts.shown.push((revision, *create_revision, *version));
            }
        }
        for facts in demand.keys.values_mut() {
            facts.shown.sort_unstable();
            for revisions in [&mut facts.puts, &mut facts.deletes, &mut facts.absent] {
                revisions.sort_unstable();
                revisions.dedup();
            }
        }
        demand.range_deletes.sort_by_key(|(revision, _)| *revision);
        demand
    }

    /// How many puts of a key are missing between a revision, at which it holds `pair`, and the next answer
    /// that shows it; less than 0 for too many. `None` if nothing is known.
    fn balance(&self, key: &str, pair: &Pair, revision: i64) -> Option<i64> {
        let facts = self.keys.get(key)?;
        let next = facts.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let (modified, create, version) = *facts.shown.get(next)?;
        if create.is_some_and(|create| create != pair.create_revision) {
            return None;
        }
        let known = count(&facts.puts, revision + 1, modified.saturating_add(1));
        Some(version.saturating_sub(pair.version).saturating_sub(known))
    }

    /// Whether a store that has just made its revision by a put of a key has one put too many of it.
    pub(super) fn has_too_many(&self, store: &Store, key: &str) -> bool {
        let pair = store.get(key).filter(|pair| pair.mod_revision == store.rev());
        pair.and_then(|pair| self.balance(key, pair, store.rev())).is_some_and(|missing| missing < 0)
    }

    /// Whether an answer after a store's revision is only explained by a write that no answer names, and
    /// that a request would make next.
    pub(super) fn demands(&self, store: &Store, request: &Request) -> bool {
        match request {
            Request::Put(put) => self.demands_put(store, &put.key),
            Request::Delete(delete) => {
                delete.keys.end.is_none() && self.demands_delete(store, &delete.keys.key)
            }
            Request::Txn(txn) => {
                txn.success.iter().chain(&txn.failure).any(|request| self.demands(store, request))
            }
            Request::Range(_) | Request::Compact { .. } => false,
        }
    }

    /// Whether an answer is only explained by a put, or a deletion, of a key that no answer names.
    pub(super) fn demands_key(&self, store: &Store, key: &str) -> bool {
        self.demands_put(store, key) || self.demands_delete(store, key)
    }

    fn demands_put(&self, store: &Store, key: &str) -> bool {
        let pair = store.get(key);
        pair.and_then(|pair| self.balance(key, pair, store.rev())).is_some_and(|missing| missing > 0)
    }

    fn demands_delete(&self, store: &Store, key: &str) -> bool {
        let (Some(facts), true) = (self.keys.get(key), store.get(key).is_some()) else { return false };
        let revision = store.rev();
        let gone = facts.absent.get(facts.absent.partition_point(|at| *at <= revision)).copied();
        let next = facts.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let born =
            facts.shown.get(next).and_then(|(_, create, _)| *create).filter(|create| *create > revision);
        let Some(limit) = gone.map(|at| at.saturating_add(1)).into_iter().chain(born).min() else {
            return false;
        };
        let covered = |(at, keys): &(i64, KeyRange)| {
            (revision + 1..limit).contains(at) && crate::spec::kv::covers(keys, key)
        };
        count(&facts.deletes, revision + 1, limit) == 0 && !self.range_deletes.iter().any(covered)
    }

    fn facts(&mut self, key: &str) -> &mut Facts {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), Facts::default());
        }
        self.keys.get_mut(key).expect("it was just put there")
    }

    fn put(&mut self, request: &Request, revision: i64) {
        if let Request::Put(put) = request {
            self.facts(&put.key).puts.push(revision);
        }
    }

    fn response(&mut self, request: &Request, response: &Response, step: &Step) {
        match (request, response) {
            (Request::Put(_), _) => self.put(request, step.rev),
            (Request::Delete(delete), Response::Delete { deleted, .. }) if *deleted > 0 => {
                if delete.keys.end.is_none() {
                    self.facts(&delete.keys.key).deletes.push(step.rev);
                } else {
                    self.range_deletes.push((step.rev, delete.keys.clone()));
                }
            }
            (Request::Range(range), Response::Range { count: 0, .. })
                if range.keys.end.is_none() && !step.is_write() =>
            {
                let at = if range.revision > 0 { range.revision } else { step.rev };
                self.facts(&range.keys.key).absent.push(at);
            }
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                for (request, response) in branch.iter().zip(responses) {
                    self.response(request, response, step);
                }
            }
            (Request::Range(_) | Request::Delete(_) | Request::Txn(_) | Request::Compact { .. }, _) => {}
        }
    }
}

/// How many of the sorted numbers are in `[from, to)`.
fn count(sorted: &[i64], from: i64, to: i64) -> i64 {
    let below = |limit: i64| sorted.partition_point(|number| *number < limit);
    below(to).saturating_sub(below(from)) as i64
}
