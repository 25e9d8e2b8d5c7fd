//! From a stored history to a verdict, in the terms of the results.

use crate::report::{Anomaly, Check, Conclusion, WorkloadResult};
use checker::{CheckReport, History, Options, Verdict, history::Operation, render};
use std::{fs, path::Path};

/// So many operations must have succeeded, whatever the share.
const OK_MIN: u64 = 30;
/// Witnesses beyond these are told in text only.
const DRAWINGS_MAX: usize = 20;
/// One in so many must have succeeded.
const OK_SHARE: u64 = 20;

/// Judges a history, and puts the verdict and its evidence into `result`. Witnesses are drawn into files
/// beside the history where `out`, the run's folder, is given.
pub fn judge(history: &History, options: &Options, result: &mut WorkloadResult, out: Option<&Path>) {
    let options = Options {
        ok_min: (history.operations().len() as u64 / OK_SHARE).max(OK_MIN),
        shared_store: !is_alone(history),
        ..options.clone()
    };
    let report = checker::check(history, &options);
    result.verdict = conclusion(&report.verdict);
    result.checks = checks(&report);
    let anomalies = report.results.iter().flat_map(|result| result.verdict.anomalies());
    let evidence = result.checks.iter_mut().flat_map(|check| &mut check.anomalies);
    if let Some(out) = out {
        for (number, (anomaly, evidence)) in anomalies.zip(evidence).enumerate().take(DRAWINGS_MAX) {
            let file = Path::new(&result.name).join(format!("witness-{}.svg", number + 1));
            match fs::write(out.join(&file), standalone(&render::svg(&anomaly.witness))) {
                Ok(()) => evidence.drawing = Some(file),
                Err(error) => tracing::warn!(file = %file.display(), %error, "a witness is not drawn"),
            }
        }
    }
}

/// A drawing that stands alone must name its namespace.
fn standalone(svg: &str) -> String {
    if svg.contains("xmlns=") {
        svg.to_string()
    } else {
        svg.replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1)
    }
}

/// Whether nobody else wrote to the store meanwhile, as the runner noted when the history began.
fn is_alone(history: &History) -> bool {
    let base = history.observations().iter().find(|observation| observation.f == "base");
    base.is_some_and(|base| base.value["alone"].as_bool() == Some(true))
}

fn conclusion(verdict: &Verdict) -> Conclusion {
    match verdict {
        Verdict::Valid => Conclusion::Valid,
        Verdict::Unknown(_) => Conclusion::Unknown,
        Verdict::Anomaly(_) => Conclusion::Anomaly,
    }
}

