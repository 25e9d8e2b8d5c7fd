//! The JSON schema of `results.json`, made of the types that write it.

use super::results::{Results, VERSION};
use serde_json::Value;

/// The schema, of the draft that it names itself. The repository keeps it as `workloads/results.schema.json`, and
/// it may grow: a reader must take fields that it does not know.
///
/// # Panics
/// Never: a schema is JSON.
pub fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(Results)).expect("a schema is JSON");
    schema["title"] = format!("results.json of an Assay run, version {VERSION}").into();
    schema["properties"]["v"]["const"] = VERSION.into();
    schema
}

#[cfg(test)]
mod tests {
    use super::super::{
        availability::{Availability, Impact},
        doubt::{Doubt, DoubtKind},
        results::{Anomaly, Check, FaultResult, NodeResult, WorkloadResult},
    };
    use super::*;
    use serde_json::json;
    use std::{fs, path::Path};

    /// Results with something in every place.
    fn full() -> Results {
        let anomaly = Anomaly {
            drawing: Some("kv/witness-1.svg".into()),
            operations: vec![1, 2],
            span_s: Some([1.0, 2.0]),
            ..Anomaly::default()
        };
        let check = Check { anomalies: vec![anomaly], reasons: vec!["why".into()], ..Check::default() };
        let workload = WorkloadResult {
            checks: vec![check.clone()],
            counts: [("read".to_string(), Default::default())].into(),
            errors: [("deadline".to_string(), 1)].into(),
            service: [("read".to_string(), Default::default())].into(),
            ..WorkloadResult::default()
        };
        let impact = Impact { recovery_s: Some(1.0), ..Impact::default() };
        let fault = FaultResult {
            value: json!({ "nodes": ["n1"] }),
            end_s: Some(1.0),
            impact: Some(impact),
            ..FaultResult::default()
        };
        Results {
            v: VERSION,
            doubts: DoubtKind::ALL.map(|kind| Doubt::new(kind, "why")).into(),
            workloads: vec![workload],
            checks: vec![check],
            availability: Availability { due: 2, served: 1 },
            faults: vec![fault, FaultResult::default()],
            notes: vec!["note".into()],
            nodes: vec![NodeResult { log: Some("nodes/n1.log".into()), ..NodeResult::default() }],
            ..Results::default()
        }
    }

    #[test]
    fn results_follow_the_schema_and_others_do_not() {
        let validator = jsonschema::validator_for(&schema()).expect("a sound schema");
        let good = serde_json::to_value(full()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&good).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        for (pointer, bad) in [
            ("/v", json!(VERSION + 1)),
            ("/verdict", json!("passed")),
            ("/doubts/0/kind", json!("bad-luck")),
            ("/workloads/0/counts/read/ok", json!(-1)),
            ("/faults/0/start_s", json!("soon")),
        ] {
            let mut wrong = good.clone();
            *wrong.pointer_mut(pointer).expect(pointer) = bad;
            assert!(!validator.is_valid(&wrong), "{pointer} is taken");
        }
    }

    /// `UPDATE_SCHEMA=1 cargo test -p assay schema` writes the file anew.
    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results.schema.json");
        let ours = format!("{:#}\n", schema());
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            fs::write(&path, &ours).unwrap();
        }
        let published = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == ours,
            "workloads/results.schema.json is old: run this test with UPDATE_SCHEMA=1"
        );
    }
}
