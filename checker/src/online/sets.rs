//! Sets that only grow: each read is compared with what surely was there, and with all reads before it.
//!
//! Reads of one set are a chain, so they cut its elements into groups, in the order in which they can have been added; a
//! read holds whole groups, and at most a part of the one after them. What was acknowledged or read before a read began,
//! or before anything that it holds began, is in it. That is all there is to linearizability of a set whose elements are
//! added once each (`checks/set` has the argument), so of the sets that are held nothing is left out.
//!
//! Left to the check of the whole history: sets that nobody has touched for long, since only the newest are held, and
//! sets to which an element is added twice.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::pairing::{Paired, Pairing};
use super::{Check, Seen, hash_of};
use crate::history::event::Event;
use crate::history::{OpId, Operation, Outcome};
use crate::render::{invocation, moment, who};

/// Sets that are held; of more the ones that nobody has touched for longest are forgotten.
const SETS_MAX: usize = 64;

/// A check of sets that goes on while a history is made.
#[derive(Default)]
pub struct Sets {
    pairing: Pairing,
    sets: BTreeMap<String, OneSet>,
    /// Names of sets that were forgotten, as hashes: what is done to them later is not judged.
    forgotten: FxHashSet<u64>,
    events: u64,
    decided: u64,
    held_max: usize,
    given_up: BTreeSet<String>,
}

/// What is known of one set.
#[derive(Debug, Default)]
struct OneSet {
    /// When it was touched last.
    touched: u64,
    /// How much surely was there when each open operation began.
    open: FxHashMap<OpId, usize>,
    elements: FxHashMap<i64, Added>,
    /// Elements that surely are there, in the order in which that became known, each with who told.
    sure: Vec<(i64, OpId)>,
    /// The elements that reads have, in the order in which they were added as far as reads tell.
    groups: Vec<Vec<i64>>,
}

/// An element that somebody began to add.
#[derive(Debug)]
struct Added {
    by: OpId,
    /// How much surely was there then.
    floor: usize,
    sure: bool,
    /// A read that has it.
    read: Option<OpId>,
    failed: bool,
}

impl Sets {
    /// Begins a check.
    pub fn new() -> Sets {
        Sets::default()
    }

    fn invoked(&mut self, operation: &Operation) {
        let Some((name, asked)) = asked(operation) else { return };
        if self.given_up.contains(name) || self.forgotten.contains(&hash_of(name)) {
            return;
        }
        if !self.sets.contains_key(name) {
            self.forget_one();
            self.sets.insert(name.to_owned(), OneSet::default());
        }
        let Some(set) = self.sets.get_mut(name) else { return };
        set.touched = self.events;
        let floor = set.sure.len();
        set.open.insert(operation.id, floor);
        if let Asked::Add(element) = asked {
            let added = Added { by: operation.id, floor, sure: false, read: None, failed: false };
            if set.elements.insert(element, added).is_some() {
                self.give_up(name);
            }
        }
    }

    fn give_up(&mut self, name: &str) {
        self.sets.remove(name);
        self.given_up.insert(name.to_owned());
    }

    /// Forgets the set at rest that nobody has touched for longest, if there are too many.
    fn forget_one(&mut self) {
        if self.sets.len() < SETS_MAX {
            return;
        }
        let at_rest = self.sets.iter().filter(|(_, set)| set.open.is_empty());
        let oldest = at_rest.min_by_key(|(_, set)| set.touched).map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.sets.remove(&name);
            self.forgotten.insert(hash_of(&name));
        }
    }

    fn ended(&mut self, operation: &Operation) -> Option<String> {
        let (name, asked) = asked(operation)?;
        let set = self.sets.get_mut(name)?;
        set.touched = self.events;
        let floor = set.open.remove(&operation.id)?;
        self.decided += 1;
        let wrong = match (asked, &operation.outcome) {
            (Asked::Add(element), Outcome::Ok { .. }) => {
                set.make_sure(element, operation.id);
                None
            }
            (Asked::Add(element), Outcome::Fail { .. }) => set.failed(element),
            (Asked::Read, Outcome::Ok { value, .. }) => match elements(value) {
                Some(found) => set.read(operation.id, found, floor),
                None => {
                    self.give_up(name);
                    return None;
                }
            },
            (_, Outcome::Info { .. }) | (Asked::Read, Outcome::Fail { .. }) => None,
        };
        let wrong = wrong?;
        let ended = operation.ended().unwrap_or(operation.invoked);
        Some(format!(
            "{wrong}; `{}` of {} on {name}, seen at {}",
            invocation(operation),
            who(operation),
            moment(ended.t)
        ))
    }
}

impl OneSet {
    fn held(&self) -> usize {
        self.elements.len() + self.open.len()
    }

