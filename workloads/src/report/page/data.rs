//! What the page's script works on, as JSON.

use super::{
    super::{
        progress::describe,
        results::{FaultResult, Results},
    },
    budget::{FAULTS_MAX, OPERATIONS_MAX, TEXTS_BYTES, shares},
    logs::{Log, logs},
    operations::{Focus, Operations},
    roles::{Roles, elections},
};
use checker::History;
use serde::Serialize;
use std::path::Path;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Data {
    /// The end of the run, s.
    pub end_s: f64,
    pub workloads: Vec<Operations>,
    faults: Vec<FaultData>,
    witnesses: Vec<Witness>,
    logs: Vec<Log>,
}

#[derive(Debug, Serialize)]
struct FaultData {
    name: String,
    start_s: f64,
    end_s: f64,
}

#[derive(Debug, Serialize)]
struct Witness {
    workload: String,
    kind: String,
    operations: Vec<u32>,
}

/// Histories by the place of their workload among the results.
pub(in crate::report) type Histories = [(usize, History)];

impl Data {
    pub(super) fn of(
        results: &Results,
        histories: &Histories,
        roles: &Roles,
        dir: &Path,
        end_s: f64,
    ) -> Data {
        let mut bytes = TEXTS_BYTES;
        let wanted: Vec<usize> = histories.iter().map(|(_, history)| history.operations().len()).collect();
        let shares = shares(&wanted, OPERATIONS_MAX);
        let workloads = histories.iter().zip(shares).map(|((index, history), share)| {
            let workload = &results.workloads[*index];
            let anomalies = || workload.checks.iter().flat_map(|check| &check.anomalies);
            let focus = Focus {
                witnesses: anomalies().flat_map(|anomaly| anomaly.operations.iter().copied()).collect(),
                spans: anomalies().filter_map(|anomaly| anomaly.span_s).collect(),
            };
            Operations::of(&workload.name, history, &focus, share, &mut bytes)
        });
        let workloads = workloads.collect();
        let faults = results.faults.iter().take(FAULTS_MAX).map(|fault| FaultData {
            name: describe(&fault.f, &fault.value),
            start_s: fault.start_s,
            end_s: fault.end_s.unwrap_or(end_s),
        });
        let witnesses = results.anomalies().map(|(workload, _, anomaly)| Witness {
            workload: workload.to_string(),
            kind: anomaly.kind.clone(),
            operations: anomaly.operations.clone(),
        });
        Data {
            end_s,
            workloads,
            faults: faults.collect(),
            witnesses: witnesses.collect(),
            logs: logs(results, dir, &moments(results, roles)),
        }
    }

    /// JSON that can stand in a script element: nothing in it ends the element.
    pub(super) fn json(&self) -> String {
        // The types hold no map with keys that are no strings, and no number that is none.
        serde_json::to_string(self).unwrap_or_default().replace('<', "\\u003c")
    }
}

/// When something happened that one may want to see the logs of, s.
fn moments(results: &Results, roles: &Roles) -> Vec<f64> {
    let of_fault = |fault: &FaultResult| [Some(fault.start_s), fault.end_s];
    let faults = results.faults.iter().flat_map(of_fault).flatten();
    let witnesses = results.anomalies().filter_map(|(_, _, anomaly)| anomaly.span_s).flatten();
    faults.chain(witnesses).chain(elections(roles).into_iter().map(|(at, _, _)| at)).collect()
}
