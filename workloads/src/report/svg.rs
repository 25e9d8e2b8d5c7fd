//! Charts over time, as SVG inside the page: values in buckets, faults as bands behind them.

use super::{progress::describe, results::FaultResult};
use maud::{Markup, html};

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;
/// About how many marks an axis has.
const MARKS: f64 = 6.0;

/// One line of a chart: a value for each bucket, where there is one.
pub(super) struct Line {
    pub name: &'static str,
    /// A class of the page's style sheet.
    pub class: &'static str,
    pub values: Vec<Option<f64>>,
}

/// How values map to heights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Decades, from the one below the smallest value.
    Log,
}

/// A chart of `lines` over time, each value in the middle of its bucket.
pub(super) fn chart(
    lines: &[Line],
    bucket_s: f64,
    faults: &[FaultResult],
    scale: Scale,
    unit: &str,
) -> Markup {
    let buckets = lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let end_s = (to_f64(buckets) * bucket_s).max(bucket_s);
    let y = Axis::over(lines, scale);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" {
            @for fault in faults { (band(fault, end_s)) }
            @for mark in y.marks() {
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(y.at(mark))) y2=(round(y.at(mark))) {}
                text.mark x=(LEFT - 6.0) y=(round(y.at(mark) + 4.0)) text-anchor="end" { (label(mark)) }
            }
            @for mark in steps(end_s) {
                text.mark x=(round(x_at(mark, end_s))) y=(HEIGHT - 6.0) text-anchor="middle" { (label(mark)) "s" }
            }
            @for line in lines {
                path class=(line.class) d=(path(line, bucket_s, end_s, &y)) {}
            }
        }
        p.legend {
            span { (unit) }
            @for line in lines { span class=(line.class) { (line.name) } " " }
            @for f in kinds(faults) { span class={ "fault " (fault_class(f)) } { (f) } " " }
        }
    }
}

fn band(fault: &FaultResult, end_s: f64) -> Markup {
    let from = x_at(fault.start_s.min(end_s), end_s);
    let to = x_at(fault.end_s.unwrap_or(end_s).min(end_s), end_s);
    html! {
        rect class={ "fault " (fault_class(&fault.f)) } x=(round(from)) y=(TOP) width=(round((to - from).max(1.0)))
            height=(HEIGHT - TOP - BOTTOM) {
            title { (describe(&fault.f, &fault.value)) }
        }
    }
}

/// The part of a fault's name that tells its kind: `kill` of `kill:leader`.
fn kind(f: &str) -> &str {
    f.split([':', '-', ' ']).next().unwrap_or(f)
}

fn kinds(faults: &[FaultResult]) -> Vec<&str> {
    let mut kinds: Vec<&str> = faults.iter().map(|fault| kind(&fault.f)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Kinds that the style sheet knows have colours of their own.
fn fault_class(f: &str) -> &'static str {
    match kind(f) {
        "kill" => "kill",
        "pause" => "pause",
        "partition" => "partition",
        _ => "other",
    }
}

fn path(line: &Line, bucket_s: f64, end_s: f64, y: &Axis) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (index, value) in line.values.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let x = x_at((to_f64(index) + 0.5) * bucket_s, end_s);
        let command = if pen_down { 'L' } else { 'M' };
        path.push_str(&format!("{command}{:.1} {:.1}", x, y.at(*value)));
        if !pen_down {
            // A lone point has no length; a tiny stroke makes it visible.
            path.push_str("h0.1");
        }
        pen_down = true;
    }
    path
}

fn x_at(s: f64, end_s: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * s / end_s
}

/// A vertical axis.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn over(lines: &[Line], scale: Scale) -> Axis {
        let values = || lines.iter().flat_map(|line| line.values.iter().flatten().copied());
        let high = values().fold(f64::MIN, f64::max);
        match scale {
            Scale::Linear => Axis { scale, low: 0.0, high: if high > 0.0 { high * 1.05 } else { 1.0 } },
            Scale::Log => {
                let low = values().filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
                let (low, high) = if low <= high { (low, high) } else { (1.0, 10.0) };
                let (low, high) = (low.log10().floor(), high.log10().ceil());
                Axis { scale, low, high: high.max(low + 1.0) }
            }
        }
    }

    fn at(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(10f64.powf(self.low)).log10(),
        };
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => steps(self.high),
            Scale::Log => {
                let mut marks = Vec::new();
                let mut exponent = self.low;
                while exponent <= self.high {
                    marks.push(10f64.powf(exponent));
                    exponent += 1.0;
                }
                marks
            }
        }
    }
}

/// Round numbers from 0 to `end`, about [`MARKS`] of them.
fn steps(end: f64) -> Vec<f64> {
    let raw = end / MARKS;
    let magnitude = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= raw).unwrap_or(10.0);
    let step = factor * magnitude;
    let mut marks = Vec::new();
    while to_f64(marks.len()) * step <= end {
        marks.push(to_f64(marks.len()) * step);
    }
    marks
}

fn label(value: f64) -> String {
    if value >= 1.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value}") }
}

fn round(value: f64) -> String {
    format!("{value:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "counts of buckets and marks")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        for (end, want) in [
            (25.0, vec![0.0, 5.0, 10.0, 15.0, 20.0, 25.0]),
            (1.0, vec![0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]),
            (430.0, vec![0.0, 100.0, 200.0, 300.0, 400.0]),
        ] {
            assert_eq!(steps(end), want);
        }
    }

    #[test]
    fn a_logarithmic_axis_spans_whole_decades() {
        let line = Line { name: "p50", class: "a", values: vec![Some(0.4), None, Some(250.0)] };
        let axis = Axis::over(&[line], Scale::Log);
        assert_eq!((axis.low, axis.high), (-1.0, 3.0));
        assert_eq!(axis.marks().len(), 5);
        assert_eq!(axis.at(1000.0), TOP);
        assert_eq!(axis.at(0.0), HEIGHT - BOTTOM, "nothing lies below the lowest decade");
    }

    #[test]
    fn a_gap_lifts_the_pen_and_nothing_is_no_number() {
        let line = |values| Line { name: "ok", class: "ok", values };
        let axis = Axis::over(&[line(vec![Some(1.0)])], Scale::Linear);
        let drawn = path(&line(vec![Some(1.0), Some(1.0), None, Some(1.0)]), 1.0, 4.0, &axis);
        assert_eq!(drawn.matches('M').count(), 2, "{drawn}");
        for scale in [Scale::Linear, Scale::Log] {
            let empty = chart(&[line(vec![])], 0.25, &[], scale, "ms").into_string();
            assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
        }
    }

    #[test]
    fn what_a_fault_says_is_escaped() {
        let fault = FaultResult { f: "kill".into(), value: "<script>".into(), ..FaultResult::default() };
        let drawn = chart(&[], 1.0, &[fault], Scale::Linear, "").into_string();
        assert!(drawn.contains("&lt;script&gt;") && !drawn.contains("<script"), "{drawn}");
    }
}
