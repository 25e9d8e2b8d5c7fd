//! Lists that only grow at their end: each read is compared with the longest read before it.
//!
//! Every read of a list is a beginning of all that the list ever is, so each element that was read has one place. What
//! surely was in the list when an append began stands before the appended element, and what surely was there when a read
//! began is in it: what was acknowledged, or read. And a transaction sees what it has read and appended itself. For single
//! reads and appends that is all there is to it.
//!
//! Left to the check of the whole history: transactions that are in order on each list and not on all of them, reads of
//! what another transaction was in the middle of, lists to which an element is appended twice, and lists that nobody has
//! touched for long, since only the newest are held.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::pairing::{Paired, Pairing};
use super::{Check, Seen, hash_of};
use crate::decode::steps_of;
use crate::history::event::Event;
use crate::history::{OpId, Operation, Outcome};
use crate::render::{invocation, moment, who};

/// Lists that are held; of more the ones that nobody has touched for longest are forgotten.
const LISTS_MAX: usize = 64;

/// A check of lists that goes on while a history is made.
#[derive(Default)]
pub struct Lists {
    pairing: Pairing,
    lists: BTreeMap<String, OneList>,
    /// Names of lists that were forgotten, as hashes: what is done to them later is not judged.
    forgotten: FxHashSet<u64>,
    /// Whether something was asked that cannot be read: it may have appended anything.
    blind: bool,
    events: u64,
    decided: u64,
    held_max: usize,
    given_up: BTreeSet<String>,
}

/// What is known of one list.
#[derive(Debug, Default)]
struct OneList {
    /// When it was touched last.
    touched: u64,
    /// How much surely was there when each open transaction began.
    open: FxHashMap<OpId, usize>,
    elements: FxHashMap<i64, Appended>,
    /// The longest that was read.
    order: Vec<i64>,
    /// Elements that surely are there, in the order in which that became known, each with who told.
    sure: Vec<(i64, OpId)>,
    /// Of each of these, as far as all have a place: how long a list is that has it and all before it.
    reach: Vec<usize>,
}

/// An element that somebody began to append.
#[derive(Debug)]
struct Appended {
    by: OpId,
    /// How much surely was there then.
    floor: usize,
    sure: bool,
    /// Its place, and the read that showed it first.
    place: Option<(usize, OpId)>,
    failed: bool,
}

/// A step of a transaction on one list.
enum Step {
    Append(i64),
    /// What was found, where there was an answer.
    Read(Option<Vec<i64>>),
}

impl Lists {
    /// Begins a check.
    pub fn new() -> Lists {
        Lists::default()
    }

    fn invoked(&mut self, operation: &Operation) {
        let Some(steps) = steps(operation, &operation.value) else {
            self.blind = true;
            self.given_up.insert("all lists".to_owned());
            return;
        };
        for (name, step) in steps {
            if self.given_up.contains(name) || self.forgotten.contains(&hash_of(name)) {
                continue;
            }
            if !self.lists.contains_key(name) {
                self.forget_one();
                self.lists.insert(name.to_owned(), OneList::default());
            }
            let Some(list) = self.lists.get_mut(name) else { continue };
            list.touched = self.events;
            let floor = list.sure.len();
            list.open.insert(operation.id, floor);
            if let Step::Append(element) = step {
                let appended = Appended { by: operation.id, floor, sure: false, place: None, failed: false };
                if list.elements.insert(element, appended).is_some() {
                    self.give_up(name);
                }
            }
        }
    }

    fn give_up(&mut self, name: &str) {
        self.lists.remove(name);
        self.given_up.insert(name.to_owned());
    }

