//! The program's command line: what it refuses, with which message and exit status.

use std::process::{Command, Output};

fn assay(args: &[&str], dir: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay")).args(args).current_dir(dir).output().expect("assay runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_usage_ends_in_2_with_a_remedy_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    for (args, say) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["run", "--frobnicate"], "--frobnicate"),
        (&["run", "--workload", "banks"], "`assay list`"),
        (&["run", "--faults", "meteor"], "known are all, none"),
        (&["run", "--system", "oracle"], "possible values: assay, etcd"),
        (&["run", "--system", "etcd"], "--etcd-bin PATH"),
        (
            &["run", "--cluster", "local", "--system", "etcd", "--etcd-bin", "/nonexistent"],
            "/nonexistent/etcd",
        ),
        (&["run", "--cluster", "local", "--faults", "packet"], "use --cluster netns"),
        (&["run", "--cluster", "local", "--faults", "kill,disk-full"], "as root"),
        (&["run", "--overlap", "0"], "1 to 8 faults"),
        (&["run", "--settings", "speed=9"], "snapshot-count"),
        (&["run", "--replay", "/nonexistent"], "/nonexistent/faults.jsonl"),
        (&["shrink", "/nonexistent"], "/nonexistent"),
        (&["gallery"], "--etcd-root"),
        (&["gallery", "--etcd-root", "/nonexistent"], "/nonexistent/3.5.16/etcd"),
        (&["gallery", "--etcd-root", ".", "--bug", "1"], "18667"),
        (&["run", "--cluster", "moon"], "possible values: auto, netns, local"),
        (&["run", "--nodes", "0"], "1 to 99"),
        (&["run", "--rate", "0"], "1 or more"),
        (&["run", "--time-limit", "soon"], "write 60s"),
        (&["run", "--time-limit", "0s"], "longer than 0"),
        (&["run", "--endpoints", "https://127.0.0.1:1"], "http://"),
        (&["run", "--endpoints", "127.0.0.1:1", "--faults", "kill"], "no faults"),
        (&["run", "--endpoints", "127.0.0.1:1", "--nodes", "5"], "cannot be used with"),
        (&["check", "nothing.jsonl"], "nothing.jsonl"),
        (&["report", "."], "results.json"),
        (&["run", "--scenario", "calmer"], "`assay list`"),
        (&["run", "--scenario", "calm", "--faults", "kill"], "cannot be used with"),
        (&["run", "--profile", "sauna"], "possible values: smoke, regression, soak"),
        (&["run", "--baseline", "nowhere"], "--baseline nowhere"),
        (&["run", "--baseline-tolerance", "5"], "--baseline <DIR>"),
        (&["model", "--validate", "/nonexistent"], "/nonexistent"),
        (&["run", "--system", "etcd", "--etcd-bin", "/nonexistent", "--trace"], "--trace"),
        (&["merge"], "<FILES>"),
        (&["merge", "/nonexistent"], "/nonexistent"),
        (&["sim", "--shard", "3/2"], "I from 1 to N"),
        (&["model", "--replay", "/nonexistent"], "/nonexistent"),
        (&["serve", "nowhere"], "name the folder that holds runs"),
        (&["serve", "--listen", "everywhere"], "--listen"),
    ] {
        let output = assay(args, dir.path());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(say), "{args:?} says {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?} prints to stdout");
    }
    let left: Vec<_> = walk(dir.path());
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Files and links, not folders.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[cfg(not(feature = "plant"))]
#[test]
fn bugs_cannot_be_planted_in_an_ordinary_build() {
    let dir = tempfile::tempdir().unwrap();
    let output = assay(&["run", "--plant", "local-read"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--features plant"), "{}", stderr(&output));
}

#[test]
fn help_and_lists_end_in_0() {
    let dir = tempfile::tempdir().unwrap();
    for (args, say) in [
        (&["--help"][..], "Commands:"),
        (&["run", "--help"], "--time-limit"),
        (&["--version"], "assay "),
        (&["list"], "partition-one-way"),
        (&["list"], "lost-leader"),
        (&["list", "--format", "json"], "\"workloads\""),
    ] {
        let output = assay(args, dir.path());
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        assert!(stdout.contains(say), "{args:?} prints {stdout}");
    }
}

/// A store that does not answer is no verdict, and the report says so.
#[test]
fn a_store_that_is_not_there_is_unknown_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    // Port 9 is in no ephemeral range, and nothing listens on it here.
    let args =
        ["run", "--endpoints", "127.0.0.1:9", "--workload", "set", "--time-limit", "1s", "--out", "out"];
    let output = assay(&args, dir.path());
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{stdout}{}", stderr(&output));
    assert!(stdout.contains("no member answers a linearizable read"), "{stdout}");
    let last = stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("repeat ") && last.contains("--endpoints 127.0.0.1:9"), "{last}");
    let results = std::fs::read_to_string(dir.path().join("out/results.json")).unwrap();
    assert!(results.contains("\"verdict\": \"unknown\""), "{results}");
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    assert!(page.contains("<h1>? unknown</h1>"), "{page}");
    // And it can be made again.
    std::fs::remove_file(dir.path().join("out/report.html")).unwrap();
    let again = assay(&["report", "out", "--format", "json"], dir.path());
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(dir.path().join("out/report.html")).unwrap(), page);
}
