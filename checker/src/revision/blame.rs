//! Which choices a contradiction may be due to.
//!
//! What a step is answered depends on the keys that it names and on nothing else. A choice matters for a
//! key if it wrote it, or if something that may write it could have been chosen instead; but not if some
//! answer between the two has shown all of the key: whatever was chosen before had to lead to that. Where the
//! choice itself did not write the key, only what does is worth trying instead ([`Wanted`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::cursor::Maker;
use super::doubt::Doubt;
use super::makers::{Makers, Used};
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

/// Keys and ranges of keys, for many questions about what they have in common with others.
#[derive(Debug)]
struct Keys {
    one: FxHashSet<String>,
    wide: Vec<KeyRange>,
}

impl Keys {
    fn of(keys: &[KeyRange]) -> Keys {
        let (one, wide): (Vec<&KeyRange>, Vec<&KeyRange>) = keys.iter().partition(|keys| is_one_key(keys));
        let one = one.into_iter().map(|keys| keys.key.clone()).collect();
        Keys { one, wide: wide.into_iter().cloned().collect() }
    }

    fn overlap(&self, keys: &KeyRange) -> bool {
        let one = if is_one_key(keys) {
            self.one.contains(&keys.key)
        } else {
            self.one.iter().any(|key| covers(keys, key))
        };
        one || self.wide.iter().any(|wide| overlap(wide, keys))
    }

    fn include(&self, key: &str) -> bool {
        self.one.contains(key) || self.wide.iter().any(|wide| covers(wide, key))
    }

    fn includes_all(&self, other: &Keys) -> bool {
        self.one.is_superset(&other.one) && other.wide.iter().all(|keys| self.wide.contains(keys))
    }
}

/// What is wanted of a choice instead of what was chosen.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Anything else may help.
    anything: bool,
    /// What writes one of these keys may help.
    keys: Vec<Rc<Keys>>,
}

impl Wanted {
    pub(super) fn anything() -> Wanted {
        Wanted { anything: true, keys: Vec::new() }
    }

    /// Whether something that writes these keys may help.
    fn includes(&self, written: &[KeyRange]) -> bool {
        self.anything || written.iter().any(|written| self.keys.iter().any(|keys| keys.overlap(written)))
    }

    /// Whether all that may help here may help there too.
    fn is_within(&self, other: &Wanted) -> bool {
        let one = |keys: &Rc<Keys>| {
            other.keys.iter().any(|known| Rc::ptr_eq(known, keys) || known.includes_all(keys))
        };
        other.anything || !self.anything && self.keys.iter().all(one)
    }

    /// Wants one or the other.
    fn or(&mut self, other: Wanted) {
        self.anything |= other.anything;
        for keys in other.keys {
            if !self.keys.iter().any(|known| Rc::ptr_eq(known, &keys) || known.includes_all(&keys)) {
                self.keys.push(keys);
            }
        }
    }
}

/// What all contradictions that were found since the choices before it were made leave of a choice.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Vec<Wanted>);

impl Left {
    /// Whether something that writes these keys is left.
    pub(super) fn includes(&self, written: &[KeyRange]) -> bool {
        self.0.iter().all(|wanted| wanted.includes(written))
    }

    /// Whether, among what writes this key, something may be left.
    pub(super) fn concerns(&self, key: &str) -> bool {
        // What writes several keys is found with each of them, so one thing that is wanted is enough.
        self.0
            .first()
            .is_none_or(|wanted| wanted.anything || wanted.keys.iter().any(|keys| keys.include(key)))
    }

    /// Leaves only what is wanted as well; whether that is less.
    pub(super) fn and(&mut self, wanted: Wanted) -> bool {
        let less = !self.0.iter().any(|known| known.is_within(&wanted));
        if less {
            self.0.retain(|known| !wanted.is_within(known));
            self.0.push(wanted);
        }
        less
    }
}

/// Choices that may be to blame, and what is wanted of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Blamed(BTreeMap<usize, Wanted>);

