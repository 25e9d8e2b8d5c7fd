//! Two runs beside each other.

use super::index::{frame, href, mark};
use crate::report::{Results, differs, service_by_fault};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// A number of both runs: of the first, of the second.
type Pair = (Option<f64>, Option<f64>);

/// The page that compares the runs in two folders.
pub(super) fn compare(a: (&str, &Results), b: (&str, &Results)) -> String {
    let body = html! {
        p { a href="/" { "all runs" } }
        h1 { "A and B" }
        @if let Some(difference) = differs(b.1, a.1) {
            p { strong { "They are not alike: " } (difference) " (B here, A there). What follows may say more of that than of the store." }
        }
        div.wide { table {
            thead { tr { th {} th { "A: " (link(a.0)) } th { "B: " (link(b.0)) } th.n { "B to A" } } }
            tbody {
                (words("verdict", &verdict(a.1), &verdict(b.1)))
                (words("why", &a.1.sentence(), &b.1.sentence()))
                (words("system", &a.1.run.system, &b.1.run.system))
                (words("cluster", &a.1.run.cluster, &b.1.run.cluster))
                (words("seed", &a.1.run.seed.to_string(), &b.1.run.seed.to_string()))
                @for (what, unit, pair) in numbers(a.1, b.1) { (number(&what, unit, pair)) }
            }
        } }
        h2 { "Checks" }
        div.wide { table {
            thead { tr { th { "check" } th { "A" } th { "B" } } }
            tbody { @for (name, [a, b]) in checks(a.1, b.1) {
                tr.changed[a != b] { td { (name) } td { (mark(&a)) " " (a) } td { (mark(&b)) " " (b) } }
            } }
        } }
    };
    frame("assay: A and B", &body)
}

fn link(path: &str) -> Markup {
    html! { a href=(href("files", path, "/report.html")) { (path) } }
}

fn verdict(results: &Results) -> String {
    let verdict = results.verdict.to_string();
    format!("{} {verdict}", mark(&verdict))
}

fn words(what: &str, a: &str, b: &str) -> Markup {
    html! { tr.changed[a != b] { td { (what) } td.why { (a) } td.why { (b) } td {} } }
}

fn number(what: &str, unit: &str, (a, b): Pair) -> Markup {
    let digits = if unit.is_empty() { 0 } else { 2 };
    let text = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.digits$} {unit}"));
    let ratio = match (a, b) {
        (Some(a), Some(b)) if a > 0.0 => format!("{:+.0} %", (b / a - 1.0) * 100.0),
        _ => String::new(),
    };
    html! { tr { td { (what) } td { (text(a)) } td { (text(b)) } td.n { (ratio) } } }
}

fn numbers(a: &Results, b: &Results) -> Vec<(String, &'static str, Pair)> {
    #[expect(clippy::cast_precision_loss, reason = "operations of a run")]
    let operations = |results: &Results| Some(results.total().total() as f64);
    let available = |results: &Results| results.availability.share().map(|share| share * 100.0);
    let mut rows = vec![
        ("operations".to_string(), "", (operations(a), operations(b))),
        ("availability".to_string(), "%", (available(a), available(b))),
    ];
    let workload =
        |results: &Results, name: &str| results.workloads.iter().find(|one| one.name == name).cloned();
    for name in a.workloads.iter().map(|workload| workload.name.as_str()) {
        let (of_a, of_b) = (workload(a, name), workload(b, name));
        for (what, of) in [("p50", 0), ("p99", 1)] {
            let value = |one: &Option<crate::report::WorkloadResult>| {
                one.as_ref().map(|one| [one.response.p50_ms, one.response.p99_ms][of])
            };
            rows.push((format!("{name}: response {what}"), "ms", (value(&of_a), value(&of_b))));
        }
    }
    let (faults_a, faults_b) = (service_by_fault(a), service_by_fault(b));
    for (f, of_a) in &faults_a {
        let of_b = faults_b.get(f);
        rows.push((format!("{f}: outage, median"), "s", (of_a.outage_s, of_b.and_then(|of| of.outage_s))));
        rows.push((
            format!("{f}: recovery, median"),
            "s",
            (of_a.recovery_s, of_b.and_then(|of| of.recovery_s)),
        ));
    }
    rows
}

/// The verdicts of each check in both runs.
fn checks(a: &Results, b: &Results) -> BTreeMap<String, [String; 2]> {
    let mut all: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for (side, results) in [a, b].into_iter().enumerate() {
        let of_workloads = results.workloads.iter().flat_map(|workload| {
            workload.checks.iter().map(|check| (format!("{}: {}", workload.name, check.name), check))
        });
        let of_run = results.checks.iter().map(|check| (check.name.clone(), check));
        for (name, check) in of_workloads.chain(of_run) {
            all.entry(name).or_insert_with(|| ["-".into(), "-".into()])[side] = check.verdict.to_string();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Availability, Check, Conclusion, WorkloadResult};

    #[test]
    fn differences_are_shown_side_by_side() {
        let run = |served, verdict| {
            let check = Check { name: "order".into(), verdict, ..Check::default() };
            let workload =
                WorkloadResult { name: "kv".into(), checks: vec![check], ..WorkloadResult::default() };
            let availability = Availability { due: 100, served };
            Results { verdict, availability, workloads: vec![workload], ..Results::default() }
        };
        let (a, b) = (run(100, Conclusion::Valid), run(50, Conclusion::Anomaly));
        let page = compare(("x/<1>", &a), ("x/2", &b));
        for say in ["100.00 %", "50.00 %", "-50 %", "kv: order", "✗ anomaly", "x/&lt;1&gt;"] {
            assert!(page.contains(say), "no {say} in {page}");
        }
    }
}
