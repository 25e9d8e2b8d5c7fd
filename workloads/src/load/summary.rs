//! What a run came to: the contents of `results.json`, and whether the generator itself can be trusted.

use super::{
    http2::Failure,
    interval::{Interval, LATENCY_NS_MAX, Tally},
    outage::Outage,
    resources::Usage,
};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the format of `results.json`.
pub const VERSION: u32 = 1;
/// Lag beyond this share of the response time, at the 99th percentile, makes a run invalid...
const LAG_SHARE_MAX: f64 = 0.1;
/// ...unless it is below this: the ticks in which operations are sent.
const LAG_MS_FREE: f64 = 0.2;
/// A worker that is busy for more of the time than this has no room to keep the schedule.
const BUSY_MAX: f64 = 0.95;
/// The generator may use so much of the machine's CPU.
const MACHINE_SHARE_MAX: f64 = 0.5;

/// Times, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many there were; with none, all else is 0.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 90 % took no longer.
    pub p90_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
    /// 99.9 % took no longer.
    pub p999_ms: f64,
    /// 99.99 % took no longer.
    pub p9999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Quantiles {
    /// Those of a histogram of ns.
    pub fn of(histogram: &Histogram<u64>) -> Quantiles {
        if histogram.is_empty() {
            return Quantiles::default();
        }
        let at = |q| to_ms(histogram.value_at_quantile(q));
        Quantiles {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: to_ms(histogram.max()),
        }
    }
}

/// ns as ms.
pub(crate) fn to_ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Operations of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpSummary {
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that did not.
    pub failed: u64,
    /// By what went wrong.
    pub errors: BTreeMap<String, u64>,
    /// From due to outcome, errors included.
    pub response: Quantiles,
    /// From sent to outcome, errors included.
    pub service: Quantiles,
    /// Octets of answers' messages.
    pub answer_bytes: u64,
}

impl OpSummary {
    /// What a tally comes to.
    pub fn of(tally: &Tally) -> OpSummary {
        OpSummary {
            ok: tally.ok,
            failed: tally.failed(),
            errors: tally.errors.iter().map(|(failure, count)| (failure.kind(), *count)).collect(),
            response: Quantiles::of(&tally.response),
            service: Quantiles::of(&tally.service),
            answer_bytes: tally.answer_bytes,
        }
    }
}

/// One interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// When it began, in s from the start.
    pub t_s: f64,
    /// How long it was, in s.
    pub length_s: f64,
    /// Whether it belongs to the warm-up, or to the time after the last operation was due.
    pub outside: bool,
    /// By name of the operation.
    pub ops: BTreeMap<String, OpSummary>,
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that did not.
    pub failed: u64,
    /// Of all operations.
    pub response: Quantiles,
    /// Of all operations.
    pub service: Quantiles,
    /// The most operations that were due and not sent.
    pub backlog_max: u64,
    /// The most calls under way.
    pub in_flight_max: u64,
    /// The generator's own lag at the 99th percentile.
    pub lag_p99_ms: f64,
    /// CPU of the generator's workers, in ms.
    pub generator_cpu_ms: f64,
    /// Connections that were lost or could not be made.
    pub disconnects: u64,
    /// How many operations took how long: pairs of a bucket and a count. Bucket `b` holds response times from
    /// `2^(b/4)` µs on.
    pub heat: Vec<(u32, u64)>,
}

impl Row {
    /// What an interval comes to.
    pub fn of(interval: &Interval, names: &[&str], length_s: f64, outside: bool) -> Row {
        let all = interval.all();
        let ops = names.iter().zip(&interval.tallies);
        Row {
            t_s: interval.index as f64 * length_s,
            length_s,
            outside,
            ops: ops.map(|(name, tally)| ((*name).to_owned(), OpSummary::of(tally))).collect(),
            ok: all.ok,
            failed: all.failed(),
            response: Quantiles::of(&all.response),
            service: Quantiles::of(&all.service),
            backlog_max: interval.backlog_max,
            in_flight_max: interval.in_flight_max,
            lag_p99_ms: to_ms(interval.lag.value_at_quantile(0.99)),
            generator_cpu_ms: to_ms(interval.cpu_ns),
            disconnects: interval.disconnects,
            heat: heat(&all.response),
        }
    }
}

