//! What answers say of writes that they do not show: a key's version counts its puts, so two answers tell
//! how many puts lie between them, and, where none is missing, which value each of them found. A key that was there and
//! is not there any more was deleted.

use std::collections::BTreeSet;
use std::ops::Bound;

use rustc_hash::FxHashMap;

use super::blame::is_one_key;
use super::evidence::{Evidence, STEPS_OF_AN_ANSWER, Seen};
use super::step::{Expect, Step};
use crate::budget::{Pace, Stop};
use crate::spec::kv::{Pair, Store, covers, may_mutate};
use crate::spec::kv_types::{Compare, CompareOp, CompareTarget, KeyRange, KeyValue, Request, Response};

/// Keys that one answer shows to be absent, beyond which the others are left out.
const ABSENT_MAX: usize = 256;

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
    /// And at which it surely was there, of those that do not show it.
    present: Vec<i64>,
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

/// What is asked of a key that no answer names: before which revision it must be put, and deleted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    pub(super) put: Option<i64>,
    pub(super) delete: Option<i64>,
    /// The newest write of the key, revision and version, as of which that is so.
    of: (i64, i64),
    /// From which revision on it may be otherwise.
    until: i64,
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

    /// Whether, of the puts of a key after a revision at which it holds `pair`, and up to the next answer that shows
    /// it, one does not find what it must. All these puts are known to have been made.
    fn breaks_chain(&self, pair: &Pair, revision: i64) -> bool {
        let next = self.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let Some((last, _, _)) = self.shown.get(next) else { return false };
        let mut holds = Some(&*pair.value);
        let after = self.puts.partition_point(|at| *at <= revision);
        for put in self.puts[after..].iter().take_while(|put| *put <= last) {
            let link = self.link(*put);
            if link.is_some_and(|link| !link.finds(holds)) {
                return true;
            }
            holds = link.map(|link| link.leaves);
        }
        false
    }

    /// If no answer names the put of a key that is absent at a revision and surely is there later: before which revision
    /// it must have been put.
    fn lacks_put(&self, revision: i64) -> Option<i64> {
        let there = *self.present.get(self.present.partition_point(|at| *at < revision))?;
        let limit = there.saturating_add(1);
        (count(&self.puts, revision + 1, limit) == 0).then_some(limit)
    }
}

/// What is known of all keys.
#[derive(Debug, Default)]
pub(super) struct Demand<'a> {
    keys: FxHashMap<&'a str, Facts<'a>>,
    /// Deletions of ranges, which may be any key's, by revision.
    range_deletes: Vec<(i64, KeyRange)>,
    /// What steps of unknown outcome may delete.
    deleters: Deleters<'a>,
    /// Revisions of which answers tell all that was written.
    made: Vec<i64>,
}

/// Keys that may have been deleted without an answer.
#[derive(Debug, Default)]
struct Deleters<'a> {
    one: BTreeSet<&'a str>,
    wide: Vec<KeyRange>,
}

impl<'a> Deleters<'a> {
    fn add(&mut self, request: &'a Request) {
        match request {
            Request::Delete(delete) if is_one_key(&delete.keys) => {
                self.one.insert(&delete.keys.key);
            }
            Request::Delete(delete) => self.wide.push(delete.keys.clone()),
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).for_each(|request| self.add(request)),
            Request::Put(_) | Request::Range(_) | Request::Compact { .. } => {}
        }
    }

    fn include(&self, key: &str) -> bool {
        self.one.contains(key) || self.wide.iter().any(|keys| covers(keys, key))
    }

    /// Those of a range that are deleted alone.
    fn within(&self, keys: &KeyRange) -> impl Iterator<Item = &'a str> {
        let from = self.one.range::<str, _>((Bound::Included(keys.key.as_str()), Bound::Unbounded));
        from.copied().take_while(|key| covers(keys, key))
    }
}

