//! What is broken between transactions, in words: each finding as an anomaly with its witness.

use std::sync::Arc;

use super::super::{Context, REPORTED_MAX};
use crate::history::OpId;
use crate::isolation::Wrong;
use crate::isolation::cycles::{Cycle, Order, Shape};
use crate::isolation::dependencies::Reason;
use crate::isolation::graph::{Mask, PR, RT, RW, WR, WW};
use crate::isolation::txns::{Key, Txn};
use crate::isolation::weak::{Judged, Weak};
use crate::render::{answer, invocation, who};
use crate::verdict::{Anomaly, AnomalyKind};
use crate::witness::{circumstances, witness};

/// The name of a cycle.
fn kind(cycle: &Cycle) -> AnomalyKind {
    match (cycle.order, cycle.shape) {
        (Order::Data, Shape::G0) => AnomalyKind::G0,
        (Order::Data, Shape::G1c) => AnomalyKind::G1c,
        (Order::Data, Shape::GSingle) => AnomalyKind::GSingle,
        (Order::Data, Shape::GNonadjacent) => AnomalyKind::GNonadjacent,
        (Order::Data, Shape::G2Item) => AnomalyKind::G2Item,
        (Order::Process, Shape::G0) => AnomalyKind::G0Process,
        (Order::Process, Shape::G1c) => AnomalyKind::G1cProcess,
        (Order::Process, Shape::GSingle) => AnomalyKind::GSingleProcess,
        (Order::Process, Shape::GNonadjacent) => AnomalyKind::GNonadjacentProcess,
        (Order::Process, Shape::G2Item) => AnomalyKind::G2ItemProcess,
        (Order::Realtime, Shape::G0) => AnomalyKind::G0Realtime,
        (Order::Realtime, Shape::G1c) => AnomalyKind::G1cRealtime,
        (Order::Realtime, Shape::GSingle) => AnomalyKind::GSingleRealtime,
        (Order::Realtime, Shape::GNonadjacent) => AnomalyKind::GNonadjacentRealtime,
        (Order::Realtime, Shape::G2Item) => AnomalyKind::G2ItemRealtime,
    }
}

/// Puts what was found into words.
pub(super) struct Explain<'a> {
    pub(super) context: Context<'a>,
    pub(super) keys: &'a [Arc<str>],
    /// The operation of each transaction.
    pub(super) ids: &'a [OpId],
    pub(super) reason: &'a dyn Fn(Txn, Txn, Mask) -> Option<Reason>,
    /// Whether keys hold lists.
    pub(super) lists: bool,
}

