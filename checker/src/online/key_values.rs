//! A store with revisions: operations are done in the order of their revisions as soon as nobody can come in between.
//!
//! Revisions are the order (see [`revision`](crate::revision)). Whoever is still to be answered began after some
//! revision had been told of, and has its place after that; so the order is known up to the least of those, and what is
//! before it can be done and forgotten. A revision that no answer names was made by an operation of unknown outcome:
//! what such operations may have written is not known any more, until an answer shows it. So nothing is guessed, and what
//! is held is the newest state and the operations since the oldest open one began.
//!
//! Left to the check of the whole history: serializable reads, reads of older revisions, compactions, revisions that
//! nobody can have made, and answers about keys that are not known.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::intervals::Intervals;
use super::pairing::{Paired, Pairing};
use super::{Check, Seen};
use crate::decode::kv_op;
use crate::history::event::Event;
use crate::history::{OpId, Operation, Outcome};
use crate::render::{self, answer, invocation, moment, who};
use crate::revision::mentioned;
use crate::spec::kv::{KvOp, Store, may_mutate, mutates};
use crate::spec::kv_types::{KeyRange, RangeRequest, Request, Response};

/// Operations that wait for their turn, beyond which the check is given up.
const WAITING_MAX: usize = 1 << 16;
/// Revisions after which history is forgotten.
const FORGET_AFTER: i64 = 1 << 10;

/// A place in the order: a write comes before the reads of its revision.
type Place = (i64, bool);

/// A check of a store that goes on while a history is made. The store must have had only these operations' writes since
/// `base`.
pub struct KeyValues {
    pairing: Pairing,
    /// The revision that had been told of when each open operation began.
    floors: FxHashMap<OpId, i64>,
    /// How many of those began at each revision.
    open_at: BTreeMap<i64, usize>,
    /// The newest revision that anybody was told of, and by whom.
    newest: i64,
    told_by: Option<OpId>,
    waiting: BTreeMap<(Place, OpId), (Operation, KvOp)>,
    store: Store,
    forgotten: i64,
    /// What the store holds for these keys is not known.
    unknown: Intervals,
    /// What operations of unknown outcome may write, be it now or later.
    lost: Intervals,
    decided: u64,
    held_max: usize,
    given_up: BTreeSet<String>,
}

impl KeyValues {
    /// Begins a check of an empty store at revision `base`.
    pub fn new(base: i64) -> KeyValues {
        KeyValues {
            pairing: Pairing::default(),
            floors: FxHashMap::default(),
            open_at: BTreeMap::new(),
            newest: base,
            told_by: None,
            waiting: BTreeMap::new(),
            store: Store::at(base),
            forgotten: base,
            unknown: Intervals::default(),
            lost: Intervals::default(),
            decided: 0,
            held_max: 0,
            given_up: BTreeSet::new(),
        }
    }

    fn give_up(&mut self, why: &str) {
        self.given_up.insert(why.to_owned());
        self.waiting.clear();
        self.floors.clear();
        self.open_at.clear();
    }

    /// The revision that had been told of when an operation began that now ends.
    fn floor_of(&mut self, id: OpId) -> Option<i64> {
        let floor = self.floors.remove(&id)?;
        if let Some(open) = self.open_at.get_mut(&floor) {
            *open -= 1;
            if *open == 0 {
                self.open_at.remove(&floor);
            }
        }
        Some(floor)
    }

    fn ended(&mut self, operation: Operation) -> Option<String> {
        let floor = self.floor_of(operation.id)?;
        let found = match (&operation.outcome, kv_op(&operation)) {
            (Outcome::Ok { .. }, Ok(Some(op))) => self.answered(operation, op, floor),
            (Outcome::Info { .. }, Ok(Some(op))) => {
                if may_mutate(&op.request) {
                    mentioned(&op.request).iter().for_each(|keys| self.lost.add(keys));
                }
                None
            }
            (Outcome::Fail { .. }, _) | (_, Ok(None)) => None,
            (_, Err(_)) => {
                // It may have written anything.
                self.give_up("an operation cannot be read");
                None
            }
        };
        found.or_else(|| self.advance())
    }

    fn answered(&mut self, operation: Operation, op: KvOp, floor: i64) -> Option<String> {
        if matches!(op.request, Request::Compact { .. }) {
            return None;
        }
        let Some((write, rev)) =
            op.answer.as_ref().and_then(|a| Some((mutates(&op.request, &a.response), a.rev?)))
        else {
            self.give_up("an answer has no revision");
            return None;
        };
        if rev < floor + i64::from(write) {
            return Some(self.backwards(&operation, rev, floor));
        }
        if rev > self.newest {
            (self.newest, self.told_by) = (rev, Some(operation.id));
        }
        let place = (rev, !write);
        let first = self.waiting.range((place, OpId(0))..=(place, OpId(u32::MAX))).next();
        if let Some((_, (first, _))) = first.filter(|_| write) {
            return Some(format!(
                "each revision is made by one write, but `{}` of {} and `{}` of {} were both answered with revision {rev}",
                invocation(first),
                who(first),
                invocation(&operation),
                who(&operation),
            ));
        }
        self.waiting.insert((place, operation.id), (operation, op));
        None
    }

