//! Plots of a bench, as SVG inside the page.

use maud::{Markup, html};

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;

/// How a value becomes a place on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By decades.
    Log,
}

/// A line: its name, its class in the style sheet, and its points.
pub(super) struct Line<'a> {
    pub name: &'a str,
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// From the smallest to the largest value of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis that shows all of `values`; where there are none, any.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: Scale) -> Axis {
        let shown = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in shown {
            (least, most) = (least.min(value), most.max(value));
        }
        match scale {
            Scale::Linear => Axis { scale, from: 0.0, to: if most > 0.0 { most * 1.05 } else { 1.0 } },
            Scale::Log if most > 0.0 => {
                let from = 10f64.powf(least.log10().floor());
                Axis { scale, from, to: 10f64.powf(most.log10().ceil()).max(from * 10.0) }
            }
            Scale::Log => Axis { scale, from: 0.1, to: 10.0 },
        }
    }

    /// Where a value is, 0 to 1.
    fn at(self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(self.from) / self.from).log10() / (self.to / self.from).log10(),
        };
        share.clamp(0.0, 1.0)
    }

    fn marks(self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.to - self.from) / 6.0;
                let decade = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * decade).into_iter().find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                let count = ((self.to - self.from) / step) as usize;
                (0..=count).map(|n| self.from + n as f64 * step).collect()
            }
            Scale::Log => {
                let decades = (self.to / self.from).log10().round() as i32;
                (0..=decades).map(|n| self.from * 10f64.powi(n)).collect()
            }
        }
    }
}

fn x(share: f64) -> f64 {
    round(LEFT + share * (WIDTH - LEFT - RIGHT))
}

fn y(share: f64) -> f64 {
    round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A number in few characters.
pub(super) fn label(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", value / 1e6)
    } else if value >= 10_000.0 {
        format!("{}k", value / 1000.0)
    } else {
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

/// Axes with what `inside` draws between them; `mark` names a place on the horizontal one.
fn frame(across: Axis, up: Axis, mark: impl Fn(f64) -> String, inside: Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" {
            (inside)
            @for value in up.marks() {
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(up.at(value))) y2=(y(up.at(value))) {}
                text.mark x=(LEFT - 6.0) y=(y(up.at(value)) + 4.0) text-anchor="end" { (label(value)) }
            }
            @for value in across.marks() {
                @let at = across.at(value);
                text.mark x=(x(at)) y=(HEIGHT - 8.0) text-anchor=(if at > 0.97 { "end" } else { "middle" }) { (mark(value)) }
            }
        }
    }
}

/// What went on from one place of the horizontal axis to another, drawn behind all else.
pub(super) struct Band<'a> {
    pub name: &'a str,
    pub from: f64,
    pub to: f64,
}

/// Lines over a common axis. A point without a value is a gap.
pub(super) fn lines(lines: &[Line<'_>], across: Scale, up: Scale, mark: impl Fn(f64) -> String) -> Markup {
    banded(lines, &[], across, up, mark)
}

/// Lines with bands behind them.
pub(super) fn banded(
    lines: &[Line<'_>],
    bands: &[Band<'_>],
    across: Scale,
    up: Scale,
    mark: impl Fn(f64) -> String,
) -> Markup {
    let points = || lines.iter().flat_map(|line| &line.points);
    let across = Axis::over(points().map(|point| point.0), across);
    let up = Axis::over(points().map(|point| point.1), up);
    let path = |points: &[(f64, f64)]| {
        let (mut text, mut letter) = (String::new(), 'M');
        for point in points {
            if !point.1.is_finite() {
                letter = 'M';
                continue;
            }
            text.push_str(&format!("{letter}{} {} ", x(across.at(point.0)), y(up.at(point.1))));
            if letter == 'M' {
                // One point between two gaps shows too.
                text.push_str("h0.1 ");
            }
            letter = 'L';
        }
        text
    };
    let inside = html! {
        @for band in bands {
            @let (left, right) = (x(across.at(band.from)), x(across.at(band.to)));
            rect.band x=(left) y=(TOP) width=(round(right - left).max(1.0)) height=(HEIGHT - TOP - BOTTOM) {
                title { (band.name) " from " (label(band.from)) " to " (label(band.to)) " s" }
            }
        }
        @for line in lines { path class=(line.class) d=(path(&line.points)) { title { (line.name) } } }
    };
    html! {
        (frame(across, up, mark, inside))
        p.legend {
            @for line in lines { span class=(line.class) { "\u{2014} " (line.name) " " } }
        }
    }
}

/// A heat map: each cell is a time, its length, a value from and to, and a count. Darker is more.
pub(super) fn heat(cells: &[(f64, f64, f64, f64, u64)]) -> Markup {
    let across = Axis::over(cells.iter().map(|cell| cell.0 + cell.1), Scale::Linear);
    let up = Axis::over(cells.iter().flat_map(|cell| [cell.2, cell.3]), Scale::Log);
    let most = cells.iter().map(|cell| cell.4).max().unwrap_or(1).max(1) as f64;
    let inside = html! {
        @for &(t, length, from, to, count) in cells {
            @let (left, right) = (x(across.at(t)), x(across.at(t + length)));
            @let (top, bottom) = (y(up.at(to)), y(up.at(from)));
            rect.heat x=(left) y=(top) width=(round(right - left).max(0.5)) height=(round(bottom - top).max(0.5))
                fill-opacity=(format!("{:.2}", 0.08 + 0.92 * (count as f64).ln_1p() / most.ln_1p())) {
                title { (count) " from " (label(from)) " to " (label(to)) " ms at " (label(t)) " s" }
            }
        }
    };
    frame(across, up, |t| format!("{} s", label(t)), inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_of_nothing_and_of_something_hold_no_nonsense() {
        let something = vec![(0.0, 1.0), (1.0, 2000.0), (2.0, f64::NAN)];
        for points in [Vec::new(), vec![(0.0, 0.0)], something] {
            for scale in [Scale::Linear, Scale::Log] {
                let line = Line { name: "<b>", class: "a", points: points.clone() };
                let drawn = lines(&[line], Scale::Linear, scale, label).into_string();
                assert!(
                    !drawn.contains("NaN") && !drawn.contains("inf") && !drawn.contains("<b>"),
                    "{drawn}"
                );
            }
        }
        let gap =
            Line { name: "g", class: "a", points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 1.0)] };
        let band = Band { name: "kill", from: 0.5, to: 2.5 };
        let drawn = banded(&[gap], &[band], Scale::Linear, Scale::Linear, label).into_string();
        assert_eq!((drawn.matches('M').count(), drawn.matches(" L").count()), (2, 1), "{drawn}");
        assert!(drawn.contains("kill from 0.5 to 2.5 s"), "{drawn}");
        let drawn = heat(&[(0.0, 1.0, 0.1, 0.2, 5), (1.0, 1.0, 10.0, 20.0, 1)]).into_string();
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert!(!heat(&[]).into_string().contains("NaN"));
    }
}
