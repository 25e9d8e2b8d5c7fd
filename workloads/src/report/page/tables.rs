//! Workloads, checks, faults and nodes, as tables.

use super::{
    super::{
        progress::{describe, plain},
        results::{Check, Conclusion, Results, WorkloadResult},
        summary::percent,
    },
    budget::{FAULTS_MAX, cut},
    logs::tail,
};
use maud::{Markup, html};
use std::path::Path;

/// A proof may hold counters of every node: the start of it tells enough, and `results.json` has all.
const PROOF_CHARS: usize = 300;

pub(super) fn workloads(results: &Results) -> Markup {
    html! {
        section #workloads {
            h2 { "Workloads and checks" }
            @for workload in &results.workloads { (self::workload(workload)) }
            @if !results.checks.is_empty() { h3 { "The run as a whole" } (checks(&results.checks)) }
        }
    }
}

fn workload(workload: &WorkloadResult) -> Markup {
    html! {
        h3 { (workload.name) " " (badge(workload.verdict)) }
        div.wide { table {
            tr { th { "f" } th.n { "ok" } th.n { "fail" } th.n { "info" } th.n { "p50 ms" } th.n { "p90" } th.n { "p99" } th.n { "p99.9" } th.n { "max" } }
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
        } }
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
        div.wide { table {
            tr { th { "check" } th { "verdict" } th { "decided by" } th { "looked at" } th.n { "ms" } }
            @for check in checks {
                tr {
                    td { (check.name) }
                    td { (badge(check.verdict))
                        @for reason in &check.reasons { p { (reason) } }
                        @if check.anomalies.len() > 1 { p { (check.anomalies.len()) " anomalies" } }
                    }
                    td { (check.decided_by) }
                    td { @for (what, count) in &check.counts { span.count { (what) " " (count) } " " } }
                    td.n { (check.elapsed_ms) }
                }
            }
        } }
    }
}

pub(super) fn badge(verdict: Conclusion) -> Markup {
    html! { span class={ "badge " (verdict) } { (mark(verdict)) " " (verdict) } }
}

/// Tells verdicts apart without colour.
pub(super) fn mark(verdict: Conclusion) -> &'static str {
    match verdict {
        Conclusion::Valid => "✓",
        Conclusion::Unknown => "?",
        Conclusion::Anomaly => "✗",
    }
}

pub(super) fn faults(results: &Results) -> Markup {
    if results.faults.is_empty() {
        return html! {};
    }
    let seconds = |s: f64| format!("{s:.2}");
    html! {
        section #faults {
            h2 { "Faults" }
            p.note {
                "Served: answers that came meanwhile, of the operations that were due, as clients spread over all members "
                "saw it. Outage: the longest time in which nobody at all was served, until the next fault. "
                "Recovery: from the fault's undoing until 90 % of a second's operations were served."
            }
            div.wide { table.faults {
                tr { th.n { "at s" } th.n { "lasted s" } th { "fault" } th.n { "served" } th.n { "outage s" } th.n { "recovery s" } th { "proof that it took effect" } }
                @for (index, fault) in results.faults.iter().enumerate().take(FAULTS_MAX) {
                    @let impact = fault.impact;
                    tr id=(format!("fault-{index}")) {
                        td.n { (seconds(fault.start_s)) }
                        td.n { @match fault.end_s { Some(end) => (seconds(end - fault.start_s)), None => "not undone" } }
                        td { a.show href=(format!("#show-fault={index}")) { (describe(&fault.f, &fault.value)) } }
                        td.n { (percent(impact.and_then(|impact| impact.during.share()))) }
                        td.n { @if let Some(impact) = impact { (seconds(impact.outage_s)) } }
                        td.n { @if let Some(impact) = impact { (impact.recovery_s.map_or("not before the next".into(), seconds)) } }
                        td.proof {
                            (cut(&plain(&fault.proof), PROOF_CHARS))
                            @if fault.proof.is_null() { strong { "none: nothing shows that it took effect" } }
                            @for error in &fault.errors { p { strong { "ERROR " } (error) } }
                        }
                    }
                }
            } }
            @if results.faults.len() > FAULTS_MAX {
                p.note { (results.faults.len() - FAULTS_MAX) " more are in results.json." }
            }
        }
    }
}

pub(super) fn nodes(results: &Results, dir: &Path) -> Markup {
    html! {
        section #logs {
            h2 { "Nodes and their logs" }
            div #loglines hidden {}
            @for node in &results.nodes {
                @match &node.log {
                    Some(log) => details {
                        summary { (node.name) " at " (node.url) ", the end of " a href=(log.display()) { (log.display()) } }
                        pre { (tail(&dir.join(log))) }
                    },
                    None => p { (node.name) " at " (node.url) },
                }
            }
        }
    }
}
