//! How well the store served: over the whole load, and around each fault.
//!
//! An operation is *served* when the store answered it: with success, or with a refusal that is an answer (a
//! failed guard, a compacted revision). An error of the connection, a time limit, or a store that cannot act
//! (no leader, stopped, overloaded) is not service. Clients are spread evenly over all members and stay with
//! theirs, so a member that is cut off costs its share for as long as it is.

use super::results::FaultResult;
use checker::{
    History,
    history::{Operation, Outcome},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Errors that are no service. Every other kind, those of workloads included, is an answer of the store.
const NO_SERVICE: [&str; 13] = [
    "refused",
    "connect_timeout",
    "not_sent",
    "deadline",
    "lost",
    "too_many_requests",
    "no_space",
    "no_leader",
    "leader_changed",
    "server_timeout",
    "stopped",
    "status",
    "malformed",
];
/// Service is back to normal when such a share of operations is served again...
const NORMAL: f64 = 0.9;
/// ...over so long, ns.
const NORMAL_FOR_NS: u64 = 1_000_000_000;
/// The recovery time is told to this, ns.
const STEP_NS: u64 = 50_000_000;

/// How many operations were served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Availability {
    /// Operations that were due.
    pub due: u64,
    /// Operations that the store answered.
    pub served: u64,
}

impl Availability {
    /// The share that was served, from 0 to 1; `None` where nothing was due.
    #[expect(clippy::cast_precision_loss, reason = "operations of a run")]
    pub fn share(self) -> Option<f64> {
        (self.due > 0).then(|| self.served as f64 / self.due as f64)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Availability) -> Availability {
        Availability { due: self.due + other.due, served: self.served + other.served }
    }
}

/// What a fault did to the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// Operations that were due while it was active, and answers that came meanwhile.
    pub during: Availability,
    /// The longest time in which no client at all was served, from the fault's effect to the next fault, in s.
    pub outage_s: f64,
    /// From its undoing until at least 90 % of the operations of a whole second were served, in s; missing
    /// where that was not reached before the next fault, or the fault was not undone.
    #[serde(default)]
    pub recovery_s: Option<f64>,
}

/// One operation, as far as service goes.
#[derive(Clone, Copy, Debug)]
struct Call {
    invoked: u64,
    /// When it was answered, where it was.
    served: Option<u64>,
}

/// The service that a phase's clients saw, all its workloads together.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// By invocation.
    calls: Vec<Call>,
    /// When operations were answered, ascending.
    answers: Vec<u64>,
    /// The load of the phase, ns.
    load: Option<(u64, u64)>,
    /// Operations that are due in a second of it.
    rate_per_s: u64,
}

impl Service {
    /// Takes a history of the phase in, whose operations were due at this rate.
    pub(crate) fn add(&mut self, history: &History, rate_per_s: u64) {
        self.rate_per_s += rate_per_s;
        let (from, to) = super::series::load_span(history);
        let begun = history.operations().iter().filter(|op| (from..to).contains(&op.invoked.t));
        self.calls.extend(begun.map(|op| Call { invoked: op.invoked.t, served: served_at(op) }));
        self.load = Some((from, to));
        self.calls.sort_by_key(|call| call.invoked);
        self.answers = self.calls.iter().filter_map(|call| call.served).collect();
        self.answers.sort_unstable();
    }

    /// Over the whole load; `not_begun` operations were due and waited in vain for a free process.
    pub(crate) fn availability(&self, not_begun: u64) -> Availability {
        Availability { due: self.calls.len() as u64 + not_begun, served: self.answers.len() as u64 }
    }

    /// Fills in what each of the phase's `faults` did.
    pub(crate) fn impacts(&self, faults: &mut [FaultResult]) {
        let Some((_, load_end)) = self.load else { return };
        let last = self.answers.last().copied().unwrap_or(0);
        let load_end = load_end.min(last.max(self.calls.last().map_or(0, |call| call.invoked)));
        let starts: Vec<u64> = faults.iter().map(|fault| ns(fault.start_s)).collect();
        for fault in faults.iter_mut().filter(|fault| fault.is_proved()) {
            let start = ns(fault.start_s);
            let next = starts.iter().copied().filter(|&other| other > start).min();
            let horizon = next.map_or(load_end, |next| next.min(load_end)).max(start);
            let end = fault.end_s.map(ns);
            fault.impact = Some(Impact {
                during: self.during(start, end.unwrap_or(horizon).min(load_end)),
                outage_s: seconds(self.longest_silence(start, horizon.max(end.unwrap_or(0)).min(load_end))),
                recovery_s: end.and_then(|end| self.recovery(end, horizon)).map(seconds),
            });
        }
    }

