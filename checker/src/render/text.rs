//! Reports and anomalies as plain text for a terminal.

use std::fmt::Write as _;

use super::describe::{line, moment};
use crate::check::CheckReport;
use crate::history::Fault;
use crate::isolation::levels::Levels;
use crate::verdict::{Anomaly, Verdict};

/// Operations of one witness that are printed.
const LINES_MAX: usize = 24;

/// A whole report: a line for each check, then its anomalies and doubts.
pub fn report(report: &CheckReport) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        let _ = writeln!(text, "problem: {problem}");
    }
    for result in &report.results {
        let counts: Vec<String> =
            result.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(
            text,
            "{:<14} {:<8} by {}, {:.1} ms{}{}",
            result.check,
            result.verdict.name(),
            result.decided_by,
            result.elapsed.as_secs_f64() * 1e3,
            if counts.is_empty() { "" } else { ", " },
            counts.join(", ")
        );
        if let Some(levels) = result.levels.as_ref().filter(|levels| !levels.broken.is_empty()) {
            let _ = writeln!(text, "  {}", describe_levels(levels));
        }
        match &result.verdict {
            Verdict::Valid => {}
            Verdict::Unknown(reasons) => {
                for why in reasons {
                    let _ = writeln!(text, "  unknown: {why}");
                }
            }
            Verdict::Anomaly(anomalies) => {
                for found in anomalies {
                    text.push_str(&anomaly(found));
                }
            }
        }
    }
    let _ = writeln!(text, "verdict: {}", report.verdict.name());
    text
}

/// `not read-committed, and so not ...; at most ...`
pub fn describe_levels(levels: &Levels) -> String {
    let mut text = format!("not {}", levels.broken.join(", not "));
    if !levels.also_broken.is_empty() {
        let _ = write!(text, "; and so not {}", levels.also_broken.join(", "));
    }
    match levels.possible.as_slice() {
        [] => text.push_str("; no level is left"),
        possible => {
            let _ = write!(text, "; nothing speaks against {}", possible.join(", "));
        }
    }
    text
}

/// One anomaly: its sentence, the operations, the argument.
pub fn anomaly(anomaly: &Anomaly) -> String {
    let Anomaly { kind, sentence, witness } = anomaly;
    let mut text = format!("  {kind}: {sentence}\n");
    for operation in witness.operations.iter().take(LINES_MAX) {
        let mark = if witness.culprits.contains(&operation.id) { '>' } else { ' ' };
        let _ = writeln!(text, "  {mark} {}", line(operation));
    }
    if witness.operations.len() > LINES_MAX {
        let _ = writeln!(text, "    and {} more", witness.operations.len() - LINES_MAX);
    }
    for step in &witness.because {
        let _ = writeln!(text, "    {step}");
    }
    if !witness.legal_prefix.is_empty() {
        let order: Vec<String> = witness.legal_prefix.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "    a longest legal order: {}", order.join(", "));
    }
    for state in &witness.states {
        let _ = writeln!(text, "    possible then: {state}");
    }
    for fault in &witness.faults {
        let _ = writeln!(text, "    under {}", fault_line(fault));
    }
    text
}

fn fault_line(fault: &Fault) -> String {
    let from = moment(fault.start.t);
    let to = fault.end.map_or("the end".to_owned(), |end| moment(end.t));
    let target = if fault.value.is_null() { String::new() } else { format!(" {}", fault.value) };
    format!("fault {} `{}`{target} from {from} to {to}", fault.number, fault.f)
}
