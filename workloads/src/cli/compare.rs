//! `assay compare`: what changed between benches, and whether that is more than chance.

use super::{Failure, Format, print};
use crate::load::statistics::{Comparison, Metric, Rules, Run, Verdict, compare};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf};

/// Arguments of `assay compare`.
#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// Folders of benches: the first is what the others are compared with. Several runs of one system are
    /// separated by commas.
    #[arg(required = true, num_args = 2.., value_name = "DIR[,DIR]")]
    dirs: Vec<String>,
    /// The smallest change that matters, as 5% or 0.05.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    min_effect: f64,
    /// How likely a difference by chance may be.
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    alpha: f64,
    /// Exit with 1 when anything is worse by so much, as 5%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fail_on_regression: Option<f64>,
    /// How to print the results.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads `5%` or `0.05`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share = number.trim().parse::<f64>().ok().map(|value| value * unit);
    share
        .filter(|share| (0.0..=10.0).contains(share))
        .ok_or_else(|| format!("`{text}` is no share: write 5% or 0.05"))
}

/// One system compared with the first.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    before: String,
    after: String,
    metrics: Vec<Comparison>,
}

pub(super) fn compare_dirs(args: &CompareArgs) -> Result<u8, Failure> {
    let rules = rules(args.alpha, args.fail_on_regression.unwrap_or(args.min_effect))?;
    let mut systems = Vec::new();
    let mut notes = Vec::new();
    for dirs in &args.dirs {
        let mut runs = Vec::new();
        for dir in dirs.split(',').map(PathBuf::from) {
            let (run, results) = Run::read(&dir).map_err(|error| {
                Failure::Usage(format!("{error}; name folders that `assay bench` has written"))
            })?;
            for reason in &results.invalid {
                notes.push(format!("{}: INVALID: {reason}", dir.display()));
            }
            runs.push(run);
        }
        systems.push((dirs.clone(), runs));
    }
    let (first, others) = systems.split_first().expect("clap asks for two");
    let compared: Vec<Compared> = others
        .iter()
        .map(|(name, runs)| Compared {
            before: first.0.clone(),
            after: name.clone(),
            metrics: compare(&first.1, runs, rules),
        })
        .collect();
    tell(&compared, &notes, args.format)?;
    Ok(status(&compared, !notes.is_empty(), args.fail_on_regression.is_some()))
}

/// The rules, if they make sense.
pub(super) fn rules(alpha: f64, effect_min: f64) -> Result<Rules, Failure> {
    if !(0.0005..=0.5).contains(&alpha) {
        return Err(Failure::Usage("--alpha: choose 0.0005 to 0.5".into()));
    }
    Ok(Rules { alpha, effect_min, ..Rules::default() })
}

/// Prints comparisons.
pub(super) fn tell(compared: &[Compared], notes: &[String], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(compared).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))
        }
        Format::Text => print(&text(compared, notes)),
    }
}

/// 1 where something is worse and that is to fail, 3 where the runs themselves say nothing, else 0.
pub(super) fn status(compared: &[Compared], invalid: bool, fail: bool) -> u8 {
    let mut verdicts = compared.iter().flat_map(|one| &one.metrics).map(|metric| metric.verdict);
    if invalid {
        super::UNKNOWN
    } else if fail && verdicts.any(|verdict| verdict == Verdict::Worse) {
        1
    } else {
        0
    }
}

/// A bound of a ratio. Beyond a thousandfold it only says that nothing is known.
fn ratio(value: f64) -> String {
    match value {
        _ if value > 1000.0 => ">1000".to_owned(),
        _ if value < 0.001 => "<0.001".to_owned(),
        _ => format!("{value:.3}"),
    }
}

fn text(compared: &[Compared], notes: &[String]) -> String {
    let mut out = String::new();
    for one in compared {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}  ->  {}", one.before, one.after);
        let _ = writeln!(
            out,
            "{:<12}{:>12}{:>12}{:>9}{:>20}{:>9}{:>14}  verdict",
            "", "before", "after", "ratio", "interval", "p", "effective n"
        );
        for metric in &one.metrics {
            let unit = if metric.metric == Metric::Throughput { "/s" } else { " ms" };
            let _ = writeln!(
                out,
                "{:<12}{:>12}{:>12}{:>9.3}{:>20}{:>9.4}{:>14}  {}",
                metric.metric.to_string(),
                format!("{:.2}{unit}", metric.before),
                format!("{:.2}{unit}", metric.after),
                metric.ratio,
                format!("{} - {}", ratio(metric.interval.0), ratio(metric.interval.1)),
                metric.p,
                format!("{:.0} / {:.0}", metric.effective.0, metric.effective.1),
                metric.verdict
            );
        }
    }
    for note in notes {
        let _ = writeln!(out, "{note}");
    }
    out
}

impl Compared {
    /// A comparison of two systems by name.
    pub(super) fn new(before: String, after: String, metrics: Vec<Comparison>) -> Compared {
        Compared { before, after, metrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.2"), Ok(0.2));
        assert!(share("much").unwrap_err().contains("no share") && share("-1%").is_err());
    }

    #[test]
    fn bounds_that_say_nothing_are_short() {
        assert_eq!([1e20, 1e-9, 1.25].map(ratio), [">1000", "<0.001", "1.250"]);
    }

    #[test]
    fn a_regression_fails_only_where_that_was_asked_for() {
        let steady = |rate: f64| Run::new((0..40).map(|n| (rate + f64::from(n % 3), vec![(1_000_000, 10)])));
        let metrics = compare(&[steady(10_000.0)], &[steady(5000.0)], Rules::default());
        let compared = [Compared::new("a".into(), "b".into(), metrics)];
        assert_eq!(status(&compared, false, false), 0);
        assert_eq!(status(&compared, false, true), 1);
        assert_eq!(status(&compared, true, true), 3);
        let shown = text(&compared, &["a: INVALID: late".into()]);
        assert!(shown.contains("worse") && shown.contains("INVALID"), "{shown}");
    }
}