    /// What was due in this span, and what was answered. What was begun would tell too little: clients that wait
    /// for an answer begin nothing.
    fn during(&self, from: u64, to: u64) -> Availability {
        let due = u128::from(self.rate_per_s) * u128::from(to.saturating_sub(from)) / 1_000_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let before = |at: u64| self.answers.partition_point(|&answer| answer < at);
        // What waited from before may make it more.
        let served = (before(to).saturating_sub(before(from)) as u64).min(due);
        Availability { due, served }
    }

    /// Of operations that began in this span.
    fn between(&self, from: u64, to: u64) -> Availability {
        let first = self.calls.partition_point(|call| call.invoked < from);
        let mut sum = Availability::default();
        for call in self.calls[first..].iter().take_while(|call| call.invoked < to) {
            sum.due += 1;
            sum.served += u64::from(call.served.is_some());
        }
        sum
    }

    /// The longest time without an answer to anybody.
    fn longest_silence(&self, from: u64, to: u64) -> u64 {
        let first = self.answers.partition_point(|&at| at < from);
        let mut before = from;
        let mut longest = 0;
        for &at in self.answers[first..].iter().take_while(|&&at| at < to) {
            longest = longest.max(at - before);
            before = at;
        }
        longest.max(to.saturating_sub(before))
    }

    fn recovery(&self, end: u64, horizon: u64) -> Option<u64> {
        let mut at = end;
        while at < horizon {
            let window = self.between(at, (at + NORMAL_FOR_NS).min(horizon));
            if window.share().is_some_and(|share| share >= NORMAL) {
                return Some(at - end);
            }
            at += STEP_NS;
        }
        None
    }
}

fn served_at(operation: &Operation) -> Option<u64> {
    let is_answer = |kind: &str| !NO_SERVICE.contains(&kind);
    match &operation.outcome {
        Outcome::Ok { at, .. } => Some(at.t),
        Outcome::Fail { at, error } => is_answer(&error.kind).then_some(at.t),
        Outcome::Info { .. } => None,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a run, not negative")]
fn ns(s: f64) -> u64 {
    (s * 1e9).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 ns")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A call every 10 ms for 10 s, each answered after 1 ms, but for those that `lost` picks by ms.
    fn service(lost: impl Fn(u64) -> bool) -> Service {
        let calls: Vec<Call> = (0..1000)
            .map(|n| n * 10)
            .map(|ms| Call { invoked: ms * MS, served: (!lost(ms)).then_some((ms + 1) * MS) })
            .collect();
        let answers = calls.iter().filter_map(|call| call.served).collect();
        Service { calls, answers, load: Some((0, 10_000 * MS)), rate_per_s: 100 }
    }

    fn fault(start_s: f64, end_s: f64) -> FaultResult {
        let proof = serde_json::json!("seen");
        FaultResult { start_s, end_s: Some(end_s), proof, ..FaultResult::default() }
    }

    #[test]
    fn an_outage_and_its_recovery_are_measured() {
        // Nothing from 2.0 s to 3.5 s, while the fault lasts from 2 s to 3 s.
        let service = service(|ms| (2000..3500).contains(&ms));
        let mut faults = [fault(2.0, 3.0), fault(7.0, 8.0)];
        service.impacts(&mut faults);
        let hit = faults[0].impact.expect("a proved fault has an impact");
        assert_eq!(hit.during, Availability { due: 100, served: 0 });
        assert!((1.49..1.52).contains(&hit.outage_s), "{hit:?}");
        // Of the second from 3.4 s on, 90 % are served.
        assert!((0.35..=0.45).contains(&hit.recovery_s.unwrap()), "{hit:?}");
        let harmless = faults[1].impact.unwrap();
        assert_eq!((harmless.during.share(), harmless.recovery_s), (Some(1.0), Some(0.0)));
        assert!(harmless.outage_s < 0.02, "{harmless:?}");
        assert_eq!(service.availability(50), Availability { due: 1050, served: 850 });
    }

    #[test]
    fn no_recovery_before_the_next_fault_is_none() {
        let service = service(|ms| (2000..6000).contains(&ms));
        let mut faults = [fault(2.0, 3.0), fault(5.0, 5.5)];
        service.impacts(&mut faults);
        assert_eq!(faults[0].impact.unwrap().recovery_s, None);
        assert!(faults[1].impact.unwrap().recovery_s.is_some());
    }

    #[test]
    fn a_fault_without_proof_did_nothing_that_is_known() {
        let mut faults = [FaultResult { start_s: 1.0, ..FaultResult::default() }];
        service(|_| false).impacts(&mut faults);
        assert_eq!(faults[0].impact, None);
        Service::default().impacts(&mut faults);
        assert_eq!(Availability::default().share(), None);
    }
}
