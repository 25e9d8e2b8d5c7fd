//! A set that only grows: reads are a chain, and real time agrees with it.
//!
//! Reads of a growing set can only differ by what was added between them, so each must contain the one
//! before. An element belongs right before the first read that has it. If reads are a chain, hold only what
//! was added, and this order agrees with real time, then it is a legal order: the check is complete.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Context, Running, conclude};
use crate::decode::Decoded;
use crate::history::OpId;
use crate::linearizability::{Call, split};
use crate::render::{invocation, moment, who};
use crate::revision::{Backwards, Stamp, backwards};
use crate::spec::set::{Set, SetAction, SetOp};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult};
use crate::witness::{circumstances, witness};

/// What is wrong with the set.
enum Wrong {
    Duplicate {
        read: OpId,
        element: i64,
    },
    /// Nobody added it, or only operations that failed, or it was added after the read.
    Phantom {
        read: OpId,
        element: i64,
        by: Vec<OpId>,
        failed: bool,
    },
    /// Each read lacks an element that the other has.
    Forked {
        one: OpId,
        other: OpId,
        only_one: i64,
        only_other: i64,
    },
    /// The element is missing from a read that began after it was surely there.
    Missing {
        element: i64,
        there: OpId,
        read: OpId,
        seen_later: bool,
    },
}

struct Read<'a> {
    call: &'a Call<SetOp>,
    returned: u64,
    /// In ascending order, each once.
    found: Vec<i64>,
}

pub(super) fn check(context: Context<'_>, decoded: &Decoded<SetOp>) -> CheckResult {
    let mut running = Running::new("set");
    let mut failed: BTreeMap<Option<String>, Vec<Call<SetOp>>> = BTreeMap::new();
    for part in split(&Set, decoded.failed.clone()) {
        failed.insert(part.name, part.calls);
    }
    let parts = split(&Set, decoded.calls.clone());
    let mut wrong = Vec::new();
    let (mut adds, mut reads) = (0, 0);
    for part in &parts {
        let failed = failed.get(&part.name).map(Vec::as_slice).unwrap_or_default();
        let all = reads_of(&part.calls, &mut wrong);
        adds += part.calls.len() - all.len();
        reads += all.len();
        one_set(&part.calls, failed, all, &mut wrong);
    }
    running.count("sets", parts.len());
    running.count("adds", adds);
    running.count("reads", reads);
    running.count("wrong", wrong.len());
    let verdict = conclude(&worst_of_each(&wrong), |wrong| explain(context, wrong));
    running.end("chain of reads", if reads == 0 { super::not_observed("a read of a set") } else { verdict })
}

/// The reads of one set; what has an element twice is wrong already.
fn reads_of<'a>(calls: &'a [Call<SetOp>], wrong: &mut Vec<Wrong>) -> Vec<Read<'a>> {
    let mut reads = Vec::new();
    for call in calls {
        let (SetAction::Read(found), Some(returned)) = (&call.op.action, call.returned) else { continue };
        let mut found = found.clone();
        found.sort_unstable();
        let doubled = found.windows(2).find(|pair| pair[0] == pair[1]);
        wrong.extend(doubled.map(|pair| Wrong::Duplicate { read: call.id, element: pair[0] }));
        found.dedup();
        reads.push(Read { call, returned, found });
    }
    reads
}

fn one_set(calls: &[Call<SetOp>], failed: &[Call<SetOp>], mut reads: Vec<Read<'_>>, wrong: &mut Vec<Wrong>) {
    let adds = adders(calls);
    let failed = adders(failed);
    for read in &reads {
        wrong.extend(phantoms(read, &adds, &failed));
    }
    // Of reads that see equally much, real time does not matter: they see the same, or they are forked.
    reads.sort_by_key(|read| (read.found.len(), read.call.invoked));
    wrong.extend(reads.windows(2).filter_map(|pair| forked(&pair[0], &pair[1])));
    wrong.extend(out_of_order(calls, &reads));
}

fn adders(calls: &[Call<SetOp>]) -> FxHashMap<i64, Vec<&Call<SetOp>>> {
    let mut adders: FxHashMap<i64, Vec<&Call<SetOp>>> = FxHashMap::default();
    for call in calls {
        if let SetAction::Add(element) = call.op.action {
            adders.entry(element).or_default().push(call);
        }
    }
    adders
}

fn phantoms(
    read: &Read<'_>,
    adds: &FxHashMap<i64, Vec<&Call<SetOp>>>,
    failed: &FxHashMap<i64, Vec<&Call<SetOp>>>,
) -> Vec<Wrong> {
    let began = |element: &i64| {
        adds.get(element).is_some_and(|adders| adders.iter().any(|add| add.invoked < read.returned))
    };
    let phantom = |element: &i64| {
        let (by, failed) = match (failed.get(element), adds.get(element)) {
            (Some(failed), _) => (failed.iter().map(|call| call.id).collect(), true),
            (None, Some(later)) => (later.iter().map(|call| call.id).collect(), false),
            (None, None) => (Vec::new(), false),
        };
        Wrong::Phantom { read: read.call.id, element: *element, by, failed }
    };
    read.found.iter().filter(|element| !began(element)).map(phantom).collect()
}

/// Whether the larger of two reads lacks something that the smaller has.
fn forked(small: &Read<'_>, large: &Read<'_>) -> Option<Wrong> {
    let only_one = lacking(&small.found, &large.found)?;
    // At least as large and without that one, so it has another instead.
    let only_other = lacking(&large.found, &small.found)?;
    Some(Wrong::Forked { one: small.call.id, other: large.call.id, only_one, only_other })
}

