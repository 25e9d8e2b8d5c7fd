//! Histories of transactions that Elle, elle-cli, AWDIT and IsoVista published or made, with their verdicts. They
//! are read from the folder that `ASSAY_HISTORIES` names, since not all of them may be copied; without it nothing
//! is judged.

use std::path::{Path, PathBuf};

use checker::history::import::file;
use checker::isolation::levels::named;
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

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The verdict when a level is asked for.
fn asked(path: &Path, model: &str) -> &'static str {
    let (_, history) = file::read(path).expect("the history is read");
    let options = Options { ok_min: 1, model: named(model), ..Options::default() };
    assert!(options.model.is_some(), "{model} is a level");
    check(&history, &options).verdict.name()
}

#[test]
fn awdits_histories_have_the_levels_that_their_folders_name() {
    let Some(folder) = folder() else { return };
    const LEVELS: [&str; 3] =
        ["strong-session-monotonic-atomic-view", "strong-session-read-atomic", "strong-session-causal"];
    for (name, holds) in [("none", 0), ("read-committed", 1), ("read-atomic", 2), ("causal", 3)] {
        for path in files(&folder.join("awdit/tests").join(name)) {
            for (at, level) in LEVELS.into_iter().enumerate() {
                let want = if at < holds { "valid" } else { "anomaly" };
                assert_eq!(asked(&path, level), want, "{}: {level}", path.display());
            }
        }
    }
}

#[test]
fn isovistas_bugs_violate_what_their_names_say() {
    let Some(folder) = folder() else { return };
    for (name, level, verdict) in [
        ("yugabyte_tcc", "strong-session-causal", "anomaly"),
        ("dgraph_si", "snapshot-isolation", "anomaly"),
        ("pg_ser_bug", "serializable", "anomaly"),
        ("pg_ser_bug", "strong-session-causal", "valid"),
    ] {
        let path = folder.join("isovista/bugs").join(name).with_extension("txt");
        assert_eq!(asked(&path, level), verdict, "{name}: {level}");
    }
}

#[test]
fn the_banks_and_forks_of_elle_cli_get_their_verdicts() {
    let Some(folder) = folder() else { return };
    let cases: [(&str, &str, Option<AnomalyKind>); 6] = [
        ("bank.edn", "bank", None),
        ("bank.json", "bank", None),
        ("bank-neg.edn", "bank", None),
        ("bank-tidb.edn", "bank", Some(AnomalyKind::WrongTotal)),
        ("bank-negative-balances.json", "bank", Some(AnomalyKind::NegativeBalance)),
        ("long-fork.edn", "long-fork", Some(AnomalyKind::LongFork)),
    ];
    for (name, check_name, kind) in cases {
        let (_, history) =
            file::read(&folder.join("elle-cli/jepsen").join(name)).expect("the history is read");
        let report = check(&history, &Options { ok_min: 1, ..Options::default() });
        let result = report.results.iter().find(|result| result.check == check_name);
        let result = result.unwrap_or_else(|| panic!("{name}: {:?}", report.problems));
        let found: Vec<AnomalyKind> = result.verdict.anomalies().iter().map(|anomaly| anomaly.kind).collect();
        match kind {
            Some(kind) => assert!(found.contains(&kind), "{name}: no {kind} in {found:?}"),
            None => assert!(result.verdict.is_valid(), "{name}: {found:?}"),
        }
    }
}
