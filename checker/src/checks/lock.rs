//! Locks that are held under a lease: `hold` takes the lock, adds an element to the list that it guards, and
//! releases it.
//!
//! A lease ends while its holder sleeps, so two may believe that they hold the lock. A fenced write is guarded by
//! the lock's revision, and a holder whose lock is gone has no effect; an unfenced one overwrites what the next
//! holder did. Times are the harness's own, by one clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Context, REPORTED_MAX, Running, not_observed};
use crate::answers::Held;
use crate::history::lint::{Problem, ProblemKind};
use crate::history::{OpId, Operation};
use crate::render::who;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::{circumstances, witness};

struct Holds {
    /// By lock: who held it, and what it added.
    held: BTreeMap<String, Vec<(OpId, i64, Held)>>,
    /// By lock: who was to add what.
    asked: BTreeMap<String, BTreeMap<i64, OpId>>,
    /// By lock: reads of the list.
    reads: BTreeMap<String, Vec<(OpId, Vec<i64>)>>,
}

/// `fenced`: whether writes are guarded, so that overlapping times do no harm.
pub(super) fn check(context: Context<'_>, fenced: bool) -> Result<CheckResult, Vec<Problem>> {
    let mut running = Running::new("lock");
    let holds = read(context)?;
    let sections: usize = holds.held.values().map(Vec::len).sum();
    running.count("sections", sections);
    if sections == 0 {
        return Ok(running.end("sections", not_observed("a single holder of a lock")));
    }
    let mut judge = Judge { context, anomalies: Vec::new() };
    for (lock, held) in &holds.held {
        judge.fences(lock, held);
        if !fenced {
            judge.overlaps(lock, held);
        }
    }
    for (lock, reads) in &holds.reads {
        let held = holds.held.get(lock).map(Vec::as_slice).unwrap_or_default();
        for read in reads {
            judge.list(lock, held, holds.asked.get(lock), read);
        }
    }
    let overlaps = holds.held.values().map(|held| overlapping(held).len()).sum();
    running.count("overlaps", overlaps);
    Ok(running.end("sections", Verdict::of(judge.anomalies)))
}

fn read(context: Context<'_>) -> Result<Holds, Vec<Problem>> {
    let mut holds = Holds { held: BTreeMap::new(), asked: BTreeMap::new(), reads: BTreeMap::new() };
    for operation in context.history.operations() {
        let wrong = |why: String| {
            vec![Problem { line: None, kind: ProblemKind::WrongValue { op: operation.id, why } }]
        };
        let lock = operation.key.clone().ok_or_else(|| wrong("the lock has no name".to_owned()))?;
        match operation.f.as_str() {
            "hold" => {
                let element = operation.value.as_i64();
                let element = element.ok_or_else(|| wrong("an element is a whole number".to_owned()))?;
                holds.asked.entry(lock.clone()).or_default().insert(element, operation.id);
                if let Some(answer) = operation.answer() {
                    let held = Held::deserialize(answer).map_err(|error| wrong(error.to_string()))?;
                    holds.held.entry(lock).or_default().push((operation.id, element, held));
                }
            }
            "read" => {
                if let Some(answer) = operation.answer() {
                    let found = Vec::deserialize(answer).map_err(|error| wrong(error.to_string()))?;
                    holds.reads.entry(lock).or_default().push((operation.id, found));
                }
            }
            f => {
                let kind = ProblemKind::UnknownFunction { f: f.to_owned() };
                return Err(vec![Problem { line: None, kind }]);
            }
        }
    }
    Ok(holds)
}

/// Neighbours in time that held a lock at once.
fn overlapping(held: &[(OpId, i64, Held)]) -> Vec<(OpId, OpId, u64)> {
    let mut by_time: Vec<&(OpId, i64, Held)> = held.iter().collect();
    by_time.sort_by_key(|(id, _, held)| (held.from_ns, *id));
    let mut overlaps = Vec::new();
    let mut latest: Option<(OpId, u64)> = None;
    for (id, _, held) in by_time {
        if let Some((other, until)) = latest
            && held.from_ns < until
        {
            overlaps.push((other, *id, until.min(held.to_ns) - held.from_ns));
        }
        if latest.is_none_or(|(_, until)| until < held.to_ns) {
            latest = Some((*id, held.to_ns));
        }
    }
    overlaps
}

