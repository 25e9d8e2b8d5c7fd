//! The page of a search for an objective: latency against rate.

use super::{
    bench_page::STYLE,
    bench_plot::{Line, Scale, label, lines},
};
use crate::load::{Found, Machine, Probe};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What a search was made of.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// What was driven.
    pub target: &'a str,
    /// The objective.
    pub slo: &'a str,
    /// The command that repeats the search.
    pub command: &'a str,
    /// Where it was made.
    pub machine: &'a Machine,
    /// What it found.
    pub found: &'a Found,
}

/// The page.
pub fn curve_html(search: &Search<'_>) -> String {
    let mut probes: Vec<&Probe> = search.found.probes.iter().collect();
    probes.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "bench: " (search.target) ": " (search.slo) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (search.target) ": " (search.slo) }
                p { (search.machine.cpu) ", " (search.machine.cores) " cores, Linux " (search.machine.kernel) }
                p { strong { (verdict(search)) } }
                @for doubt in search.found.doubts() { p.bad { "INVALID: what bounds the rate may not be the server: " (doubt) } }
                h2 { "Response time against rate, ms" }
                (latencies(&probes))
                h2 { "Done against due, per second" }
                (done(&probes))
                h2 { "All that was tried" }
                (table(&probes))
                p { "Again: " code { (search.command) } }
            }
        }
    };
    page.into_string()
}

fn verdict(search: &Search<'_>) -> String {
    let rate = |rate: Option<f64>| {
        rate.map_or_else(|| "nothing that was tried".to_owned(), |rate| format!("{rate:.0}/s"))
    };
    match search.found.rate {
        Some(_) => {
            format!("{} keeps it, {} breaks it", rate(search.found.rate), rate(search.found.broken_at))
        }
        None => format!("No rate keeps it; {} breaks it", rate(search.found.broken_at)),
    }
}

fn per_s(rate: f64) -> String {
    format!("{}/s", label(rate))
}

fn latencies(probes: &[&Probe]) -> Markup {
    let line = |name, class, value: fn(&Probe) -> f64| Line {
        name,
        class,
        points: probes.iter().map(|probe| (probe.rate, value(probe))).collect(),
    };
    lines(
        &[
            line("p50", "a", |probe| probe.response.p50_ms),
            line("p99", "c", |probe| probe.response.p99_ms),
            line("p99.9", "d", |probe| probe.response.p999_ms),
            line("max", "b", |probe| probe.response.max_ms),
        ],
        Scale::Linear,
        Scale::Log,
        per_s,
    )
}

fn done(probes: &[&Probe]) -> Markup {
    let line = |name, class, value: fn(&Probe) -> f64| Line {
        name,
        class,
        points: probes.iter().map(|probe| (probe.rate, value(probe))).collect(),
    };
    let drawn = [line("done", "a", |probe| probe.per_s), line("due", "e", |probe| probe.rate)];
    lines(&drawn, Scale::Linear, Scale::Linear, per_s)
}

fn table(probes: &[&Probe]) -> Markup {
    html! {
        table {
            tr { @for name in ["due /s", "done /s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "errors", "objective"] { th { (name) } } }
            @for probe in probes {
                @let q = &probe.response;
                tr {
                    td { (format!("{:.0}", probe.rate)) }
                    td { (format!("{:.0}", probe.per_s)) }
                    @for ms in [q.p50_ms, q.p99_ms, q.p999_ms, q.max_ms] { td { (format!("{ms:.2}")) } }
                    td { (format!("{:.2} %", probe.errors * 100.0)) }
                    td { @if probe.kept { "kept" } @else { "broken" } @if !probe.invalid.is_empty() { ", INVALID" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Quantiles;

    #[test]
    fn the_page_shows_every_probe_and_the_bracket() {
        let probe = |rate, kept| Probe {
            rate,
            per_s: rate,
            kept,
            response: Quantiles { count: 1, p50_ms: 1.0, p99_ms: 5.0, ..Quantiles::default() },
            ..Probe::default()
        };
        let found = Found {
            rate: Some(2000.0),
            broken_at: Some(2040.0),
            probes: vec![probe(2000.0, true), probe(2040.0, false)],
        };
        let machine = Machine::default();
        let search = Search {
            target: "a <store>",
            slo: "p99<10ms",
            command: "assay bench",
            machine: &machine,
            found: &found,
        };
        let page = curve_html(&search);
        assert!(page.contains("2000/s keeps it, 2040/s breaks it") && page.contains("a &lt;store&gt;"));
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(!page.contains("NaN") && !page.contains("src="));
        let none = Found::default();
        assert!(curve_html(&Search { found: &none, ..search }).contains("No rate keeps it"));
    }
}
