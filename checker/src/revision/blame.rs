//! Which choices a contradiction may be due to.
//!
//! What a step is answered depends on the keys that it names and on nothing else. A choice matters for a
//! key if it wrote it, or if something that may write it could have been chosen instead; but not if some
//! answer between the two has shown all of the key: whatever was chosen before had to lead to that. Where the
//! choice itself did not write the key, only what does is worth trying instead ([`Wanted`]).

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::makers::{Maker, Makers, Used};
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

/// What is wanted of a choice instead of what was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Anything else may help.
    anything: bool,
    /// What writes one of these keys may help.
    keys: Vec<KeyRange>,
}

impl Wanted {
    pub(super) fn anything() -> Wanted {
        Wanted { anything: true, keys: Vec::new() }
    }

    pub(super) fn is_anything(&self) -> bool {
        self.anything
    }

    /// Whether something that writes these keys may help.
    pub(super) fn includes(&self, written: &[KeyRange]) -> bool {
        self.anything || written.iter().any(|written| self.keys.iter().any(|keys| overlap(written, keys)))
    }

    /// Wants more; whether that is new.
    pub(super) fn add(&mut self, more: Wanted) -> bool {
        let mut grown = more.anything && !self.anything;
        self.anything |= more.anything;
        for keys in more.keys {
            if !self.keys.contains(&keys) {
                self.keys.push(keys);
                grown |= !self.anything;
            }
        }
        grown
    }
}

/// Choices that may be to blame, and what is wanted of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Blamed(BTreeMap<usize, Wanted>);

impl Blamed {
    pub(super) fn add(&mut self, choice: usize, wanted: Wanted) {
        self.0.entry(choice).or_default().add(wanted);
    }

    pub(super) fn extend(&mut self, other: Blamed) {
        for (choice, wanted) in other.0 {
            self.add(choice, wanted);
        }
    }

    /// Takes out the newest choice.
    pub(super) fn pop_newest(&mut self) -> Option<(usize, Wanted)> {
        self.0.pop_last()
    }
}

/// What answers have shown in full.
pub(super) struct Blame<'a> {
    /// Keys whose state an answer shows in full, with the revision of that state; by position.
    shown: Vec<Vec<(&'a KeyRange, i64)>>,
}

impl<'a> Blame<'a> {
    pub(super) fn new(steps: &'a [Step], order: &[usize]) -> Blame<'a> {
        let shown = order.iter().map(|index| shown_in_full(&steps[*index])).collect();
        Blame { shown }
    }

    /// The choices, by index, that may matter for what `keys` hold at a position.
    pub(super) fn for_keys(
        &self,
        made: &[Made],
        used: &Used,
        makers: &Makers<'_>,
        keys: &[KeyRange],
        position: usize,
    ) -> Blamed {
        let mut blamed = Blamed::default();
        if made.is_empty() || keys.is_empty() {
            return blamed;
        }
        // What may write the keys, and the newest revision at which that key was shown in full.
        let mut shown = FxHashMap::default();
        let writers: Vec<(usize, i64)> = makers
            .writing(keys)
            .into_iter()
            .filter_map(|index| {
                let written = makers.written(index);
                Some((index, self.last_shown(written, keys, position, &mut shown)?))
            })
            .collect();
        let Some(oldest) = writers.iter().map(|(_, shown)| *shown).min() else { return blamed };
        for (index, _) in &writers {
            // It wrote them; or it was used where it need not have been, and is missing elsewhere.
            if let Some(choice) = used.get(index).filter(|choice| **choice < made.len()) {
                blamed.add(*choice, Wanted::anything());
            }
        }
        // Choices are made in the order of their revisions.
        for (choice, made) in made.iter().enumerate().rev().take_while(|(_, made)| made.revision > oldest) {
            if writers.iter().any(|(index, _)| made.by == Maker::Step(*index)) {
                continue;
            }
            if writers.iter().any(|(index, shown)| {
                made.revision > *shown
                    && makers.had_begun(*index, made.position)
                    && !makers.pinned_elsewhere(*index, made.revision)
            }) {
                blamed.add(choice, Wanted { anything: false, keys: keys.to_vec() });
            }
        }
        blamed
    }

    /// If one of the keys is written: the least revision, of those keys, at which the key was last shown in
    /// full; 0 for never.
    fn last_shown(
        &self,
        written: &[KeyRange],
        keys: &[KeyRange],
        position: usize,
        shown: &mut FxHashMap<String, i64>,
    ) -> Option<i64> {
        let common = written.iter().filter(|written| keys.iter().any(|keys| overlap(written, keys)));
        let last = |written: &KeyRange| {
            if !is_one_key(written) {
                return 0;
            }
            match shown.get(&written.key) {
                Some(revision) => *revision,
                None => {
                    let revision = self.shown_at(&written.key, position);
                    shown.insert(written.key.clone(), revision);
                    revision
                }
            }
        };
        common.map(last).min()
    }

    fn shown_at(&self, key: &str, position: usize) -> i64 {
        let before = self.shown[..position].iter().rev().flatten();
        before.filter(|(keys, _)| covers(keys, key)).map(|(_, revision)| *revision).next().unwrap_or(0)
    }
}

/// All keys that the answer to a request depends on, and those that it writes.
pub(crate) fn mentioned(request: &Request) -> Vec<KeyRange> {
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

pub(super) fn is_one_key(keys: &KeyRange) -> bool {
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
