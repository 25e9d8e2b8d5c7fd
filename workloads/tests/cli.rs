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

/// Of two transactions on registers without times, the second sees half of the first.
const FRACTURED: &str = "w 1 1\nw 2 1\n=====\nw 1 2\nw 2 2\n-----\nr 1 1\nr 2 2\n";
/// A register that is read after it was written.
const VALID: &str = "{:process 0 :type :invoke :f :write :value 1} {:process 0 :type :ok :f :write :value 1}
    {:process 0 :type :invoke :f :read} {:process 0 :type :ok :f :read :value 1}";

#[test]
fn a_file_that_cannot_be_read_is_told_of_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("a.edn", VALID);
    write("b.edn", "{:process 0 :type");
    // Alone it is a mistake of whoever named it; among others it is what is not known of them.
    let alone = assay(&["check", "b.edn"], dir.path());
    assert_eq!(alone.status.code(), Some(2), "{}", stderr(&alone));
    assert!(
        stderr(&alone).contains("b.edn:1: the file ends in the middle of an element"),
        "{}",
        stderr(&alone)
    );
    let folder = assay(&["check", "."], dir.path());
    let stdout = String::from_utf8_lossy(&folder.stdout);
    assert_eq!(folder.status.code(), Some(3), "{stdout}{}", stderr(&folder));
    assert!(stdout.contains("unreadable") && stdout.contains("b.edn:1: the file ends"), "{stdout}");
    assert!(
        stdout.contains("2 histories in ") && stdout.contains("1 valid, 0 anomaly, 1 unknown"),
        "{stdout}"
    );
    // The worst of all is the whole's.
    write("c.txt", FRACTURED);
    let worst = assay(&["check", "."], dir.path());
    assert_eq!(worst.status.code(), Some(1), "{}", String::from_utf8_lossy(&worst.stdout));
}

#[test]
fn a_level_is_asked_for_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("h.txt"), FRACTURED).unwrap();
    std::fs::write(dir.path().join("r.edn"), VALID).unwrap();
    for (args, status, say) in [
        (&["check", "h.txt"][..], 1, "fractured-read"),
        (&["check", "--model", "read-atomic", "h.txt"], 1, "a transaction sees all that another wrote"),
        (&["check", "--model", "read-committed", "h.txt"], 0, "valid"),
        (&["check", "--model", "strict-serializable", "h.txt"], 1, "fractured-read"),
        (&["check", "--model", "causal", "r.edn"], 3, "not of register"),
        (&["check", "--explain", "causal"], 0, "Whoever sees a write"),
    ] {
        let output = assay(args, dir.path());
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stdout}{}", stderr(&output));
        assert!(stdout.contains(say), "{args:?} prints {stdout}");
    }
    let unknown = assay(&["check", "--model", "eventual", "h.txt"], dir.path());
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("strong-session-causal"), "{}", stderr(&unknown));
}

#[test]
fn a_verdict_is_printed_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("h.txt"), FRACTURED).unwrap();
    let print = |format: &str| {
        let output = assay(&["check", "--format", format, "h.txt"], dir.path());
        assert_eq!(output.status.code(), Some(1), "{format}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let json: serde_json::Value = serde_json::from_str(&print("json")).expect("one JSON document");
    assert_eq!((&json["verdict"], &json["name"]), (&"anomaly".into(), &"rw-register".into()));
    let junit = print("junit");
    assert!(junit.starts_with("<?xml") && junit.contains("fractured-read"), "{junit}");
    let page = print("html");
    assert!(page.contains("<html") && page.contains("fractured-read"), "{page}");
    assert!(print("text").contains("fractured-read"));
}
