//! The broken promises, with their witnesses.

use super::{
    super::results::{Anomaly, Check, Results},
    budget::{ANOMALIES_MAX, DRAWINGS_BYTES, WITNESS_CHARS, cut},
};
use maud::{Markup, html};
use std::{fs, path::Path};

pub(super) fn anomalies(results: &Results, dir: &Path) -> Markup {
    let mut bytes = DRAWINGS_BYTES;
    let all: Vec<_> = results.anomalies().collect();
    html! {
        @for (number, (workload, check, anomaly)) in all.iter().enumerate().take(ANOMALIES_MAX) {
            (self::anomaly(number, workload, check, anomaly, dir, &mut bytes))
        }
        @if all.len() > ANOMALIES_MAX {
            details {
                summary { (all.len() - ANOMALIES_MAX) " more anomalies" }
                ul { @for (workload, _, anomaly) in all.iter().skip(ANOMALIES_MAX).take(1000) {
                    li { (anomaly.kind) " in " (workload) ": " (anomaly.sentence) }
                } }
            }
        }
    }
}

fn anomaly(
    number: usize,
    workload: &str,
    check: &Check,
    anomaly: &Anomaly,
    dir: &Path,
    bytes: &mut usize,
) -> Markup {
    html! {
        section.anomaly id=(format!("anomaly-{number}")) {
            h2 { (anomaly.kind) " in " (workload) }
            p.sentence { (anomaly.sentence) }
            p.note {
                "found by " (check.name) @if !check.decided_by.is_empty() { ", " (check.decided_by) }
                @if let Some([from, to]) = anomaly.span_s {
                    ", from " (format!("{from:.3} s to {to:.3} s")) ". "
                    a.show href=(format!("#witness={number}")) { "Show it in the timeline" }
                }
            }
            @if !anomaly.operations.is_empty() {
                p.ops { "Operations: " @for id in &anomaly.operations {
                    a href=(format!("#op={workload}:{id}")) { "#" (id) } " "
                } }
            }
            @if let Some(file) = &anomaly.drawing { (drawing(dir, file, bytes)) }
            @if !anomaly.text.is_empty() { pre { (cut(&anomaly.text, WITNESS_CHARS)) } }
        }
    }
}

/// A witness's drawing, within the page as an image: what it draws comes from the store under test, and an image
/// runs no script whatever is in it.
fn drawing(dir: &Path, file: &Path, bytes: &mut usize) -> Markup {
    let svg = match fs::read(dir.join(file)) {
        Ok(svg) => percent_encode(&svg),
        Err(error) => {
            return html! { p.note { "The drawing " (file.display()) " cannot be read: " (error) } };
        }
    };
    if svg.len() > *bytes {
        return html! { p { "The drawing is large: " a href=(file.display()) { (file.display()) } } };
    }
    *bytes -= svg.len();
    html! {
        div.wide { img.lanes alt="operations of the witness, a lane for each process"
            src=(format!("data:image/svg+xml,{svg}")); }
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
