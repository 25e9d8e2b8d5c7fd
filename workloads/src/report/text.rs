//! A run's results as text, for the terminal.

use super::{
    availability::Availability,
    latency::Percentiles,
    progress::{describe, plain},
    results::{Anomaly, Check, Conclusion, FaultResult, Results, WorkloadResult},
    summary::percent,
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::Path,
};

/// Lines of a witness that the terminal shows; the rest is in the report.
const WITNESS_LINES: usize = 40;

/// Of a fault's name and whom it hit, what most take.
const FAULT_WIDTH: usize = 44;
/// Of a proof, what the terminal shows; the report has all.
const PROOF_CHARS: usize = 150;

/// The results as text; `dir` is the run's folder. The last line is the command that repeats the run.
pub fn text(results: &Results, dir: &Path, colour: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, results, dir, colour);
    out
}

/// One workload's result as text, with all its anomalies.
pub fn workload_text(workload: &WorkloadResult, colour: bool) -> String {
    let mut out = String::new();
    let written = write_workload(&mut out, workload, colour).and_then(|()| {
        let anomalies =
            workload.checks.iter().flat_map(|check| check.anomalies.iter().map(move |a| (check, a)));
        anomalies.into_iter().try_for_each(|(check, a)| write_anomaly(&mut out, &workload.name, check, a))
    });
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    out
}

fn write(out: &mut String, results: &Results, dir: &Path, colour: bool) -> fmt::Result {
    for workload in &results.workloads {
        write_workload(out, workload, colour)?;
    }
    write_faults(out, &results.faults)?;
    if !results.checks.is_empty() {
        writeln!(out)?;
    }
    for check in &results.checks {
        write_check(out, check, colour)?;
    }
    for (workload, check, anomaly) in results.anomalies() {
        write_anomaly(out, workload, check, anomaly)?;
    }
    for note in &results.notes {
        writeln!(out, "note: {note}")?;
    }
    let total = results.total();
    writeln!(
        out,
        "\n{}  {} operations ({} ok, {} fail, {} info), {} faults, {} on {}, {:.1} s",
        paint(results.verdict, colour),
        total.total(),
        total.ok,
        total.fail,
        total.info,
        results.faults.iter().filter(|fault| fault.is_proved()).count(),
        results.run.system,
        results.run.cluster,
        results.run.duration_s
    )?;
    let doubtful = |reason: &String| results.doubts.iter().any(|doubt| doubt.sentence == *reason);
    for reason in results.reasons.iter().filter(|reason| !doubtful(reason)) {
        writeln!(out, "  {reason}")?;
    }
    for doubt in &results.doubts {
        writeln!(out, "  {}: {}", doubt.kind, doubt.sentence)?;
    }
    if results.availability.due > 0 {
        let Availability { due, served } = results.availability;
        writeln!(
            out,
            "  available to {} of {due} operations that were due: {}",
            served,
            percent(results.availability.share())
        )?;
    }
    writeln!(out, "\nreport    {}", dir.join("report.html").display())?;
    writeln!(out, "results   {}", dir.join("results.json").display())?;
    for workload in &results.workloads {
        writeln!(out, "history   {}", dir.join(&workload.history).display())?;
    }
    writeln!(out, "repeat    {}", results.run.command)
}

fn write_workload(out: &mut String, workload: &WorkloadResult, colour: bool) -> fmt::Result {
    writeln!(out, "\n{}  {}", workload.name, paint(workload.verdict, colour))?;
    writeln!(
        out,
        "  {:<10}{:>8}{:>8}{:>8}   {:>9}{:>9}{:>9}{:>9} ms",
        "", "ok", "fail", "info", "p50", "p90", "p99", "max"
    )?;
    for (f, counts) in &workload.counts {
        let latency = workload.service.get(f).copied().unwrap_or_default();
        write!(out, "  {f:<10}{:>8}{:>8}{:>8}", counts.ok, counts.fail, counts.info)?;
        write_percentiles(out, latency)?;
    }
    if workload.response.count > 0 {
        write!(out, "  {:<34}", "response, from when due")?;
        write_percentiles(out, workload.response)?;
    }
    if !workload.errors.is_empty() {
        writeln!(out, "  errors: {}", by_count(&workload.errors))?;
    }
    if workload.not_begun > 0 {
        writeln!(out, "  {} operations were due and not begun: all processes were busy", workload.not_begun)?;
    }
    workload.checks.iter().try_for_each(|check| write_check(out, check, colour))
}

fn write_check(out: &mut String, check: &Check, colour: bool) -> fmt::Result {
    writeln!(out, "  {} {} ({} ms)", paint(check.verdict, colour), check.name, check.elapsed_ms)?;
    check.reasons.iter().try_for_each(|reason| writeln!(out, "    {reason}"))
}

fn write_percentiles(out: &mut String, p: Percentiles) -> fmt::Result {
    if p.count == 0 {
        return writeln!(out);
    }
    writeln!(out, "   {:>9.1}{:>9.1}{:>9.1}{:>9.1}", p.p50_ms, p.p90_ms, p.p99_ms, p.max_ms)
}

