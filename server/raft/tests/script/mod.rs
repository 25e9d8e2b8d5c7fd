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

/// What the model found with a planted mistake; each is named after its mistake. The core does right.
#[test]
fn counterexamples() {
    run("counterexamples");
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

#[cfg(feature = "plant")]
mod planted {
    use super::*;
    use raft::Mutation;

    const TOPICS: [&str; 7] = ["election", "append", "read", "snapshot", "membership", "restart", "transfer"];

    #[test]
    fn counterexamples_show_their_mistakes() {
        for path in scripts("counterexamples") {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let mutation = name.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(agrees(&path, None), "{name}");
            assert!(!agrees(&path, Some(mutation)), "a core with {name} gives the same output");
        }
    }

    /// What shows a mistake that random searches see late or never.
    const SHOWN: [(&str, Mutation); 9] = [
        ("read/joint_majorities", Mutation::ReadByMinority),
        ("read/stale_heartbeat_confirms_nothing", Mutation::StaleRoundConfirmed),
        ("append/figure_8", Mutation::CommitsOldTerm),
        ("restart/a_vote_is_remembered", Mutation::VoteNotPersisted),
        ("transfer/target_catches_up_first", Mutation::UnsafeTransfer),
        ("membership/not_before_an_entry_of_the_term", Mutation::ChangeTooEarly),
        ("membership/one_change_at_a_time", Mutation::TwoChangesAtOnce),
        ("election/timeouts_are_random", Mutation::TimeoutsNotRandom),
        ("append/late_rejection_is_ignored", Mutation::StaleRejectionBelieved),
    ];

    /// Whether a core that makes this mistake gives the output that is written in the script.
    fn agrees(path: &Path, mutation: Option<Mutation>) -> bool {
        let text = fs::read_to_string(path).expect("it can be read");
        let run = || {
            let mut runner = commands::Runner::default();
            runner.plant(mutation);
            goldenscript::generate(&mut runner, &text).ok()
        };
        catch_unwind(AssertUnwindSafe(run)).ok().flatten().is_some_and(|output| output == text)
    }

    #[test]
    fn scripts_fail_where_what_they_show_is_broken() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
        for (script, mutation) in SHOWN {
            assert!(agrees(&dir.join(script), None), "{script}");
            assert!(!agrees(&dir.join(script), Some(mutation)), "{script} agrees with {mutation}");
        }
    }

    /// Mistakes that no script shows. Hints never fall short of where two logs part, so the first append that a
    /// follower takes begins just there and removes what contradicts: nothing is left to commit wrongly.
    const WITHOUT_A_SCRIPT: [Mutation; 1] = [Mutation::CommitNotClamped];

    #[test]
    fn every_mutation_changes_what_some_script_shows() {
        let mut unseen = Vec::new();
        for &mutation in Mutation::ALL {
            let by: Vec<String> = TOPICS
                .into_iter()
                .flat_map(scripts)
                .filter(|path| !agrees(path, Some(mutation)))
                .filter_map(|path| Some(path.file_name()?.to_str()?.to_string()))
                .collect();
            println!("{mutation}: {}", by.join(", "));
            if by.is_empty() {
                unseen.push(mutation);
            }
        }
        assert_eq!(unseen, WITHOUT_A_SCRIPT);
    }
}