/// The least element of `all` that `other` lacks; both are in ascending order.
fn lacking(all: &[i64], other: &[i64]) -> Option<i64> {
    let mut rest = other;
    all.iter().copied().find(|element| {
        rest = &rest[rest.partition_point(|other| other < element)..];
        rest.first() != Some(element)
    })
}

/// The chain of reads as an order of revisions: a read's is its rank, an element's is that of the first
/// read that has it.
fn out_of_order(calls: &[Call<SetOp>], reads: &[Read<'_>]) -> Vec<Wrong> {
    let mut stamps = Vec::new();
    let mut first_seen: FxHashMap<i64, i64> = FxHashMap::default();
    let mut rank = 0;
    for (index, read) in reads.iter().enumerate() {
        if index == 0 || reads[index - 1].found.len() < read.found.len() {
            rank += 1;
        }
        for element in &read.found {
            first_seen.entry(*element).or_insert(rank);
        }
        stamps.push(stamp(read.call, rank, false, read.returned));
    }
    for call in calls {
        let (SetAction::Add(element), Some(returned)) = (&call.op.action, call.returned) else { continue };
        // What no read has comes after all of them.
        let seen = first_seen.get(element).copied().unwrap_or(rank + 1);
        stamps.push(stamp(call, seen, true, returned));
    }
    let elements: FxHashMap<OpId, i64> = calls
        .iter()
        .filter_map(|call| match call.op.action {
            SetAction::Add(element) => Some((call.id, element)),
            SetAction::Read(_) => None,
        })
        .collect();
    let found: FxHashMap<OpId, &[i64]> =
        reads.iter().map(|read| (read.call.id, read.found.as_slice())).collect();
    let missing = |Backwards { first, then }: Backwards| {
        let read = found.get(&then.id)?;
        let element = match elements.get(&first.id) {
            Some(element) => *element,
            None => lacking(found.get(&first.id)?, read)?,
        };
        let seen_later = first_seen.contains_key(&element);
        Some(Wrong::Missing { element, there: first.id, read: then.id, seen_later })
    };
    backwards(&stamps).into_iter().filter_map(missing).collect()
}

fn stamp(call: &Call<SetOp>, rank: i64, write: bool, returned: u64) -> Stamp {
    Stamp { id: call.id, process: 0, rev: rank, write, stale_allowed: false, invoked: call.invoked, returned }
}

/// One of each kind, so that a common one does not hide another.
fn worst_of_each(wrong: &[Wrong]) -> Vec<&Wrong> {
    let kind = |wrong: &Wrong| match wrong {
        Wrong::Duplicate { .. } => 0,
        Wrong::Phantom { failed, .. } => 1 + usize::from(*failed),
        Wrong::Forked { .. } => 3,
        Wrong::Missing { seen_later, .. } => 4 + usize::from(*seen_later),
    };
    let mut seen = FxHashSet::default();
    wrong.iter().filter(|wrong| seen.insert(kind(wrong))).collect()
}

fn explain(context: Context<'_>, wrong: &Wrong) -> Anomaly {
    let history = context.history;
    let reader = |id: OpId| {
        let read = context.operation(id);
        (who(read), circumstances(history, read))
    };
    let (kind, sentence, ids) = match wrong {
        Wrong::Duplicate { read, element } => {
            let (who, when) = reader(*read);
            let text =
                format!("a set holds an element once, but the read of {who} has {element} twice {when}");
            (AnomalyKind::DuplicateElement, text, vec![*read])
        }
        Wrong::Phantom { read, element, by, failed } => {
            let (who_read, when) = reader(*read);
            let why = match (by.first(), failed) {
                (Some(add), true) => {
                    format!("whose only `{}` failed for certain", invocation(context.operation(*add)))
                }
                (Some(_), false) => "which was only added after the read had returned".to_owned(),
                (None, _) => "which nobody added".to_owned(),
            };
            let text =
                format!("a read has what was added, but the read of {who_read} has {element} {when}, {why}");
            let kind = if *failed { AnomalyKind::FailedOpObserved } else { AnomalyKind::PhantomElement };
            (kind, text, by.iter().take(1).copied().chain([*read]).collect())
        }
        Wrong::Forked { one, other, only_one, only_other } => {
            let ((one_who, _), (other_who, when)) = (reader(*one), reader(*other));
            let text = format!(
                "a set only grows, so one of two reads has all that the other has, but the read of {one_who} has \
                 {only_one} and not {only_other}, and the read of {other_who} has {only_other} and not {only_one} {when}"
            );
            (AnomalyKind::ForkedReads, text, vec![*one, *other])
        }
        Wrong::Missing { element, there, read, seen_later } => {
            let (who_read, when) = reader(*read);
            let before = context.operation(*there);
            let at = before.ended().map_or_else(String::new, |at| format!(" at {}", moment(at.t)));
            let text = format!(
                "what was acknowledged or read is in every later read, but {element} is not in the read of \
                 {who_read} {when}, although `{}` of {} had returned{at}, before that read began{}",
                invocation(before),
                who(before),
                if *seen_later { "" } else { ", and no read ever has it" },
            );
            let kind = if *seen_later { AnomalyKind::StaleElement } else { AnomalyKind::LostElement };
            (kind, text, vec![*there, *read])
        }
    };
    Anomaly { kind, sentence, witness: witness(history, &ids, &ids, Vec::new()) }
}
