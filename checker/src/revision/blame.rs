//! Which choices a contradiction may be due to.
//!
//! What a step is answered depends on the keys that it names and on nothing else. A choice matters for a
//! key if it wrote it, or if something that may write it could have been chosen instead; but not if some
//! answer between the two has shown all of the key: whatever was chosen before had to lead to that.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::evidence::may_write;
use super::makers::{Maker, Makers};
use super::step::{Expect, Step};
use crate::spec::kv::covers;
use crate::spec::kv_types::{KeyRange, RangeRequest, Request, Response, TxnRequest};

/// A choice that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) by: Maker,
    pub(super) revision: i64,
    pub(super) position: usize,
}

/// What answers have shown in full.
pub(super) struct Blame<'a> {
    steps: &'a [Step],
    /// Keys whose state an answer shows in full, with the revision of that state; by position.
    shown: Vec<Vec<(&'a KeyRange, i64)>>,
}

impl<'a> Blame<'a> {
    pub(super) fn new(steps: &'a [Step], order: &[usize]) -> Blame<'a> {
        let shown = order.iter().map(|index| shown_in_full(&steps[*index])).collect();
        Blame { steps, shown }
    }

    /// The choices, by index, that may matter for what `keys` hold at a position.
    pub(super) fn for_keys(
        &self,
        made: &[Made],
        makers: &Makers<'_>,
        keys: &[KeyRange],
        position: usize,
    ) -> BTreeSet<usize> {
        if made.is_empty() || keys.is_empty() {
            return BTreeSet::new();
        }
        // What may write the keys, and the newest revision at which that key was shown in full.
        let mut shown = FxHashMap::default();
        let writers: Vec<(usize, i64)> = makers
            .unknown()
            .iter()
            .filter_map(|index| Some((*index, self.last_shown(*index, keys, position, &mut shown)?)))
            .collect();
        let matters = |made: &Made| {
            writers.iter().any(|(index, shown)| {
                // One that was used where it need not have been is missing elsewhere.
                made.by == Maker::Step(*index)
                    || (made.revision > *shown
                        && makers.had_begun(*index, made.position)
                        && !makers.pinned_elsewhere(*index, made.revision))
            })
        };
        (0..made.len()).filter(|choice| matters(&made[*choice])).collect()
    }

    /// If a step may write one of the keys: the least revision, of those keys, at which the key was last
    /// shown in full; 0 for never.
    fn last_shown(
        &self,
        index: usize,
        keys: &[KeyRange],
        position: usize,
        shown: &mut FxHashMap<String, i64>,
    ) -> Option<i64> {
        let mut written = Vec::new();
        may_write(&self.steps[index].request, &mut written);
        let common = written.into_iter().filter(|written| keys.iter().any(|keys| overlap(written, keys)));
        let last = |written: KeyRange| {
            if !is_one_key(&written) {
                return 0;
            }
            *shown.entry(written.key).or_insert_with_key(|key| self.shown_at(key, position))
        };
        common.map(last).min()
    }

    fn shown_at(&self, key: &str, position: usize) -> i64 {
        let before = self.shown[..position].iter().rev().flatten();
        before.filter(|(keys, _)| covers(keys, key)).map(|(_, revision)| *revision).next().unwrap_or(0)
    }
}

/// All keys that the answer to a request depends on, and those that it writes.
pub(super) fn mentioned(request: &Request) -> Vec<KeyRange> {
    let mut keys = Vec::new();
    mention(request, &mut keys);
    keys
}

fn mention(request: &Request, keys: &mut Vec<KeyRange>) {
    match request {
        Request::Range(range) => keys.push(range.keys.clone()),
        Request::Put(put) => keys.push(KeyRange { key: put.key.clone(), end: None }),
        Request::Delete(delete) => keys.push(delete.keys.clone()),
        Request::Txn(TxnRequest { compare, success, failure }) => {
            keys.extend(compare.iter().map(|compare| compare.keys.clone()));
            for request in success.iter().chain(failure) {
                mention(request, keys);
            }
        }
        Request::Compact { .. } => {}
    }
}

fn is_one_key(keys: &KeyRange) -> bool {
    keys.end.as_deref().is_none_or(str::is_empty)
}

fn overlap(a: &KeyRange, b: &KeyRange) -> bool {
    match (is_one_key(a), is_one_key(b)) {
        (true, _) => covers(b, &a.key),
        (false, true) => covers(a, &b.key),
        (false, false) => covers(a, &b.key) || covers(b, &a.key),
    }
}

fn shown_in_full(step: &Step) -> Vec<(&KeyRange, i64)> {
    let mut shown = Vec::new();
    match (&step.request, &step.expect) {
        (Request::Range(range), Expect::Found(found)) => {
            if found.is_none_or(|found| found.version.is_some() && found.mod_revision.is_some()) {
                shown.push((&range.keys, step.rev));
            }
        }
        (request, Expect::Response(response)) if !step.is_write() => {
            full(request, response, step, &mut shown)
        }
        (
            _,
            Expect::Found(_) | Expect::Response(_) | Expect::Unknown | Expect::Written | Expect::Swapped(_),
        ) => {}
    }
    shown
}

fn full<'a>(request: &'a Request, response: &Response, step: &Step, shown: &mut Vec<(&'a KeyRange, i64)>) {
    match (request, response) {
        (Request::Range(range), Response::Range { more, .. }) => {
            let RangeRequest { keys, revision, count_only, keys_only, .. } = range;
            if !more && !count_only && !keys_only {
                shown.push((keys, if *revision > 0 { *revision } else { step.rev }));
            }
        }
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            for (request, response) in branch.iter().zip(responses) {
                full(request, response, step, shown);
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
