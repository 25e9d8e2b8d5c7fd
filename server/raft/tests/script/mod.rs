//! Golden scripts: one behaviour each, on a cluster in which nothing happens but what the script says.
//!
//! A script's output has a line per message when it is sent, per write, per entry that is applied, per read
//! that is decided and per change of role; `status` gives a line per node. Messages travel only with `deliver`
//! or `settle`. Disks write at once, unless `hold` makes them wait for `persist`. `UPDATE_GOLDENFILES=1`
//! rewrites the output; a change in it is to be understood before it is accepted.

mod cluster;
mod commands;
mod format;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

fn scripts(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(dir);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("it can be listed").path()).collect();
    paths.sort();
    paths
}

fn run(dir: &str) {
    let failed: Vec<String> = scripts(dir)
        .into_iter()
        .inspect(|path| assert_explained(path))
        .filter(|path| {
            let run = || goldenscript::run(&mut commands::Runner::default(), path).expect("it can be read");
            catch_unwind(AssertUnwindSafe(run)).is_err()
        })
        .map(|path| path.display().to_string())
        .collect();
    assert!(failed.is_empty(), "these scripts gave other output than is written in them: {failed:#?}");
}

#[test]
fn election() {
    run("election");
}

#[test]
fn append() {
    run("append");
}

#[test]
fn read() {
    run("read");
}

#[test]
fn snapshot() {
    run("snapshot");
}

#[test]
fn membership() {
    run("membership");
}

#[test]
fn restart() {
    run("restart");
}

#[test]
fn transfer() {
    run("transfer");
}

/// A script that does not say what it shows, and where that is written, cannot be reviewed.
fn assert_explained(path: &Path) {
    let text = fs::read_to_string(path).expect("it can be read");
    let opening: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
    let opening = opening.join(" ");
    let cites = ["Raft paper", "Raft thesis", "raft-dev"].iter().any(|source| opening.contains(source));
    assert!(cites, "{}: the opening comment cites no source", path.display());
    assert!(text.contains("\n---\n"), "{}: nothing is shown", path.display());
}
