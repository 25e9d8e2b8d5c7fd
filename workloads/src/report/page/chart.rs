//! Lines over time, as SVG that stretches: x is in seconds, so that to zoom is to set the view box.

use maud::{Markup, html};

/// Units of height; the style sheet gives the height on the screen.
pub(super) const HEIGHT: f64 = 100.0;
/// About how many marks an axis has.
const MARKS: f64 = 6.0;

/// One line of a chart: a value for each bucket, where there is one.
pub(super) struct Line {
    pub name: &'static str,
    /// A class of the page's style sheet: it has a dash of its own too.
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

/// The lines, each value in the middle of its bucket, and the marks of the vertical axis.
pub(super) fn chart(
    lines: &[Line],
    bucket_s: f64,
    end_s: f64,
    scale: Scale,
    inner: &Markup,
) -> (Markup, Markup) {
    let y = Axis::over(lines, scale);
    let plot = html! {
        svg.plot viewBox=(format!("0 0 {end_s:.3} {HEIGHT}")) preserveAspectRatio="none" aria-hidden="true" {
            (inner)
            @for mark in y.marks() {
                line.grid x1="0" x2=(format!("{end_s:.3}")) y1=(round(y.at(mark))) y2=(round(y.at(mark))) {}
            }
            @for line in lines { path class=(line.class) d=(path(line, bucket_s, &y)) {} }
        }
    };
    let marks = html! {
        @for mark in y.marks() { span.ymark style=(format!("top:{}%", round(y.at(mark)))) { (label(mark)) } }
    };
    (plot, marks)
}

fn path(line: &Line, bucket_s: f64, y: &Axis) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (index, value) in line.values.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let x = (to_f64(index) + 0.5) * bucket_s;
        let command = if pen_down { 'L' } else { 'M' };
        path.push_str(&format!("{command}{x:.3} {:.1}", y.at(*value)));
        if !pen_down {
            // A lone point has no length; a tiny stroke makes it visible.
            path.push_str("h0.001");
        }
        pen_down = true;
    }
    path
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
        HEIGHT * (1.0 - share)
    }

    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => steps(self.high, MARKS / 2.0),
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

/// Marks of the axis of time.
pub(super) fn ticks(end_s: f64) -> Vec<f64> {
    steps(end_s, MARKS)
}

/// Round numbers from 0 to `end`, about so many of them.
fn steps(end: f64, marks: f64) -> Vec<f64> {
    let raw = end / marks;
    let magnitude = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= raw).unwrap_or(10.0);
    let step = factor * magnitude;
    let mut marks = Vec::new();
    while to_f64(marks.len()) * step <= end {
        marks.push(to_f64(marks.len()) * step);
    }
    marks
}

pub(super) fn label(value: f64) -> String {
    if value >= 1.0 || value == 0.0 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
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
            assert_eq!(ticks(end), want);
        }
        assert_eq!(["0.6", "0.001", "40"], [0.600_000_000_1, 0.001, 40.2].map(label));
    }

    #[test]
    fn a_logarithmic_axis_spans_whole_decades() {
        let line = Line { name: "p50", class: "a", values: vec![Some(0.4), None, Some(250.0)] };
        let axis = Axis::over(&[line], Scale::Log);
        assert_eq!((axis.low, axis.high), (-1.0, 3.0));
        assert_eq!(axis.marks().len(), 5);
        assert_eq!(axis.at(1000.0), 0.0);
        assert_eq!(axis.at(0.0), HEIGHT, "nothing lies below the lowest decade");
    }

    #[test]
    fn a_gap_lifts_the_pen_and_nothing_is_no_number() {
        let line = |values| Line { name: "ok", class: "ok", values };
        let axis = Axis::over(&[line(vec![Some(1.0)])], Scale::Linear);
        let drawn = path(&line(vec![Some(1.0), Some(1.0), None, Some(1.0)]), 1.0, &axis);
        assert_eq!(drawn.matches('M').count(), 2, "{drawn}");
        for scale in [Scale::Linear, Scale::Log] {
            let (plot, marks) = chart(&[line(vec![])], 0.25, 1.0, scale, &html! {});
            let empty = plot.into_string() + &marks.into_string();
            assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
        }
    }
}