fn checks(report: &CheckReport) -> Vec<Check> {
    let mut checks: Vec<Check> = report
        .results
        .iter()
        .map(|result| Check {
            name: result.check.to_string(),
            verdict: conclusion(&result.verdict),
            decided_by: result.decided_by.to_string(),
            reasons: reasons(&result.verdict),
            anomalies: result.verdict.anomalies().iter().map(evidence).collect(),
            counts: result.counts.iter().map(|(what, count)| ((*what).to_string(), *count)).collect(),
            elapsed_ms: u64::try_from(result.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
        .collect();
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let lint = if problems.is_empty() { Conclusion::Valid } else { Conclusion::Unknown };
    checks.insert(0, Check { name: "lint".into(), verdict: lint, reasons: problems, ..Check::default() });
    // A report may be worse than its parts, where no check could begin.
    if checks.iter().all(|check| check.verdict == Conclusion::Valid) && !report.verdict.is_valid() {
        checks.push(Check {
            name: "report".into(),
            verdict: conclusion(&report.verdict),
            reasons: reasons(&report.verdict),
            ..Check::default()
        });
    }
    checks
}

fn reasons(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Unknown(whys) => whys.iter().map(ToString::to_string).collect(),
        Verdict::Valid | Verdict::Anomaly(_) => Vec::new(),
    }
}

fn evidence(anomaly: &checker::Anomaly) -> Anomaly {
    let text = render::anomaly(anomaly);
    // Its first line is the sentence.
    let text = text.split_once('\n').map_or("", |(_, witness)| witness).to_string();
    let operations = &anomaly.witness.operations;
    let ended = |operation: &Operation| operation.ended().unwrap_or(operation.invoked).t;
    let from = operations.iter().map(|operation| operation.invoked.t).min();
    let span = from.zip(operations.iter().map(ended).max());
    Anomaly {
        kind: anomaly.kind.to_string(),
        sentence: anomaly.sentence.clone(),
        text,
        drawing: None,
        operations: operations.iter().map(|operation| operation.id.0).collect(),
        span_s: span.map(|(from, to)| [seconds(from), seconds(to)]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 ns")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::event::{Event, Header, What};
    use serde_json::{Value, json};

    fn history(whats: Vec<What>) -> History {
        let header = Header {
            v: 1,
            seed: 1,
            scenario: "set".into(),
            faults: Vec::new(),
            system: "assay".into(),
            nodes: 1,
            clock: "monotonic_ns".into(),
        };
        let base = What::Observe {
            node: "n1".into(),
            f: "base".into(),
            value: json!({ "revision": 1, "alone": false }),
        };
        let observe = |f: &str, value: Value| What::Observe { node: "n1".into(), f: f.into(), value };
        let at_the_end = [
            What::Phase { f: "final".into() },
            observe("status", json!({ "revision": 61, "raft_applied_index": 70, "raft_term": 2 })),
            observe("hashkv", json!({ "revision": 61, "hash": 5, "compact_revision": 0 })),
        ];
        let events = [base].into_iter().chain(whats).chain(at_the_end).zip(0..);
        History::new(header, events.map(|(what, i)| Event { i, t: i * 1000, what }))
    }

    fn op(f: &str, key: &str, value: Value, answer: Value) -> [What; 2] {
        let key = Some(key.to_string());
        let invoke = What::Invoke { p: 0, node: None, f: f.into(), key: key.clone(), value };
        [invoke, What::Ok { p: 0, f: f.into(), key, value: answer, rev: None }]
    }

    /// Two sets with the same elements, of which the second read of `s1` has `last`.
    fn two_sets(last: Value) -> History {
        let mut whats = Vec::new();
        for n in 1..=30 {
            whats.extend(op("add", "s0", json!(n), Value::Null));
            whats.extend(op("add", "s1", json!(n), Value::Null));
        }
        let all: Vec<u64> = (1..=30).collect();
        whats.extend(op("read", "s0", Value::Null, json!(all)));
        whats.extend(op("read", "s1", Value::Null, last));
        history(whats)
    }

    #[test]
    fn each_key_is_a_set_of_its_own_and_a_lost_element_is_found_and_drawn() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("set")).unwrap();
        let judged = |last: Value| {
            let mut result = WorkloadResult { name: "set".into(), ..WorkloadResult::default() };
            judge(&two_sets(last), &Options::default(), &mut result, Some(out.path()));
            result
        };
        let all: Vec<u64> = (1..=30).collect();
        let valid = judged(json!(all));
        assert_eq!(valid.verdict, Conclusion::Valid, "{valid:?}");
        let lost = judged(json!(all[1..]));
        assert_eq!(lost.verdict, Conclusion::Anomaly, "{lost:?}");
        let anomaly = lost.checks.iter().flat_map(|check| &check.anomalies).next().expect("an anomaly");
        assert!(anomaly.sentence.contains('1') && !anomaly.text.is_empty(), "{anomaly:?}");
        let drawing = fs::read_to_string(out.path().join(anomaly.drawing.as_ref().unwrap())).unwrap();
        assert!(drawing.starts_with("<svg") && drawing.contains("xmlns="), "{drawing}");
    }

    #[test]
    fn too_few_operations_are_no_verdict() {
        let mut result = WorkloadResult { name: "set".into(), ..WorkloadResult::default() };
        let few = history(op("add", "s0", json!(1), Value::Null).into());
        judge(&few, &Options::default(), &mut result, None);
        assert_eq!(result.verdict, Conclusion::Unknown, "{result:?}");
        let lint = &result.checks[0];
        assert!(lint.reasons.iter().any(|reason| reason.contains("needed")), "{lint:?}");
    }
}
