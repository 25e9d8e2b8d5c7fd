//! From a stored history to a verdict, in the terms of the results.

use crate::report::{Anomaly, Check, Conclusion, WorkloadResult};
use checker::{CheckReport, History, Options, Verdict};

/// So many operations must have succeeded, whatever the share.
const OK_MIN: u64 = 30;
/// One in so many must have succeeded.
const OK_SHARE: u64 = 20;

/// Judges a history, and puts the verdict and its evidence into `result`.
pub fn judge(history: &History, options: &Options, result: &mut WorkloadResult) {
    let options = Options {
        ok_min: (history.operations().len() as u64 / OK_SHARE).max(OK_MIN),
        shared_store: !is_alone(history),
        ..options.clone()
    };
    let report = checker::check(history, &options);
    result.verdict = conclusion(&report.verdict);
    result.checks = checks(history, &report);
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

fn checks(history: &History, report: &CheckReport) -> Vec<Check> {
    let mut checks: Vec<Check> = report
        .results
        .iter()
        .map(|result| Check {
            name: result.check.to_string(),
            verdict: conclusion(&result.verdict),
            decided_by: result.decided_by.to_string(),
            reasons: reasons(&result.verdict),
            anomalies: result.verdict.anomalies().iter().map(|anomaly| evidence(history, anomaly)).collect(),
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

fn evidence(_history: &History, anomaly: &checker::Anomaly) -> Anomaly {
    let mut text = String::new();
    for line in &anomaly.witness.because {
        text.push_str(line);
        text.push('\n');
    }
    Anomaly { kind: anomaly.kind.to_string(), sentence: anomaly.sentence.clone(), text, drawing: None }
}
