//! The order of the page: the verdict and why, the evidence, what happened when, and then all the rest.

use super::{
    super::{
        folder, junit,
        results::{self, Results},
        series::Series,
        summary::{self, percent},
    },
    data::{Data, Histories},
    evidence::anomalies,
    roles::roles,
    stack::stack,
    tables::{faults, mark, nodes, workloads},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::path::Path;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Doubts and reasons that are listed.
const REASONS_MAX: usize = 50;

/// The whole page.
pub(in crate::report) fn page(
    results: &Results,
    series: &Series,
    histories: &Histories,
    dir: &Path,
) -> String {
    let first_of_phase = histories.iter().filter(|(index, _)| is_first_of_phase(results, *index));
    let roles = roles(first_of_phase.map(|(_, history)| history));
    let data = Data::of(results, histories, &roles, dir, end_s(results, series));
    let title = format!("{} {}: assay, {}", mark(results.verdict), results.verdict, results.run.system);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Without one, browsers ask the server for one.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(results))
                (anomalies(results, dir))
                (stack(results, series, &roles, &data))
                (faults(results))
                (workloads(results))
                (nodes(results, dir))
                (footer(results))
                script #data type="application/json" { (PreEscaped(data.json())) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Histories of one phase have the same faults and observations.
fn is_first_of_phase(results: &Results, index: usize) -> bool {
    let phase = results.workloads[index].phase;
    results.workloads.iter().position(|workload| workload.phase == phase) == Some(index)
}

/// The end of everything that is drawn, s.
fn end_s(results: &Results, series: &Series) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "few buckets")]
    let series_end = series.buckets.len() as f64 * series.bucket_s;
    let last_fault = results.faults.iter().filter_map(|fault| fault.end_s).fold(0.0, f64::max);
    series_end.max(last_fault).max(1.0)
}

fn head(results: &Results) -> Markup {
    let (run, total) = (&results.run, results.total());
    let proved = results.faults.iter().filter(|fault| fault.is_proved()).count();
    html! {
        header class=(results.verdict.to_string()) {
            h1 { (mark(results.verdict)) " " (results.verdict) }
            p.sentence { (results.sentence()) }
            dl {
                div { dt { "system" } dd { (run.system) } }
                div { dt { "cluster" } dd { (run.cluster) ", " (results.nodes.len()) " nodes" } }
                div { dt { "operations" } dd { (total.total()) ": " (total.ok) " ok, " (total.fail) " fail, " (total.info) " info" } }
                div { dt { "faults" } dd { (proved) " of " (results.faults.len()) " proved" } }
                @if results.availability.due > 0 { div { dt { "availability" } dd { (percent(results.availability.share())) } } }
                div { dt { "seed" } dd { (run.seed) } }
                div { dt { "started" } dd { (run.started) ", took " (format!("{:.1} s", run.duration_s)) } }
            }
            p.repeat { "Repeat: " code { (run.command) } }
            nav {
                @if results.anomalies().next().is_some() { a href="#anomaly-0" { "Evidence" } " " }
                a href="#timeline" { "Timeline" } " "
                @if !results.faults.is_empty() { a href="#faults" { "Faults" } " " }
                a href="#workloads" { "Workloads" } " " a href="#logs" { "Logs" }
            }
        }
        @if !results.doubts.is_empty() {
            section #doubts {
                h2 { "What is in doubt" }
                ul { @for doubt in results.doubts.iter().take(REASONS_MAX) {
                    li { strong { (doubt.kind) } ": " (doubt.sentence) }
                } }
            }
        }
        @let others: Vec<&String> = results.reasons.iter()
            .filter(|reason| !results.doubts.iter().any(|doubt| doubt.sentence == **reason)).collect();
        @if others.len() > 1 {
            details.reasons {
                summary { "All " (others.len()) " reasons for the verdict" }
                ul { @for reason in others.iter().take(REASONS_MAX) { li { (reason) } } }
            }
        }
        @for note in &results.notes { p.note { "Note: " (note) } }
    }
}