    fn backwards(&self, operation: &Operation, rev: i64, floor: i64) -> String {
        let by = self.told_by.map(|id| format!(", by {id} or before it")).unwrap_or_default();
        format!(
            "revisions never go back, but `{}` of {} was answered `{}` with revision {rev}, although {floor} had been \
             told of before it began{by}; seen at {}",
            invocation(operation),
            who(operation),
            answer(operation),
            moment(operation.ended().unwrap_or(operation.invoked).t),
        )
    }

    /// Does what nobody can come before any more.
    fn advance(&mut self) -> Option<String> {
        // Whoever is open has a place after the revision that had been told of when it began.
        let sure = self.open_at.first_key_value().map_or(self.newest, |(floor, _)| *floor);
        while let Some(entry) = self.waiting.first_entry() {
            let ((rev, _), _) = *entry.key();
            if rev > sure {
                break;
            }
            let (operation, op) = entry.remove();
            self.decided += 1;
            if let Some(sentence) = self.step(&operation, &op, rev) {
                return Some(sentence);
            }
        }
        if self.store.rev() - self.forgotten > FORGET_AFTER {
            self.store.forget_history();
            self.forgotten = self.store.rev();
        }
        None
    }

    /// Does an operation in its place.
    fn step(&mut self, operation: &Operation, op: &KvOp, rev: i64) -> Option<String> {
        let answer = op.answer.as_ref()?;
        let write = mutates(&op.request, &answer.response);
        let before = rev - i64::from(write);
        if self.store.rev() < before {
            self.unknown.add_all(&self.lost);
            self.store.skip_to(before);
        }
        let keys = mentioned(&op.request);
        if keys.iter().any(|keys| self.unknown.meets(keys)) {
            self.learn(op, &keys, write, rev);
            return None;
        }
        let old = of_the_past(&op.request);
        let given = match write || !may_mutate(&op.request) || !self.store.may_change(&op.request) {
            true => self.store.apply(&op.request),
            false => self.store.clone().apply(&op.request),
        };
        match given {
            Ok(reply) if reply.rev == rev && (old || reply.response == answer.response) => None,
            // What was forgotten cannot be compared, and which way it went cannot be told.
            Ok(_) | Err(_) if old => {
                self.learn(op, &keys, write, rev);
                None
            }
            Ok(reply) => Some(wrong(operation, rev, &render::response(&reply.response), reply.rev)),
            Err(refused) => Some(wrong(operation, rev, &refused.to_string(), self.store.rev())),
        }
    }

    /// Takes in an answer about keys that are not known.
    fn learn(&mut self, op: &KvOp, keys: &[KeyRange], write: bool, rev: i64) {
        if write {
            keys.iter().for_each(|keys| self.unknown.add(keys));
            self.store.skip_to(rev.max(self.store.rev()));
            return;
        }
        if let (Request::Range(range), Some(Response::Range { kvs, .. })) =
            (&op.request, op.answer.as_ref().map(|answer| &answer.response))
        {
            let RangeRequest { keys, limit: 0, revision: 0, count_only: false, keys_only: false, .. } = range
            else {
                return;
            };
            self.store.learn(keys, kvs);
            self.unknown.remove(keys);
        }
    }
}

/// Whether a request reads a given revision: history is not kept here.
fn of_the_past(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.revision > 0,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(of_the_past),
        Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => false,
    }
}

fn wrong(operation: &Operation, rev: i64, expected: &str, at: i64) -> String {
    let at = if at == rev { String::new() } else { format!(" at revision {at}") };
    format!(
        "an answer is what the store holds at its revision, but `{}` of {} was answered `{}` with revision {rev}; in the \
         order of revisions the answer is `{expected}`{at}; seen at {}",
        invocation(operation),
        who(operation),
        answer(operation),
        moment(operation.ended().unwrap_or(operation.invoked).t),
    )
}

impl Check for KeyValues {
    fn event(&mut self, event: &Event) -> Option<String> {
        let paired = self.pairing.event(event)?;
        if !self.given_up.is_empty() {
            return None;
        }
        match paired {
            Paired::Invoked(operation) => {
                self.floors.insert(operation.id, self.newest);
                *self.open_at.entry(self.newest).or_default() += 1;
                None
            }
            Paired::Ended(operation) => {
                let found = self.ended(operation);
                let held = self.waiting.len() + self.floors.len();
                self.held_max = self.held_max.max(held);
                if held > WAITING_MAX {
                    self.give_up("an operation was open for too long");
                }
                found
            }
        }
    }

    fn seen(&self) -> Seen {
        Seen { decided: self.decided, held_max: self.held_max, given_up: self.given_up.clone() }
    }
}
