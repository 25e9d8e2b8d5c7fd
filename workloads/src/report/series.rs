//! Numbers from a history: outcomes, errors, latencies, and how they went over time.

use super::{
    latency::Latencies,
    results::{Counts, FaultResult, WorkloadResult},
};
use crate::generator::{Rate, due_ns};
use checker::{
    History,
    history::{Operation, Outcome},
};
use std::collections::BTreeMap;

/// Fills in everything of a workload's result that follows from its history.
pub fn measure(history: &History, result: &mut WorkloadResult) {
    let rate = Rate::new(result.rate_per_s.max(1)).expect("at least 1");
    let (from, to) = load_span(history);
    let mut service: BTreeMap<String, Latencies> = BTreeMap::new();
    let mut response = Latencies::new();
    let mut n = 0;
    for operation in history.operations() {
        count(operation, result);
        let invoked = operation.invoked.t;
        if !(from..to).contains(&invoked) {
            continue;
        }
        // The n-th invocation is the n-th that was due, for operations are begun in the order of their due
        // times. It may be due a little after the event that begins the phase.
        let due = (from + due_ns(n, rate)).min(invoked);
        n += 1;
        if let (true, Some(ended)) = (operation.is_ok(), operation.ended()) {
            let of_f = service.entry(operation.f.clone()).or_insert_with(Latencies::new);
            of_f.record_ns(ended.t.saturating_sub(invoked));
            response.record_ns(ended.t.saturating_sub(due));
        }
    }
    result.service = service.into_iter().map(|(f, latencies)| (f, latencies.percentiles())).collect();
    result.response = response.percentiles();
}

/// The faults of a history.
pub(crate) fn faults(history: &History, phase: usize) -> Vec<FaultResult> {
    let results = history.faults().iter().map(|fault| FaultResult {
        phase,
        number: fault.number,
        f: fault.f.clone(),
        value: fault.value.clone(),
        start_s: seconds(fault.start.t),
        end_s: fault.end.map(|end| seconds(end.t)),
        proof: fault.proof.clone(),
        errors: fault.errors.clone(),
        impact: None,
    });
    results.collect()
}

fn count(operation: &Operation, result: &mut WorkloadResult) {
    let counts = result.counts.entry(operation.f.clone()).or_default();
    let error = match &operation.outcome {
        Outcome::Ok { .. } => {
            counts.ok += 1;
            None
        }
        Outcome::Fail { error, .. } => {
            counts.fail += 1;
            Some(error.kind.as_str())
        }
        Outcome::Info { error, .. } => {
            counts.info += 1;
            Some(error.as_ref().map_or("never completed", |error| error.kind.as_str()))
        }
    };
    if let Some(kind) = error {
        *result.errors.entry(kind.to_string()).or_insert(0) += 1;
    }
}

/// From the phase `load` to the next phase, in ns.
pub(super) fn load_span(history: &History) -> (u64, u64) {
    let phases = history.phases();
    let Some(index) = phases.iter().position(|phase| phase.f == "load") else { return (0, u64::MAX) };
    (phases[index].at.t, phases.get(index + 1).map_or(u64::MAX, |next| next.at.t))
}

#[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 ns")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// How a run went over time, all workloads together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    /// Width of a bucket, in s.
    pub bucket_s: f64,
    /// What ended in each bucket, from the start of the run on.
    pub buckets: Vec<Bucket>,
}

/// What ended within one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bucket {
    pub counts: Counts,
    /// p50, p99 and the longest service time of what ended in `ok`, in ms; `None` where nothing did.
    pub latency_ms: Option<[f64; 3]>,
}

/// Widths of buckets, in ms: the narrowest is taken that gives no more than [`BUCKETS_MAX`].
const WIDTHS_MS: [u64; 9] = [250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 600_000];
const BUCKETS_MAX: u64 = 160;