impl Explain<'_> {
    /// What is wrong with versions: one or a few of each kind, for a common one must not hide another.
    pub(super) fn all_wrong(&self, wrong: &[Wrong]) -> Vec<Anomaly> {
        let mut wrong: Vec<&Wrong> = wrong.iter().collect();
        wrong.sort_by_key(|wrong| wrong.kind());
        let mut anomalies = Vec::new();
        let (mut last, mut same) = (None, 0);
        for wrong in wrong {
            same = if last == Some(wrong.kind()) { same + 1 } else { 0 };
            last = Some(wrong.kind());
            if same < REPORTED_MAX {
                anomalies.push(self.wrong(wrong));
            }
        }
        anomalies
    }

    fn by(&self, id: OpId) -> String {
        let operation = self.context.operation(id);
        format!("{id} of {} ({})", who(operation), circumstances(self.context.history, operation))
    }

    fn wrong(&self, wrong: &Wrong) -> Anomaly {
        let (sentence, ids) = self.sentence(wrong);
        let witness = witness(self.context.history, &ids, &ids, Vec::new());
        Anomaly { kind: wrong.kind(), sentence, witness }
    }

    fn sentence(&self, wrong: &Wrong) -> (String, Vec<OpId>) {
        let name = |key: &Key| &self.keys[*key as usize];
        let by = |id: &OpId| self.by(*id);
        match wrong {
            Wrong::Internal { txn, key, expected, found } => {
                let key = name(key);
                let had = if self.lists { "had to end with" } else { "had to be" };
                let text = format!(
                    "a transaction reads what it has read and written itself, but {} read {key} = {found:?}, where \
                     it {had} {expected:?}",
                    by(txn)
                );
                (text, vec![*txn])
            }
            Wrong::Duplicate { reader, key, element } => {
                let key = name(key);
                let text = format!("{element} was appended to {key} once, but {} read it twice", by(reader));
                (text, vec![*reader])
            }
            Wrong::Unwritten { reader, key, value, failed: Some(failed) } => {
                let text = format!(
                    "what failed for certain has no effect, but {} read {value} in {}, which only {} wrote: {}",
                    by(reader),
                    name(key),
                    by(failed),
                    answer(self.context.operation(*failed))
                );
                (text, vec![*failed, *reader])
            }
            Wrong::Unwritten { reader, key, value, failed: None } => {
                let text = format!(
                    "a key holds what was written, but {} read {value} in {}, which nobody wrote",
                    by(reader),
                    name(key)
                );
                (text, vec![*reader])
            }
            Wrong::Intermediate { reader, key, value, writer } => {
                let text = format!(
                    "a transaction is seen whole or not at all, but {} read {} up to {value}, in the middle of \
                     what {} wrote",
                    by(reader),
                    name(key),
                    by(writer)
                );
                (text, vec![*writer, *reader])
            }
            Wrong::FutureRead { txn, key, value } => {
                let key = name(key);
                let text = format!(
                    "a transaction reads what was there before its own later writes, but {} read {key} = {value} \
                     before it wrote that",
                    by(txn)
                );
                (text, vec![*txn])
            }
            Wrong::DirtyUpdate { .. } | Wrong::LostUpdate { .. } | Wrong::OtherRevision { .. } => {
                self.sentence_of_update(wrong)
            }
            Wrong::IncompatibleOrder { .. }
            | Wrong::CyclicVersions { .. }
            | Wrong::OwnOrder { .. }
            | Wrong::Lost { .. } => self.sentence_of_order(wrong),
        }
    }

    fn sentence_of_update(&self, wrong: &Wrong) -> (String, Vec<OpId>) {
        match wrong {
            Wrong::DirtyUpdate { failed, dirty, writer, key, element } => {
                let text = format!(
                    "what failed for certain has no effect, but in {} the {element} of {} stands after the {dirty} \
                     of {}, which failed",
                    self.keys[*key as usize],
                    self.by(*writer),
                    self.by(*failed)
                );
                (text, vec![*failed, *writer])
            }
            Wrong::OtherRevision { reader, key, value, rev, writer, known } => {
                let text = format!(
                    "a value is of the revision of its write, but {} read {value} in {} as of revision {rev}, and \
                     {} wrote it at {known}",
                    self.by(*reader),
                    self.keys[*key as usize],
                    self.by(*writer)
                );
                (text, vec![*writer, *reader])
            }
            Wrong::LostUpdate { key, one, other } => {
                let text = format!(
                    "an update builds on what it read, but {} and {} read the same version of {}, and both wrote \
                     over it",
                    self.by(*one),
                    self.by(*other),
                    self.keys[*key as usize]
                );
                (text, vec![*one, *other])
            }
            other => self.sentence(other),
        }
    }

    fn sentence_of_order(&self, wrong: &Wrong) -> (String, Vec<OpId>) {
        match wrong {
            Wrong::IncompatibleOrder { key, one, other } => {
                let text = format!(
                    "a list only grows at its end, but {} read {} = {:?} and {} read {:?}",
                    self.by(one.0),
                    self.keys[*key as usize],
                    one.1,
                    self.by(other.0),
                    other.1
                );
                (text, vec![one.0, other.0])
            }
            Wrong::CyclicVersions { key, values, txns } => {
                let values: Vec<String> = values
                    .iter()
                    .map(|value| value.map_or("absent".to_owned(), |value| value.to_string()))
                    .collect();
                let text = format!(
                    "the versions of a register follow each other, but of {} each of {} must come before the next, \
                     in a circle",
                    self.keys[*key as usize],
                    values.join(", ")
                );
                (text, txns.clone())
            }
            Wrong::OwnOrder { writer, key, before, element, reader } => {
                let text = format!(
                    "what a transaction appends stands in its order, but {} read {element} in {} without the \
                     {before} that {} had appended first before it",
                    self.by(*reader),
                    self.keys[*key as usize],
                    self.by(*writer)
                );
                (text, vec![*writer, *reader])
            }
            Wrong::Lost { writer, key, element, reader } => {
                let text = format!(
                    "what was acknowledged stays, but {element}, which {} had appended to {}, is in no read, not \
                     even that of {}, which began afterwards",
                    self.by(*writer),
                    self.keys[*key as usize],
                    self.by(*reader)
                );
                (text, vec![*writer, *reader])
            }
            other => self.sentence(other),
        }
    }

    /// Neither of two transactions can be first; `kind` says whether that needs the order of processes.
    pub(super) fn not_serial(&self, key: Key, one: Txn, other: Txn, kind: AnomalyKind) -> Anomaly {
        let ids = [self.ids[one as usize], self.ids[other as usize]];
        let order = match kind {
            AnomalyKind::NotSerializableProcess => ", in the order of each process",
            _ => "",
        };
        let sentence = format!(
            "transactions must appear to happen one at a time{order}, but of {} and {}, which both used {}, neither can be \
             first, whatever the order of all others",
            self.by(ids[0]),
            self.by(ids[1]),
            self.keys[key as usize]
        );
        let witness = witness(self.context.history, &ids, &ids, Vec::new());
        Anomaly { kind, sentence, witness }
    }

    /// A cycle of what a weak level demands; `processes` says whether their order is part of it.
    pub(super) fn weak(&self, level: Weak, processes: bool, judged: &Judged) -> Anomaly {
        use AnomalyKind as Kind;
        let promise = match level {
            Weak::ReadCommitted => "what a transaction has seen of another stays seen",
            Weak::ReadAtomic => "a transaction sees all that another wrote, or nothing",
            Weak::Causal => "a transaction sees what happened before what it sees",
        };
        let kind = match (level, processes) {
            (Weak::ReadCommitted, false) => Kind::NonMonotonicRead,
            (Weak::ReadCommitted, true) => Kind::NonMonotonicReadProcess,
            (Weak::ReadAtomic, false) => Kind::FracturedRead,
            (Weak::ReadAtomic, true) => Kind::FracturedReadProcess,
            (Weak::Causal, false) => Kind::CausalViolation,
            (Weak::Causal, true) => Kind::CausalViolationProcess,
        };
        let operation = |txn: Txn| self.ids.get(txn as usize).copied();
        let text = |txn: Txn| operation(txn).map_or("the beginning".to_owned(), |id| id.to_string());
        let mut ids: Vec<OpId> = Vec::new();
        let mut because = Vec::new();
        for (at, (before, why)) in judged.cycle.iter().enumerate() {
            let after = judged.cycle[(at + 1) % judged.cycle.len()].0;
            ids.extend(operation(*before));
            let demand =
                judged.demands.iter().find(|demand| (demand.before, demand.after) == (*before, after));
            let reason = match (*why, demand) {
                (WW, Some(demand)) => {
                    ids.extend(operation(demand.reader));
                    format!(
                        "{} knew of {before}, but read {} in {}, which {before} wrote, too",
                        text(demand.reader),
                        text(after),
                        self.keys[demand.key as usize],
                        before = text(*before),
                    )
                }
                _ if operation(*before).is_none() => "it is the first of all".to_owned(),
                (PR, _) => format!("one process did {} and then {}", text(*before), text(after)),
                _ => format!("{} read what {} wrote", text(after), text(*before)),
            };
            because.push(format!("{} comes before {}: {reason}", text(*before), text(after)));
        }
        ids.sort_unstable();
        ids.dedup();
        let last = ids.iter().max_by_key(|id| self.context.operation(**id).ended().map(|at| at.i));
        let when = last.map(|id| circumstances(self.context.history, self.context.operation(*id)));
        let sentence = format!(
            "{promise}, but that puts {} in a circle, {}",
            ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", "),
            when.unwrap_or_default()
        );
        Anomaly { kind, sentence, witness: witness(self.context.history, &ids, &ids, because) }
    }

    pub(super) fn cycle(&self, cycle: &Cycle) -> Anomaly {
        let edges = &cycle.edges;
        let ids: Vec<OpId> = edges.iter().map(|(txn, _)| self.ids[*txn as usize]).collect();
        let mut because = Vec::new();
        let mut reasons = Vec::new();
        for (at, (from, why)) in edges.iter().enumerate() {
            let to = edges[(at + 1) % edges.len()].0;
            let reason = (self.reason)(*from, to, *why);
            let (before, after) = (self.ids[*from as usize], self.ids[to as usize]);
            because.push(format!("{before} comes before {after}: {}", self.why(reason, *why, before, after)));
            reasons.push(reason);
        }
        because.push(format!("so {} comes before itself", ids[0]));
        let names: Vec<String> = ids
            .iter()
            .map(|id| {
                let operation = self.context.operation(*id);
                format!("{id} `{}` of {}", invocation(operation), who(operation))
            })
            .collect();
        let last = ids.iter().max_by_key(|id| self.context.operation(**id).ended().map(|at| at.i));
        let when = last.map(|id| circumstances(self.context.history, self.context.operation(*id)));
        let named = name(cycle, &reasons).map(|name| format!("{name}: ")).unwrap_or_default();
        let order = match cycle.order {
            Order::Data => "",
            Order::Process => ", in the order of each process",
            Order::Realtime => ", in the order of real time",
        };
        let sentence = format!(
            "{named}transactions must appear to happen one at a time{order}, but {} each had to come before the \
             next, in a circle, {}",
            names.join(", "),
            when.unwrap_or_default()
        );
        Anomaly { kind: kind(cycle), sentence, witness: witness(self.context.history, &ids, &ids, because) }
    }

    fn why(&self, reason: Option<Reason>, why: Mask, before: OpId, after: OpId) -> String {
        match why {
            RT => return format!("{before} had returned before {after} began"),
            PR => return format!("one process did {before} and then {after}"),
            _ => {}
        }
        let Some(Reason { key, before: seen, after: next }) = reason else {
            return "by the order of versions".to_owned();
        };
        let key = &self.keys[key as usize];
        let seen = seen.map_or("nothing".to_owned(), |value| value.to_string());
        let next = next.map_or("what no read has yet".to_owned(), |value| value.to_string());
        match (why, self.lists) {
            (WW, true) => format!("in {key}, {after} appended {next} after {before}'s {seen}"),
            (WW, false) => format!("in {key}, {after} wrote {next} over {before}'s {seen}"),
            (WR, _) => format!("{after} read {before}'s {seen} in {key}"),
            (RW, true) => format!("{before} read {key} up to {seen}, without {after}'s {next}"),
            (RW, false) => format!("{before} read {seen} in {key}, which {after} wrote {next} over"),
            _ => "by the order of versions".to_owned(),
        }
    }
}

/// What a cycle is called among people, where it has such a name.
fn name(cycle: &Cycle, reasons: &[Option<Reason>]) -> Option<&'static str> {
    let whys: Vec<Mask> = cycle.edges.iter().map(|(_, why)| *why).collect();
    let key = |at: usize| reasons[at].map(|reason| reason.key);
    match (cycle.order, whys.as_slice()) {
        (Order::Data, [RW, RW]) if key(0) != key(1) => Some("write skew"),
        (Order::Data, [RW, RW]) => Some("lost update"),
        (Order::Data, [RW, WR, RW, WR] | [WR, RW, WR, RW]) => Some("long fork"),
        (Order::Data, [RW, WR] | [WR, RW]) => Some("read skew"),
        (Order::Data, [RW, WW] | [WW, RW]) if key(0) == key(1) => Some("lost update"),
        (Order::Realtime, [RW, RT] | [RT, RW]) => Some("stale read"),
        _ => None,
    }
}
