//! The arrows between crates and between modules, read from `cargo metadata` and from the sources.
//!
//! ARCHITECTURE.md draws them; this keeps the drawing true. A crate or module may use what its row names
//! and nothing else of this workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Crate -> crates of this workspace that it may depend on (build and run time; dev-dependencies are free).
const CRATES: &[(&str, &[&str])] = &[
    ("assay-raft", &[]),
    ("assay-checker", &["assay-raft"]),
    ("assay-server", &["assay-raft"]),
    ("assay", &["assay-raft", "assay-server", "assay-checker"]),
    ("tests", &["assay-raft", "assay-server", "assay-checker", "assay"]),
];

/// Module of a crate -> words that its sources must not contain outside of tests, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "server/raft/src",
        &["std::net", "std::fs", "std::time", "std::thread", "tokio", "HashMap", "HashSet", "rand::"],
        "the raft core does no IO, reads no clock and iterates in a fixed order",
    ),
    (
        "server/src/mvcc",
        &["tokio", "tonic", "std::time", "SystemTime", "Instant::now", "crate::raft"],
        "apply is deterministic and knows nothing of the shell",
    ),
    (
        "server/src/state_machine",
        &["tokio", "tonic", "std::time", "SystemTime", "Instant::now", "rand::", "HashMap"],
        "apply is deterministic and knows nothing of the shell",
    ),
    ("server/src/mvcc", &["crate::state_machine", "crate::node", "crate::api"], "mvcc is the lowest layer"),
    (
        "server/src/state_machine",
        &["crate::node", "crate::api", "crate::disk", "crate::net"],
        "arrows go down",
    ),
    ("server/src/disk", &["crate::node", "crate::api", "crate::gateway", "tonic"], "arrows go down"),
    ("server/src/net", &["crate::node::", "crate::api", "crate::gateway"], "arrows go down"),
    (
        "server/src/replica",
        &["tokio", "tonic", "std::net", "std::fs", "Instant::now"],
        "the replica is sans-IO",
    ),
    (
        "server/src/http2",
        &["tokio", "tonic", "hyper", "std::net", "crate::api", "Instant::now"],
        "HTTP/2 is sans-IO",
    ),
    ("server/src/watch", &["tonic", "crate::api", "crate::node", "crate::gateway"], "arrows go down"),
    (
        "server/src/lease",
        &["tokio", "tonic", "Instant::now", "SystemTime", "crate::state_machine", "crate::node"],
        "leases are told the time",
    ),
    ("checker/src", &["server::"], "spec and code must not share a bug"),
    ("workloads/src/driver", &["crate::runner", "crate::nemesis", "crate::cli"], "arrows go down"),
    ("workloads/src/cluster", &["crate::runner", "crate::nemesis", "crate::cli"], "nemesis uses cluster"),
    ("workloads/src/nemesis", &["crate::runner", "crate::cli", "crate::workload"], "arrows go down"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// All Rust sources at `path`, which names a folder or a module file without its ending.
fn sources(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let file = path.with_extension("rs");
    if file.is_file() {
        found.push(file);
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a readable folder") {
            let entry = entry.expect("a readable entry").path();
            if entry.is_dir() {
                found.extend(sources(&entry));
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                found.push(entry);
            }
        }
    }
    found
}

/// The part of a source file that is compiled into the product, without comments.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether a path stands in the line, and not as the end of a longer name (`observer::` is not `server::`).
fn names(line: &str, path: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(path).any(|(at, _)| !path.starts_with(inside) || !line[..at].ends_with(inside))
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata answers");
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let arrows: BTreeMap<&str, &[&str]> = CRATES.iter().copied().collect();
    assert_eq!(members, arrows.keys().copied().collect(), "every crate has a row");
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if members.contains(name) && dependency.kind != cargo_metadata::DependencyKind::Development {
                assert!(
                    arrows[package.name.as_str()].contains(&name),
                    "{} must not depend on {name}",
                    package.name
                );
            }
        }
    }
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let root = root();
    let mut broken = Vec::new();
    for (place, words, why) in FORBIDDEN {
        let files = sources(&root.join(place));
        assert!(!files.is_empty(), "{place} has sources; does the table name a folder that moved?");
        for file in files {
            let text = fs::read_to_string(&file).expect("a readable source");
            let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_string();
            if name == "tests" || name.ends_with("_test") {
                continue;
            }
            for (number, line) in product_lines(&text) {
                for word in words.iter().filter(|word| names(line, word)) {
                    broken.push(format!("{}:{number}: `{word}`: {why}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "arrows broken:\n{}", broken.join("\n"));
}