/// The series of all these histories, which share one clock.
pub(super) fn series(histories: &[&History]) -> Series {
    let operations = || histories.iter().flat_map(|history| history.operations());
    let end_ns = operations().filter_map(Operation::ended).map(|at| at.t).max().unwrap_or(0);
    let end_ms = end_ns / 1_000_000;
    let width_ms = *WIDTHS_MS
        .iter()
        .find(|width| end_ms / **width < BUCKETS_MAX)
        .unwrap_or(&WIDTHS_MS[WIDTHS_MS.len() - 1]);
    let bucket_of = |ns: u64| usize::try_from(ns / 1_000_000 / width_ms).unwrap_or(usize::MAX);
    let mut counts = vec![Counts::default(); bucket_of(end_ns) + 1];
    let mut latencies: Vec<Vec<u64>> = vec![Vec::new(); counts.len()];
    for operation in operations() {
        let Some(ended) = operation.ended() else { continue };
        let bucket = bucket_of(ended.t);
        match &operation.outcome {
            Outcome::Ok { .. } => {
                counts[bucket].ok += 1;
                latencies[bucket].push(ended.t.saturating_sub(operation.invoked.t));
            }
            Outcome::Fail { .. } => counts[bucket].fail += 1,
            Outcome::Info { .. } => counts[bucket].info += 1,
        }
    }
    let buckets = counts
        .into_iter()
        .zip(latencies)
        .map(|(counts, mut of)| Bucket { counts, latency_ms: quantiles(&mut of) })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "one of a few small constants")]
    let bucket_s = width_ms as f64 / 1000.0;
    Series { bucket_s, buckets }
}

/// p50, p99 and the longest, exactly: a bucket holds few.
fn quantiles(ns: &mut [u64]) -> Option<[f64; 3]> {
    ns.sort_unstable();
    let last = ns.len().checked_sub(1)?;
    let at = |per_cent: usize| seconds(ns[(last * per_cent).div_ceil(100)]) * 1000.0;
    Some([at(50), at(99), at(100)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::event::{Event, Header, OpError, What};
    use serde_json::Value;

    const MS: u64 = 1_000_000;

    fn history(events: Vec<(u64, What)>) -> History {
        let header = Header {
            v: 1,
            seed: 1,
            scenario: "register".into(),
            faults: Vec::new(),
            system: "assay".into(),
            nodes: 3,
            clock: "monotonic_ns".into(),
        };
        History::new(header, events.into_iter().zip(0..).map(|((t, what), i)| Event { i, t: t * MS, what }))
    }

    fn invoke(p: u64) -> What {
        What::Invoke { p, node: None, f: "read".into(), key: None, value: Value::Null }
    }

    fn ok(p: u64) -> What {
        What::Ok { p, f: "read".into(), key: None, value: Value::Null, rev: None }
    }

    fn fail(p: u64) -> What {
        let error = OpError { kind: "refused".into(), text: String::new() };
        What::Fail { p, f: "read".into(), key: None, error }
    }

    fn sample() -> History {
        history(vec![
            (100, What::Phase { f: "load".into() }),
            (100, invoke(0)),
            (110, ok(0)),
            // Due at 200 ms (10 per s), begun 300 ms late.
            (500, invoke(0)),
            (520, ok(0)),
            (521, invoke(0)),
            (522, fail(0)),
            (600, What::Phase { f: "final".into() }),
            (601, invoke(1)),
            (901, ok(1)),
            (902, invoke(2)),
        ])
    }

    #[test]
    fn response_times_count_from_when_an_operation_was_due() {
        let mut result = WorkloadResult { rate_per_s: 10, ..WorkloadResult::default() };
        measure(&sample(), &mut result);
        let service = result.service["read"];
        assert_eq!((service.count, service.max_ms.round()), (2, 20.0), "final reads do not count");
        assert_eq!(result.response.max_ms.round(), 320.0);
        assert_eq!(result.counts["read"], Counts { ok: 3, fail: 1, info: 1 });
        assert_eq!(result.errors["never completed"], 1);
        assert_eq!(result.errors["refused"], 1);
    }

    #[test]
    fn a_series_counts_what_ended_in_each_bucket() {
        let series = series(&[&sample(), &sample()]);
        assert_eq!((series.bucket_s, series.buckets.len()), (0.25, 4));
        assert_eq!(series.buckets[0].counts, Counts { ok: 2, fail: 0, info: 0 });
        assert_eq!(series.buckets[0].latency_ms, Some([10.0, 10.0, 10.0]));
        assert_eq!(series.buckets[1], Bucket::default());
        assert_eq!(series.buckets[2].counts, Counts { ok: 2, fail: 2, info: 0 });
    }

    #[test]
    fn long_runs_have_wider_buckets() {
        let hour = history(vec![(0, invoke(0)), (3_600_000, ok(0))]);
        let series = series(&[&hour]);
        assert_eq!((series.bucket_s, series.buckets.len()), (30.0, 121));
    }
}
