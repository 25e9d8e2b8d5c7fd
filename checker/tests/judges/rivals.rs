//! Histories of transactions that Elle, elle-cli, AWDIT and IsoVista published or made, with their verdicts. They
//! are read from the folder that `ASSAY_HISTORIES` names, since not all of them may be copied; without it nothing
//! is judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use checker::history::OpId;
use checker::history::import::file;
use checker::isolation::cycles::{Order, Shape, cycles};
use checker::isolation::dependencies::of_registers;
use checker::isolation::registers::{OnRegister, Registers, Versions};
use checker::isolation::serial::{Serial, serial};
use checker::isolation::txns::Span;
use checker::isolation::weak::{Sessions, Weak};
use checker::{AnomalyKind, CheckResult, Options, check};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ASSAY_HISTORIES").map(PathBuf::from);
    if folder.is_none() {
        println!("nothing is judged: ASSAY_HISTORIES names no folder");
    }
    folder
}

fn isolation(path: &Path) -> CheckResult {
    let (_, history) = file::read(path).expect("the history is read");
    assert_eq!(history.problems(), [], "{}", path.display());
    let report = check(&history, &Options { ok_min: 1, ..Options::default() });
    let result = report.results.into_iter().find(|result| result.check == "isolation");
    let result = result.unwrap_or_else(|| panic!("{}: no isolation: {:?}", path.display(), report.problems));
    println!("{} {} {:?} {:?}", path.display(), result.verdict.name(), result.elapsed, result.counts);
    result
}

#[test]
fn elles_histories_get_elles_verdicts() {
    let Some(folder) = folder() else { return };
    // What is broken at least, the weakest levels first, and anomalies that must be among those found.
    let cases: [(&str, &[&str], &[AnomalyKind]); 14] = [
        ("elle/huge-scc.edn", &["strong-snapshot-isolation"], &[AnomalyKind::GSingleRealtime]),
        ("elle/paper-example.edn", &["consistent-view", "repeatable-read"], &[AnomalyKind::GSingle]),
        (
            "elle/si-without-g-single.edn",
            &["repeatable-read", "strong-snapshot-isolation"],
            &[AnomalyKind::G2Item, AnomalyKind::GSingleRealtime],
        ),
        ("elle-cli/elle/list-append-gh-30.edn", &["repeatable-read"], &[AnomalyKind::G2Item]),
        ("elle-cli/elle/paper-example.edn", &["consistent-view", "repeatable-read"], &[AnomalyKind::GSingle]),
        (
            "elle-cli/elle/paper-example.json",
            &["consistent-view", "repeatable-read"],
            &[AnomalyKind::GSingle],
        ),
        ("elle-cli/elle/rw-register.edn", &[], &[]),
        ("elle-cli/elle/rw-register.json", &[], &[]),
        ("elle-sim/list-append-ssi-n5000-c10.edn", &[], &[]),
        ("elle-sim/list-append-ssi-n5000-c50.edn", &[], &[]),
        ("elle-sim/list-append-si-n500-c10.edn", &["repeatable-read"], &[AnomalyKind::G2Item]),
        ("elle-sim/list-append-si-n5000-c10.edn", &["repeatable-read"], &[AnomalyKind::G2Item]),
        (
            "elle-sim/list-append-prefix-n300-c5.edn",
            &["read-uncommitted"],
            &[AnomalyKind::G0, AnomalyKind::LostUpdate, AnomalyKind::IncompatibleOrder],
        ),
        (
            "elle-sim/list-append-prefix-n5000-c10.edn",
            &["read-uncommitted"],
            &[AnomalyKind::G0, AnomalyKind::LostUpdate, AnomalyKind::IncompatibleOrder],
        ),
    ];
    for (name, broken, kinds) in cases {
        let result = isolation(&folder.join(name));
        let levels = result.levels.as_ref().expect("levels are told");
        assert_eq!(levels.broken, broken, "{name}");
        assert_eq!(result.verdict.is_valid(), broken.is_empty(), "{name}");
        let found: Vec<AnomalyKind> = result.verdict.anomalies().iter().map(|anomaly| anomaly.kind).collect();
        for kind in kinds {
            assert!(found.contains(kind), "{name}: no {kind} in {found:?}");
        }
    }
}

