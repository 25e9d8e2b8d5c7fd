//! Whether a run served worse than an earlier one did: a check like any other, with a stated tolerance.

use super::{
    availability::Impact,
    results::{Anomaly, Check, Conclusion, Results},
};
use std::collections::BTreeMap;

/// Name of the check.
pub const CHECK: &str = "baseline";
/// Times shorter than this differ by chance, s.
const SLACK_S: f64 = 0.25;
/// Shares closer than this differ by chance.
const SLACK_SHARE: f64 = 0.005;

/// How much worse a run may be than its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// A share: times, and the share of operations that were not served, may be larger by so much.
    pub share: f64,
}

/// What makes two runs incomparable, if anything does: a text that names it.
pub fn differs(of: &Results, baseline: &Results) -> Option<String> {
    let (run, base) = (&of.run, &baseline.run);
    let system = |text: &str| text.split(' ').next().unwrap_or_default().to_string();
    let workloads = |results: &Results| -> Vec<String> {
        results.workloads.iter().map(|workload| workload.name.clone()).collect()
    };
    let pairs = [
        ("system", system(&run.system), system(&base.system)),
        ("cluster", run.cluster.clone(), base.cluster.clone()),
        ("nodes", of.nodes.len().to_string(), baseline.nodes.len().to_string()),
        ("workloads", workloads(of).join(","), workloads(baseline).join(",")),
        ("rate", run.rate_per_s.to_string(), base.rate_per_s.to_string()),
        ("concurrency", run.concurrency.to_string(), base.concurrency.to_string()),
        ("faults", run.faults.join(","), base.faults.join(",")),
    ];
    let different = pairs.into_iter().find(|(_, ours, theirs)| ours != theirs);
    different.map(|(what, ours, theirs)| format!("{what}: `{ours}` here, `{theirs}` there"))
}

/// Compares availability, and each kind of fault's outage and recovery. A median of several faults of a kind
/// is taken, since one of them alone says little.
pub fn compare(of: &Results, baseline: &Results, tolerance: Tolerance) -> Check {
    let mut check = Check { name: CHECK.into(), ..Check::default() };
    check.decided_by = format!(
        "within {:.0} % (and {SLACK_S} s, {:.1} points) of the run of {}",
        tolerance.share * 100.0,
        SLACK_SHARE * 100.0,
        baseline.run.started
    );
    if let Some(difference) = differs(of, baseline) {
        check.verdict = Conclusion::Unknown;
        check.reasons.push(format!("the runs cannot be compared: {difference}"));
        return check;
    }
    let mut compared = 0;
    let mut worse =
        |kind: &str, what: &str, ours: Option<f64>, theirs: Option<f64>, slack: f64, unit: &str| {
            // Faults strike as the seed has it: a kind may lack in one of the runs.
            let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
            compared += 1;
            if ours > theirs * (1.0 + tolerance.share) + slack {
                let sentence = format!("{what} was {ours:.2} {unit}, in the baseline {theirs:.2} {unit}");
                check.anomalies.push(Anomaly { kind: kind.into(), sentence, ..Anomaly::default() });
            }
        };
    let lost = |results: &Results| results.availability.share().map(|share| (1.0 - share) * 100.0);
    worse("less-available", "the share not served", lost(of), lost(baseline), SLACK_SHARE * 100.0, "%");
    let (ours, theirs) = (service_by_fault(of), service_by_fault(baseline));
    for (f, now) in &ours {
        let Some(before) = theirs.get(f) else { continue };
        worse("longer-outage", &format!("{f}: outage"), now.outage_s, before.outage_s, SLACK_S, "s");
        worse("slower-recovery", &format!("{f}: recovery"), now.recovery_s, before.recovery_s, SLACK_S, "s");
    }
    check.counts.insert("compared".into(), compared);
    if compared == 0 {
        check.verdict = Conclusion::Unknown;
        check.reasons.push("the baseline has nothing to compare with".into());
    } else if !check.anomalies.is_empty() {
        check.verdict = Conclusion::Anomaly;
    }
    check
}

/// What a kind of fault did to the service: medians of all faults of the kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultService {
    /// The longest time in which nobody was served, in s.
    pub outage_s: Option<f64>,
    /// From a fault's undoing until service was back to normal, in s.
    pub recovery_s: Option<f64>,
}

/// By kind of fault.
pub fn service_by_fault(results: &Results) -> BTreeMap<&str, FaultService> {
    let medians = |impacts: &[Impact]| FaultService {
        outage_s: median(impacts.iter().map(|impact| impact.outage_s).collect()),
        recovery_s: median(impacts.iter().filter_map(|impact| impact.recovery_s).collect()),
    };
    by_kind(results).into_iter().map(|(f, impacts)| (f, medians(&impacts))).collect()
}

fn by_kind(results: &Results) -> BTreeMap<&str, Vec<Impact>> {
    let mut all: BTreeMap<&str, Vec<Impact>> = BTreeMap::new();
    for fault in &results.faults {
        all.entry(&fault.f).or_default().extend(fault.impact);
    }
    all
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::{availability::Availability, results::FaultResult};
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { share: 0.25 };

    fn run(served: u64, recovery_s: f64) -> Results {
        let impact = Impact { outage_s: 1.0, recovery_s: Some(recovery_s), ..Impact::default() };
        let fault = FaultResult { f: "kill".into(), impact: Some(impact), ..FaultResult::default() };
        Results {
            availability: Availability { due: 1000, served },
            faults: vec![fault.clone(), fault],
            ..Results::default()
        }
    }

    #[test]
    fn worse_than_the_tolerance_is_an_anomaly_of_its_kind() {
        let base = run(960, 1.0);
        for (ours, kinds) in [
            (run(960, 1.0), vec![]),
            (run(999, 0.0), vec![]),
            (run(948, 1.4), vec![]),
            (run(940, 1.0), vec!["less-available"]),
            (run(960, 1.6), vec!["slower-recovery"]),
            (run(900, 9.0), vec!["less-available", "slower-recovery"]),
        ] {
            let check = compare(&ours, &base, TOLERANCE);
            let found: Vec<&str> = check.anomalies.iter().map(|anomaly| anomaly.kind.as_str()).collect();
            assert_eq!(found, kinds, "{check:?}");
            let want = if kinds.is_empty() { Conclusion::Valid } else { Conclusion::Anomaly };
            assert_eq!(check.verdict, want);
        }
    }

    #[test]
    fn what_cannot_be_compared_is_unknown_and_never_valid() {
        let mut other = run(960, 1.0);
        other.run.rate_per_s = 7;
        let check = compare(&run(960, 1.0), &other, TOLERANCE);
        assert_eq!(check.verdict, Conclusion::Unknown);
        assert!(check.reasons[0].contains("rate: `0` here, `7` there"), "{check:?}");
        let nothing = compare(&Results::default(), &Results::default(), TOLERANCE);
        assert_eq!(nothing.verdict, Conclusion::Unknown);
    }
}