impl Blamed {
    pub(super) fn add(&mut self, choice: usize, wanted: Wanted) {
        self.0.entry(choice).or_default().or(wanted);
    }

    pub(super) fn extend(&mut self, other: Blamed) {
        for (choice, wanted) in other.0 {
            self.add(choice, wanted);
        }
    }

    /// The newest choice.
    pub(super) fn newest(&self) -> Option<usize> {
        self.0.last_key_value().map(|(choice, _)| *choice)
    }

    /// Takes out the newest choice.
    pub(super) fn pop_newest(&mut self) -> Option<(usize, Wanted)> {
        self.0.pop_last()
    }
}

/// What answers have shown in full.
pub(super) struct Blame<'a> {
    /// Keys whose state an answer shows in full, with its position before and the revision of that state after them.
    shown: Vec<(usize, &'a KeyRange, i64)>,
    /// What was found out about keys.
    found: RefCell<FxHashMap<String, Found>>,
}

/// Where a key was last shown in full, before a position that was asked for.
#[derive(Clone, Copy)]
struct Found {
    /// What is at this position and after it was not looked at.
    before: usize,
    /// The position of the answer, and the revision; none for never.
    shown: Option<(usize, i64)>,
}

/// Something that may write keys that are asked for, and the newest revision at which that key was shown in full.
struct Writer {
    index: usize,
    shown: i64,
}

impl<'a> Blame<'a> {
    pub(super) fn new(steps: &'a [Step<'a>], order: &[usize]) -> Blame<'a> {
        let mut shown = Vec::new();
        for (position, index) in order.iter().enumerate() {
            show_in_full(&steps[*index], |keys, revision| shown.push((position, keys, revision)));
        }
        Blame { shown, found: RefCell::default() }
    }

    /// The choices, by index, that may matter for what is in doubt at a position.
    pub(super) fn for_doubt(
        &self,
        made: &[Made],
        used: &Used,
        makers: &Makers<'_>,
        doubt: &Doubt,
        position: usize,
    ) -> Blamed {
        let Doubt { keys, as_of } = doubt;
        let mut blamed = Blamed::default();
        // Choices are made in the order of their revisions, and what was made later has no part in an earlier state.
        let made = &made[..made.partition_point(|made| made.revision <= *as_of)];
        if made.is_empty() || keys.is_empty() {
            return blamed;
        }
        let writing = makers.writing(keys);
        let keys = Rc::new(Keys::of(keys));
        let writers: Vec<Writer> = writing
            .into_iter()
            // What begins later has no part in it.
            .filter(|index| makers.had_begun(*index, position))
            .filter_map(|index| {
                let shown = self.last_shown(makers.written(index), &keys, position)?;
                // What was shown of a later state says nothing of the one that was asked for.
                Some(Writer { index, shown: if shown <= *as_of { shown } else { 0 } })
            })
            .collect();
        let Some(oldest) = writers.iter().map(|writer| writer.shown).min() else { return blamed };
        for writer in &writers {
            // It wrote them; or it was used where it need not have been, and is missing elsewhere.
            if let Some(choice) = used.get(&writer.index).filter(|choice| **choice < made.len()) {
                blamed.add(*choice, Wanted::anything());
            }
        }
        let shown: FxHashMap<usize, i64> =
            writers.iter().map(|writer| (writer.index, writer.shown)).collect();
        let first_begun = FirstBegun::new(&writers, makers);
        for (choice, made) in made.iter().enumerate().rev().take_while(|(_, made)| made.revision > oldest) {
            if matches!(made.by, Maker::Step(index) if shown.contains_key(&index)) {
                continue;
            }
            let pinned = makers.pinned_to(made.revision).filter(|index| {
                shown.get(index).is_some_and(|shown| made.revision > *shown)
                    && makers.had_begun(*index, made.position)
            });
            if pinned.is_some() || first_begun.any(made, makers) {
                blamed.add(choice, Wanted { anything: false, keys: vec![Rc::clone(&keys)] });
            }
        }
        blamed
    }

    /// If one of the keys is written: the least revision, of those keys, at which the key was last shown in
    /// full; 0 for never.
    fn last_shown(&self, written: &[KeyRange], keys: &Keys, position: usize) -> Option<i64> {
        let common = written.iter().filter(|written| keys.overlap(written));
        let last = |written: &KeyRange| {
            if is_one_key(written) { self.shown_at(&written.key, position) } else { 0 }
        };
        common.map(last).min()
    }

    /// The revision at which a key was last shown in full before a position; 0 for never. Questions come from places
    /// near each other, so most of the way back has been gone before.
    fn shown_at(&self, key: &str, position: usize) -> i64 {
        let mut all = self.found.borrow_mut();
        let known = all.get(key).copied();
        let look = |from: usize| {
            let before = self.shown.partition_point(|(at, _, _)| *at < position);
            let mut shown = self.shown[..before].iter().rev().take_while(|(at, _, _)| *at >= from);
            shown.find(|(_, keys, _)| covers(keys, key)).map(|(at, _, revision)| (*at, *revision))
        };
        let shown = match known {
            Some(known) if position >= known.before => look(known.before).or(known.shown),
            Some(Found { shown, .. }) if shown.is_none_or(|(at, _)| at < position) => shown,
            Some(_) | None => look(0),
        };
        let before = known.map_or(position, |known| known.before.max(position));
        // What was found for a later position says more.
        if known.is_none_or(|known| position >= known.before) {
            all.insert(key.to_owned(), Found { before, shown });
        }
        shown.map_or(0, |(_, revision)| revision)
    }
}