/// One step of a foreign history: whether it writes, the key and the value.
type Foreign = (bool, i64, i64);

fn registers(txns: &[(u64, Vec<Foreign>)]) -> Registers {
    let mut registers = Registers::default();
    for (at, (session, steps)) in txns.iter().enumerate() {
        let place = 10 * at as u64;
        let span = Span { id: OpId(at as u32), process: *session, invoked: place, returned: place + 1 };
        registers.begin(span, 0);
        for (write, key, value) in steps {
            let key = registers.txns.key(&Arc::from(key.to_string()));
            registers.txns.step(if *write {
                OnRegister::Write { key, value: *value }
            } else {
                OnRegister::Read { key, found: Some(*value), rev: 0 }
            });
        }
    }
    registers
}

/// AWDIT's "test" format: `=====` ends a session, `-----` a transaction.
fn awdit(text: &str) -> Vec<(u64, Vec<Foreign>)> {
    let sessions = text.split("=====").zip(0..);
    let txns = sessions.flat_map(|(session, number)| session.split("-----").map(move |txn| (number, txn)));
    txns.map(|(session, txn)| {
        let steps = txn.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            let parts: Vec<&str> = line.split_whitespace().collect();
            (parts[0] == "w", parts[1].parse().expect("a key"), parts[2].parse().expect("a value"))
        });
        (session, steps.collect())
    })
    .collect()
}

/// Plume's format: `r(key,value,session,transaction)`.
fn plume(text: &str) -> Vec<(u64, Vec<Foreign>)> {
    let mut txns: Vec<((u64, i64), Vec<Foreign>)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let numbers: Vec<i64> = line[2..line.len() - 1]
            .split(',')
            .map(|number| number.trim().parse().expect("a number"))
            .collect();
        let name = (numbers[2] as u64, numbers[3]);
        if txns.last().is_none_or(|(last, _)| *last != name) {
            txns.push((name, Vec::new()));
        }
        let step = (line.starts_with('w'), numbers[0], numbers[1]);
        txns.last_mut().expect("a transaction").1.push(step);
    }
    txns.into_iter().map(|((session, _), steps)| (session, steps)).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn awdits_histories_have_the_levels_that_their_folders_name() {
    let Some(folder) = folder() else { return };
    for (name, holds) in [("none", 0), ("read-committed", 1), ("read-atomic", 2), ("causal", 3)] {
        for path in files(&folder.join("awdit/tests").join(name)) {
            let txns = awdit(&std::fs::read_to_string(&path).expect("text"));
            let registers = registers(&txns);
            let sessions = Sessions::of(&registers, &Versions::new(&registers));
            for (at, level) in [Weak::ReadCommitted, Weak::ReadAtomic, Weak::Causal].into_iter().enumerate() {
                let found = sessions.judge(level).cycle.is_empty();
                assert_eq!(found, at < holds, "{}: {level:?}", path.display());
            }
        }
    }
}

#[test]
fn isovistas_bugs_violate_what_their_names_say() {
    let Some(folder) = folder() else { return };
    for name in ["yugabyte_tcc", "dgraph_si", "pg_ser_bug"] {
        let path = folder.join("isovista/bugs").join(name).with_extension("txt");
        let registers = registers(&plume(&std::fs::read_to_string(&path).expect("text")));
        let mut versions = Versions::new(&registers);
        let causal = Sessions::of(&registers, &versions).judge(Weak::Causal);
        versions.learn(&registers, &causal.demands);
        let found = cycles(&of_registers(&registers, &versions)).cycles;
        let data: Vec<Shape> =
            found.iter().filter(|cycle| cycle.order == Order::Data).map(|cycle| cycle.shape).collect();
        println!("{name}: causal {:?}, {data:?}, {} wrong", causal.cycle, versions.wrong.len());
        let broken = match name {
            "yugabyte_tcc" => !causal.cycle.is_empty(),
            // What snapshot isolation forbids.
            "dgraph_si" => data.iter().any(|shape| *shape != Shape::G2Item) || !versions.wrong.is_empty(),
            _ => matches!(serial(&registers, &versions), Serial::No { .. }),
        };
        assert!(broken, "{name}");
    }
}
