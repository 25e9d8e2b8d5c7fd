//! Transfers between accounts: whenever all are read at once, the balances add up to what was there at first, and
//! none is below zero.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Context, REPORTED_MAX, Running, not_observed};
use crate::history::lint::{Problem, ProblemKind};
use crate::history::{OpId, Operation};
use crate::render::who;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::{circumstances, witness};

type Balances = BTreeMap<String, i64>;

pub(super) fn check(context: Context<'_>) -> Result<CheckResult, Vec<Problem>> {
    let mut running = Running::new("bank");
    let mut reads: Vec<(OpId, Balances)> = Vec::new();
    for operation in context.history.operations() {
        match (operation.f.as_str(), operation.answer()) {
            ("read", Some(answer)) => {
                let balances = Balances::deserialize(answer).map_err(|error| {
                    let kind = ProblemKind::WrongValue { op: operation.id, why: error.to_string() };
                    vec![Problem { line: None, kind }]
                })?;
                reads.push((operation.id, balances));
            }
            ("read" | "transfer", _) => {}
            (f, _) => {
                let kind = ProblemKind::UnknownFunction { f: f.to_owned() };
                return Err(vec![Problem { line: None, kind }]);
            }
        }
    }
    running.count("reads", reads.len());
    let Some((first, balances)) = reads.first() else {
        return Ok(running.end("totals", not_observed("a single read of all accounts")));
    };
    let total: i128 = sum(balances);
    let by = |operation: &Operation| {
        format!("{} of {} ({})", operation.id, who(operation), circumstances(context.history, operation))
    };
    let mut anomalies: Vec<Anomaly> = Vec::new();
    let mut report = |kind: AnomalyKind, sentence: String, ids: &[OpId]| {
        if anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < REPORTED_MAX {
            anomalies.push(Anomaly {
                kind,
                sentence,
                witness: witness(context.history, ids, ids, Vec::new()),
            });
        }
    };
    for (id, balances) in &reads {
        let found = sum(balances);
        if found != total {
            let sentence = format!(
                "transfers keep the total, which was {total} when {first} read it, but {} read {found}",
                by(context.operation(*id))
            );
            report(AnomalyKind::WrongTotal, sentence, &[*first, *id]);
        }
        if let Some((account, balance)) = balances.iter().find(|(_, balance)| **balance < 0) {
            let sentence = format!(
                "no account is overdrawn, but {} read {balance} in account {account}",
                by(context.operation(*id))
            );
            report(AnomalyKind::NegativeBalance, sentence, &[*id]);
        }
    }
    Ok(running.end("totals", Verdict::of(anomalies)))
}

fn sum(balances: &Balances) -> i128 {
    balances.values().map(|balance| i128::from(*balance)).sum()
}
