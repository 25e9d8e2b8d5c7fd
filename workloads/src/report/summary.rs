//! A run as a page of Markdown, for the page of a CI job.

use super::{
    progress::{describe, plain},
    results::{Check, Conclusion, FaultResult, Results, WorkloadResult},
};
use std::fmt::{self, Write as _};

/// Name of the file in a run's folder.
pub const FILE: &str = "summary.md";
/// Anomalies that are told in full; the report has them all.
const ANOMALIES_MAX: usize = 5;
/// Lines of a witness that are shown.
const WITNESS_LINES_MAX: usize = 60;
/// Faults that are listed.
const FAULTS_MAX: usize = 100;
/// The service takes no longer page (GitHub: 1 MiB for a step), bytes.
const BYTES_MAX: usize = 512 * 1024;

/// The page.
pub fn summary(results: &Results) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, results);
    if out.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX).rev().find(|end| out.is_char_boundary(*end));
        out.truncate(end.unwrap_or(0));
        out.push_str("\n\n(cut here; the report has the rest)\n");
    }
    out
}

fn write(out: &mut String, results: &Results) -> fmt::Result {
    let run = &results.run;
    writeln!(out, "## Assay: {} {}\n", mark(results.verdict), results.verdict)?;
    writeln!(out, "{}\n", escape(&results.sentence()))?;
    let total = results.total();
    writeln!(
        out,
        "{} on {}, {} nodes, seed {}, {:.1} s: {} operations ({} ok, {} fail, {} info), {} of {} faults proved, \
         availability {}\n",
        escape(&run.system),
        escape(&run.cluster),
        results.nodes.len(),
        run.seed,
        run.duration_s,
        total.total(),
        total.ok,
        total.fail,
        total.info,
        results.faults.iter().filter(|fault| fault.is_proved()).count(),
        results.faults.len(),
        percent(results.availability.share()),
    )?;
    for (name, check, anomaly) in results.anomalies().take(ANOMALIES_MAX) {
        writeln!(out, "### {} in {}\n", escape(&anomaly.kind), escape(name))?;
        writeln!(out, "{} (found by {})\n", escape(&anomaly.sentence), escape(&check.name))?;
        let lines: Vec<&str> = anomaly.text.lines().take(WITNESS_LINES_MAX).collect();
        writeln!(out, "{}\n", fenced(&lines.join("\n")))?;
    }
    let left_out = results.anomalies().count().saturating_sub(ANOMALIES_MAX);
    if left_out > 0 {
        writeln!(out, "{left_out} more anomalies are in the report.\n")?;
    }
    if !results.doubts.is_empty() {
        writeln!(out, "### What is in doubt\n")?;
        for doubt in &results.doubts {
            writeln!(out, "- {}: {}", doubt.kind, escape(&doubt.sentence))?;
        }
        writeln!(out)?;
    }
    checks(out, results)?;
    faults(out, &results.faults)?;
    for note in &results.notes {
        writeln!(out, "- {}", escape(note))?;
    }
    writeln!(out, "\nRepeat it:\n\n{}", fenced(&run.command))
}

fn checks(out: &mut String, results: &Results) -> fmt::Result {
    writeln!(out, "| workload | check | verdict | why | ok | fail | info | p50 ms | p99 ms |")?;
    writeln!(out, "|---|---|---|---|--:|--:|--:|--:|--:|")?;
    for workload in &results.workloads {
        workload
            .checks
            .iter()
            .enumerate()
            .try_for_each(|(n, check)| row(out, (n == 0).then_some(workload), check))?;
    }
    results.checks.iter().try_for_each(|check| row(out, None, check))?;
    writeln!(out)
}

/// A check; the first of a workload carries its numbers.
fn row(out: &mut String, workload: Option<&WorkloadResult>, check: &Check) -> fmt::Result {
    let name = workload.map_or("", |workload| workload.name.as_str());
    let sentences = check.anomalies.iter().map(|anomaly| anomaly.kind.as_str());
    let why: Vec<&str> = sentences.chain(check.reasons.iter().map(String::as_str)).collect();
    write!(
        out,
        "| {} | {} | {} {} | {} |",
        escape(name),
        escape(&check.name),
        mark(check.verdict),
        check.verdict,
        escape(&why.join("; "))
    )?;
    let Some(workload) = workload else { return writeln!(out, " | | | | |") };
    let sum = workload.counts.values().fold(super::Counts::default(), |sum, counts| sum.plus(*counts));
    let p = workload.response;
    writeln!(out, " {} | {} | {} | {:.1} | {:.1} |", sum.ok, sum.fail, sum.info, p.p50_ms, p.p99_ms)
}

