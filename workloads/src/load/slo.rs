//! The highest rate at which an objective is kept.
//!
//! The rate is doubled until the objective is broken, then the bracket is halved until it is narrow, then the answer
//! is tried for longer. A rate counts as broken only when it was broken twice in three; tries in which the generator
//! itself was late are made again, a few times.

use super::summary::{BenchResults, Quantiles};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The bracket is narrow enough when its ends are so close.
const NARROW: f64 = 1.02;
/// A store that does not do so much of what is due is not keeping up.
const DONE_MIN: f64 = 0.98;
/// A broken objective is not held against a rate when the generator was late meanwhile; so often at most.
const EXCUSED_MAX: u32 = 2;
/// The rate is doubled so often at most, and a confirmation fails so often at most.
const DOUBLINGS_MAX: u32 = 24;
const CONFIRMATIONS_MAX: u32 = 6;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// Response time at a quantile, in ms; quantile 1 is the maximum.
    Quantile(f64, f64),
    /// Mean response time, in ms.
    Mean(f64),
    /// Share of operations that fail.
    Errors(f64),
}

/// An objective: all its bounds must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    bounds: Vec<Bound>,
    text: String,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Slo {
    type Err = String;

    /// Reads `p99<10ms,errors<0.1%`.
    fn from_str(text: &str) -> Result<Slo, String> {
        let mut bounds = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || {
                format!(
                    "`{part}` is no objective: write p50, p90, p99, p99.9, p99.99, max or mean, then `<` and a time such as \
                     10ms, or errors<0.1%"
                )
            };
            let (what, limit) = part.split_once('<').ok_or_else(wrong)?;
            let limit = limit.trim_start_matches('=');
            let bound = match what.trim() {
                "errors" => Bound::Errors(share(limit).ok_or_else(wrong)?),
                "mean" => Bound::Mean(time_ms(limit).ok_or_else(wrong)?),
                "max" => Bound::Quantile(1.0, time_ms(limit).ok_or_else(wrong)?),
                "p50" => Bound::Quantile(0.5, time_ms(limit).ok_or_else(wrong)?),
                "p90" => Bound::Quantile(0.9, time_ms(limit).ok_or_else(wrong)?),
                "p99" => Bound::Quantile(0.99, time_ms(limit).ok_or_else(wrong)?),
                "p99.9" => Bound::Quantile(0.999, time_ms(limit).ok_or_else(wrong)?),
                "p99.99" => Bound::Quantile(0.9999, time_ms(limit).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            };
            bounds.push(bound);
        }
        if bounds.is_empty() {
            return Err("an objective has at least one bound, such as p99<10ms".to_owned());
        }
        Ok(Slo { bounds, text: text.to_owned() })
    }
}

fn time_ms(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, unit_ms) = match text {
        _ if text.ends_with("us") => (&text[..text.len() - 2], 0.001),
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1.0),
        _ if text.ends_with('s') => (&text[..text.len() - 1], 1000.0),
        _ => return None,
    };
    number
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|value| *value > 0.0 && *value < 1e9)
        .map(|value| value * unit_ms)
}

fn share(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    number.trim().parse::<f64>().ok().map(|value| value * unit).filter(|share| (0.0..=1.0).contains(share))
}

/// What one rate came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Operations due per second.
    pub rate: f64,
    /// Operations that succeeded per second.
    pub per_s: f64,
    /// Share of operations that failed.
    pub errors: f64,
    /// Response times.
    pub response: Quantiles,
    /// Whether the objective was kept.
    pub kept: bool,
    /// Why it says nothing about the server, as a generator that was late; empty when it does.
    #[serde(default)]
    pub invalid: Vec<String>,
}

impl Probe {
    /// What a run at this rate came to.
    pub fn of(rate: f64, results: &BenchResults) -> Probe {
        let all = &results.all;
        let errors = all.failed as f64 / (all.ok + all.failed).max(1) as f64;
        let invalid = results.invalid.clone();
        Probe { rate, per_s: results.per_s, errors, response: all.response, kept: false, invalid }
    }
}

