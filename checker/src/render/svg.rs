//! A witness as a picture: a lane for each process, a bar for each operation, a band for each fault.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::describe::{answer, invocation};
use crate::history::event::ProcessId;
use crate::history::{Operation, Outcome};
use crate::verdict::Witness;

const WIDTH: f64 = 1000.0;
const LABELS: f64 = 110.0;
const LANE: f64 = 46.0;
const TOP: f64 = 34.0;
const BAR: f64 = 18.0;
/// The least width of a bar, so that it can be seen.
const BAR_MIN: f64 = 6.0;

/// Draws a witness as one self-contained SVG element.
///
/// Time runs from left to right by the order of events and not by the clock: what matters is which
/// operations overlap, and a witness may span seconds between two operations of a millisecond each.
pub fn svg(witness: &Witness) -> String {
    let scale = Scale::new(witness);
    let lanes = lanes(&witness.operations);
    let height = TOP + LANE * lanes.len() as f64 + 24.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"ui-monospace, monospace\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    faults(&mut out, witness, &scale, height);
    for (process, lane) in &lanes {
        let y = TOP + LANE * *lane as f64;
        let _ = writeln!(
            out,
            "<line x1=\"{LABELS}\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\" stroke=\"#e5e7eb\"/>\
             <text x=\"8\" y=\"{}\" fill=\"#374151\">{}</text>",
            y + LANE / 2.0,
            escape(&label(&witness.operations, *process)),
        );
    }
    for operation in &witness.operations {
        bar(&mut out, witness, operation, &scale, TOP + LANE * lanes[&operation.process] as f64);
    }
    out.push_str("</svg>\n");
    out
}

/// Positions of events, spread evenly.
struct Scale {
    moments: Vec<u64>,
}

impl Scale {
    fn new(witness: &Witness) -> Scale {
        let mut moments: Vec<u64> = witness
            .operations
            .iter()
            .flat_map(|operation| [Some(operation.invoked.i), operation.ended().map(|at| at.i)])
            .flatten()
            .collect();
        moments.sort_unstable();
        moments.dedup();
        Scale { moments }
    }

    fn x(&self, i: u64) -> f64 {
        let rank = self.moments.partition_point(|moment| *moment < i);
        let exact = self.moments.get(rank) == Some(&i);
        // Between two events for what is none of theirs.
        let rank = if exact { rank as f64 } else { rank as f64 - 0.5 };
        let step = (WIDTH - LABELS - 30.0) / (self.moments.len().max(2) - 1) as f64;
        (LABELS + 15.0 + step * rank).clamp(LABELS, WIDTH)
    }
}

fn lanes(operations: &[Operation]) -> BTreeMap<ProcessId, usize> {
    let mut lanes = BTreeMap::new();
    for operation in operations {
        let next = lanes.len();
        lanes.entry(operation.process).or_insert(next);
    }
    lanes
}

fn label(operations: &[Operation], process: ProcessId) -> String {
    let node = operations.iter().find(|operation| operation.process == process && operation.node.is_some());
    match node.and_then(|operation| operation.node.as_deref()) {
        Some(node) => format!("{process} on {node}"),
        None => format!("process {process}"),
    }
}

fn faults(out: &mut String, witness: &Witness, scale: &Scale, height: f64) {
    for (row, fault) in witness.faults.iter().enumerate() {
        let from = scale.x(fault.start.i);
        let to = fault.end.map_or(WIDTH, |end| scale.x(end.i));
        let _ = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{height}\" fill=\"#fde68a\" \
             fill-opacity=\"0.35\"/><text x=\"{:.1}\" y=\"{}\" fill=\"#92400e\">{} {}</text>",
            (to - from).max(2.0),
            from + 4.0,
            12.0 + 12.0 * (row % 2) as f64,
            fault.number,
            escape(&fault.f),
        );
    }
}

fn bar(out: &mut String, witness: &Witness, operation: &Operation, scale: &Scale, y: f64) {
    let from = scale.x(operation.invoked.i);
    let culprit = witness.culprits.contains(&operation.id);
    let (fill, to) = match (&operation.outcome, operation.ended()) {
        (Outcome::Ok { .. }, Some(at)) => (if culprit { "#dc2626" } else { "#2563eb" }, scale.x(at.i)),
        (Outcome::Fail { .. }, Some(at)) => (if culprit { "#dc2626" } else { "#9ca3af" }, scale.x(at.i)),
        // It may take effect at any time: open to the right.
        (Outcome::Info { .. } | Outcome::Ok { .. } | Outcome::Fail { .. }, _) => {
            (if culprit { "#dc2626" } else { "#d97706" }, WIDTH)
        }
    };
    let width = (to - from).max(BAR_MIN);
    let dashes = if operation.is_info() { " stroke-dasharray=\"4 3\" fill-opacity=\"0.25\"" } else { "" };
    let what = escape(&invocation(operation));
    let answered = escape(&answer(operation));
    // The text of a bar near the right edge ends there.
    let (anchor, text_x) = if from > WIDTH * 0.65 { ("end", WIDTH - 6.0) } else { ("start", from) };
    let _ = writeln!(
        out,
        "<g><title>{} {what} -&gt; {answered}</title>\
         <rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"{fill}\" \
         stroke=\"{fill}\"{dashes}/>\
         <text x=\"{text_x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#111827\">{} {what} -&gt; {answered}</text></g>",
        operation.id,
        y + 6.0,
        y + 6.0 + BAR + 13.0,
        operation.id,
    );
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Control characters are not allowed in XML, not even escaped.
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
