//! Latencies, counted in histograms.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest time that is told apart: longer ones count as this.
const MAX: Duration = Duration::from_secs(600);

/// Counts times in µs, to three significant digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Latencies {
        let max_us = u64::try_from(MAX.as_micros()).expect("ten minutes");
        Latencies(Histogram::new_with_bounds(1, max_us, 3).expect("constant bounds that hdrhistogram takes"))
    }

    pub(super) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns / 1000);
    }

    pub(super) fn quantile_ms(&self, q: f64) -> f64 {
        to_ms(self.0.value_at_quantile(q))
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: self.0.len(),
            p50_ms: self.quantile_ms(0.5),
            p90_ms: self.quantile_ms(0.9),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
            max_ms: to_ms(self.0.max()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^52 µs")]
fn to_ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// How long operations took, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// How many there were; with none, all else is 0.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 90 % took no longer.
    pub p90_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
    /// 99.9 % took no longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.percentiles(), Percentiles::default());
        for ms in 1..=100 {
            latencies.record_ns(ms * 1_000_000);
        }
        latencies.record_ns(u64::MAX);
        let p = latencies.percentiles();
        assert_eq!(p.count, 101);
        assert!((p.p50_ms - 51.0).abs() < 0.1, "{p:?}");
        assert!((p.p90_ms - 91.0).abs() < 0.1, "{p:?}");
        assert!((599_000.0..=601_000.0).contains(&p.max_ms), "{p:?}");
    }
}