fn heat(histogram: &Histogram<u64>) -> Vec<(u32, u64)> {
    let mut buckets: BTreeMap<u32, u64> = BTreeMap::new();
    for value in histogram.iter_recorded() {
        let us = (value.value_iterated_to() as f64 / 1000.0).max(1.0);
        *buckets.entry((us.log2() * 4.0) as u32).or_default() += value.count_at_value();
    }
    buckets.into_iter().collect()
}

/// Facts about the machine that the generator ran on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that the process may use.
    pub cores: usize,
    /// The processor's own name.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory_kib: u64 =
            memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory_kib / 1024,
        }
    }
}

/// What the generator itself took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Which client.
    pub client: String,
    /// Threads.
    pub workers: usize,
    /// CPU of an operation, in µs.
    pub cpu_us_per_op: f64,
    /// Share of the time that its threads were busy, in the busiest interval.
    pub busy_max: f64,
    /// Share of the machine's CPU.
    pub machine_share: f64,
    /// How late it noticed what was due.
    pub lag: Quantiles,
}

/// What a check of some keys' history came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// `valid`, `anomaly` or `unknown`.
    pub verdict: String,
    /// The same as an exit status.
    pub status: u8,
    /// Keys that were recorded.
    pub keys: u64,
    /// Operations on them.
    pub operations: u64,
    /// What was found, or why nothing could be.
    pub reasons: Vec<String>,
}

/// What a run was made of, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchResults {
    /// [`VERSION`].
    pub bench_version: u32,
    /// The command that repeats the run.
    pub command: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// What was driven: the system with its version, or the endpoints.
    pub target: String,
    /// Every setting, by flag.
    pub config: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// How long the rows that count are together, in s.
    pub measured_s: f64,
    /// Operations that succeeded per second.
    pub per_s: f64,
    /// Operations that were due per second; `None` in a closed loop.
    pub target_per_s: Option<f64>,
    /// By name of the operation.
    pub ops: BTreeMap<String, OpSummary>,
    /// All operations in one.
    pub all: OpSummary,
    /// The most operations that were due and not sent.
    pub backlog_max: u64,
    /// Connections that were lost or could not be made.
    pub disconnects: u64,
    /// Compactions that were made beside the load.
    #[serde(default)]
    pub compactions: u64,
    /// An error's text, if there was one.
    pub error: Option<String>,
    /// The generator.
    pub generator: Generator,
    /// Why the run says nothing about the server; empty when it does.
    pub invalid: Vec<String>,
    /// Whether the run ended before its time.
    pub partial: bool,
    /// Points of the curve of response times: percentile and ms.
    pub curve: Vec<(f64, f64)>,
    /// The same for service times.
    pub service_curve: Vec<(f64, f64)>,
    /// Interval by interval.
    pub rows: Vec<Row>,
    /// The servers' use of the machine, by node, where that could be seen.
    pub servers: BTreeMap<String, Vec<Usage>>,
    /// CPU that all servers took for an operation, in µs.
    pub server_cpu_us_per_op: Option<f64>,
    /// Share of the machine's CPU that others took: neither the servers nor the generator.
    #[serde(default)]
    pub others_share: Option<f64>,
    /// Faults beside the load.
    #[serde(default)]
    pub faults: Vec<Outage>,
    /// What the check of the load's history came to.
    #[serde(default)]
    pub check: Option<Checked>,
}

/// An open loop of which less than this share of what is due succeeds has not met its rate.
const MET_MIN: f64 = 0.98;

impl BenchResults {
    /// What is to be said where the rate was not met; `None` where it was, and in a closed loop.
    pub fn shortfall(&self) -> Option<String> {
        let due = self.target_per_s.filter(|due| self.per_s < due * MET_MIN)?;
        // Of a few operations, a few more or less are chance: where arrivals fall, and what was under way at the end.
        let expected = due * self.measured_s;
        if expected - self.per_s * self.measured_s < 3.0 * expected.sqrt() {
            return None;
        }
        let not_sent = self.all.errors.get(&Failure::NotSent.kind()).copied().unwrap_or(0);
        let not_sent = match not_sent {
            0 => String::new(),
            count => format!(
                " {count} were never sent: no connection took them within the deadline, for want of room or of a server."
            ),
        };
        Some(format!(
            "the rate was not met: {:.0}/s of {due:.0}/s succeeded in time.{not_sent} What is late or failed is in the \
             response times.",
            self.per_s
        ))
    }
}