struct Judge<'a> {
    context: Context<'a>,
    anomalies: Vec<Anomaly>,
}

impl Judge<'_> {
    fn report(&mut self, kind: AnomalyKind, sentence: String, ids: &[OpId]) {
        if self.anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < REPORTED_MAX {
            let witness = witness(self.context.history, ids, ids, Vec::new());
            self.anomalies.push(Anomaly { kind, sentence, witness });
        }
    }

    fn by(&self, id: OpId) -> String {
        let operation: &Operation = self.context.operation(id);
        format!("{id} of {} ({})", who(operation), circumstances(self.context.history, operation))
    }

    /// A lock changes hands at one revision, and whoever had it before has no effect after that.
    fn fences(&mut self, lock: &str, held: &[(OpId, i64, Held)]) {
        let mut by_fence: Vec<(i64, i64, OpId)> =
            held.iter().map(|(id, _, held)| (held.fence, held.wrote, *id)).collect();
        by_fence.sort_unstable();
        for pair in by_fence.windows(2) {
            let ((fence, wrote, one), (next, _, other)) = (pair[0], pair[1]);
            if fence == next {
                let sentence = format!(
                    "a lock has one holder, but {lock} became that of {} and of {} at revision {fence}",
                    self.by(one),
                    self.by(other)
                );
                self.report(AnomalyKind::TwoHolders, sentence, &[one, other]);
            } else if wrote > next {
                let sentence = format!(
                    "whoever lost {lock} has no effect any more, but {} wrote at revision {wrote} with the lock of \
                     revision {fence}, when it was that of {} since {next}",
                    self.by(one),
                    self.by(other)
                );
                self.report(AnomalyKind::StaleHolder, sentence, &[one, other]);
            }
        }
    }

    fn overlaps(&mut self, lock: &str, held: &[(OpId, i64, Held)]) {
        for (one, other, ns) in overlapping(held) {
            let sentence = format!(
                "a lock has one holder at a time, but {} and {} both held {lock} for {} ms",
                self.by(one),
                self.by(other),
                ns / 1_000_000
            );
            self.report(AnomalyKind::TwoHolders, sentence, &[one, other]);
        }
    }

    /// What was added under the lock is there, once.
    fn list(
        &mut self,
        lock: &str,
        held: &[(OpId, i64, Held)],
        asked: Option<&BTreeMap<i64, OpId>>,
        (reader, found): &(OpId, Vec<i64>),
    ) {
        let set: BTreeSet<i64> = found.iter().copied().collect();
        let began = self.context.operation(*reader).invoked.i;
        for (id, element, _) in held {
            let there = self.context.operation(*id).returned().is_some_and(|returned| returned.i < began);
            if there && !set.contains(element) {
                let sentence = format!(
                    "what was added under {lock} stays, but {element} of {} is not in what {reader} read",
                    self.by(*id)
                );
                self.report(AnomalyKind::LostElement, sentence, &[*id, *reader]);
            }
        }
        if set.len() < found.len() {
            let sentence = format!("{lock}'s list holds an element twice for {}", self.by(*reader));
            self.report(AnomalyKind::DuplicateElement, sentence, &[*reader]);
        }
        let returned = self.context.operation(*reader).returned().map_or(u64::MAX, |returned| returned.i);
        let by = |element: &i64| asked.and_then(|asked| asked.get(element)).copied();
        let nobody = |element: &&i64| {
            by(element).is_none_or(|holder| self.context.operation(holder).invoked.i > returned)
        };
        if let Some(element) = set.iter().find(nobody) {
            let sentence = format!(
                "a list has what was added to it, but {element} is in what {} read, which nobody had added",
                self.by(*reader)
            );
            self.report(AnomalyKind::PhantomElement, sentence, &[*reader]);
        }
        let observed = set.iter().find_map(|element| {
            by(element)
                .filter(|holder| self.context.operation(*holder).is_fail())
                .map(|holder| (*element, holder))
        });
        if let Some((element, failed)) = observed {
            let sentence = format!(
                "what failed for certain has no effect, but {element} of {} is in what {reader} read",
                self.by(failed)
            );
            self.report(AnomalyKind::FailedOpObserved, sentence, &[failed, *reader]);
        }
    }
}
