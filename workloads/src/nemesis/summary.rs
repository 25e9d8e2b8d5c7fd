//! What came of a plan.

use super::{Family, Planned};
use crate::cluster::Crash;
use serde::Serialize;
use std::collections::BTreeMap;

/// What came of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Result {
    /// It took effect and was undone, both with proof.
    Proved {
        /// When it had taken effect, in milliseconds after the start of the plan.
        start_ms: u64,
        /// When it had been undone.
        end_ms: u64,
    },
    /// It did not take effect, or was not undone, or neither could be shown.
    Failed {
        /// What went wrong.
        error: String,
    },
    /// Other faults held every process that it could have hit, or there was no occasion.
    Skipped,
    /// The time was up, or the run was stopped, before its turn.
    NotReached,
}

/// A fault of the plan, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The fault.
    #[serde(flatten)]
    pub planned: Planned,
    /// What came of it.
    #[serde(flatten)]
    pub result: Result,
}

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Every fault, by number.
    pub outcomes: Vec<Outcome>,
    /// Whether the run was stopped before the plan's end.
    pub stopped: bool,
    /// What could not be undone at the end. Empty: all is as it was before the first fault.
    pub heal_errors: Vec<String>,
    /// Processes that ended by themselves meanwhile.
    pub crashes: Vec<Crash>,
}

impl Summary {
    /// How many faults of each family were proved.
    pub fn proved(&self) -> BTreeMap<Family, usize> {
        let mut counts = BTreeMap::new();
        for outcome in &self.outcomes {
            if matches!(outcome.result, Result::Proved { .. }) {
                *counts.entry(outcome.planned.fault.family()).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Why the run proves less than was asked for; empty when it does not. A run with doubts is not plainly
    /// valid, whatever its history says.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = self.heal_errors.clone();
        for outcome in &self.outcomes {
            if let Result::Failed { error } = &outcome.result {
                doubts.push(format!("fault {}, {}: {error}", outcome.planned.number, outcome.planned.fault));
            }
        }
        if self.stopped {
            doubts.push("the run was stopped before its end".to_owned());
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::{Fault, Shape, Target};

    #[test]
    fn a_fault_without_proof_leaves_a_doubt() {
        let planned =
            |number, fault| Planned { number, fault, start_ms: 0, duration_ms: 1, choice: 0, view: None };
        let kill = planned(0, Fault::Kill(Target::One));
        let cut = planned(1, Fault::Partition(Shape::One));
        let summary = |cut_result| Summary {
            outcomes: vec![
                Outcome { planned: kill, result: Result::Proved { start_ms: 0, end_ms: 1 } },
                Outcome { planned: cut, result: cut_result },
            ],
            ..Summary::default()
        };
        let proved = Result::Proved { start_ms: 2, end_ms: 3 };
        assert_eq!(summary(proved).doubts(), Vec::<String>::new());
        assert_eq!(
            summary(Result::NotReached).doubts(),
            Vec::<String>::new(),
            "the run as a whole sees to that"
        );
        let failed = summary(Result::Failed { error: "counters do not move".to_owned() });
        assert_eq!(failed.doubts().len(), 1, "{:?}", failed.doubts());
        assert_eq!(failed.proved(), BTreeMap::from([(Family::Kill, 1)]));
    }
}
