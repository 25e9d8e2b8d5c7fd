//! A run as `junit.xml`: one case a check, one a fault, one for the harness.
//!
//! The kinds of outcome stay apart. A broken promise is a `failure`, its type the anomaly's kind. Whatever says
//! nothing about the store is an `error`: of type `unknown` for a check that could not decide, and of the
//! doubt's kind for all else.

use super::{
    doubt::{Doubt, DoubtKind},
    progress::{describe, plain},
    results::{Anomaly, Check, Conclusion, FaultResult, Results},
};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};
use std::time::Duration;

/// Name of the file in a run's folder.
pub const FILE: &str = "junit.xml";
/// So much of a witness goes into the file; all of it is in the report.
const WITNESS_CHARS_MAX: usize = 20_000;

/// The run as JUnit's XML.
///
/// # Errors
/// When the XML cannot be written; to memory that does not happen.
pub fn junit(results: &Results) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("assay");
    report.set_time(Duration::from_secs_f64(results.run.duration_s.max(0.0)));
    for workload in &results.workloads {
        let cases = workload.checks.iter().map(|check| of_check(&workload.name, check));
        report.add_test_suite(suite(&workload.name, cases));
    }
    if !results.checks.is_empty() {
        report.add_test_suite(suite("run", results.checks.iter().map(|check| of_check("run", check))));
    }
    if !results.faults.is_empty() {
        report.add_test_suite(suite("faults", results.faults.iter().map(of_fault)));
    }
    report.add_test_suite(suite("harness", [of_harness(results)].into_iter()));
    report.to_string()
}

fn suite(name: &str, cases: impl Iterator<Item = TestCase>) -> TestSuite {
    let mut suite = TestSuite::new(XmlString::new(name));
    suite.add_test_cases(cases);
    suite
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(XmlString::new(name), status);
    case.set_classname(XmlString::new(format!("assay.{class}")));
    case
}

fn of_check(class: &str, check: &Check) -> TestCase {
    let status = match check.verdict {
        Conclusion::Valid => TestCaseStatus::success(),
        Conclusion::Unknown => bad(NonSuccessKind::Error, "unknown", &check.reasons.join("; "), ""),
        Conclusion::Anomaly => failure(&check.anomalies),
    };
    let mut case = case(class, &check.name, status);
    case.set_time(Duration::from_millis(check.elapsed_ms));
    case
}

fn failure(anomalies: &[Anomaly]) -> TestCaseStatus {
    let kind = anomalies.first().map_or("anomaly", |anomaly| anomaly.kind.as_str());
    let message = anomalies.first().map_or("a promise was broken", |anomaly| anomaly.sentence.as_str());
    let texts =
        anomalies.iter().map(|anomaly| format!("{}: {}\n{}", anomaly.kind, anomaly.sentence, anomaly.text));
    let text: String = texts.collect::<Vec<_>>().join("\n").chars().take(WITNESS_CHARS_MAX).collect();
    bad(NonSuccessKind::Failure, kind, message, &text)
}

fn of_fault(fault: &FaultResult) -> TestCase {
    let status = if fault.is_proved() && fault.end_s.is_some() {
        TestCaseStatus::success()
    } else {
        let kind = if fault.proof.is_null() { DoubtKind::FaultWithoutEffect } else { DoubtKind::NotHealed };
        let message = if fault.errors.is_empty() {
            "nothing shows that it took effect and was undone".to_string()
        } else {
            fault.errors.join("; ")
        };
        bad(NonSuccessKind::Error, kind.name(), &message, &plain(&fault.value))
    };
    let name = format!("phase {} fault {}: {}", fault.phase, fault.number, describe(&fault.f, &fault.value));
    let mut case = case("faults", &name, status);
    if let Some(end_s) = fault.end_s {
        case.set_time(Duration::from_secs_f64((end_s - fault.start_s).max(0.0)));
    }
    case
}

/// Everything that lies neither in a check nor in one fault.
fn of_harness(results: &Results) -> TestCase {
    let status = match results.doubts.as_slice() {
        [] => TestCaseStatus::success(),
        all @ [first, ..] => {
            let line = |doubt: &Doubt| format!("{}: {}", doubt.kind, doubt.sentence);
            let text: Vec<String> = all.iter().map(line).collect();
            bad(NonSuccessKind::Error, first.kind.name(), &first.sentence, &text.join("\n"))
        }
    };
    case("harness", "the run did what it was to do", status)
}

fn bad(kind: NonSuccessKind, of: &str, message: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(XmlString::new(of)).set_message(XmlString::new(message));
    if !text.is_empty() {
        status.set_description(XmlString::new(text));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::super::results::WorkloadResult;
    use super::*;
    use serde_json::json;

    fn check(name: &str, verdict: Conclusion) -> Check {
        Check { name: name.into(), verdict, ..Check::default() }
    }

    #[test]
    fn a_case_for_each_check_and_fault_and_no_kind_is_taken_for_another() {
        let anomaly = Anomaly {
            kind: "stale-read".into(),
            sentence: "5 < 6 & \u{1}".into(),
            text: "#1 read".into(),
            ..Anomaly::default()
        };
        let broken = Check { anomalies: vec![anomaly], ..check("order", Conclusion::Anomaly) };
        let slow =
            Check { reasons: vec!["time ran out".into()], ..check("linearizable", Conclusion::Unknown) };
        let checks = vec![check("lint", Conclusion::Valid), broken, slow];
        let proved =
            FaultResult { f: "kill".into(), proof: json!("gone"), end_s: Some(2.0), ..Default::default() };
        let vain = FaultResult { f: "pause".into(), errors: vec!["still runs".into()], ..Default::default() };
        let mut results = Results {
            workloads: vec![WorkloadResult { name: "kv".into(), checks, ..Default::default() }],
            faults: vec![proved, vain],
            ..Results::default()
        };
        results.doubt(Doubt::new(DoubtKind::HarnessError, "the harness failed"));
        let xml = junit(&results).unwrap();
        for say in [
            "tests=\"6\" failures=\"1\" errors=\"3\"",
            "<failure message=\"5 &lt; 6 &amp; \" type=\"stale-read\">",
            "<error message=\"time ran out\" type=\"unknown\"",
            "<error message=\"still runs\" type=\"fault-without-effect\"",
            "<error message=\"the harness failed\" type=\"harness-error\"",
            "classname=\"assay.kv\"",
        ] {
            assert!(xml.contains(say), "no {say} in {xml}");
        }
    }
}
