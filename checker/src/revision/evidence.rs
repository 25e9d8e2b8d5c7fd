//! What answers show of writes that nobody was answered for.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::step::{Expect, Step};
use crate::budget::{Budget, Pace, Stop};
use crate::spec::kv::{Pair, Store};
use crate::spec::kv_types::{KeyRange, KeyValue, RangeRequest, Request, Response};

/// Sightings that are gathered before those that were there already are left out.
const SIGHTINGS_MIN: usize = 1 << 16;

/// What a look at one answer counts for a [`Pace`].
pub(super) const STEPS_OF_AN_ANSWER: usize = 8;

/// What some answer showed of the write that made a revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen<'a> {
    /// The key.
    pub key: &'a str,
    /// The value; `None` where only keys were asked for.
    pub value: Option<Cow<'a, str>>,
    /// Revision of the key's creation, where it was shown.
    pub create_revision: Option<i64>,
    /// Writes since the creation, where they were shown.
    pub version: Option<i64>,
}

impl Seen<'_> {
    /// Whether it is a pair that was put at a revision.
    pub(super) fn fits(&self, pair: &Pair, revision: i64) -> bool {
        pair.mod_revision == revision
            && self.value.as_ref().is_none_or(|value| **value == *pair.value)
            && self.create_revision.is_none_or(|create| create == pair.create_revision)
            && self.version.is_none_or(|version| version == pair.version)
    }
}

/// All that the answers of a history show of writes.
#[derive(Debug, Default)]
pub(super) struct Evidence<'a> {
    /// What was seen, with the revision that made it, in order; of each but one.
    seen: Vec<(i64, Seen<'a>)>,
    /// How many there are before those are left out next that are there twice.
    seen_max: usize,
    keys: FxHashMap<&'a str, KeyEvidence<'a>>,
}

/// What answers show of a key beside what was written.
#[derive(Debug, Default)]
struct KeyEvidence<'a> {
    /// It was not written after the first and up to the second revision.
    quiet: Spans,
    /// It was not deleted after the first and up to the second revision.
    alive: Spans,
    /// What was seen last, with the revision that made it: most answers show the same again.
    last: Option<(i64, Seen<'a>)>,
}

/// Spans of revisions, each without the first and with the second. Once they are in order: sorted by the second, and
/// then each first lowered to the least of all that follow.
#[derive(Debug, Default)]
struct Spans(Vec<(i64, i64)>);

impl Spans {
    fn add(&mut self, from: i64, to: i64) {
        match self.0.last_mut() {
            Some((same, last)) if *same == from => *last = to.max(*last),
            Some(_) | None => self.0.push((from, to)),
        }
    }

    fn put_in_order(&mut self) {
        self.0.sort_unstable_by_key(|(_, to)| *to);
        let mut least = i64::MAX;
        for (from, _) in self.0.iter_mut().rev() {
            least = least.min(*from);
            *from = least;
        }
    }

    fn cover(&self, revision: i64) -> bool {
        let from = self.0.partition_point(|(_, to)| *to < revision);
        self.0.get(from).is_some_and(|(since, _)| *since < revision)
    }
}

impl<'a> Evidence<'a> {
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub(super) fn gather(steps: &'a [Step<'a>], pace: &mut Pace<'_>) -> Result<Evidence<'a>, Stop> {
        let mut evidence = Evidence::default();
        for step in steps {
            pace.steps(STEPS_OF_AN_ANSWER)?;
            match &step.expect {
                Expect::Response(response) => evidence.response(&step.request, response, step),
                Expect::Found(Some(found)) => {
                    if let (Request::Range(range), Some(revision)) = (&*step.request, found.mod_revision) {
                        let seen = Seen {
                            key: &range.keys.key,
                            value: Some(Cow::Owned(found.value.to_string())),
                            create_revision: None,
                            version: found.version,
                        };
                        evidence.see(revision, step.rev, seen);
                    }
                }
                Expect::Unknown | Expect::Found(None) | Expect::Written | Expect::Swapped(_) => {}
            }
        }
        evidence.put_in_order();
        for KeyEvidence { quiet, alive, .. } in evidence.keys.values_mut() {
            pace.steps(quiet.0.len() + alive.0.len())?;
            quiet.put_in_order();
            alive.put_in_order();
        }
        Ok(evidence)
    }

    /// Whether a store that has just made `revision` holds what was seen of it.
    pub(super) fn fits(&self, store: &Store, revision: i64) -> bool {
        let mut all = self.of(revision).iter();
        all.all(|(_, seen)| store.get(seen.key).is_some_and(|pair| seen.fits(pair, revision)))
    }

