//! A bench while it goes on, redrawn in place on a terminal.

use crate::load::Row;
use std::{collections::VecDeque, fmt::Write as _};

/// Intervals that are drawn.
const WIDTH: usize = 60;
/// From nothing to the most.
const BARS: [char; 9] =
    [' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];

/// What is drawn of an interval.
type Value = fn(&Row) -> f64;

/// What was drawn last, and what is drawn.
#[derive(Debug, Default)]
pub struct Dashboard {
    rows: VecDeque<Row>,
    /// Lines on the terminal, which the next drawing overwrites.
    lines: usize,
}

impl Dashboard {
    /// Takes an interval in, and gives what is to be written to the terminal.
    pub fn draw(&mut self, row: &Row) -> String {
        if self.rows.len() == WIDTH {
            self.rows.pop_front();
        }
        self.rows.push_back(row.clone());
        let text = self.text(row);
        let mut out = String::new();
        if self.lines > 0 {
            // Up to where the last drawing began, and everything below is gone.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.lines);
        }
        self.lines = text.lines().count();
        out.push_str(&text);
        out
    }

    fn text(&self, row: &Row) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, row);
        out
    }

    fn write(&self, out: &mut String, row: &Row) -> std::fmt::Result {
        let note = if row.outside { "  not counted" } else { "" };
        writeln!(out, "{:>6.0} s{note}", row.t_s + row.length_s)?;
        let charts: [(&str, &str, Value); 6] = [
            ("succeeded", "/s", |row| row.ok as f64 / row.length_s),
            ("failed", "/s", |row| row.failed as f64 / row.length_s),
            ("response p50", "ms", |row| row.response.p50_ms),
            ("response p99", "ms", |row| row.response.p99_ms),
            ("service p99", "ms", |row| row.service.p99_ms),
            ("backlog", "", |row| row.backlog_max as f64),
        ];
        for (name, unit, value) in charts {
            let values: Vec<f64> = self.rows.iter().map(value).collect();
            writeln!(out, "{name:<13}{:>11} {unit:<3}{}", number(value(row)), bars(&values))?;
        }
        for (name, op) in &row.ops {
            writeln!(
                out,
                "  {name:<20}{:>10}/s  p50 {:>9} p99 {:>9} max {:>9} ms",
                number(op.ok as f64 / row.length_s),
                number(op.response.p50_ms),
                number(op.response.p99_ms),
                number(op.response.max_ms)
            )?;
        }
        Ok(())
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// One character a value; the largest is a full block.
fn bars(values: &[f64]) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        // What is not nothing is seen.
        let at = if *value > 0.0 { (value / most * 8.0).ceil() as usize } else { 0 };
        BARS[at.min(8)]
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drawing_takes_the_place_of_the_one_before() {
        let mut dashboard = Dashboard::default();
        let row = |ok| Row { length_s: 1.0, ok, ..Row::default() };
        let first = dashboard.draw(&row(8));
        assert!(!first.contains('\x1b'));
        let second = dashboard.draw(&row(4));
        assert!(second.starts_with(&format!("\x1b[{}A\x1b[J", first.lines().count())));
        let line = second.lines().find(|line| line.starts_with("succeeded")).unwrap();
        assert!(line.ends_with("\u{2588}\u{2584}"), "{line}");
        for _ in 0..100 {
            dashboard.draw(&row(1));
        }
        assert_eq!(dashboard.rows.len(), WIDTH);
    }

    #[test]
    fn nothing_has_no_bar_and_little_has_one() {
        assert_eq!(bars(&[0.0, 0.01, 8.0]), " \u{2581}\u{2588}");
        assert_eq!(bars(&[0.0]), " ");
    }
}
