//! What answers say of writes that they do not show: a key's version counts its puts, so two answers tell
//! how many puts lie between them, and, where none is missing, which value each of them found.

use rustc_hash::FxHashMap;

use super::evidence::{Evidence, Seen};
use super::step::{Expect, Step};
use crate::spec::kv::{Pair, Store, may_mutate};
use crate::spec::kv_types::{CompareOp, CompareTarget, KeyRange, Request, Response};

/// What is known of one key.
#[derive(Debug, Default)]
struct Facts<'a> {
    /// Pairs that answers show, by revision of the newest write: that, creation, version. A register's
    /// answer does not tell the creation; it is never deleted.
    shown: Vec<(i64, Option<i64>, i64)>,
    /// Revisions at which it surely was put.
    puts: Vec<i64>,
    /// Those of these puts that are known, by revision.
    links: Vec<(i64, Link<'a>)>,
    /// Revisions at which it surely, or perhaps, was deleted by an operation that was answered.
    deletes: Vec<i64>,
    /// Revisions at which it surely was absent.
    absent: Vec<i64>,
}

/// A put of a key: what it must find, and what it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    /// What the key must have held before; `None` for anything.
    needs: Option<&'a str>,
    pub(super) leaves: &'a str,
}

impl<'a> Link<'a> {
    /// If a request puts one key and nothing else, where it writes: that key, and the link.
    pub(super) fn of(request: &'a Request) -> Option<(&'a str, Link<'a>)> {
        match request {
            Request::Put(put) => Some((&put.key, Link { needs: None, leaves: &put.value })),
            Request::Txn(txn) => {
                let ([Request::Put(put)], false) = (&txn.success[..], txn.failure.iter().any(may_mutate))
                else {
                    return None;
                };
                let needs = txn.compare.iter().find_map(|compare| match (compare.op, &compare.target) {
                    (CompareOp::Equal, CompareTarget::Value(value))
                        if compare.keys.end.is_none() && compare.keys.key == put.key =>
                    {
                        Some(value.as_str())
                    }
                    _ => None,
                });
                Some((&put.key, Link { needs, leaves: &put.value }))
            }
            Request::Range(_) | Request::Delete(_) | Request::Compact { .. } => None,
        }
    }

    /// Whether it finds what it must in what a key holds; `None` if that is not known.
    pub(super) fn finds(&self, holds: Option<&str>) -> bool {
        self.needs.is_none_or(|needs| holds.is_none_or(|holds| holds == needs))
    }
}

/// Puts of a key that are missing between two answers that show it.
#[derive(Debug)]
pub(super) struct Gap<'a> {
    pub(super) missing: usize,
    /// The revision that the earlier answer shows, or before which the key was not there.
    pub(super) after: i64,
    /// What the key held then, where that is known.
    pub(super) holds: Option<&'a str>,
    /// The known puts since, and what each is where that is known; the last is the one that the later answer shows.
    pub(super) puts: Vec<(i64, Option<Link<'a>>)>,
}

impl<'a> Facts<'a> {
    fn link(&self, revision: i64) -> Option<Link<'a>> {
        let at = self.links.binary_search_by_key(&revision, |(at, _)| *at).ok()?;
        Some(self.links[at].1)
    }
}

/// What is known of all keys.
#[derive(Debug, Default)]
pub(super) struct Demand<'a> {
    keys: FxHashMap<String, Facts<'a>>,
    /// Deletions of ranges, which may be any key's.
    range_deletes: Vec<(i64, KeyRange)>,
}

impl<'a> Demand<'a> {
    /// `pinned`: the only revision that a step of unknown outcome can have made, since its values were seen there.
    pub(super) fn new(steps: &'a [Step], evidence: &Evidence, pinned: &FxHashMap<usize, i64>) -> Demand<'a> {
        let mut demand = Demand::default();
        for (index, step) in steps.iter().enumerate() {
            let made = if step.is_write() { Some(step.rev) } else { pinned.get(&index).copied() };
            if let (Some(revision), Some((key, link))) = (made, Link::of(&step.request)) {
                demand.facts(key).links.push((revision, link));
            }
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
            facts.links.sort_unstable_by_key(|(revision, _)| *revision);
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

    /// Whether a store that has just made its revision by a put of a key cannot come to the next answer that shows
    /// the key: the put is one too many, or the last that was missing, and the puts after it do not find what they
    /// must.
    pub(super) fn leads_nowhere(&self, store: &Store, key: &str) -> bool {
        let Some(pair) = store.get(key).filter(|pair| pair.mod_revision == store.rev()) else { return false };
        match self.balance(key, pair, store.rev()) {
            Some(0) => self.breaks_chain(key, pair, store.rev()),
            Some(missing) => missing < 0,
            None => false,
        }
    }

    /// Whether, of the puts of a key after a revision at which it holds `pair`, and up to the next answer that shows
    /// it, one does not find what it must. All these puts are known to have been made.
    fn breaks_chain(&self, key: &str, pair: &Pair, revision: i64) -> bool {
        let Some(facts) = self.keys.get(key) else { return false };
        let next = facts.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let Some((last, _, _)) = facts.shown.get(next) else { return false };
        let mut holds = Some(&*pair.value);
        let after = facts.puts.partition_point(|at| *at <= revision);
        for put in facts.puts[after..].iter().take_while(|put| *put <= last) {
            let link = facts.link(*put);
            if link.is_some_and(|link| !link.finds(holds)) {
                return true;
            }
            holds = link.map(|link| link.leaves);
        }
        false
    }

    /// Where puts of a key are missing; `None` if some are too many.
    pub(super) fn gaps(&self, key: &str) -> Option<Vec<Gap<'a>>> {
        let Some(facts) = self.keys.get(key) else { return Some(Vec::new()) };
        let mut gaps = Vec::new();
        let mut earlier = (0, 0);
        for &(modified, create, version) in &facts.shown {
            let (after, before) = match create {
                Some(create) if create > earlier.0 => (create.saturating_sub(1), 0),
                Some(_) | None => earlier,
            };
            let puts = facts.puts.iter().skip(facts.puts.partition_point(|put| *put <= after));
            let puts: Vec<(i64, Option<Link<'a>>)> =
                puts.take_while(|put| **put <= modified).map(|put| (*put, facts.link(*put))).collect();
            let missing = version.saturating_sub(before).saturating_sub(puts.len() as i64);
            let missing = usize::try_from(missing).ok()?;
            if missing > 0 {
                let holds = facts.link(after).map(|link| link.leaves);
                gaps.push(Gap { missing, after, holds, puts });
            }
            earlier = (modified, version);
        }
        Some(gaps)
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

    fn facts(&mut self, key: &str) -> &mut Facts<'a> {
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
