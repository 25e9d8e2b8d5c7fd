//! What is measured: histograms of one second, or of a whole run.

use super::http2::{Answer, Failure};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// The longest time that is told apart, in ns: longer ones count as this.
pub const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// A histogram of times in ns, to three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("constant bounds that hdrhistogram takes")
}

/// What became of the operations of one kind.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that did not, by what went wrong.
    pub errors: BTreeMap<Failure, u64>,
    /// From when the operation was due to its outcome, whatever that was.
    pub response: Histogram<u64>,
    /// From when its first call was sent to its outcome. Those that were never sent are not in it.
    pub service: Histogram<u64>,
    /// Octets of answers' messages.
    pub answer_bytes: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Tally {
        Tally { ok: 0, errors: BTreeMap::new(), response: histogram(), service: histogram(), answer_bytes: 0 }
    }

    /// Operations that did not succeed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds another one's.
    pub fn add(&mut self, other: &Tally) {
        self.ok += other.ok;
        for (failure, count) in &other.errors {
            *self.errors.entry(*failure).or_default() += count;
        }
        add(&mut self.response, &other.response);
        add(&mut self.service, &other.service);
        self.answer_bytes += other.answer_bytes;
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}

/// Adds a histogram of the same bounds.
pub fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    if !from.is_empty() {
        to.add(from).expect("all histograms of times have the same bounds");
    }
}

/// What was measured in one interval: of one worker, or of all.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its number, from 0: it begins so many interval lengths after the start.
    pub index: u64,
    /// By place in the mix; behind them what came of watches beside it.
    pub tallies: Vec<Tally>,
    /// How many of the tallies, from the last on, are not of operations.
    pub beside: usize,
    /// How late the generator itself was: from when an operation was due to when it was noticed.
    pub lag: Histogram<u64>,
    /// The most operations that were due and not sent.
    pub backlog_max: u64,
    /// The most calls that were under way.
    pub in_flight_max: u64,
    /// Connections that were lost or could not be made.
    pub disconnects: u64,
    /// CPU time of the workers, in ns.
    pub cpu_ns: u64,
    /// Text of an error, if there was one.
    pub error: Option<String>,
}

impl Interval {
    /// An empty one, for a mix of `ops` operations.
    pub fn new(index: u64, ops: usize) -> Interval {
        Interval {
            index,
            tallies: vec![Tally::new(); ops],
            beside: 0,
            lag: histogram(),
            backlog_max: 0,
            in_flight_max: 0,
            disconnects: 0,
            cpu_ns: 0,
            error: None,
        }
    }

    /// Adds what was measured elsewhere in the same interval.
    pub fn add_parallel(&mut self, other: &Interval) {
        self.add(other);
        self.backlog_max += other.backlog_max;
        self.in_flight_max += other.in_flight_max;
    }

    /// Adds what was measured in another interval.
    pub fn add_serial(&mut self, other: &Interval) {
        self.add(other);
        self.backlog_max = self.backlog_max.max(other.backlog_max);
        self.in_flight_max = self.in_flight_max.max(other.in_flight_max);
    }

    fn add(&mut self, other: &Interval) {
        for (to, from) in self.tallies.iter_mut().zip(&other.tallies) {
            to.add(from);
        }
        self.beside = self.beside.max(other.beside);
        add(&mut self.lag, &other.lag);
        self.disconnects += other.disconnects;
        self.cpu_ns += other.cpu_ns;
        if self.error.is_none() {
            self.error.clone_from(&other.error);
        }
    }

    /// The tallies of operations.
    fn operations(&self) -> &[Tally] {
        &self.tallies[..self.tallies.len().saturating_sub(self.beside)]
    }

    /// Adds what came of watches beside the load.
    pub(super) fn push_beside(&mut self, tally: Tally) {
        self.tallies.push(tally);
        self.beside += 1;
    }

    /// Operations that succeeded.
    pub fn ok(&self) -> u64 {
        self.operations().iter().map(|tally| tally.ok).sum()
    }

    /// Operations that did not succeed.
    pub fn failed(&self) -> u64 {
        self.operations().iter().map(Tally::failed).sum()
    }

    /// All operations in one.
    pub fn all(&self) -> Tally {
        let mut all = Tally::new();
        self.operations().iter().for_each(|tally| all.add(tally));
        all
    }

    /// Counts the outcome of an operation. `sent_ns` is `None` for one that was never sent.
    pub(super) fn record(
        &mut self,
        op: u8,
        due_ns: u64,
        sent_ns: Option<u64>,
        now_ns: u64,
        outcome: &Result<Answer, Failure>,
    ) {
        let tally = &mut self.tallies[usize::from(op)];
        match outcome {
            Ok(answer) => {
                tally.ok += 1;
                tally.answer_bytes += answer.bytes as u64;
            }
            Err(failure) => *tally.errors.entry(*failure).or_default() += 1,
        }
        tally.response.saturating_record(now_ns.saturating_sub(due_ns));
        if let Some(sent_ns) = sent_ns {
            tally.service.saturating_record(now_ns.saturating_sub(sent_ns));
        }
    }
}
