//! The layout of the page. No script, and nothing from elsewhere: it can be kept, sent and read alone.

use super::{
    progress::{describe, plain},
    results::{Anomaly, Check, Conclusion, Results, WorkloadResult},
    series::Series,
    svg::{Line, Scale, chart},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::{fs, path::Path};

/// How much of the end of a node's log the page shows.
const LOG_TAIL_BYTES: usize = 8 * 1024;
/// Drawings larger than this are only linked.
const DRAWING_MAX_BYTES: usize = 4 * 1024 * 1024;
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(results: &Results, series: &Series, dir: &Path) -> String {
    let title = format!("assay: {} {}", results.run.system, results.verdict);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(results))
                (anomalies(results, dir))
                (charts(results, series))
                h2 { "Workloads" }
                @for workload in &results.workloads { (self::workload(workload)) }
                @if !results.checks.is_empty() { h3 { "The run" } (checks(&results.checks)) }
                (faults(results))
                (nodes(results, dir))
            }
        }
    };
    page.into_string()
}

fn head(results: &Results) -> Markup {
    let (run, total) = (&results.run, results.total());
    html! {
        header class=(results.verdict.to_string()) {
            h1 { (results.verdict) }
            p {
                (total.total()) " operations (" (total.ok) " ok, " (total.fail) " fail, " (total.info) " info), "
                (results.faults.iter().filter(|fault| fault.is_proved()).count()) " faults, "
                (run.system) " on " (run.cluster) ", " (results.nodes.len()) " nodes, seed " (run.seed) ", "
                (run.started) ", " (format!("{:.1} s", run.duration_s))
            }
        }
        @if !results.reasons.is_empty() {
            ul.reasons { @for reason in &results.reasons { li { (reason) } } }
        }
        @for note in &results.notes { p.note { (note) } }
        p { "Repeat: " code { (run.command) } }
    }
}

fn anomalies(results: &Results, dir: &Path) -> Markup {
    html! {
        @for (name, check, anomaly) in results.anomalies() { (self::anomaly(name, check, anomaly, dir)) }
    }
}

fn anomaly(workload: &str, check: &Check, anomaly: &Anomaly, dir: &Path) -> Markup {
    html! {
        section.anomaly {
            h2 { (anomaly.kind) " in " (workload) }
            p { (anomaly.sentence) }
            p.note { "found by " (check.name) @if !check.decided_by.is_empty() { ", " (check.decided_by) } }
            @if let Some(file) = &anomaly.drawing { (drawing(file, dir)) }
            @if !anomaly.text.is_empty() { pre { (anomaly.text) } }
        }
    }
}

/// As an image: so a drawing cannot reach into the page, whatever it holds.
fn drawing(file: &Path, dir: &Path) -> Markup {
    match fs::read(dir.join(file)) {
        Ok(svg) if svg.len() <= DRAWING_MAX_BYTES => html! {
            img.lanes alt="operations of the witness, a lane for each process"
                src=(format!("data:image/svg+xml,{}", percent_encode(&svg)));
        },
        Ok(_) => html! { p { "The drawing is large: " code { (file.display()) } } },
        Err(error) => html! { p.note { "The drawing " (file.display()) " cannot be read: " (error) } },
    }
}

fn percent_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b" -_.:;,=/()".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn charts(results: &Results, series: &Series) -> Markup {
    if series.buckets.is_empty() {
        return html! {};
    }
    let per_s = |count: fn(&super::Counts) -> u64| -> Vec<Option<f64>> {
        #[expect(clippy::cast_precision_loss, reason = "operations within a bucket")]
        let rate = |n: u64| n as f64 / series.bucket_s;
        series.buckets.iter().map(|bucket| Some(rate(count(&bucket.counts)))).collect()
    };
    let latency = |which: usize| -> Vec<Option<f64>> {
        series.buckets.iter().map(|bucket| bucket.latency_ms.map(|latency| latency[which])).collect()
    };
    let throughput = [
        Line { name: "ok", class: "ok", values: per_s(|counts| counts.ok) },
        Line { name: "fail", class: "fail", values: per_s(|counts| counts.fail) },
        Line { name: "info", class: "info", values: per_s(|counts| counts.info) },
    ];
    let latencies = [
        Line { name: "p50", class: "p50", values: latency(0) },
        Line { name: "p99", class: "p99", values: latency(1) },
        Line { name: "max", class: "max", values: latency(2) },
    ];
    html! {
        h2 { "Throughput" }
        (chart(&throughput, series.bucket_s, &results.faults, Scale::Linear, "op/s"))
        h2 { "Latency of what ended in ok, from sending" }
        (chart(&latencies, series.bucket_s, &results.faults, Scale::Log, "ms"))
    }
}

