//! Registers whose order of versions is not known: an order of the transactions is looked for, since one is the only
//! proof that they are serializable.

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::linearizable;
use super::Findings;
use super::explain::Explain;
use crate::budget::Stop;
use crate::isolation::levels::{STRONGEST, STRONGEST_OF_SESSIONS, implies};
use crate::isolation::registers::{OnRegister, Registers, Versions};
use crate::isolation::serial::{Serial, TXNS_MAX, serial};
use crate::isolation::txns::{Key, NEVER, Txn};
use crate::linearizability::Call;
use crate::spec::multi_register::{MultiRegister, MultiRegisterOp, MultiRegisterStep};
use crate::verdict::{AnomalyKind, Progress, Verdict, Why};

/// Looks for an order until the level that is asked for is decided: one without any constraint, one that keeps
/// the order of each process, one that keeps real time.
pub(super) fn find(
    findings: &mut Findings,
    explain: &Explain<'_>,
    registers: &Registers,
    versions: &Versions,
    unknown_writes: bool,
) {
    let context = explain.context;
    let asked = findings.asked(context);
    let decided = |findings: &mut Findings, level: &'static str, found: Serial, kind| match found {
        Serial::Yes => {
            findings.running.count("serial_order_found", 1);
            findings.complete.push(level);
            implies(level, asked)
        }
        Serial::No { key, one, other } => {
            findings.anomalies.push(explain.not_serial(key, one, other, kind));
            true
        }
        Serial::Unknown(why) => {
            findings.running.count("serial_order_unknown", 1);
            findings.doubts.push(doubt(findings, explain, level, why));
            false
        }
    };
    let plain = serial(registers, versions, &[], context.budget);
    if decided(findings, "serializable", plain, AnomalyKind::NotSerializable) {
        return;
    }
    if !implies("serializable", asked) && implies(STRONGEST_OF_SESSIONS, asked) {
        let order = of_processes(registers, versions);
        let found = serial(registers, versions, &order, context.budget);
        if decided(findings, STRONGEST_OF_SESSIONS, found, AnomalyKind::NotSerializableProcess) {
            return;
        }
    }
    if registers.sessions_only {
        return;
    }
    match strict(explain, registers, unknown_writes) {
        Verdict::Valid => {
            findings.running.count("serial_order_found", 1);
            findings.complete.push(STRONGEST);
        }
        Verdict::Unknown(why) => findings.doubts.extend(why),
        Verdict::Anomaly(anomalies) => findings.anomalies.extend(anomalies),
    }
}

fn doubt(findings: &Findings, explain: &Explain<'_>, level: &str, why: Option<Stop>) -> Why {
    let of = explain.ids.len() as u64;
    match why {
        Some(stop) => explain.context.budget.why(stop, Progress { part: String::new(), done: 0, of }),
        None => {
            let time = if findings.real_time { "" } else { ", and real time does not tell it" };
            let what = format!(
                "the order of versions, which {level} depends on; orders of up to {TXNS_MAX} transactions are tried, \
                 of {of} here{time}"
            );
            Why::NotObserved { what }
        }
    }
}

/// Each transaction that took effect, and the next of its process.
fn of_processes(registers: &Registers, versions: &Versions) -> Vec<(Txn, Txn)> {
    let mut last: FxHashMap<u64, Txn> = FxHashMap::default();
    let txns = &registers.txns;
    let happened = txns.all().filter(|txn| versions.happened[*txn as usize]);
    happened
        .filter_map(|txn| {
            let before = last.insert(txns.span(txn).process, txn)?;
            (txns.span(before).returned < txns.span(txn).invoked).then_some((before, txn))
        })
        .collect()
}

/// Decides strict serializability: an order of transactions on registers, each between its call and its answer.
fn strict(explain: &Explain<'_>, registers: &Registers, unknown_writes: bool) -> Verdict {
    let strange = if unknown_writes { strange(registers) } else { FxHashSet::default() };
    let txns = &registers.txns;
    let step = |step: &OnRegister| match *step {
        OnRegister::Write { key, value } => {
            Some(MultiRegisterStep::Write { key: txns.keys[key as usize].clone(), value })
        }
        // Who wrote what is not known of such a key, so nothing that was found there is wrong.
        OnRegister::Read { key, .. } if strange.contains(&key) => None,
        OnRegister::Read { key, found, .. } => {
            Some(MultiRegisterStep::Read { key: txns.keys[key as usize].clone(), found: Some(found) })
        }
    };
    let call = |txn: Txn| {
        let span = txns.span(txn);
        let op = MultiRegisterOp(txns.steps(txn).iter().filter_map(step).collect());
        let returned = (span.returned != NEVER).then_some(span.returned);
        Call { id: span.id, op, invoked: span.invoked, returned }
    };
    let spec = MultiRegister { unknown_start: false };
    match linearizable::order(explain.context, &spec, txns.all().map(call).collect()) {
        Verdict::Anomaly(mut anomalies) => {
            anomalies.iter_mut().for_each(|anomaly| anomaly.kind = AnomalyKind::NotSerializableRealtime);
            Verdict::Anomaly(anomalies)
        }
        other @ (Verdict::Valid | Verdict::Unknown(_)) => other,
    }
}

/// Keys of which something was read that no transaction wrote.
fn strange(registers: &Registers) -> FxHashSet<Key> {
    let txns = &registers.txns;
    let steps = || txns.all().flat_map(|txn| txns.steps(txn));
    let written: FxHashSet<(Key, i64)> = steps()
        .filter_map(|step| match *step {
            OnRegister::Write { key, value } => Some((key, value)),
            OnRegister::Read { .. } => None,
        })
        .collect();
    steps()
        .filter_map(|step| match *step {
            OnRegister::Read { key, found: Some(value), .. } => {
                (!written.contains(&(key, value))).then_some(key)
            }
            OnRegister::Read { .. } | OnRegister::Write { .. } => None,
        })
        .collect()
}
