//! Leases: they never end while they are kept alive, they do end when they are not, and their keys go at once.
//!
//! A `lease` is granted, its keys are put, it is kept alive for a while, and then its keys are watched until they
//! are gone. Times are the harness's own, by one clock: a lease that was renewed by a request that was sent at `t`
//! lives until `t` + TTL at least, and one whose last renewal was answered at `t` may live longer after a change of
//! leader only, which gives it its whole TTL again. So an upper bound holds only where no fault is active: a final `read`
//! waits, and answers with the keys that are left. A store may grant more than was asked for, so the bound is that of
//! the longest TTL that anybody was granted.

use serde::Deserialize;

use super::{Context, REPORTED_MAX, Running, not_observed};
use crate::answers::{Left, Life};
use crate::history::OpId;
use crate::history::lint::{Problem, ProblemKind};
use crate::render::who;
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Verdict};
use crate::witness::{circumstances, witness};

/// How long after its TTL a lease may end where nothing is broken, ms.
const GRACE_MS: u64 = 10_000;

pub(super) fn check(context: Context<'_>) -> Result<CheckResult, Vec<Problem>> {
    let mut running = Running::new("lease");
    let (mut lives, mut ends) = (0, 0);
    let mut anomalies: Vec<Anomaly> = Vec::new();
    let mut ttl_s_max = 0;
    for operation in context.history.operations() {
        let wrong = |error: serde_json::Error| {
            let kind = ProblemKind::WrongValue { op: operation.id, why: error.to_string() };
            vec![Problem { line: None, kind }]
        };
        let Some(answer) = operation.answer() else { continue };
        let found = match operation.f.as_str() {
            "lease" => {
                let life = Life::deserialize(answer).map_err(wrong)?;
                lives += 1;
                ends += usize::from(life.gone_ns.is_some());
                ttl_s_max = ttl_s_max.max(life.ttl_s);
                judge(&life)
            }
            "read" => {
                let left = Left::deserialize(answer).map_err(wrong)?;
                let until = operation.ended().unwrap_or(operation.invoked).t;
                let faults = context.history.faults_between(operation.invoked.t, until).count();
                if faults == 0 { outlived(&left, ttl_s_max.max(left.ttl_s_max)) } else { Vec::new() }
            }
            f => {
                let kind = ProblemKind::UnknownFunction { f: f.to_owned() };
                return Err(vec![Problem { line: None, kind }]);
            }
        };
        for (kind, text) in found {
            if anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < REPORTED_MAX {
                anomalies.push(explain(context, operation.id, kind, &text));
            }
        }
    }
    running.count("leases", lives);
    running.count("ended", ends);
    let verdict = if anomalies.is_empty() && ends == 0 {
        not_observed("a single end of a lease")
    } else {
        Verdict::of(anomalies)
    };
    Ok(running.end("times", verdict))
}

fn explain(context: Context<'_>, id: OpId, kind: AnomalyKind, text: &str) -> Anomaly {
    let operation = context.operation(id);
    let sentence =
        format!("{text}: {id} of {} ({})", who(operation), circumstances(context.history, operation));
    Anomaly { kind, sentence, witness: witness(context.history, &[id], &[id], Vec::new()) }
}

fn judge(life: &Life) -> Vec<(AnomalyKind, String)> {
    let mut found = Vec::new();
    let ttl_ns = u64::try_from(life.ttl_s).unwrap_or(0).saturating_mul(1_000_000_000);
    let until = life.renewed_ns.saturating_add(ttl_ns).min(life.revoked_ns.unwrap_or(u64::MAX));
    if let Some(gone) = life.gone_ns.filter(|gone| *gone < until) {
        let text = format!(
            "a lease of {} s lives that long after its last renewal, of {}, but its keys were gone {} ms before that",
            life.ttl_s,
            life.renewals,
            (until - gone) / 1_000_000
        );
        found.push((AnomalyKind::LeaseExpiredEarly, text));
    }
    if let Some(pair) = life.gone.windows(2).find(|pair| pair[0].1 != pair[1].1) {
        let [(one, rev), (other, later)] = pair else { return found };
        let text =
            format!("a lease's keys go at one revision, but {one} went at {rev} and {other} at {later}");
        found.push((AnomalyKind::LeaseSplit, text));
    }
    found
}

fn outlived(left: &Left, ttl_s_max: i64) -> Vec<(AnomalyKind, String)> {
    let allowed = u64::try_from(ttl_s_max).unwrap_or(0).saturating_mul(1000).saturating_add(GRACE_MS);
    let Some(key) = left.keys.first().filter(|_| left.waited_ms >= allowed) else { return Vec::new() };
    let text = format!(
        "a lease that nobody keeps alive ends, but {} keys, {key} among them, are there after {} ms, of leases of \
         {ttl_s_max} s at most",
        left.keys.len(),
        left.waited_ms,
    );
    vec![(AnomalyKind::LeaseOutlived, text)]
}
