//! Folders of runs, made by hand: histories of sets, faults and all.

use checker::{
    History, Options,
    history::event::{Event, Header, OpError, What},
};
use serde_json::{Value, json};
use std::{fs, io::Write, path::Path};
use workloads::{
    recorder::ROLE,
    report::{self, Conclusion, FaultResult, NodeResult, Results, Run, WorkloadResult},
    runner,
};

/// Operations per second of the histories.
const RATE: u64 = 2000;
const PROCESSES: u64 = 9;

/// A run with so many operations, of which one read lacks an element. Gives how many anomalies were found.
pub fn large(dir: &Path, operations: u64) -> usize {
    make(dir, operations, true)
}

/// A run of a few operations.
pub fn small(dir: &Path, forged: bool) -> usize {
    make(dir, 300, forged)
}

fn make(dir: &Path, operations: u64, forged: bool) -> usize {
    fs::create_dir_all(dir.join("set")).unwrap();
    fs::create_dir_all(dir.join("nodes")).unwrap();
    let path = dir.join("set/history.jsonl");
    let mut out = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    let header = Header {
        v: 1,
        seed: 7,
        scenario: "set".into(),
        faults: vec!["kill-one".into()],
        system: "assay".into(),
        nodes: 3,
        clock: "monotonic_ns".into(),
    };
    writeln!(out, "{}", serde_json::to_string(&header).unwrap()).unwrap();
    for (i, (t, what)) in events(operations, forged).into_iter().enumerate() {
        writeln!(out, "{}", serde_json::to_string(&Event { i: i as u64, t, what }).unwrap()).unwrap();
    }
    drop(out);
    let history = History::load(&path).unwrap();
    let mut workload = WorkloadResult {
        name: "set".into(),
        phase: 1,
        history: "set/history.jsonl".into(),
        rate_per_s: RATE,
        ..WorkloadResult::default()
    };
    report::measure(&history, &mut workload);
    runner::judge(&history, &Options::default(), &mut workload, Some(dir));
    let faults: Vec<FaultResult> = history
        .faults()
        .iter()
        .map(|fault| FaultResult {
            phase: 1,
            number: fault.number,
            f: fault.f.clone(),
            value: fault.value.clone(),
            start_s: fault.start.t as f64 / 1e9,
            end_s: fault.end.map(|end| end.t as f64 / 1e9),
            proof: fault.proof.clone(),
            ..FaultResult::default()
        })
        .collect();
    let node = |name: &str| {
        fs::write(dir.join(format!("nodes/{name}.log")), log()).unwrap();
        NodeResult {
            name: name.into(),
            url: format!("http://{name}"),
            log: Some(format!("nodes/{name}.log").into()),
        }
    };
    let mut results = Results {
        v: report::VERSION,
        verdict: workload.verdict,
        run: Run {
            command: "assay run --workload set --seed 7".into(),
            started: "2026-01-31T09:15:00.000Z".into(),
            system: "assay 0.1.0".into(),
            cluster: "local".into(),
            seed: 7,
            ..Run::default()
        },
        faults,
        nodes: ["n1", "n2", "n3"].map(node).into(),
        workloads: vec![workload],
        ..Results::default()
    };
    results.reasons = results.anomalies().map(|(_, _, anomaly)| anomaly.sentence.clone()).collect();
    assert_eq!(results.verdict == Conclusion::Anomaly, forged, "{:?}", results.workloads[0].checks);
    report::write_all(dir, &results).unwrap();
    results.anomalies().count()
}

/// A log of a minute, a line every 100 ms.
fn log() -> String {
    let line = |n: u64| format!("2026-01-31T09:15:{:02}.{}00Z  INFO election term={n}\n", n / 10, n % 10);
    (0..600).map(line).collect()
}

/// Adds to hundreds of sets, a read of each set now and then, two faults, a change of the leader.
fn events(operations: u64, forged: bool) -> Vec<(u64, What)> {
    let gap = 1_000_000_000 / RATE;
    let sets = (operations / 100).max(3);
    let mut events: Vec<(u64, What)> = Vec::new();
    let observe = |node: &str, f: &str, value: Value| What::Observe { node: node.into(), f: f.into(), value };
    events.push((0, observe("n1", "base", json!({ "revision": 1, "alone": false }))));
    events.push((0, What::Phase { f: "load".into() }));
    let mut elements: Vec<Vec<u64>> = vec![Vec::new(); sets as usize];
    let mut revision = 1;
    let end = operations * gap;
    for n in 0..operations {
        let (start, set) = (n * gap + 1000, (n * 7 % sets) as usize);
        let key = Some(format!("s{set}"));
        // A process whose operation ended in info never acts again.
        let lost = n % 97 == 13;
        let p = if lost { PROCESSES + n } else { n % PROCESSES };
        let node = Some(format!("n{}", n % 3 + 1));
        let long = gap * (2 + n % 5);
        let read = n % 11 == 10;
        let (f, value) = if read { ("read", Value::Null) } else { ("add", json!(n)) };
        events.push((start, What::Invoke { p, node, f: f.into(), key: key.clone(), value }));
        let done = match (lost, read) {
            (true, _) => {
                let error = OpError { kind: "deadline".into(), text: "after 1000 ms".into() };
                What::Info { p, f: f.into(), key, error }
            }
            (false, true) => {
                let last = n + 40 > operations && n % 11 == 10;
                let skip = usize::from(forged && last);
                let seen = elements[set].get(skip..).unwrap_or_default().to_vec();
                What::Ok { p, f: f.into(), key, value: json!(seen), rev: None }
            }
            (false, false) => {
                revision += 1;
                elements[set].push(n);
                What::Ok { p, f: f.into(), key, value: Value::Null, rev: None }
            }
        };
        events.push((start + long.min(gap * PROCESSES - 2000), done));
    }
    for (fault, from, to) in [(0, end / 4, end / 3), (1, end / 2, end * 2 / 3)] {
        let value = json!({ "fault": "kill-one", "nodes": ["n2"] });
        let proof = json!({ "probe": "n2 refused" });
        events.push((from, What::NemesisStart { f: "kill".into(), fault, value, proof }));
        events.push((to, What::NemesisEnd { f: "kill".into(), fault, proof: json!("serves again") }));
    }
    for (at, leader, term) in [(0, "n2", 2), (end / 4 + 1, "n3", 3)] {
        for node in ["n1", "n2", "n3"] {
            events.push((at, observe(node, ROLE, json!({ "leader": leader, "term": term }))));
        }
    }
    events.push((end / 4 + 2, observe("n2", ROLE, json!({ "error": "refused" }))));
    events.push((end / 3, observe("n2", ROLE, json!({ "leader": null, "term": 2 }))));
    events.push((end / 3 + end / 50, observe("n2", ROLE, json!({ "leader": "n3", "term": 3 }))));
    events.sort_by_key(|(t, _)| *t);
    let after = end + 1_000_000_000;
    events.push((after, What::Phase { f: "heal".into() }));
    events.push((after, What::Phase { f: "final".into() }));
    for node in ["n1", "n2", "n3"] {
        let status = json!({ "revision": revision, "raft_applied_index": revision, "raft_term": 3 });
        events.push((after, observe(node, "status", status)));
        let hash = json!({ "revision": revision, "hash": 5, "compact_revision": 0 });
        events.push((after, observe(node, "hashkv", hash)));
    }
    events
}
