//! Everything over time, in rows under one axis: faults, leaders, throughput, latency, operations.

use super::{
    super::{
        progress::describe,
        results::{FaultResult, Results},
        series::Series,
    },
    budget::{FAULTS_MAX, ROLES_MAX},
    chart::{HEIGHT, Line, Scale, chart, label, ticks},
    data::Data,
    roles::Roles,
};
use maud::{Markup, html};

/// All rows; the whole run is in view.
pub(super) fn stack(results: &Results, series: &Series, roles: &Roles, data: &Data) -> Markup {
    let end_s = data.end_s;
    html! {
        section #timeline {
            h2 { "What happened when" }
            div.tools hidden {
                button type="button" data-zoom="in" title="zoom in (+)" { "+" }
                button type="button" data-zoom="out" title="zoom out (-)" { "−" }
                button type="button" data-zoom="left" title="earlier (left arrow)" { "←" }
                button type="button" data-zoom="right" title="later (right arrow)" { "→" }
                button type="button" data-zoom="all" title="the whole run (0)" { "all" }
                output #range {}
                label { "find " input #find type="search" placeholder="k7, deadline, p12" size="12"; }
                output #found {}
            }
            p.note.hint hidden {
                "Drag to move; Ctrl and the wheel, two fingers or the buttons zoom; a click on an operation or a fault tells all of it."
            }
            div #stack tabindex="0" aria-label="the run over time" {
                div.row.axis {
                    div.label { "s" }
                    div.plotcol {
                        @for tick in ticks(end_s) { span.tick style=(left(tick, end_s)) { (label(tick)) } }
                    }
                }
                (fault_rows(&results.faults, end_s))
                @for (node, of_node) in roles { (role_row(node, of_node, end_s)) }
                (charts(results, series, end_s))
                @for (index, workload) in data.workloads.iter().enumerate() {
                    div.row.lanes {
                        div.label { (workload.name) }
                        div.plotcol { canvas data-workload=(index) role="img"
                            aria-label=(format!("operations of {}, a lane for each process", workload.name)) {} }
                    }
                }
            }
            (legend(results, roles))
            @for workload in data.workloads.iter().filter(|workload| workload.shown() < workload.total) {
                p.note {
                    (workload.name) ": " (workload.shown()) " of " (workload.total) " operations are drawn: those of "
                    "witnesses, those near them, those that did not end in ok, and an even share of the others."
                }
            }
            noscript { p.note { "The operations of each process are drawn by a script, which this reader does not run." } }
            aside #pick aria-live="polite" hidden {}
        }
    }
}

/// Where a time lies, when the whole run is in view.
fn left(at_s: f64, end_s: f64) -> String {
    format!("left:{:.3}%", at_s / end_s * 100.0)
}

/// Something that lasts, placed for the whole run; the script moves it when the view changes.
fn lasting(from_s: f64, to_s: f64, end_s: f64) -> (String, String, String) {
    let (from_s, to_s) = (from_s.min(end_s), to_s.min(end_s).max(from_s.min(end_s)));
    let style = format!("{};width:{:.3}%", left(from_s, end_s), (to_s - from_s) / end_s * 100.0);
    (style, format!("{from_s:.3}"), format!("{to_s:.3}"))
}

/// A row for each family of faults.
fn fault_rows(faults: &[FaultResult], end_s: f64) -> Markup {
    let shown = || faults.iter().take(FAULTS_MAX).enumerate();
    let mut families: Vec<&str> = shown().map(|(_, fault)| fault.f.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    html! {
        @for family in families {
            div.row.faults {
                div.label { (family) }
                div.plotcol {
                    @for (index, fault) in shown().filter(|(_, fault)| fault.f == family) {
                        @let (style, from, to) = lasting(fault.start_s, fault.end_s.unwrap_or(end_s), end_s);
                        @let name = describe(&fault.f, &fault.value);
                        a.at.band.vain[!fault.is_proved()] href=(format!("#fault-{index}")) style=(style)
                            data-a=(from) data-b=(to) data-fault=(index) title=(name) { (name) }
                    }
                }
            }
        }
    }
}

fn role_row(node: &str, of_node: &[super::roles::Role], end_s: f64) -> Markup {
    html! {
        div.row.roles {
            div.label { (node) }
            div.plotcol {
                @for role in of_node.iter().take(ROLES_MAX) {
                    @let (style, from, to) = lasting(role.from_s, role.to_s, end_s);
                    @let class = role.class(node);
                    span class={ "at role " (class) } style=(style) data-a=(from) data-b=(to)
                        title=(format!("{:.2} s: {}", role.from_s, role.describe(node))) {
                        @if class == "leads" { (role.term.map(|term| format!("leads, term {term}")).unwrap_or_default()) }
                        @if class == "leaderless" { "no leader" }
                    }
                }
            }
        }
    }
}

/// The faults as bands behind a chart.
fn bands(faults: &[FaultResult], end_s: f64) -> Markup {
    html! {
        @for fault in faults.iter().take(FAULTS_MAX) {
            @let to = fault.end_s.unwrap_or(end_s).min(end_s);
            rect.fault x=(format!("{:.3}", fault.start_s)) y="0" height=(HEIGHT)
                width=(format!("{:.3}", (to - fault.start_s).max(0.001))) {}
        }
    }
}

fn charts(results: &Results, series: &Series, end_s: f64) -> Markup {
    if series.buckets.is_empty() {
        return html! {};
    }
    let per_s = |count: fn(&super::super::Counts) -> u64| -> Vec<Option<f64>> {
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
        Line { name: "p50", class: "ok", values: latency(0) },
        Line { name: "p99", class: "fail", values: latency(1) },
        Line { name: "max", class: "info", values: latency(2) },
    ];
    html! {
        (chart_row("op/s", &throughput, series, Scale::Linear, &results.faults, end_s))
        (chart_row("ms", &latencies, series, Scale::Log, &results.faults, end_s))
    }
}

fn chart_row(
    title: &str,
    lines: &[Line],
    series: &Series,
    scale: Scale,
    faults: &[FaultResult],
    end_s: f64,
) -> Markup {
    let (plot, marks) = chart(lines, series.bucket_s, end_s, scale, &bands(faults, end_s));
    html! {
        div.row.chart {
            div.label { (title) (marks) }
            div.plotcol { (plot) }
        }
        div.row.key {
            div.label {}
            div.plotcol { @for line in lines { (sample(line.class)) (line.name) "  " } }
        }
    }
}

/// A piece of a line, for the legend.
fn sample(class: &str) -> Markup {
    html! { svg.sample viewBox="0 0 30 10" aria-hidden="true" { path class=(class) d="M1 5L29 5" {} } " " }
}

fn legend(results: &Results, roles: &Roles) -> Markup {
    html! {
        p.note.legend {
            @if !results.faults.is_empty() { "Grey bands are faults. " }
            @if !roles.is_empty() {
                "Of a node: a thick bar while it leads, a thin line while it follows, dots while it knows of no leader, "
                "a gap while it does not answer. "
            }
            "Of operations: a full bar ended in ok, a low bar in fail, a hollow one in info (nobody knows); a frame marks "
            "those of a witness. Latency (ms) is that of what ended in ok, from sending."
        }
    }
}