fn workload(workload: &WorkloadResult) -> Markup {
    html! {
        h3 { (workload.name) " " (badge(workload.verdict)) }
        table {
            tr { th { "f" } th { "ok" } th { "fail" } th { "info" } th { "p50 ms" } th { "p90" } th { "p99" } th { "p99.9" } th { "max" } }
            @for (f, counts) in &workload.counts {
                @let p = workload.service.get(f).copied().unwrap_or_default();
                tr {
                    td { (f) } td.n { (counts.ok) } td.n { (counts.fail) } td.n { (counts.info) }
                    @for ms in [p.p50_ms, p.p90_ms, p.p99_ms, p.p999_ms, p.max_ms] { td.n { (format!("{ms:.1}")) } }
                }
            }
            @let p = workload.response;
            tr {
                td colspan="4" { "response time: from when due" }
                @for ms in [p.p50_ms, p.p90_ms, p.p99_ms, p.p999_ms, p.max_ms] { td.n { (format!("{ms:.1}")) } }
            }
        }
        @if !workload.errors.is_empty() {
            p { "Errors: " @for (kind, count) in &workload.errors { code { (kind) } " " (count) "  " } }
        }
        @if workload.not_begun > 0 {
            p.note { (workload.not_begun) " operations were due and not begun: all processes were busy." }
        }
        (checks(&workload.checks))
        p.note { "History: " a href=(workload.history.display()) { (workload.history.display()) } }
    }
}

fn checks(checks: &[Check]) -> Markup {
    html! {
        table {
            tr { th { "check" } th { "verdict" } th { "decided by" } th { "looked at" } th { "ms" } }
            @for check in checks {
                tr {
                    td { (check.name) }
                    td { (badge(check.verdict)) @for reason in &check.reasons { p { (reason) } } }
                    td { (check.decided_by) }
                    td { @for (what, count) in &check.counts { (what) " " (count) " " } }
                    td.n { (check.elapsed_ms) }
                }
            }
        }
    }
}

fn badge(verdict: Conclusion) -> Markup {
    html! { span class={ "badge " (verdict) } { (verdict) } }
}

fn faults(results: &Results) -> Markup {
    if results.faults.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Faults" }
        table {
            tr { th { "phase" } th { "from s" } th { "to s" } th { "fault" } th { "proof" } th { "errors" } }
            @for fault in &results.faults {
                tr {
                    td.n { (fault.phase) }
                    td.n { (format!("{:.2}", fault.start_s)) }
                    td.n { @match fault.end_s { Some(end) => (format!("{end:.2}")), None => "never" } }
                    td { (describe(&fault.f, &fault.value)) }
                    td.proof { (plain(&fault.proof)) }
                    td { @for error in &fault.errors { p { (error) } } }
                }
            }
        }
    }
}

fn nodes(results: &Results, dir: &Path) -> Markup {
    html! {
        h2 { "Nodes" }
        @for node in &results.nodes {
            @match &node.log {
                Some(log) => details {
                    summary { (node.name) " at " (node.url) ", end of " code { (log.display()) } }
                    pre { (tail(&dir.join(log))) }
                },
                None => p { (node.name) " at " (node.url) },
            }
        }
    }
}

/// The end of a file, from the start of a line on.
fn tail(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let from = bytes.len().saturating_sub(LOG_TAIL_BYTES);
            let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
            match text.split_once('\n') {
                Some((_, rest)) if from > 0 => rest.to_string(),
                _ => text,
            }
        }
        Err(error) => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::{Counts, FaultResult, NodeResult, Run};
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    const NASTY: &str = "</pre><script>alert(1)</script>\"'&";

    /// Results in which every text is nasty.
    fn nasty() -> Results {
        let text = || NASTY.to_string();
        let anomaly = Anomaly {
            kind: text(),
            sentence: text(),
            text: text(),
            operations: 0,
            drawing: Some("drawing.svg".into()),
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
        let bucket = super::super::series::Bucket::default();
        let series = Series { bucket_s: 1.0, buckets: vec![bucket; 3] };
        let page = page(&nasty(), &series, dir.path());
        assert!(!page.contains("<script"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() >= 15, "{page}");
        assert!(page.contains("data:image/svg+xml,%3C/pre%3E%3Cscript%3E"), "{page}");
        assert!(!duplicate_attribute(&page), "an element has an attribute twice: {page}");
        for elsewhere in ["http://", "https://", "src=\"/", "@import", "url("] {
            assert!(!page.contains(elsewhere), "{elsewhere} in {page}");
        }
    }

    /// Whether a tag names `class` twice: the second would be lost.
    fn duplicate_attribute(page: &str) -> bool {
        let tags = page.split('<').filter_map(|tag| tag.split('>').next());
        tags.into_iter().any(|tag| tag.matches(" class=").count() > 1)
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n1.log");
        fs::write(&path, (0..5000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let tail = tail(&path);
        assert!(
            tail.len() <= LOG_TAIL_BYTES && tail.starts_with("line ") && tail.ends_with("line 4999\n"),
            "{tail}"
        );
        assert!(super::tail(&dir.path().join("none")).contains("cannot be read"));
    }

    #[test]
    fn a_page_is_made_of_nothing_at_all() {
        let page = page(&Results::default(), &Series::default(), Path::new("/nonexistent"));
        assert!(page.contains("<h1>valid</h1>"), "{page}");
    }
}