/// Of writers that are not known to have made a revision: by the revision at which their keys were last shown, when the
/// first of them began.
struct FirstBegun(Vec<(i64, u64)>);

impl FirstBegun {
    fn new(writers: &[Writer], makers: &Makers<'_>) -> FirstBegun {
        let free = writers.iter().filter(|writer| !makers.is_pinned(writer.index));
        let mut begun: Vec<(i64, u64)> =
            free.map(|writer| (writer.shown, makers.invoked(writer.index))).collect();
        begun.sort_unstable();
        let mut first = u64::MAX;
        for (_, invoked) in &mut begun {
            first = first.min(*invoked);
            *invoked = first;
        }
        FirstBegun(begun)
    }

    /// Whether one of them could have been chosen, and its key has not been shown since.
    fn any(&self, made: &Made, makers: &Makers<'_>) -> bool {
        let older = self.0.partition_point(|(shown, _)| *shown < made.revision);
        older.checked_sub(1).is_some_and(|last| self.0[last].1 < makers.first_return(made.position))
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

/// Tells of each range of keys that a step's answer shows in full, and as of which revision.
fn show_in_full<'a>(step: &'a Step<'a>, mut show: impl FnMut(&'a KeyRange, i64)) {
    match (&*step.request, &step.expect) {
        (Request::Range(range), Expect::Found(found)) => {
            if found.is_none_or(|found| found.version.is_some() && found.mod_revision.is_some()) {
                show(&range.keys, step.rev);
            }
        }
        (request, Expect::Response(response)) if !step.is_write() => full(request, response, step, &mut show),
        (
            _,
            Expect::Found(_) | Expect::Response(_) | Expect::Unknown | Expect::Written | Expect::Swapped(_),
        ) => {}
    }
}

fn full<'a>(
    request: &'a Request,
    response: &Response,
    step: &Step<'_>,
    show: &mut impl FnMut(&'a KeyRange, i64),
) {
    match (request, response) {
        (Request::Range(range), Response::Range { more, .. }) => {
            let RangeRequest { keys, revision, count_only, keys_only, .. } = range;
            if !more && !count_only && !keys_only {
                show(keys, if *revision > 0 { *revision } else { step.rev });
            }
        }
        (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            for (request, response) in branch.iter().zip(responses) {
                full(request, response, step, show);
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