fn faults(out: &mut String, faults: &[FaultResult]) -> fmt::Result {
    if faults.is_empty() {
        return Ok(());
    }
    writeln!(out, "<details><summary>{} faults</summary>\n", faults.len())?;
    writeln!(out, "| at s | fault | lasted s | served meanwhile | outage s | recovery s | proof |")?;
    writeln!(out, "|--:|---|--:|--:|--:|--:|---|")?;
    for fault in faults.iter().take(FAULTS_MAX) {
        let lasted = fault.end_s.map_or("not undone".into(), |end_s| format!("{:.1}", end_s - fault.start_s));
        let impact = fault.impact;
        let proof = if fault.errors.is_empty() { plain(&fault.proof) } else { fault.errors.join("; ") };
        writeln!(
            out,
            "| {:.1} | {} | {lasted} | {} | {} | {} | {} |",
            fault.start_s,
            escape(&describe(&fault.f, &fault.value)),
            percent(impact.and_then(|impact| impact.during.share())),
            impact.map_or(String::new(), |impact| format!("{:.2}", impact.outage_s)),
            impact.and_then(|impact| impact.recovery_s).map_or(String::new(), |s| format!("{s:.2}")),
            escape(&proof.chars().take(200).collect::<String>()),
        )?;
    }
    if faults.len() > FAULTS_MAX {
        writeln!(out, "\n{} more are in the report.", faults.len() - FAULTS_MAX)?;
    }
    writeln!(out, "\n</details>\n")
}

/// Told apart without colour too.
fn mark(verdict: Conclusion) -> &'static str {
    match verdict {
        Conclusion::Valid => "✅",
        Conclusion::Unknown => "❔",
        Conclusion::Anomaly => "❌",
    }
}

/// A share as people read it; nothing where there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or(String::new(), |share| format!("{:.2} %", share * 100.0))
}

/// Text that Markdown and HTML leave as it is, on one line.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(letter);
            }
            '\n' | '\r' => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// A block of code, within a fence that is longer than any in it.
fn fenced(text: &str) -> String {
    let mut fence = "```".to_string();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::super::results::{Anomaly, Run};
    use super::*;

    #[test]
    fn the_page_says_what_and_why_and_nothing_in_it_is_markup() {
        let anomaly = Anomaly {
            kind: "stale-read".into(),
            sentence: "k1 | <b>was</b> `old`".into(),
            text: "```\nnot a fence".into(),
            ..Anomaly::default()
        };
        let check = Check {
            name: "order".into(),
            verdict: Conclusion::Anomaly,
            anomalies: vec![anomaly],
            ..Check::default()
        };
        let workload = WorkloadResult { name: "register".into(), checks: vec![check], ..Default::default() };
        let results = Results {
            verdict: Conclusion::Anomaly,
            run: Run { command: "assay run --seed 7".into(), ..Run::default() },
            workloads: vec![workload],
            faults: vec![FaultResult { f: "kill".into(), ..FaultResult::default() }; 120],
            ..Results::default()
        };
        let page = summary(&results);
        for say in [
            "## Assay: ❌ anomaly",
            "k1 \\| &lt;b&gt;was&lt;/b&gt; \\`old\\` (found by order)",
            "````text\n```\nnot a fence\n````",
            "20 more are in the report",
            "assay run --seed 7",
        ] {
            assert!(page.contains(say), "no {say:?} in {page}");
        }
        assert!(!page.contains("<b>"), "{page}");
    }

    #[test]
    fn a_page_is_never_longer_than_the_service_takes() {
        let results = Results { notes: vec!["ü".repeat(BYTES_MAX)], ..Results::default() };
        let page = summary(&results);
        assert!(page.len() < BYTES_MAX + 100 && page.ends_with("the report has the rest)\n"));
    }
}