impl Slo {
    /// Whether a probe keeps the objective: its bounds hold, and the store does what is due.
    pub fn is_kept(&self, probe: &Probe) -> bool {
        let q = &probe.response;
        let holds = |bound: &Bound| match *bound {
            Bound::Errors(most) => probe.errors <= most,
            Bound::Mean(ms) => q.mean_ms < ms,
            Bound::Quantile(at, ms) => {
                let measured = match at {
                    0.5 => q.p50_ms,
                    0.9 => q.p90_ms,
                    0.99 => q.p99_ms,
                    0.999 => q.p999_ms,
                    0.9999 => q.p9999_ms,
                    _ => q.max_ms,
                };
                measured < ms
            }
        };
        // What fails within the bound for errors is not held against the throughput a second time.
        let done = probe.per_s >= probe.rate * (1.0 - probe.errors) * DONE_MIN;
        done && q.count > 0 && self.bounds.iter().all(holds)
    }
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The highest rate that kept the objective, and did so again for longer; `None` when none did.
    pub rate: Option<f64>,
    /// The lowest rate that broke it; `None` when none did.
    pub broken_at: Option<f64>,
    /// Everything that was tried, in order.
    pub probes: Vec<Probe>,
}

impl Found {
    /// Why what bounds the answer may not be the server: each probe at the rate that is said to break the objective
    /// was broken with a generator that could not be trusted. Empty where the server is to blame.
    pub fn doubts(&self) -> Vec<String> {
        let at_end = |probe: &&Probe| !probe.kept && Some(probe.rate) == self.broken_at;
        let mut doubts = Vec::new();
        for probe in self.probes.iter().filter(at_end) {
            match probe.invalid.first() {
                Some(reason) => doubts.push(format!("at {:.0}/s: {reason}", probe.rate)),
                None => return Vec::new(),
            }
        }
        doubts
    }
}

/// Searches from `start` on, for at most `rate_max` operations per second. `probe` tries a rate, for longer when its
/// second argument says so, and gives `None` when the search is to end at once.
pub fn search(
    slo: &Slo,
    start: f64,
    rate_max: f64,
    mut probe: impl FnMut(f64, bool) -> Option<Probe>,
) -> Found {
    let mut found = Found::default();
    let (mut low, mut high) = (None, None);
    let mut rate = start.min(rate_max);
    for _ in 0..DOUBLINGS_MAX {
        match keeps(slo, rate, false, &mut probe, &mut found) {
            None => return found,
            Some(true) => {
                low = Some(rate);
                if rate >= rate_max {
                    break;
                }
            }
            Some(false) => high = Some(rate),
        }
        match (low, high) {
            (Some(_), Some(_)) => break,
            (Some(_), None) => rate = (rate * 2.0).min(rate_max),
            // Too much from the beginning: down instead of up.
            (None, _) => rate /= 2.0,
        }
        if rate < 1.0 {
            break;
        }
    }
    let Some(mut best) = low else {
        found.broken_at = high;
        return found;
    };
    while let Some(broken) = high.filter(|broken| broken / best > NARROW) {
        let middle = (best * broken).sqrt();
        match keeps(slo, middle, false, &mut probe, &mut found) {
            None => return found,
            Some(true) => best = middle,
            Some(false) => high = Some(middle),
        }
    }
    for _ in 0..CONFIRMATIONS_MAX {
        match keeps(slo, best, true, &mut probe, &mut found) {
            None => return found,
            Some(true) => {
                found.rate = Some(best);
                break;
            }
            Some(false) => {
                high = Some(best);
                best /= NARROW;
            }
        }
    }
    found.broken_at = high;
    found
}