fn write_faults(out: &mut String, faults: &[FaultResult]) -> fmt::Result {
    if faults.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfaults")?;
    writeln!(
        out,
        "  {:>8} {:>8}  {:<FAULT_WIDTH$} {:>9} {:>9} {:>9}",
        "at", "lasted", "", "served", "outage", "recovery"
    )?;
    let seconds = |s: Option<f64>| s.map_or("-".to_string(), |s| format!("{s:.1} s"));
    for fault in faults {
        let impact = fault.impact;
        writeln!(
            out,
            "  {:>8} {:>8}  {:<FAULT_WIDTH$} {:>9} {:>9} {:>9}",
            seconds(Some(fault.start_s)),
            fault.end_s.map_or("for good".to_string(), |end| format!("{:.1} s", end - fault.start_s)),
            describe(&fault.f, &fault.value),
            percent(impact.and_then(|impact| impact.during.share())),
            seconds(impact.map(|impact| impact.outage_s)),
            seconds(impact.and_then(|impact| impact.recovery_s)),
        )?;
        if !fault.proof.is_null() {
            let proof = plain(&fault.proof);
            let cut = proof.char_indices().nth(PROOF_CHARS).map_or("", |_| " ...");
            writeln!(out, "      proof: {}{cut}", proof.chars().take(PROOF_CHARS).collect::<String>())?;
        }
        for error in &fault.errors {
            writeln!(out, "      ERROR: {error}")?;
        }
    }
    Ok(())
}

fn write_anomaly(out: &mut String, workload: &str, check: &Check, anomaly: &Anomaly) -> fmt::Result {
    writeln!(out, "\nANOMALY {} in {workload}, found by {}", anomaly.kind, check.name)?;
    writeln!(out, "  {}", anomaly.sentence)?;
    let lines: Vec<&str> = anomaly.text.lines().collect();
    for line in lines.iter().take(WITNESS_LINES) {
        writeln!(out, "  {line}")?;
    }
    if lines.len() > WITNESS_LINES {
        writeln!(out, "  ... {} more lines are in the report", lines.len() - WITNESS_LINES)?;
    }
    Ok(())
}

/// The most frequent first.
fn by_count(errors: &BTreeMap<String, u64>) -> String {
    let mut all: Vec<(&String, &u64)> = errors.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let all: Vec<String> = all.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    all.join(", ")
}

/// A verdict, in its colour where colours are wanted.
pub(crate) fn paint(verdict: Conclusion, colour: bool) -> String {
    if !colour {
        return verdict.to_string();
    }
    let code = match verdict {
        Conclusion::Valid => "1;32",
        Conclusion::Unknown => "1;33",
        Conclusion::Anomaly => "1;31",
    };
    format!("\x1b[{code}m{verdict}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::super::results::{Counts, Run};
    use super::*;
    use serde_json::json;

    pub(super) fn sample() -> Results {
        let anomaly = Anomaly {
            kind: "stale-read".into(),
            sentence: "n2 answered 4 after 5 was read".into(),
            text: (0..50).map(|n| format!("line {n}\n")).collect(),
            ..Anomaly::default()
        };
        let check = Check {
            name: "linearizable".into(),
            verdict: Conclusion::Anomaly,
            anomalies: vec![anomaly],
            ..Check::default()
        };
        Results {
            verdict: Conclusion::Anomaly,
            run: Run { command: "assay run --seed 7".into(), ..Run::default() },
            workloads: vec![WorkloadResult {
                name: "register".into(),
                history: "register/history.jsonl".into(),
                verdict: Conclusion::Anomaly,
                checks: vec![check],
                counts: BTreeMap::from([("read".to_string(), Counts { ok: 5, fail: 1, info: 2 })]),
                errors: BTreeMap::from([("deadline".to_string(), 2), ("refused".to_string(), 1)]),
                ..WorkloadResult::default()
            }],
            faults: vec![FaultResult {
                f: "kill".into(),
                value: json!({"nodes": ["n1"]}),
                proof: json!({"probe": "refused"}),
                ..FaultResult::default()
            }],
            ..Results::default()
        }
    }

    #[test]
    fn the_last_line_repeats_the_run_and_the_verdict_is_said() {
        let text = text(&sample(), Path::new("store/x"), false);
        assert!(text.ends_with("repeat    assay run --seed 7\n"), "{text}");
        for say in [
            "\nanomaly  8 operations (5 ok, 1 fail, 2 info), 1 faults",
            "ANOMALY stale-read in register, found by linearizable",
            "... 10 more lines are in the report",
            "errors: 2 deadline, 1 refused",
            "kill [n1]",
            "proof: probe=refused",
            "store/x/register/history.jsonl",
        ] {
            assert!(text.contains(say), "no {say:?} in {text}");
        }
    }

    #[test]
    fn colour_only_where_wanted() {
        assert!(text(&sample(), Path::new("x"), true).contains("\x1b[1;31manomaly"));
        assert!(!text(&sample(), Path::new("x"), false).contains('\x1b'));
    }
}