    /// What was seen of the write that made a revision.
    pub(super) fn of(&self, revision: i64) -> &[(i64, Seen<'a>)] {
        let from = self.seen.partition_point(|(at, _)| *at < revision);
        let to = self.seen[from..].iter().take_while(|(at, _)| *at == revision).count();
        &self.seen[from..from + to]
    }

    /// Everything that was seen, with the revision that made it, in the order of these.
    pub(super) fn all(&self) -> &[(i64, Seen<'a>)] {
        &self.seen
    }

    /// Whether some answer shows that a key was not written at a revision.
    pub(super) fn excludes_write(&self, key: &str, revision: i64) -> bool {
        self.keys.get(key).is_some_and(|shown| shown.quiet.cover(revision))
    }

    /// Whether some answer shows that a key was not deleted at a revision.
    pub(super) fn excludes_delete(&self, key: &str, revision: i64) -> bool {
        self.keys.get(key).is_some_and(|shown| shown.alive.cover(revision))
    }

    fn see(&mut self, mod_revision: i64, read_at: i64, seen: Seen<'a>) {
        let key = self.keys.entry(seen.key).or_default();
        if mod_revision < read_at {
            key.quiet.add(mod_revision, read_at);
        }
        if let Some(create) = seen.create_revision {
            key.alive.add(create, read_at);
        }
        if key.last.as_ref().is_some_and(|(at, last)| *at == mod_revision && *last == seen) {
            return;
        }
        key.last = Some((mod_revision, seen.clone()));
        if let Some(create) = seen.create_revision.filter(|create| *create < mod_revision) {
            let born = Seen { key: seen.key, value: None, create_revision: Some(create), version: Some(1) };
            self.seen.push((create, born));
        }
        self.seen.push((mod_revision, seen));
        if self.seen.len() > self.seen_max {
            self.put_in_order();
        }
    }

    fn put_in_order(&mut self) {
        self.seen.sort_unstable();
        self.seen.dedup();
        self.seen_max = SIGHTINGS_MIN.max(2 * self.seen.len());
    }

    fn response(&mut self, request: &'a Request, response: &'a Response, step: &Step<'_>) {
        match (request, response) {
            (Request::Range(range), Response::Range { kvs, .. }) => {
                let at = read_at(range, step);
                for pair in kvs {
                    let seen = Seen {
                        key: &pair.key,
                        value: (!range.keys_only).then_some(Cow::Borrowed(&*pair.value)),
                        create_revision: Some(pair.create_revision),
                        version: Some(pair.version),
                    };
                    self.see(pair.mod_revision, at, seen);
                }
            }
            (Request::Put(_), Response::Put { prev: Some(pair) }) => {
                self.before(std::slice::from_ref(pair), step)
            }
            (Request::Delete(_), Response::Delete { prevs, .. }) => self.before(prevs, step),
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                for (request, response) in branch.iter().zip(responses) {
                    self.response(request, response, step);
                }
            }
            (
                Request::Range(_)
                | Request::Put(_)
                | Request::Delete(_)
                | Request::Txn(_)
                | Request::Compact { .. },
                _,
            ) => {}
        }
    }

    /// Pairs as they were before the step's own revision.
    fn before(&mut self, pairs: &'a [KeyValue], step: &Step<'_>) {
        for pair in pairs {
            let seen = Seen {
                key: &pair.key,
                value: Some(Cow::Borrowed(&*pair.value)),
                create_revision: Some(pair.create_revision),
                version: Some(pair.version),
            };
            self.see(pair.mod_revision, step.rev - 1, seen);
        }
    }
}

/// What one answer shows of writes, each with the revision that made it.
pub fn seen<'a>(step: &'a Step<'a>) -> Vec<(i64, Seen<'a>)> {
    let evidence = Evidence::gather(std::slice::from_ref(step), &mut Budget::endless().pace());
    evidence.unwrap_or_default().seen
}

/// The revision whose state a range shows. One in a transaction that writes may show the state before
/// that transaction's own revision.
fn read_at(range: &RangeRequest, step: &Step<'_>) -> i64 {
    let newest = if step.is_write() { step.rev - 1 } else { step.rev };
    if range.revision > 0 { range.revision.min(newest) } else { newest }
}

/// What a request may write: single keys and ranges.
pub(super) fn may_write(request: &Request, keys: &mut Vec<KeyRange>) {
    match request {
        Request::Put(put) => keys.push(KeyRange { key: put.key.clone(), end: None }),
        Request::Delete(delete) => keys.push(delete.keys.clone()),
        Request::Txn(txn) => {
            for request in txn.success.iter().chain(&txn.failure) {
                may_write(request, keys);
            }
        }
        Request::Range(_) | Request::Compact { .. } => {}
    }
}

/// The pairs that a request may put.
pub fn may_put<'a>(request: &'a Request, pairs: &mut Vec<(&'a str, &'a str)>) {
    match request {
        Request::Put(put) => pairs.push((&put.key, &put.value)),
        Request::Txn(txn) => {
            for request in txn.success.iter().chain(&txn.failure) {
                may_put(request, pairs);
            }
        }
        Request::Range(_) | Request::Delete(_) | Request::Compact { .. } => {}
    }
}
