//! What a run gives to compare: its intervals, in a form that is quick to draw from.

use crate::load::{
    files::{HLOG, read_hlog, read_results},
    summary::{BenchResults, Quantiles},
};
use std::{collections::BTreeMap, fmt, path::Path};

/// Latencies are told apart in steps of this factor: finer than any effect that matters.
const STEP: f64 = 1.02;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Operations that succeeded per second.
    Throughput,
    /// Median of the response time.
    P50,
    /// 99th percentile of the response time.
    P99,
    /// 99.9th percentile of the response time.
    P999,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 4] = [Metric::Throughput, Metric::P50, Metric::P99, Metric::P999];

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        match self {
            Metric::Throughput => true,
            Metric::P50 | Metric::P99 | Metric::P999 => false,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Throughput => "throughput",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
        })
    }
}

/// One interval: what succeeded in it, and how often each latency occurred, by steps of [`STEP`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Second {
    pub per_s: f64,
    pub latencies: Vec<(u16, u64)>,
}

/// The intervals of one run that count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub(super) seconds: Vec<Second>,
}

/// The step in which a latency in ns falls.
fn step(ns: f64) -> u16 {
    (ns.max(1.0).ln() / STEP.ln()) as u16
}

/// The latency in ms that a step stands for.
pub(super) fn step_ms(step: u16) -> f64 {
    STEP.powf(f64::from(step) + 0.5) / 1e6
}

impl Run {
    /// A run from each interval's operations per second and latencies in ns, with how often each occurred.
    pub fn new(seconds: impl IntoIterator<Item = (f64, Vec<(u64, u64)>)>) -> Run {
        let seconds = seconds.into_iter().map(|(per_s, latencies)| {
            let mut steps: BTreeMap<u16, u64> = BTreeMap::new();
            for (ns, count) in latencies {
                *steps.entry(step(ns as f64)).or_default() += count;
            }
            Second { per_s, latencies: steps.into_iter().collect() }
        });
        Run { seconds: seconds.collect() }
    }

    /// Reads a run's folder.
    ///
    /// # Errors
    /// A text for the user.
    pub fn read(dir: &Path) -> Result<(Run, BenchResults), String> {
        let results = read_results(dir)?;
        let tags = read_hlog(&dir.join(HLOG))?;
        let mut seconds: Vec<(f64, Vec<(u64, u64)>)> = Vec::new();
        for row in results.rows.iter().filter(|row| !row.outside) {
            let responses = tags.iter().filter(|(tag, _)| tag.ends_with("-response"));
            let at = responses.flat_map(|(_, intervals)| intervals);
            let here = at.filter(|(start, _)| (start - row.t_s).abs() < row.length_s / 2.0);
            let counts = here.flat_map(|(_, histogram)| {
                let values = histogram.iter_recorded();
                values.map(|value| (value.value_iterated_to(), value.count_at_value())).collect::<Vec<_>>()
            });
            seconds.push((row.ok as f64 / row.length_s, counts.collect()));
        }
        if seconds.is_empty() {
            return Err(format!("{} holds no interval that counts", dir.display()));
        }
        Ok((Run::new(seconds), results))
    }

    /// One value for each interval, to see how they depend on each other.
    pub(super) fn series(&self, metric: Metric) -> Vec<f64> {
        let mut counts = Vec::new();
        self.seconds.iter().map(|second| values(&[second], &mut counts)[metric as usize]).collect()
    }

    /// The metric over the whole run.
    pub fn value(&self, metric: Metric) -> f64 {
        values(&self.seconds.iter().collect::<Vec<_>>(), &mut Vec::new())[metric as usize]
    }
}

/// Every metric over intervals, in the order of [`Metric::ALL`]. `counts` is room to count in.
pub(super) fn values(seconds: &[&Second], counts: &mut Vec<u64>) -> [f64; Metric::ALL.len()] {
    counts.clear();
    let mut total = 0;
    // The steps of a second ascend.
    let least = seconds.iter().filter_map(|second| second.latencies.first()).map(|(step, _)| *step).min();
    let least = least.unwrap_or(0);
    for (step, count) in seconds.iter().flat_map(|second| &second.latencies) {
        let step = usize::from(*step - least);
        if counts.len() <= step {
            counts.resize(step + 1, 0);
        }
        counts[step] += count;
        total += count;
    }
    let mut values = [0.0; Metric::ALL.len()];
    values[0] = seconds.iter().map(|second| second.per_s).sum::<f64>() / seconds.len().max(1) as f64;
    // In one pass, as the quantiles ascend.
    let quantiles = [0.5, 0.99, 0.999];
    let (mut seen, mut next) = (0, 0);
    for (step, count) in counts.iter().enumerate() {
        seen += count;
        while next < quantiles.len() && seen > 0 && seen as f64 >= total as f64 * quantiles[next] {
            values[next + 1] = step_ms(least + u16::try_from(step).unwrap_or(0));
            next += 1;
        }
    }
    values
}

impl Metric {
    /// The metric in a summary, in ms or operations per second.
    pub fn of(self, results: &BenchResults) -> f64 {
        let Quantiles { p50_ms, p99_ms, p999_ms, .. } = results.all.response;
        match self {
            Metric::Throughput => results.per_s,
            Metric::P50 => p50_ms,
            Metric::P99 => p99_ms,
            Metric::P999 => p999_ms,
        }
    }
}