/// Adds up the intervals of a run.
#[derive(Debug)]
pub struct Collected {
    /// All that counts, in one.
    pub sum: Interval,
    names: Vec<&'static str>,
    length_s: f64,
    first: u64,
    end: u64,
    rows: Vec<Row>,
    busy_max: f64,
    workers: usize,
    counted: u64,
}

impl Collected {
    /// For operations of these names; intervals from `first` to before `end` count.
    pub fn new(names: Vec<&'static str>, length_s: f64, first: u64, end: u64, workers: usize) -> Collected {
        let sum = Interval::new(0, names.len());
        Collected { sum, names, length_s, first, end, rows: Vec::new(), busy_max: 0.0, workers, counted: 0 }
    }

    /// Takes an interval, and gives its row.
    ///
    /// Operations whose outcome comes after the last interval that counts count all the same: to leave out the
    /// slowest would flatter. They make no row that counts.
    pub fn add(&mut self, interval: &Interval) -> &Row {
        let outside = interval.index < self.first || interval.index >= self.end;
        if interval.index >= self.first {
            self.sum.add_serial(interval);
        }
        if !outside {
            self.counted += 1;
            let busy = interval.cpu_ns as f64 / 1e9 / self.length_s / self.workers.max(1) as f64;
            self.busy_max = self.busy_max.max(busy);
        }
        self.rows.push(Row::of(interval, &self.names, self.length_s, outside));
        self.rows.last().expect("a row was added")
    }

    /// Adds what came of the operation that is named last after the last interval was taken.
    pub fn add_late(&mut self, late: Option<Tally>) {
        if let (Some(late), Some(tally)) = (late, self.sum.tallies.last_mut()) {
            tally.add(&late);
        }
    }

    /// What it all came to. `results` has what is known beside the measurements.
    pub fn finish(mut self, mut results: BenchResults, client: &str) -> BenchResults {
        if let Some(last) = self.rows.last()
            && last.outside
            && last.ok + last.failed == 0
        {
            self.rows.pop();
        }
        let all = self.sum.all();
        let measured_s = self.counted as f64 * self.length_s;
        let in_time: u64 = self.rows.iter().filter(|row| !row.outside).map(|row| row.ok).sum();
        let done = (all.ok + all.failed()).max(1) as f64;
        let cpu_s = self.sum.cpu_ns as f64 / 1e9;
        results.bench_version = VERSION;
        results.measured_s = measured_s;
        results.per_s = if measured_s > 0.0 { in_time as f64 / measured_s } else { 0.0 };
        results.ops = self
            .names
            .iter()
            .zip(&self.sum.tallies)
            .map(|(name, tally)| ((*name).to_owned(), OpSummary::of(tally)))
            .collect();
        results.all = OpSummary::of(&all);
        results.backlog_max = self.sum.backlog_max;
        results.disconnects = self.sum.disconnects;
        results.error = self.sum.error.clone();
        results.generator = Generator {
            client: client.to_owned(),
            workers: self.workers,
            cpu_us_per_op: cpu_s * 1e6 / done,
            busy_max: self.busy_max,
            machine_share: cpu_s / measured_s.max(self.length_s) / results.machine.cores.max(1) as f64,
            lag: Quantiles::of(&self.sum.lag),
        };
        results.curve = curve(&all.response);
        results.service_curve = curve(&all.service);
        results.invalid = invalid(&results);
        results.rows = self.rows;
        results
    }
}

/// Points of a percentile curve, evenly on the axis of 1/(1-p).
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let decades = (histogram.len() as f64).log10().max(0.5);
    (0..=60)
        .map(|step| 1.0 - 10f64.powf(-decades * f64::from(step) / 60.0))
        .map(|q| (q, to_ms(histogram.value_at_quantile(q))))
        .collect()
}