impl<'a> Demand<'a> {
    /// `pinned`: the only revision that a step of unknown outcome can have made, since its values were seen there.
    ///
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub(super) fn new(
        steps: &'a [Step<'a>],
        evidence: &Evidence<'a>,
        pinned: &FxHashMap<usize, i64>,
        pace: &mut Pace<'_>,
    ) -> Result<Demand<'a>, Stop> {
        let mut demand = Demand::default();
        let unknown = steps.iter().filter(|step| step.may_have_written());
        unknown.for_each(|step| demand.deleters.add(&step.request));
        for (index, step) in steps.iter().enumerate() {
            pace.steps(STEPS_OF_AN_ANSWER)?;
            let made = if step.is_write() { Some(step.rev) } else { pinned.get(&index).copied() };
            if let (Some(revision), Some((key, link))) = (made, Link::of(&step.request)) {
                demand.facts(key).links.push((revision, link));
            }
            // Of a step without an answer only what was seen is known.
            demand.made.extend(made.filter(|_| step.is_write() || Link::of(&step.request).is_some()));
            match &step.expect {
                Expect::Response(response) => demand.response(&step.request, response, step),
                Expect::Written => demand.put(&step.request, step.rev),
                Expect::Swapped(true) => {
                    if let Request::Txn(txn) = &*step.request {
                        txn.success.iter().for_each(|request| demand.put(request, step.rev));
                    }
                }
                Expect::Found(None) => {
                    if let Request::Range(range) = &*step.request {
                        demand.facts(&range.keys.key).absent.push(step.rev);
                    }
                }
                Expect::Unknown | Expect::Found(Some(_)) | Expect::Swapped(false) => {}
            }
        }
        for (revision, seen) in evidence.all() {
            let Seen { key, create_revision, version, .. } = seen;
            pace.step()?;
            let facts = demand.facts(key);
            facts.puts.push(*revision);
            if let Some(version) = version {
                facts.shown.push((*revision, *create_revision, *version));
            }
        }
        for facts in demand.keys.values_mut() {
            facts.shown.sort_unstable();
            facts.links.sort_unstable_by_key(|(revision, _)| *revision);
            for revisions in [&mut facts.puts, &mut facts.deletes, &mut facts.absent, &mut facts.present] {
                revisions.sort_unstable();
                revisions.dedup();
            }
        }
        demand.range_deletes.sort_by_key(|(revision, _)| *revision);
        demand.made.sort_unstable();
        demand.made.dedup();
        Ok(demand)
    }

    /// How many revisions in `[from, to)` something may have written that no answer tells.
    fn unnamed(&self, from: i64, to: i64) -> i64 {
        to.saturating_sub(from).saturating_sub(count(&self.made, from, to))
    }

    /// How many puts of a key are missing between a revision, at which it holds `pair`, and the next answer
    /// that shows it, and which revision that answer shows; less than 0 for too many, or for more than there can have
    /// been. `None` if nothing is known.
    fn balance(&self, facts: &Facts<'a>, pair: &Pair, revision: i64) -> Option<(i64, i64)> {
        let next = facts.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let (modified, create, version) = *facts.shown.get(next)?;
        if create.is_some_and(|create| create != pair.create_revision) {
            return None;
        }
        let known = count(&facts.puts, revision + 1, modified.saturating_add(1));
        let missing = version.saturating_sub(pair.version).saturating_sub(known);
        let too_many = missing > 0 && missing > self.unnamed(revision + 1, modified);
        Some((if too_many { -1 } else { missing }, modified))
    }

    /// Whether a store whose newest revision is that of a put of a key, which holds `pair` since, cannot come to the
    /// next answer that shows the key: the put is one too many, or the last that was missing, and the puts after it do
    /// not find what they must. Or the key was not there later, and nobody can have deleted it.
    pub(super) fn leads_nowhere(&self, key: &str, pair: &Pair) -> bool {
        let Some(facts) = self.keys.get(key) else { return false };
        self.never_fits(key, pair)
            || matches!(self.balance(facts, pair, pair.mod_revision), Some((0, _)))
                && facts.breaks_chain(pair, pair.mod_revision)
    }

    /// The same, as far as it does not depend on the value.
    pub(super) fn never_fits(&self, key: &str, pair: &Pair) -> bool {
        let Some(facts) = self.keys.get(key) else { return false };
        if let Some(limit) = self.lacks_delete(facts, key, pair.mod_revision)
            && (self.unnamed(pair.mod_revision + 1, limit) == 0 || !self.deleters.include(key))
        {
            return true;
        }
        self.balance(facts, pair, pair.mod_revision).is_some_and(|(missing, _)| missing < 0)
    }

    /// Whether a store that has just deleted a key, at a revision, cannot come to the next answer that tells that it is
    /// there: nobody can have put it in between.
    pub(super) fn absence_leads_nowhere(&self, key: &str, revision: i64) -> bool {
        let limit = self.keys.get(key).and_then(|facts| facts.lacks_put(revision));
        limit.is_some_and(|limit| self.unnamed(revision + 1, limit) == 0)
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

    /// What answers after a store's revision ask of a key that no answer names; `known` is what was found out for it
    /// before.
    pub(super) fn due(&self, store: &Store, key: &str, known: &mut Due) -> Due {
        let revision = store.rev();
        let Some(pair) = store.get(key) else {
            let put = self.keys.get(key).and_then(|facts| facts.lacks_put(revision));
            return Due { put, ..Due::default() };
        };
        // While the key is not written, and up to the next answer that tells of it, it is asked for the same.
        let of = (pair.mod_revision, pair.version);
        if known.of != of || revision >= known.until {
            *known =
                self.keys.get(key).map_or(Due::default(), |facts| self.due_after(facts, key, pair, revision));
        }
        *known
    }

    fn due_after(&self, facts: &Facts<'a>, key: &str, pair: &Pair, revision: i64) -> Due {
        let put = self.balance(facts, pair, revision).filter(|(missing, _)| *missing > 0);
        // The last of them is made just before that revision, at the latest.
        let put = put.map(|(missing, modified)| modified.saturating_sub(missing - 1));
        let delete = self.lacks_delete(facts, key, revision);
        let shown = facts.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let shown = facts.shown.get(shown).map_or(i64::MAX, |(modified, _, _)| *modified);
        let absent = facts.absent.get(facts.absent.partition_point(|at| *at <= revision));
        let until = absent.map_or(shown, |absent| shown.min(*absent));
        Due { put, delete, of: (pair.mod_revision, pair.version), until }
    }

    /// If no answer names the deletion of a key that is there at a revision and surely is not there later: before which
    /// revision it must have been deleted.
    fn lacks_delete(&self, facts: &Facts<'a>, key: &str, revision: i64) -> Option<i64> {
        let gone = facts.absent.get(facts.absent.partition_point(|at| *at <= revision)).copied();
        let next = facts.shown.partition_point(|(modified, _, _)| *modified <= revision);
        let born =
            facts.shown.get(next).and_then(|(_, create, _)| *create).filter(|create| *create > revision);
        let limit = gone.map(|at| at.saturating_add(1)).into_iter().chain(born).min()?;
        let since = self.range_deletes.partition_point(|(at, _)| *at <= revision);
        let mut wide = self.range_deletes[since..].iter().take_while(|(at, _)| *at < limit);
        let named = count(&facts.deletes, revision + 1, limit) > 0 || wide.any(|(_, keys)| covers(keys, key));
        (!named).then_some(limit)
    }

    fn facts(&mut self, key: &'a str) -> &mut Facts<'a> {
        self.keys.entry(key).or_default()
    }

    fn put(&mut self, request: &'a Request, revision: i64) {
        if let Request::Put(put) = request {
            self.facts(&put.key).puts.push(revision);
        }
    }

    /// Notes keys of a range that an answer shows none of, where that matters.
    fn absent_from(&mut self, keys: &KeyRange, found: &[KeyValue], at: i64) {
        let mut found: Vec<&str> = found.iter().map(|pair| pair.key.as_str()).collect();
        found.sort_unstable();
        let absent = self.deleters.within(keys).filter(|key| found.binary_search(key).is_err());
        let absent: Vec<&'a str> = absent.take(ABSENT_MAX).collect();
        absent.iter().for_each(|key| self.facts(key).absent.push(at));
    }

    fn response(&mut self, request: &'a Request, response: &Response, step: &Step<'_>) {
        match (request, response) {
            (Request::Put(_), _) => self.put(request, step.rev),
            (Request::Delete(delete), Response::Delete { deleted, .. }) if *deleted > 0 => {
                if is_one_key(&delete.keys) {
                    self.facts(&delete.keys.key).deletes.push(step.rev);
                    // In a transaction it may have been put just before.
                    if std::ptr::eq(request, &*step.request) {
                        self.facts(&delete.keys.key).present.push(step.rev - 1);
                    }
                } else {
                    self.range_deletes.push((step.rev, delete.keys.clone()));
                }
            }
            (Request::Delete(delete), Response::Delete { .. })
                if is_one_key(&delete.keys) && !step.is_write() =>
            {
                self.facts(&delete.keys.key).absent.push(step.rev);
            }
            (Request::Range(range), Response::Range { kvs, count, more }) if !step.is_write() => {
                let at = if range.revision > 0 { range.revision } else { step.rev };
                if is_one_key(&range.keys) {
                    if *count == 0 {
                        self.facts(&range.keys.key).absent.push(at);
                    }
                } else if !more && !range.count_only {
                    self.absent_from(&range.keys, kvs, at);
                }
            }
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                // What is nested may be looked at after other writes of the same transaction.
                let compares = if std::ptr::eq(request, &*step.request) { &txn.compare[..] } else { &[] };
                let before = step.rev - i64::from(step.is_write());
                // All of them held, or one did not.
                let known = if *succeeded || compares.len() == 1 { compares } else { &[] };
                for compare in known.iter().filter(|compare| is_one_key(&compare.keys)) {
                    let facts = self.facts(&compare.keys.key);
                    match tells_presence(compare, *succeeded) {
                        Some(true) => facts.present.push(before),
                        Some(false) => facts.absent.push(before),
                        None => {}
                    }
                }
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                for (request, response) in branch.iter().zip(responses) {
                    self.response(request, response, step);
                }
            }
            (Request::Range(_) | Request::Delete(_) | Request::Txn(_) | Request::Compact { .. }, _) => {}
        }
    }
}

