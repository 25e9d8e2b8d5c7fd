//! A bench's results as one HTML page that needs nothing from elsewhere.

use super::bench_plot::{Band, Line, Scale, banded, heat, label, lines};
use crate::load::{BenchResults, OpSummary, Quantiles, Row, Usage};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(super) const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1060px;margin:2em auto;padding:0 1em;color:#222}\
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:1.8em}svg{width:100%;height:auto}path{fill:none;stroke-width:1.6}\
.a{stroke:#1b6ca8;color:#1b6ca8}.b{stroke:#d1495b;color:#d1495b}.c{stroke:#2e8b57;color:#2e8b57}\
.d{stroke:#8d6cab;color:#8d6cab}.e{stroke:#777;color:#777}.grid{stroke:#ddd}.mark{font-size:11px;fill:#666}\
.heat{fill:#1b6ca8}.band{fill:#d1495b;fill-opacity:.13}.legend span{margin-right:1.2em}table{border-collapse:collapse}td,th{padding:.15em .7em;text-align:right}\
td:first-child,th:first-child{text-align:left}.bad{color:#b00020;font-weight:600}code{background:#f3f3f3;padding:.1em .3em}";

/// The page.
pub fn bench_html(results: &BenchResults) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "bench: " (results.target) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (results.target) }
                p { (results.started) ", " (results.machine.cpu) ", " (results.machine.cores) " cores, Linux " (results.machine.kernel) }
                @for reason in &results.invalid { p.bad { "INVALID: " (reason) } }
                @if results.partial { p.bad { "partial: the run was told to stop before its time" } }
                (numbers(results))
                (strain(results))
                (over_time(results))
                h2 { "Latency by percentile" }
                (curve(results))
                (servers(results))
                h2 { "Settings" }
                table { @for (name, value) in &results.config { tr { td { (name) } td { (value) } } } }
                p { "Again: " code { (results.command) } }
            }
        }
    };
    page.into_string()
}

fn numbers(results: &BenchResults) -> Markup {
    let generator = &results.generator;
    html! {
        p {
            strong { (format!("{:.0}/s", results.per_s)) }
            @match results.target_per_s {
                Some(rate) => { (format!(" of {rate:.0}/s due")) }
                None => { " in a closed loop" }
            }
            (format!(", {} failed, backlog at most {}", results.all.failed, results.backlog_max))
        }
        table {
            tr { th { "ms" } @for name in ["count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"] { th { (name) } } }
            @for (name, op) in &results.ops { (op_rows(name, op)) }
            @if results.ops.len() > 1 { (op_rows("all", &results.all)) }
        }
        @for (name, op) in &results.ops {
            @for (kind, count) in &op.errors { p.bad { (count) " \u{d7} " (name) ": " (kind) } }
        }
        @if let Some(error) = &results.error { p.bad { "last error: " (error) } }
        @if let Some(text) = results.shortfall() { p.bad { (text) } }
        p {
            (format!(
                "Generator: {} client, {} worker(s), {:.2} \u{b5}s of CPU an operation, lag p99 {:.3} ms.",
                generator.client, generator.workers, generator.cpu_us_per_op, generator.lag.p99_ms
            ))
            @if let Some(cpu) = results.server_cpu_us_per_op { (format!(" Servers: {cpu:.1} \u{b5}s an operation.")) }
            @if let Some(share) = results.others_share { (format!(" Others took {:.0} % of the machine.", share * 100.0)) }
        }
    }
}

/// What faults cost, and what the check of the history came to.
fn strain(results: &BenchResults) -> Markup {
    let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.2}"));
    html! {
        @if let Some(check) = &results.check {
            h2 { "Check: " (check.verdict) }
            p { (check.operations) " operations on " (check.keys) " keys were recorded." }
            @for reason in &check.reasons { p.bad { (reason) } }
        }
        @if !results.faults.is_empty() {
            h2 { "Faults" }
            table {
                tr { @for name in ["fault", "from s", "to s", "silent s", "lost operations", "recovery s"] { th { (name) } } }
                @for fault in &results.faults {
                    tr {
                        td title=(fault.what) { (fault.number) " " (fault.fault) }
                        td { (format!("{:.2}", fault.start_s)) }
                        td { (seconds(fault.end_s)) }
                        td { (format!("{:.2}", fault.silence_s)) }
                        td { (format!("{:.0}", fault.lost)) }
                        td { (seconds(fault.recovery_s)) }
                    }
                }
            }
        }
    }
}

fn op_rows(name: &str, op: &OpSummary) -> Markup {
    html! { (quantiles(&format!("{name} response"), &op.response)) (quantiles(&format!("{name} service"), &op.service)) }
}

fn quantiles(name: &str, q: &Quantiles) -> Markup {
    html! {
        tr {
            td { (name) } td { (q.count) }
            @for ms in [q.mean_ms, q.p50_ms, q.p90_ms, q.p99_ms, q.p999_ms, q.p9999_ms, q.max_ms] { td { (format!("{ms:.3}")) } }
        }
    }
}