    /// Forgets the list at rest that nobody has touched for longest, if there are too many.
    fn forget_one(&mut self) {
        if self.lists.len() < LISTS_MAX {
            return;
        }
        let at_rest = self.lists.iter().filter(|(_, list)| list.open.is_empty());
        let oldest = at_rest.min_by_key(|(_, list)| list.touched).map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.lists.remove(&name);
            self.forgotten.insert(hash_of(&name));
        }
    }

    fn ended(&mut self, operation: &Operation) -> Option<String> {
        let asked = steps(operation, &operation.value)?;
        self.decided += 1;
        let wrong = match &operation.outcome {
            Outcome::Ok { value, .. } => {
                match steps(operation, value).filter(|answered| answer(&asked, answered)) {
                    Some(answered) => contradiction(operation.id, &answered)
                        .map(|(name, wrong)| (name.to_owned(), wrong))
                        .or_else(|| self.answered(operation.id, &answered)),
                    None => {
                        asked.iter().for_each(|(name, _)| self.give_up(name));
                        return None;
                    }
                }
            }
            Outcome::Fail { .. } => asked.iter().find_map(|(name, step)| match step {
                Step::Append(element) => {
                    Some(((*name).to_owned(), self.lists.get_mut(*name)?.failed(*element)?))
                }
                Step::Read(_) => None,
            }),
            Outcome::Info { .. } => None,
        };
        for (name, _) in asked {
            if let Some(list) = self.lists.get_mut(name) {
                list.touched = self.events;
                list.open.remove(&operation.id);
            }
        }
        let (name, wrong) = wrong?;
        let ended = operation.ended().unwrap_or(operation.invoked);
        Some(format!(
            "{wrong}; `{}` of {} on {name}, seen at {}",
            invocation(operation),
            who(operation),
            moment(ended.t)
        ))
    }

    /// Judges the reads of a transaction that was answered, and notes what it has appended.
    fn answered(&mut self, id: OpId, steps: &[(&str, Step)]) -> Option<(String, String)> {
        for (name, step) in steps {
            let Some(list) = self.lists.get_mut(*name) else { continue };
            let Some(floor) = list.open.get(&id).copied() else { continue };
            if let Step::Read(Some(found)) = step
                && let Some(wrong) = list.read(id, found, floor)
            {
                return Some(((*name).to_owned(), wrong));
            }
        }
        for (name, step) in steps {
            if let (Some(list), Step::Append(element)) = (self.lists.get_mut(*name), step) {
                list.make_sure(*element, id);
            }
        }
        None
    }
}

impl OneList {
    fn held(&self) -> usize {
        self.elements.len() + self.open.len()
    }

    fn make_sure(&mut self, element: i64, by: OpId) {
        if let Some(appended) = self.elements.get_mut(&element)
            && !appended.sure
        {
            appended.sure = true;
            self.sure.push((element, by));
        }
        while let Some((next, _)) = self.sure.get(self.reach.len())
            && let Some((place, _)) = self.elements.get(next).and_then(|next| next.place)
        {
            let before = self.reach.last().copied().unwrap_or(0);
            self.reach.push(before.max(place + 1));
        }
    }

    fn failed(&mut self, element: i64) -> Option<String> {
        let appended = self.elements.get_mut(&element)?;
        appended.failed = true;
        let (_, reader) = appended.place?;
        Some(format!(
            "what failed for certain has no effect, but {element} of {} is in the read {reader}",
            appended.by
        ))
    }

    /// Judges a read that began when so much surely was there.
    fn read(&mut self, id: OpId, found: &[i64], floor: usize) -> Option<String> {
        let mut both = self.order.iter().zip(found).enumerate();
        if let Some((place, (known, other))) = both.find(|(_, (known, other))| known != other) {
            return Some(format!(
                "a list only grows at its end, but {id} has {other} at place {place}, where a read before it has {known}"
            ));
        }
        for element in found.iter().skip(self.order.len()) {
            if let Some(wrong) = self.place(id, *element) {
                return Some(wrong);
            }
        }
        let reached = |reach: &usize| *reach <= found.len();
        let here = self.reach.partition_point(reached);
        let (element, told) = *self.sure[..floor].get(here)?;
        Some(format!(
            "what was acknowledged or read is in every later read, but {element} is not in {id}, although {told} had told \
             of it before that began"
        ))
    }