/// Whether a condition that held, or did not, shows that its key was there, or that it was absent.
fn tells_presence(compare: &Compare, held: bool) -> Option<bool> {
    let number = match compare.target {
        CompareTarget::Version(number)
        | CompareTarget::CreateRevision(number)
        | CompareTarget::ModRevision(number) => number,
        CompareTarget::Value(_) | CompareTarget::Lease(_) => return None,
    };
    // All three are 0 for an absent key, and at least 1 for any other.
    let (absent, there) = match (compare.op, held) {
        (CompareOp::Equal, true) | (CompareOp::NotEqual, false) => (number == 0, number >= 1),
        (CompareOp::Equal, false) | (CompareOp::NotEqual, true) => (false, number == 0),
        (CompareOp::Greater, true) => (false, number >= 0),
        (CompareOp::Greater, false) => (number == 0, false),
        (CompareOp::Less, true) => (number == 1, false),
        (CompareOp::Less, false) => (false, number >= 1),
    };
    (absent || there).then_some(there)
}

/// How many of the sorted numbers are in `[from, to)`.
fn count(sorted: &[i64], from: i64, to: i64) -> i64 {
    let below = |limit: i64| sorted.partition_point(|number| *number < limit);
    below(to).saturating_sub(below(from)) as i64
}