/// Whether a rate keeps the objective; one that does not is tried again, and has broken it when two of three do.
fn keeps(
    slo: &Slo,
    rate: f64,
    longer: bool,
    probe: &mut impl FnMut(f64, bool) -> Option<Probe>,
    found: &mut Found,
) -> Option<bool> {
    let (mut kept, mut broken, mut excused) = (0, 0, 0);
    loop {
        let mut tried = probe(rate, longer)?;
        tried.kept = slo.is_kept(&tried);
        let votes = match tried.kept {
            true => &mut kept,
            false if !tried.invalid.is_empty() && excused < EXCUSED_MAX => &mut excused,
            false => &mut broken,
        };
        *votes += 1;
        found.probes.push(tried);
        // One that keeps it at the first try is not asked again.
        if kept > broken || kept == 2 {
            return Some(true);
        }
        if broken == 2 {
            return Some(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::interval::histogram;

    /// A server with one queue that does `knee` operations per second, under a load of evenly spaced ones for
    /// `seconds`.
    fn queue(knee: f64, rate: f64, seconds: f64) -> Probe {
        let mut response = histogram();
        let (mut free, mut done) = (0.0f64, 0);
        for n in 0..(rate * seconds) as u64 {
            let due = n as f64 / rate;
            free = free.max(due) + 1.0 / knee;
            response.saturating_record(((free - due) * 1e9) as u64);
            done += u64::from(free <= seconds);
        }
        Probe { rate, per_s: done as f64 / seconds, response: Quantiles::of(&response), ..Probe::default() }
    }

    #[test]
    fn the_knee_of_a_queue_is_found() {
        let slo: Slo = "p99<10ms,errors<0.1%".parse().unwrap();
        for (knee, start) in [(3000.0, 100.0), (777.0, 100.0), (50_000.0, 1000.0), (400.0, 10_000.0)] {
            let found = search(&slo, start, 1e6, |rate, longer| {
                Some(queue(knee, rate, if longer { 8.0 } else { 2.0 }))
            });
            let rate = found.rate.expect("a rate");
            assert!((rate / knee - 1.0).abs() < 0.03, "found {rate}, the knee is {knee}");
            assert!(found.broken_at.is_some_and(|broken| broken > rate && broken / rate < 1.05));
            assert!(found.probes.len() < 40, "{}", found.probes.len());
        }
    }

    #[test]
    fn a_generator_that_gives_up_first_is_no_knee_of_the_server() {
        let slo: Slo = "p99<10ms".parse().unwrap();
        let mut late = |rate: f64, _| {
            let invalid = if rate > 3000.0 { vec!["the generator was late".to_owned()] } else { Vec::new() };
            Some(Probe { invalid, ..queue(3000.0, rate, 2.0) })
        };
        let found = search(&slo, 1000.0, 1e6, &mut late);
        let doubts = found.doubts();
        assert!(found.rate.is_some() && doubts.len() >= 2 && doubts[0].contains("was late"), "{doubts:?}");
        let honest = search(&slo, 1000.0, 1e6, |rate, _| Some(queue(3000.0, rate, 2.0)));
        assert!(honest.doubts().is_empty());
    }

    #[test]
    fn pauses_of_the_machine_are_not_held_against_the_server() {
        let slo: Slo = "p99<10ms".parse().unwrap();
        let mut tries = 0;
        let found = search(&slo, 500.0, 1000.0, |rate, _| {
            tries += 1;
            let late = tries % 3 != 0;
            let invalid = if late { vec!["the generator was late".to_owned()] } else { Vec::new() };
            Some(Probe { invalid, ..queue(if late { 1.0 } else { 1e6 }, rate, 1.0) })
        });
        assert_eq!((found.rate, found.broken_at), (Some(1000.0), None));
    }

    #[test]
    fn one_bad_probe_is_no_violation_and_the_ceiling_holds() {
        let slo: Slo = "p99<10ms".parse().unwrap();
        let mut tries = 0;
        let found = search(&slo, 100.0, 1000.0, |rate, _| {
            tries += 1;
            let knee = if tries % 3 == 0 { 1.0 } else { 1e6 };
            Some(queue(knee, rate, 1.0))
        });
        assert_eq!((found.rate, found.broken_at), (Some(1000.0), None));
        assert_eq!(search(&slo, 100.0, 1000.0, |_, _| None).rate, None);
        let hopeless = search(&slo, 100.0, 1000.0, |rate, _| Some(queue(0.5, rate, 10.0)));
        assert_eq!(hopeless.rate, None);
    }

    #[test]
    fn objectives_are_read() {
        let slo: Slo = "p99.9 < 2s, mean<300us, errors<1%".parse().unwrap();
        assert_eq!(slo.bounds, [Bound::Quantile(0.999, 2000.0), Bound::Mean(0.3), Bound::Errors(0.01)]);
        for text in ["", "p99", "p98<1ms", "p99<fast", "p99<-1ms", "errors<200%", "p99<10"] {
            let error = text.parse::<Slo>().unwrap_err();
            assert!(error.contains("objective"), "{text}: {error}");
        }
    }
}