    /// Gives an element, the first that no read had before, the next place.
    fn place(&mut self, id: OpId, element: i64) -> Option<String> {
        let Some(appended) = self.elements.get_mut(&element) else {
            return Some(format!(
                "a read has what was appended, but {id} has {element}, which nobody had appended"
            ));
        };
        let by = appended.by;
        if appended.failed {
            return Some(format!("what failed for certain has no effect, but {id} has {element} of {by}"));
        }
        if appended.place.is_some() {
            return Some(format!("{element} was appended once, but {id} has it twice"));
        }
        if let Some((before, told)) = self.sure[..appended.floor].get(self.reach.len()) {
            return Some(format!(
                "what was acknowledged or read stands before what is appended later, but {id} has {element} of {by} and \
                 before it no {before}, of which {told} had told before {by} began"
            ));
        }
        appended.place = Some((self.order.len(), id));
        self.order.push(element);
        self.make_sure(element, id);
        None
    }
}

/// The first list of which a transaction does not see what it has read and appended itself.
fn contradiction<'a>(id: OpId, steps: &[(&'a str, Step)]) -> Option<(&'a str, String)> {
    // What was read last of each list, if anything, and what was appended since.
    let mut known: FxHashMap<&str, (Option<&[i64]>, Vec<i64>)> = FxHashMap::default();
    for (name, step) in steps {
        let (read, own) = known.entry(name).or_default();
        match step {
            Step::Append(element) => own.push(*element),
            Step::Read(None) => {}
            Step::Read(Some(found)) => {
                let fits = match read {
                    Some(before) => found.strip_prefix(*before) == Some(own.as_slice()),
                    None => found.ends_with(own),
                };
                if !fits {
                    let wrong = format!(
                        "a transaction sees what it has read and appended itself, but {id} reads {found:?} after {:?} \
                         and its own {own:?}",
                        read.unwrap_or_default()
                    );
                    return Some((name, wrong));
                }
                (*read, *own) = (Some(found.as_slice()), Vec::new());
            }
        }
    }
    None
}

/// Whether these steps are the answer to those.
fn answer(asked: &[(&str, Step)], answered: &[(&str, Step)]) -> bool {
    let same = |((name, asked), (other, answered)): (&(&str, Step), &(&str, Step))| {
        name == other
            && match (asked, answered) {
                (Step::Append(asked), Step::Append(answered)) => asked == answered,
                (Step::Read(_), Step::Read(_)) => true,
                (Step::Append(_) | Step::Read(_), _) => false,
            }
    };
    asked.len() == answered.len() && asked.iter().zip(answered).all(same)
}

/// The steps of a transaction by list; `None` for what the check of the whole history tells of.
fn steps<'a>(operation: &Operation, value: &'a Value) -> Option<Vec<(&'a str, Step)>> {
    if operation.f != "txn" {
        return None;
    }
    let step = |(name, key, argument): (&str, &'a str, &Value)| match (name, argument) {
        ("append", element) => Some((key, Step::Append(element.as_i64()?))),
        ("r", Value::Null) if operation.is_ok() => Some((key, Step::Read(Some(Vec::new())))),
        ("r", Value::Null) => Some((key, Step::Read(None))),
        ("r", Value::Array(found)) => {
            Some((key, Step::Read(Some(found.iter().map(Value::as_i64).collect::<Option<_>>()?))))
        }
        _ => None,
    };
    steps_of(operation, value).ok()?.into_iter().map(step).collect()
}

impl Check for Lists {
    fn event(&mut self, event: &Event) -> Option<String> {
        self.events += 1;
        // The pairing lends what it has just been given.
        let mut pairing = std::mem::take(&mut self.pairing);
        let found = match pairing.event(event) {
            Some(_) if self.blind => None,
            Some(Paired::Invoked(operation)) => {
                self.invoked(operation);
                None
            }
            Some(Paired::Ended(operation)) => self.ended(&operation),
            None => None,
        };
        self.pairing = pairing;
        if self.events.is_multiple_of(1024) || found.is_some() {
            self.held_max = self.held_max.max(self.lists.values().map(OneList::held).sum());
        }
        found
    }

    fn seen(&self) -> Seen {
        let held = self.lists.values().map(OneList::held).sum();
        Seen { decided: self.decided, held_max: self.held_max.max(held), given_up: self.given_up.clone() }
    }
}