    fn make_sure(&mut self, element: i64, by: OpId) {
        if let Some(added) = self.elements.get_mut(&element)
            && !added.sure
        {
            added.sure = true;
            self.sure.push((element, by));
        }
    }

    fn failed(&mut self, element: i64) -> Option<String> {
        let added = self.elements.get_mut(&element)?;
        added.failed = true;
        let reader = added.read?;
        Some(format!(
            "what failed for certain has no effect, but {element} of {} is in the read {reader}",
            added.by
        ))
    }

    /// Judges a read that began when so much surely was there.
    fn read(&mut self, id: OpId, found: Vec<i64>, floor: usize) -> Option<String> {
        let mut has = FxHashSet::default();
        let mut floor = (floor, None);
        for element in &found {
            if !has.insert(*element) {
                return Some(format!("a set holds an element once, but {id} has {element} twice"));
            }
            let Some(added) = self.elements.get_mut(element) else {
                return Some(format!(
                    "a read has what was added, but {id} has {element}, which nobody had added"
                ));
            };
            if added.failed {
                let by = added.by;
                return Some(format!(
                    "what failed for certain has no effect, but {id} has {element} of {by}"
                ));
            }
            added.read.get_or_insert(id);
            if added.floor > floor.0 {
                floor = (added.floor, Some(added.by));
            }
        }
        let missing = self.sure[..floor.0].iter().find(|(element, _)| !has.contains(element));
        if let Some((element, told)) = missing {
            let later = floor.1.map(|by| format!(" of {by}, which {id} has,")).unwrap_or_default();
            return Some(format!(
                "what was acknowledged or read is in every later read, but {element} is not in {id}, although {told} had \
                 told of it before that{later} began"
            ));
        }
        if let Some((lacks, has)) = self.cut(&has) {
            return Some(format!(
                "a set only grows, so one of two reads has all that the other has, but {id} has {has} and not {lacks}, \
                 and a read before it has {lacks} and not {has}"
            ));
        }
        found.iter().for_each(|element| self.make_sure(*element, id));
        None
    }

    /// Cuts the groups where a read ends. If it ends nowhere: an element that it lacks, and one that it has and that
    /// some read with the first lacks.
    fn cut(&mut self, has: &FxHashSet<i64>) -> Option<(i64, i64)> {
        let mut lacks: Option<i64> = None;
        let mut at = 0;
        let mut left = has.len();
        while at < self.groups.len() {
            let (inside, outside): (Vec<i64>, Vec<i64>) =
                self.groups[at].iter().partition(|element| has.contains(element));
            left -= inside.len();
            if let (Some(lacks), Some(has)) = (lacks, inside.first()) {
                return Some((lacks, *has));
            }
            lacks = lacks.or(outside.first().copied());
            if !inside.is_empty() && !outside.is_empty() {
                self.groups[at] = inside;
                at += 1;
                self.groups.insert(at, outside);
            }
            at += 1;
        }
        if left > 0 {
            let grouped: FxHashSet<i64> = self.groups.iter().flatten().copied().collect();
            let mut fresh: Vec<i64> = has.difference(&grouped).copied().collect();
            fresh.sort_unstable();
            if let Some(lacks) = lacks {
                return Some((lacks, fresh[0]));
            }
            self.groups.push(fresh);
        }
        None
    }
}

/// What an operation on a set asks for.
#[derive(Clone, Copy)]
enum Asked {
    Add(i64),
    Read,
}

/// The set of an operation, and what it asks for; `None` for what the check of the whole history tells of.
fn asked(operation: &Operation) -> Option<(&str, Asked)> {
    let asked = match operation.f.as_str() {
        "add" => Asked::Add(operation.value.as_i64()?),
        "read" => Asked::Read,
        _ => return None,
    };
    Some((operation.key.as_deref().unwrap_or_default(), asked))
}

fn elements(value: &Value) -> Option<Vec<i64>> {
    value.as_array()?.iter().map(Value::as_i64).collect()
}

impl Check for Sets {
    fn event(&mut self, event: &Event) -> Option<String> {
        self.events += 1;
        // The pairing lends what it has just been given.
        let mut pairing = std::mem::take(&mut self.pairing);
        let found = match pairing.event(event) {
            Some(Paired::Invoked(operation)) => {
                self.invoked(operation);
                None
            }
            Some(Paired::Ended(operation)) => self.ended(&operation),
            None => None,
        };
        self.pairing = pairing;
        if self.events.is_multiple_of(1024) || found.is_some() {
            self.held_max = self.held_max.max(self.sets.values().map(OneSet::held).sum());
        }
        found
    }

    fn seen(&self) -> Seen {
        let held = self.sets.values().map(OneSet::held).sum();
        Seen { decided: self.decided, held_max: self.held_max.max(held), given_up: self.given_up.clone() }
    }
}