/// Why a run says nothing about the server.
fn invalid(results: &BenchResults) -> Vec<String> {
    let generator = &results.generator;
    let mut reasons = Vec::new();
    let (lag, response) = (generator.lag.p99_ms, results.all.response.p99_ms);
    if lag > LAG_MS_FREE && lag > LAG_SHARE_MAX * response {
        reasons.push(format!(
            "the generator was late: its lag has a p99 of {lag:.2} ms, where the response time has {response:.2} ms; \
             lower the rate, add --workers, or free the machine"
        ));
    }
    if generator.busy_max > BUSY_MAX {
        reasons.push(format!(
            "the generator's threads were busy {:.0} % of the time: it measured itself; add --workers or lower the rate",
            generator.busy_max * 100.0
        ));
    }
    if generator.machine_share > MACHINE_SHARE_MAX {
        reasons.push(format!(
            "the generator took {:.0} % of the machine's CPU; run it on another machine than the servers",
            generator.machine_share * 100.0
        ));
    }
    if results.all.ok == 0 {
        let kinds = results.all.errors.iter().map(|(kind, count)| format!("{count} x {kind}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        let why = match &results.error {
            Some(error) => error,
            None if kinds.is_empty() => "none was begun",
            None => &kinds,
        };
        reasons.push(format!("no operation succeeded: {why}"));
    }
    if results.all.response.max_ms >= LATENCY_NS_MAX as f64 / 1e6 {
        reasons.push(format!(
            "some operations took longer than {} s, where the histograms end: they count as that long; shorten --deadline",
            LATENCY_NS_MAX / 1_000_000_000
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(index: u64, latencies_ms: &[u64], lag_ms: u64) -> Interval {
        let mut interval = Interval::new(index, 1);
        for ms in latencies_ms {
            interval.record(0, 0, Some(0), ms * 1_000_000, &Ok(Default::default()));
            interval.lag.saturating_record(lag_ms * 1_000_000);
        }
        interval
    }

    fn collect(intervals: &[Interval]) -> BenchResults {
        let mut collected = Collected::new(vec!["put"], 1.0, 1, 3, 1);
        for interval in intervals {
            collected.add(interval);
        }
        let results =
            BenchResults { machine: Machine { cores: 2, ..Machine::default() }, ..Default::default() };
        collected.finish(results, "raw")
    }

    #[test]
    fn warm_up_is_left_out_and_late_outcomes_are_not() {
        let results = collect(&[
            interval(0, &[500; 10], 0),
            interval(1, &[10; 20], 0),
            interval(2, &[10; 20], 0),
            interval(3, &[900], 0),
        ]);
        assert_eq!((results.all.ok, results.measured_s, results.per_s), (41, 2.0, 20.0));
        assert!(results.all.response.max_ms > 899.0);
        assert_eq!(
            results.rows.iter().map(|row| row.outside).collect::<Vec<_>>(),
            [true, false, false, true]
        );
        assert!(results.invalid.is_empty(), "{:?}", results.invalid);
    }

    #[test]
    fn a_generator_that_was_late_or_busy_makes_the_run_invalid() {
        let late = collect(&[interval(1, &[10; 20], 5)]);
        assert!(late.invalid[0].contains("was late"), "{:?}", late.invalid);
        let slow_server = collect(&[interval(1, &[100; 20], 5)]);
        assert!(slow_server.invalid.is_empty());
        let mut busy = interval(1, &[10; 20], 0);
        busy.cpu_ns = 990_000_000;
        assert!(collect(&[busy]).invalid[0].contains("measured itself"));
        assert!(collect(&[]).invalid[0].contains("no operation succeeded"));
    }

    #[test]
    fn a_rate_that_was_not_met_and_a_histogram_that_ended_are_told() {
        let mut short = interval(1, &[10; 500], 0);
        (0..500).for_each(|_| short.record(0, 0, None, 1_000_000, &Err(Failure::NotSent)));
        let mut results = collect(&[short, interval(2, &[700_000], 0)]);
        assert_eq!(results.shortfall(), None, "a closed loop has no rate");
        assert!(
            results.invalid.iter().any(|reason| reason.contains("longer than 600 s")),
            "{:?}",
            results.invalid
        );
        results.target_per_s = Some(500.0);
        let text = results.shortfall().unwrap_or_default();
        assert!(text.contains("250/s of 500/s") && text.contains(" 500 were never sent"), "{text}");
        results.target_per_s = Some(251.0);
        assert_eq!(results.shortfall(), None);
        let mut silent = Interval::new(1, 1);
        silent.record(0, 0, Some(0), 1_000_000, &Err(Failure::Deadline));
        let why = &collect(&[silent]).invalid;
        assert!(why.iter().any(|reason| reason.contains("no operation succeeded: 1 x")), "{why:?}");
    }

    #[test]
    fn heat_counts_every_operation_in_its_bucket() {
        let row = Row::of(&interval(0, &[1, 1, 64], 0), &["put"], 1.0, false);
        assert_eq!(row.heat.iter().map(|(_, count)| count).sum::<u64>(), 3);
        // 1 ms is 2^9.97 µs, 64 ms is 2^15.97 µs.
        assert_eq!(row.heat, [(39, 2), (63, 1)]);
    }
}
