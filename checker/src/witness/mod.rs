//! Evidence for anomalies: the operations that show it, as few as were found, and the argument.
mod shrink;

pub use shrink::{Shrunk, shrink};

use crate::history::{History, OpId, Operation};
use crate::render::moment;
use crate::verdict::Witness;

/// The evidence of some operations: with the faults that were active while they were open, and the
/// culprits among them marked.
pub fn witness(history: &History, ids: &[OpId], culprits: &[OpId], because: Vec<String>) -> Witness {
    let mut all: Vec<OpId> = ids.iter().chain(culprits).copied().collect();
    all.sort_unstable();
    all.dedup();
    let operations: Vec<Operation> = all.iter().map(|id| history.operation(*id).clone()).collect();
    let from = operations.iter().map(|operation| operation.invoked.t).min().unwrap_or(0);
    let to = operations.iter().map(|operation| operation.ended().unwrap_or(operation.invoked).t).max();
    let faults = history.faults_between(from, to.unwrap_or(from)).cloned().collect();
    let mut culprits = culprits.to_vec();
    culprits.sort_unstable();
    culprits.dedup();
    Witness { operations, culprits, because, faults, ..Witness::default() }
}

/// The end of a sentence about an anomaly: when it was seen, and under which faults.
pub fn circumstances(history: &History, operation: &Operation) -> String {
    let to = operation.ended().unwrap_or(operation.invoked).t;
    let names: Vec<String> = history
        .faults_between(operation.invoked.t, to)
        .map(|fault| format!("{} (fault {})", fault.f, fault.number))
        .collect();
    let under =
        if names.is_empty() { "no fault active".to_owned() } else { format!("under {}", names.join(", ")) };
    format!("at {}, {under}", moment(to))
}