fn over_time(results: &BenchResults) -> Markup {
    let rows = &results.rows;
    let line = |name, class, value: &dyn Fn(&Row) -> f64| Line {
        name,
        class,
        points: rows.iter().map(|row| (row.t_s + row.length_s / 2.0, value(row))).collect(),
    };
    let seconds = |t| format!("{} s", label(t));
    // Without an outcome there is no time of one.
    let time = |q: &Quantiles, ms: f64| if q.count > 0 { ms } else { f64::NAN };
    let last_s = rows.last().map_or(0.0, |row| row.t_s + row.length_s);
    let bands: Vec<Band<'_>> = results
        .faults
        .iter()
        .map(|fault| Band { name: &fault.fault, from: fault.start_s, to: fault.end_s.unwrap_or(last_s) })
        .collect();
    let cells: Vec<_> = rows
        .iter()
        .flat_map(|row| row.heat.iter().map(move |(bucket, count)| (row, *bucket, *count)))
        .map(|(row, bucket, count)| {
            let ms = |bucket: u32| 2f64.powf(f64::from(bucket) / 4.0) / 1000.0;
            (row.t_s, row.length_s, ms(bucket), ms(bucket + 1), count)
        })
        .collect();
    html! {
        h2 { "Operations per second" }
        (banded(
            &[
                line("succeeded", "a", &|row| row.ok as f64 / row.length_s),
                line("failed", "b", &|row| row.failed as f64 / row.length_s),
                line("backlog", "e", &|row| row.backlog_max as f64),
            ],
            &bands, Scale::Linear, Scale::Linear, seconds,
        ))
        @if !bands.is_empty() { p { "Red bands are faults." } }
        h2 { "Response time, ms" }
        (heat(&cells))
        (banded(
            &[
                line("p50", "a", &|row| time(&row.response, row.response.p50_ms)),
                line("p99", "c", &|row| time(&row.response, row.response.p99_ms)),
                line("max", "b", &|row| time(&row.response, row.response.max_ms)),
                line("service p99", "d", &|row| time(&row.service, row.service.p99_ms)),
            ],
            &bands, Scale::Linear, Scale::Log, seconds,
        ))
    }
}

/// The usual axis: evenly by 1/(1-p).
fn curve(results: &BenchResults) -> Markup {
    let line = |name, class, curve: &[(f64, f64)]| Line {
        name,
        class,
        points: curve.iter().map(|(q, ms)| (1.0 / (1.0 - q).max(1e-9), *ms)).collect(),
    };
    let percentile = |times: f64| format!("{}%", label(100.0 - 100.0 / times));
    lines(
        &[line("response, ms", "a", &results.curve), line("service, ms", "d", &results.service_curve)],
        Scale::Log,
        Scale::Log,
        percentile,
    )
}

fn servers(results: &BenchResults) -> Markup {
    const CLASSES: [&str; 5] = ["a", "b", "c", "d", "e"];
    const SAMPLE_S_MIN: f64 = 0.5;
    let seconds = |t| format!("{} s", label(t));
    let plot = |value: &dyn Fn(&Usage, &Usage) -> f64| {
        let drawn: Vec<Line<'_>> = results
            .servers
            .iter()
            .zip(CLASSES.iter().cycle())
            .map(|((name, seen), class)| Line {
                name,
                class,
                // What is counted in hundredths of a second shows nothing over much less than a second.
                points: seen
                    .windows(2)
                    .filter(|pair| pair[1].t_s - pair[0].t_s > SAMPLE_S_MIN)
                    .map(|pair| (pair[1].t_s, value(&pair[0], &pair[1])))
                    .collect(),
            })
            .collect();
        lines(&drawn, Scale::Linear, Scale::Linear, seconds)
    };
    html! {
        @if !results.servers.is_empty() {
            h2 { "CPU of the servers, cores" }
            (plot(&|before, after| (after.cpu_s - before.cpu_s).max(0.0) / (after.t_s - before.t_s).max(0.001)))
            h2 { "Memory, MiB" }
            (plot(&|_, after| after.memory_mib))
            h2 { "Written to disks, MiB/s" }
            (plot(&|before, after| (after.written_mib - before.written_mib).max(0.0) / (after.t_s - before.t_s).max(0.001)))
            h2 { "Flushes of the log, ms each" }
            (plot(&|before, after| {
                let count = after.fsyncs - before.fsyncs;
                if count > 0.0 { (after.fsync_s - before.fsync_s) * 1000.0 / count } else { 0.0 }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Checked, Outage};

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let mut results = BenchResults { target: "a <b> store".into(), ..BenchResults::default() };
        results.invalid.push("too late".into());
        results.rows.push(Row { length_s: 1.0, ok: 5, heat: vec![(40, 5)], ..Row::default() });
        results.faults.push(Outage { fault: "kill".into(), what: "<n1>".into(), ..Outage::default() });
        results.check = Some(Checked { verdict: "anomaly".into(), ..Checked::default() });
        results.curve = vec![(0.0, 1.0), (0.5, 2.0), (0.99, 30.0)];
        results.servers.insert("n1".into(), vec![Usage::default(), Usage { t_s: 1.0, ..Usage::default() }]);
        let page = bench_html(&results);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(page.contains("a &lt;b&gt; store") && page.contains("INVALID: too late"));
        assert!(page.contains("Check: anomaly") && page.contains("&lt;n1&gt;"));
        assert!(!page.contains("NaN") && !page.contains("src=") && !page.contains("href="), "{page}");
        assert!(page.matches("<svg").count() >= 7);
    }
}
