//! Porcupine's own test histories, from the folder that `ASSAY_HISTORIES` names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::history::import::file;
use checker::linearizability::{Decision, decide_part, split};
use checker::spec::register::Register;
use checker::spec::strings::Strings;
use checker::witness::shrink;
use checker::{Options, decode};
use cpu_time::ThreadTime;

use crate::table::{Answer, head, line, took};
use crate::{budget, decide};

/// Measures all of them; says so where there is no folder.
pub fn all() {
    let Some(folder) = std::env::var_os("ASSAY_HISTORIES").map(PathBuf::from) else {
        println!("\nPorcupine's histories are left out: ASSAY_HISTORIES names no folder.");
        return;
    };
    head("Porcupine's histories");
    logs(&folder.join("porcupine"));
    for (name, theirs) in
        [("c01-ok", 0.13), ("c10-ok", 0.55), ("c10-bad", 0.33), ("c50-ok", 197.0), ("c50-bad", 22.0)]
    {
        strings(&folder.join("porcupine/kv"), name, theirs);
    }
    for (name, theirs) in [("c10-ok", 4292.0), ("c10-bad", 4191.0)] {
        undivided(&folder.join("porcupine/kv"), name, theirs);
    }
    witness(&folder.join("porcupine/kv/c50-bad.txt"));
}

/// The logs of Jepsen's etcd test, as many as are there.
fn logs(folder: &Path) {
    let verdicts = std::fs::read_to_string(folder.join("verdicts.tsv")).expect("verdicts.tsv");
    let mut histories = Vec::new();
    let mut theirs = 0.0;
    for row in verdicts.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        if row[0].starts_with("etcd_") {
            let (_, history) = file::read(&folder.join(row[0])).expect("reads");
            theirs += row[5].parse::<f64>().unwrap_or(0.0);
            histories.push((row[1] == "Ok", decode::register(&history).calls));
        }
    }
    let operations = histories.iter().map(|(_, calls)| calls.len()).sum();
    line("etcd logs", operations, took("Porcupine", theirs), || {
        let (mut agreed, mut slowest) = (0, Duration::ZERO);
        let of = histories.len();
        for (legal, calls) in histories {
            let started = ThreadTime::now();
            agreed += usize::from((decide(&Register::default(), calls).answer == "valid") == legal);
            slowest = slowest.max(started.elapsed());
        }
        let answer = format!("{agreed} of {of} as known, slowest {:.2} ms", slowest.as_secs_f64() * 1e3);
        Answer { answer, by: "exact search".to_owned() }
    });
}

fn strings(folder: &Path, name: &str, theirs: f64) {
    let (_, history) = file::read(&folder.join(format!("{name}.txt"))).expect("reads");
    let calls = decode::strings(&history).calls;
    let spec = Strings::of(calls.iter().map(|call| &call.op));
    line(name, calls.len(), took("Porcupine", theirs), || decide(&spec, calls));
}

/// A history that is given without its partition, which is found here, and the same with it.
fn undivided(folder: &Path, name: &str, theirs: f64) {
    let (_, history) = file::read(&folder.join(format!("{name}.txt"))).expect("reads");
    let calls = decode::strings(&history).calls;
    let spec = Strings::of(calls.iter().map(|call| &call.op));
    let parts = split(&spec, calls.clone());
    let name = |how: &str| format!("{name}, {how}");
    let budget = budget();
    let divided = line(&name("partition given"), calls.len(), crate::table::NONE, || {
        let wrong = parts
            .iter()
            .filter(|part| !matches!(decide_part(&spec, &part.calls, &budget).decision, Decision::Legal));
        let answer = if wrong.count() == 0 { "valid" } else { "anomaly" };
        Answer { answer: answer.to_owned(), by: format!("{} parts", parts.len()) }
    });
    let whole = line(&name("no partition"), calls.len(), took("Porcupine", theirs), || decide(&spec, calls));
    println!("without / with: {:.2} (target: 2)", whole / divided);
}

/// The smallest witness, from an illegal history on.
fn witness(path: &Path) {
    let (_, history) = file::read(path).expect("reads");
    let calls = decode::strings(&history).calls;
    let spec = Strings::of(calls.iter().map(|call| &call.op));
    let budget = budget();
    let parts = split(&spec, calls);
    let bad = parts.iter().find_map(|part| match decide_part(&spec, &part.calls, &budget).decision {
        Decision::Illegal(stuck) => Some((part, stuck)),
        Decision::Legal | Decision::Undecided { .. } => None,
    });
    let (part, stuck) = bad.expect("it is illegal");
    let rival = crate::gave_up("Porcupine", 60_000.0, "no answer, 9.6 GB");
    line("witness of c50-bad", part.calls.len(), rival, || {
        let all = checker::budget::Budget::new(&Options::default());
        let shrunk = shrink(&spec, &part.calls, stuck, &all);
        Answer { answer: format!("{} operations", shrunk.calls.len()), by: "leaving out".to_owned() }
    });
}
