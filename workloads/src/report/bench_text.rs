//! A bench's results as text.

use crate::load::{BenchResults, OpSummary, Outage, Quantiles, Usage};
use std::{fmt::Write, path::Path};

/// The summary that ends `assay bench`.
pub fn bench_text(results: &BenchResults, dir: Option<&Path>, colour: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, results, dir, colour);
    out
}

fn write(
    out: &mut String,
    results: &BenchResults,
    dir: Option<&Path>,
    colour: bool,
) -> Result<(), std::fmt::Error> {
    let (bold, red, plain) = if colour { ("\x1b[1m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    writeln!(out, "{bold}{}{plain}  {}", results.target, results.started)?;
    let target = results.target_per_s.map_or("closed loop".to_owned(), |rate| format!("{rate:.0}/s due"));
    writeln!(
        out,
        "{bold}{:.0}/s{plain} over {:.0} s ({target}), {} failed, backlog at most {}",
        results.per_s, results.measured_s, results.all.failed, results.backlog_max
    )?;
    writeln!(
        out,
        "\n{:<26}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "ms", "count", "mean", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for (name, op) in &results.ops {
        write_op(out, name, op)?;
    }
    if results.ops.len() > 1 {
        write_op(out, "all", &results.all)?;
    }
    for (name, op) in &results.ops {
        for (kind, count) in &op.errors {
            writeln!(out, "{red}{count} x {name}: {kind}{plain}")?;
        }
    }
    if let Some(error) = &results.error {
        writeln!(out, "{red}last error: {error}{plain}")?;
    }
    if let Some(text) = results.shortfall() {
        writeln!(out, "{red}{text}{plain}")?;
    }
    let generator = &results.generator;
    writeln!(
        out,
        "\ngenerator  {} client, {} worker(s), {:.2} us CPU per operation, busy {:.0} % at most, {:.0} % of the \
         machine; lag p50 {:.3} ms, p99 {:.3} ms",
        generator.client,
        generator.workers,
        generator.cpu_us_per_op,
        generator.busy_max * 100.0,
        generator.machine_share * 100.0,
        generator.lag.p50_ms,
        generator.lag.p99_ms
    )?;
    if let Some(cpu) = results.server_cpu_us_per_op {
        writeln!(out, "servers    {cpu:.1} us CPU per operation")?;
    }
    for (name, seen) in &results.servers {
        let Some(last) = seen.last() else { continue };
        let fsyncs = Usage::grown(seen, |usage| usage.fsyncs);
        let fsync_s = Usage::grown(seen, |usage| usage.fsync_s);
        let each_ms = if fsyncs > 0.0 { fsync_s * 1000.0 / fsyncs } else { 0.0 };
        writeln!(
            out,
            "  {name:<9} CPU {:.2} s, memory {:.0} MiB, written {:.0} MiB, {fsyncs:.0} fsyncs of {each_ms:.2} ms, \
             data {:.0} MiB",
            Usage::grown(seen, |usage| usage.cpu_s),
            last.memory_mib,
            Usage::grown(seen, |usage| usage.written_mib),
            last.data_mib
        )?;
    }
    if let Some(share) = results.others_share {
        writeln!(out, "others     took {:.0} % of the machine's CPU", share * 100.0)?;
    }
    if results.compactions > 0 {
        writeln!(out, "compacted  {} times", results.compactions)?;
    }
    write_faults(out, &results.faults)?;
    if let Some(check) = &results.check {
        writeln!(
            out,
            "\ncheck      {bold}{}{plain}  {} operations on {} keys",
            check.verdict, check.operations, check.keys
        )?;
        for reason in &check.reasons {
            writeln!(out, "  {red}{reason}{plain}")?;
        }
    }
    for reason in &results.invalid {
        writeln!(out, "{red}INVALID{plain}    {reason}")?;
    }
    if results.partial {
        writeln!(out, "{red}partial{plain}    the run was told to stop before its time")?;
    }
    if let Some(dir) = dir {
        writeln!(out, "\nreport     {}", dir.join("report.html").display())?;
    }
    writeln!(out, "\nagain      {}", results.command)
}

fn write_faults(out: &mut String, faults: &[Outage]) -> Result<(), std::fmt::Error> {
    if faults.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<26}{:>9}{:>9}{:>12}{:>12}{:>14}",
        "fault", "from s", "to s", "silent s", "lost ops", "recovery s"
    )?;
    let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.2}"));
    for fault in faults {
        let Outage { fault: name, number, what, start_s, end_s, lost, silence_s, recovery_s } = fault;
        writeln!(
            out,
            "{:<26}{start_s:>9.2}{:>9}{silence_s:>12.2}{lost:>12.0}{:>14}  {what}",
            format!("{number} {name}"),
            seconds(*end_s),
            seconds(*recovery_s)
        )?;
    }
    Ok(())
}

fn write_op(out: &mut String, name: &str, op: &OpSummary) -> std::fmt::Result {
    write_quantiles(out, &format!("{name} response"), &op.response)?;
    write_quantiles(out, &format!("{name} service"), &op.service)
}

fn write_quantiles(out: &mut String, name: &str, q: &Quantiles) -> std::fmt::Result {
    write!(out, "{name:<26}{:>10}", q.count)?;
    for ms in [q.mean_ms, q.p50_ms, q.p90_ms, q.p99_ms, q.p999_ms, q.max_ms] {
        write!(out, "{:>9}", short(ms))?;
    }
    writeln!(out)
}

/// A time with three digits that say something.
fn short(ms: f64) -> String {
    if ms >= 100.0 {
        format!("{ms:.0}")
    } else if ms >= 10.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_said() {
        let mut results = BenchResults { partial: true, command: "assay bench".into(), ..Default::default() };
        results.invalid.push("the generator was late".into());
        results.all.failed = 3;
        let mut op = OpSummary::default();
        op.errors.insert("unavailable".into(), 3);
        results.ops.insert("put".into(), op);
        let text = bench_text(&results, None, false);
        for say in [
            "INVALID",
            "was late",
            "partial",
            "3 x put: unavailable",
            "closed loop",
            "again      assay bench",
        ] {
            assert!(text.contains(say), "no `{say}` in {text}");
        }
        assert!(!text.contains('\x1b'));
    }
}