fn footer(results: &Results) -> Markup {
    html! {
        footer {
            p.note {
                "Beside this page: "
                @for file in [results::FILE, junit::FILE, summary::FILE] { a href=(file) { (file) } ", " }
                "and the histories. " code { (folder::PAGE) } " is made again by " code { "assay report" } ". A verdict says "
                "something about this run only, of seed " (results.run.seed) "."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::results::{
        Anomaly, Check, Conclusion, Counts, FaultResult, NodeResult, Run, WorkloadResult,
    };
    use super::*;
    use serde_json::json;
    use std::{collections::BTreeMap, fs};

    const NASTY: &str = "</pre><script>alert(1)</script>\"'&";

    /// Results in which every text is nasty.
    fn nasty() -> Results {
        let text = || NASTY.to_string();
        let anomaly = Anomaly {
            kind: text(),
            sentence: text(),
            text: text(),
            drawing: Some("drawing.svg".into()),
            ..Anomaly::default()
        };
        let check = Check {
            name: text(),
            verdict: Conclusion::Anomaly,
            decided_by: text(),
            reasons: vec![text()],
            anomalies: vec![anomaly],
            counts: BTreeMap::from([(text(), 1)]),
            ..Check::default()
        };
        let workload = WorkloadResult {
            name: text(),
            history: text().into(),
            checks: vec![check],
            counts: BTreeMap::from([(text(), Counts::default())]),
            errors: BTreeMap::from([(text(), 1)]),
            ..WorkloadResult::default()
        };
        let fault = FaultResult {
            f: text(),
            value: json!(NASTY),
            proof: json!({ NASTY: NASTY }),
            errors: vec![text()],
            ..FaultResult::default()
        };
        Results {
            verdict: Conclusion::Anomaly,
            reasons: vec![text()],
            run: Run { command: text(), system: text(), cluster: text(), started: text(), ..Run::default() },
            workloads: vec![workload],
            faults: vec![fault],
            notes: vec![text()],
            nodes: vec![NodeResult { name: text(), url: text(), log: Some("n1.log".into()) }],
            ..Results::default()
        }
    }

    #[test]
    fn everything_is_escaped_and_nothing_comes_from_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("n1.log"), NASTY).unwrap();
        fs::write(dir.path().join("drawing.svg"), NASTY).unwrap();
        let bucket = super::super::super::series::Bucket::default();
        let series = Series { bucket_s: 1.0, buckets: vec![bucket; 3] };
        let page = page(&nasty(), &series, &[], dir.path());
        // Its own two are all there are: the data, and what works on it.
        assert_eq!(page.matches("<script").count(), 2, "{page}");
        assert_eq!(page.matches("</script").count(), 2, "{page}");
        assert!(page.matches("&lt;script&gt;").count() >= 15, "{page}");
        assert!(page.contains("data:image/svg+xml,%3C/pre%3E%3Cscript%3E"), "{page}");
        assert!(!duplicate_attribute(&page), "an element has an attribute twice: {page}");
        for elsewhere in ["http://", "https://", "src=\"/", "@import", "url(", "fetch(", "import("] {
            assert!(!page.contains(elsewhere), "{elsewhere} in {page}");
        }
    }

    /// Whether a tag names `class` twice: the second would be lost.
    fn duplicate_attribute(page: &str) -> bool {
        let tags = page.split('<').filter_map(|tag| tag.split('>').next());
        tags.into_iter().any(|tag| tag.matches(" class=").count() > 1)
    }

    #[test]
    fn a_page_is_made_of_nothing_at_all() {
        let page = page(&Results::default(), &Series::default(), &[], Path::new("/nonexistent"));
        assert!(page.contains("<h1>✓ valid</h1>"), "{page}");
    }

    /// Far more of everything than fits.
    #[test]
    fn a_page_stays_below_10_mb_however_long_the_run_was() {
        use checker::history::event::{Event, Header, What};
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("drawing.svg"), "<".repeat(2_000_000)).unwrap();
        let line = |n: usize| {
            format!(
                "{{\"level\":\"info\",\"ts\":\"2026-01-31T09:15:{:02}.{:06}Z\",\"msg\":\"\"}}\n",
                n / 1000,
                n % 1000
            )
        };
        fs::write(dir.path().join("n1.log"), (0..30_000).map(line).collect::<String>()).unwrap();
        let header: Header = serde_json::from_value(json!({
            "v": 1, "seed": 1, "scenario": "set", "system": "assay", "nodes": 1, "clock": "monotonic_ns"
        }))
        .unwrap();
        let text = |n: u64| json!(format!("{n}{}", "<\"".repeat(20)));
        let events = (0..130_000u64).flat_map(|n| {
            let (p, f, key) = (n % 9, "write".to_string(), Some(format!("key{n}")));
            let invoke =
                What::Invoke { p, node: Some("n1".into()), f: f.clone(), key: key.clone(), value: text(n) };
            [invoke, What::Ok { p, f, key, value: text(n), rev: Some(1) }]
        });
        let events = events.zip(0..).map(|(what, i)| Event { i, t: i * 1_000_003, what });
        let histories = [(0, checker::History::new(header, events))];
        let long = || "<".repeat(30_000);
        let anomaly = Anomaly { text: long(), drawing: Some("drawing.svg".into()), ..Anomaly::default() };
        let check = Check { anomalies: vec![anomaly; 100], ..Check::default() };
        let fault = FaultResult { f: "kill".into(), proof: json!(long()), ..FaultResult::default() };
        let workload =
            WorkloadResult { name: "set".into(), checks: vec![check], ..WorkloadResult::default() };
        let results = Results {
            run: Run { started: "2026-01-31T09:15:00.000Z".into(), ..Run::default() },
            workloads: vec![workload],
            faults: vec![fault; 5000],
            nodes: vec![NodeResult { log: Some("n1.log".into()), ..NodeResult::default() }],
            ..Results::default()
        };
        let page = page(&results, &Series::default(), &histories, dir.path());
        assert!(page.len() < 10_000_000, "{} bytes", page.len());
        for said in ["operations are drawn", "4000 more are in results.json", "80 more anomalies"] {
            assert!(page.contains(said), "{said}");
        }
    }
}
