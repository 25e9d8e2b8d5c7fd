//! Histories that others published, with their verdicts. They are read from the folder named by
//! `ASSAY_HISTORIES`, since not all of them may be copied; without it there is nothing to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checker::history::import::file;
use checker::{Options, Verdict, check};

/// All histories below a folder.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            below(&path, found);
        } else if ["edn", "json", "log", "txt"].contains(&ending.as_str()) {
            found.push(path);
        }
    }
}

/// The known verdict: whether the history is linearizable.
fn is_legal(path: &Path, verdicts: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let row = verdicts.lines().find(|row| row.starts_with(&format!("{name}\t")));
    match row {
        Some(row) => row.split('\t').nth(1) == Some("Ok"),
        None => !name.contains("bad") && !path.components().any(|part| part.as_os_str() == "bad"),
    }
}

#[test]
fn published_histories_have_the_known_verdicts() {
    let Some(folder) = std::env::var_os("ASSAY_HISTORIES").map(PathBuf::from) else {
        println!("nothing to do: ASSAY_HISTORIES names no folder");
        return;
    };
    let verdicts = fs::read_to_string(folder.join("porcupine/verdicts.tsv")).expect("verdicts.tsv");
    let mut files = Vec::new();
    for part in ["porcupine", "synthetic", "knossos", "elle-cli/knossos"] {
        below(&folder.join(part), &mut files);
    }
    files.sort();
    let options = Options { ok_min: 0, time_limit: Duration::from_secs(300), ..Options::default() };
    let started = Instant::now();
    let mut wrong = Vec::new();
    for path in &files {
        let (_, history) = file::read(path).unwrap_or_else(|error| panic!("{error}"));
        let report = check(&history, &options);
        let agrees = match &report.verdict {
            Verdict::Valid => is_legal(path, &verdicts),
            Verdict::Anomaly(_) => !is_legal(path, &verdicts),
            Verdict::Unknown(_) => false,
        };
        if !agrees {
            wrong.push(format!("{}: {}, {:?}", path.display(), report.verdict.name(), report.problems));
        }
    }
    println!("{} histories in {:?}", files.len(), started.elapsed());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
