//! Whole runs, with the program as its users start it.

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn assay(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.current_dir(dir).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn texts(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn results(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("results.json")).unwrap()).unwrap()
}

/// Processes that have `dir` in their arguments.
fn processes_of(dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy().into_owned();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&dir)).collect()
}

#[test]
fn a_run_on_plain_processes_is_valid_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = assay(dir.path())
        .args(["run", "--cluster", "local", "--faults", "kill-one", "--time-limit", "8s", "--rate", "150"])
        .args(["--concurrency", "6", "--seed", "11", "--out", "out"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output));

    // The last line repeats the run.
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = stdout.lines().last().unwrap();
    assert!(last.starts_with("repeat ") && last.ends_with("--seed 11"), "{last}");

    // Every workload has its history, its operations and its checks; every fault its proof.
    let results = results(&out);
    assert_eq!(results["verdict"], "valid");
    let workloads = results["workloads"].as_array().unwrap();
    let names: Vec<&str> = workloads.iter().map(|workload| workload["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kv", "register", "append", "set", "txn", "bank"]);
    for workload in workloads {
        let checks = workload["checks"].as_array().unwrap();
        assert!(checks.len() > 2 && checks.iter().all(|check| check["verdict"] == "valid"), "{workload}");
        assert!(workload["response"]["count"].as_u64().unwrap() > 30, "{workload}");
    }
    let faults = results["faults"].as_array().unwrap();
    assert!(!faults.is_empty());
    for fault in faults {
        assert_eq!(fault["f"], "kill");
        assert!(!fault["proof"].is_null() && fault["end_s"].is_number(), "{fault}");
        assert!(fault["impact"]["during"]["due"].as_u64().unwrap() > 0, "{fault}");
    }
    assert!(results["availability"]["served"].as_u64().unwrap() > 100, "{}", results["availability"]);

    // Of the nodes, logs stay and data goes.
    let mut left: Vec<String> = fs::read_dir(out.join("nodes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("n1."))
        .collect();
    left.sort();
    assert_eq!(left, ["n1.log"]);

    // The page stands alone and shows the faults; it can be made again.
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("<h1>✓ valid</h1>") && page.contains("kill-one") && page.contains("<svg"),
        "{page}"
    );
    assert!(!page.contains("https://"));
    // Who leads is known: the members were asked while the load went on.
    assert!(page.contains("leads, term "), "{page}");
    for file in ["summary.md", "junit.xml"] {
        assert!(fs::read_to_string(out.join(file)).unwrap().contains("kill-one"), "{file}");
    }
    fs::remove_file(out.join("report.html")).unwrap();
    let again = assay(dir.path()).args(["report", "out"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", texts(&again));
    assert_eq!(fs::read_to_string(out.join("report.html")).unwrap(), page);

    // A stored history is judged as it was.
    for name in names {
        let history = format!("out/{name}/history.jsonl");
        let checked = assay(dir.path()).args(["check", &history]).output().unwrap();
        assert_eq!(checked.status.code(), Some(0), "{name}: {}", texts(&checked));
    }
    assert_eq!(processes_of(&out), Vec::<String>::new(), "left running");

    // The plan as it was carried out hits the same nodes again; what is said beside it wins.
    let again = assay(dir.path())
        .args(["run", "--replay", "out", "--workload", "set", "--time-limit", "4s", "--out", "again"])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", texts(&again));
    let first = |results: &Value| results["faults"][0].clone();
    let (was, is) = (first(&results), first(&self::results(&dir.path().join("again"))));
    assert_eq!(is["value"]["nodes"], was["value"]["nodes"], "{was} {is}");
    assert!(String::from_utf8_lossy(&again.stdout).contains("--seed 11"), "{}", texts(&again));

    // There is nothing to shrink about a run that is valid.
    let shrunk = assay(dir.path()).args(["shrink", "out"]).output().unwrap();
    assert_eq!(shrunk.status.code(), Some(2), "{}", texts(&shrunk));
    assert!(texts(&shrunk).contains("is valid"), "{}", texts(&shrunk));
}

/// A history that was changed behind the store's back is an anomaly, with a witness.
#[test]
fn a_forged_history_is_an_anomaly() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["run", "--cluster", "local", "--nodes", "1", "--workload", "register", "--faults", "none"];
    let output = assay(dir.path())
        .args(args)
        .args(["--time-limit", "3s", "--rate", "100", "--seed", "5", "--out", "out"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output));
    let path = dir.path().join("out/register/history.jsonl");
    let mut events: Vec<Value> =
        fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The last read of a value answers a value that nobody wrote.
    let read = |event: &&mut Value| {
        event["type"] == "ok" && event["f"] == "read" && event["value"]["value"].is_number()
    };
    let forged = events.iter_mut().rev().find(read).expect("a read that found something");
    forged["value"]["value"] = 999_999.into();
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    fs::write(dir.path().join("forged.jsonl"), text).unwrap();
    let checked = assay(dir.path()).args(["check", "forged.jsonl"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(1), "{}", texts(&checked));
    assert!(texts(&checked).contains("ANOMALY") && texts(&checked).contains("999999"), "{}", texts(&checked));
}

/// A run is held against an earlier one, if the two are alike.
#[test]
fn a_baseline_is_a_gate_for_runs_that_are_like_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &str, more: &[&str]| {
        let args = ["run", "--cluster", "local", "--nodes", "1", "--workload", "set", "--faults", "none"];
        let output = assay(dir.path())
            .args(args)
            .args(["--time-limit", "2s", "--seed", "5", "--out", out])
            .args(more)
            .env("GITHUB_STEP_SUMMARY", dir.path().join("step.md"))
            .output()
            .unwrap();
        (output.status.code(), texts(&output))
    };
    let (code, text) = run("first", &["--rate", "100"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run("other", &["--rate", "50", "--baseline", "first"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("cannot be compared: rate: `50` here, `100` there"), "{text}");
    // Nothing serves worse than a run that served next to nothing.
    let path = dir.path().join("first/results.json");
    let mut poor = results(&dir.path().join("first"));
    poor["availability"]["served"] = 1.into();
    fs::write(&path, poor.to_string()).unwrap();
    let (code, text) = run("second", &["--rate", "100", "--baseline", "first"]);
    assert_eq!(code, Some(0), "{text}");
    let checks = results(&dir.path().join("second"))["checks"].clone();
    let baseline = checks.as_array().unwrap().iter().find(|check| check["name"] == "baseline");
    assert_eq!(baseline.expect("the check")["verdict"], "valid");
    // Each run has told the job's page.
    let page = fs::read_to_string(dir.path().join("step.md")).unwrap();
    assert_eq!(page.matches("## Assay: ").count(), 3, "{page}");
}

/// Run after run, in folders of their own.
#[test]
fn a_soak_is_several_runs_with_one_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let output = assay(dir.path())
        .args(["run", "--profile", "soak", "--cluster", "local", "--nodes", "1", "--workload", "set"])
        .args(["--faults", "none", "--time-limit", "3s", "--rate", "100", "--seed", "5", "--out", "out"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output));
    let out = dir.path().join("out");
    let series: Value = serde_json::from_slice(&fs::read(out.join("series.json")).unwrap()).unwrap();
    assert_eq!(series["verdict"], "valid");
    let runs = series["runs"].as_array().unwrap();
    assert!(!runs.is_empty() && runs.iter().all(|run| run["verdict"] == "valid"), "{series}");
    assert!(runs[0]["resident_kib"].as_u64().unwrap() > 1000, "{series}");
    assert!(out.join("round-0001/report.html").is_file());
    assert!(texts(&output).contains("--profile soak"), "{}", texts(&output));
}

/// Told to stop in the middle, twice, it heals, ends everything, writes what it has, and says so.
#[test]
fn an_interrupted_run_ends_everything_and_reports() {
    for cluster in ["local", "auto"] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut running = assay(dir.path())
            .args([
                "run",
                "--cluster",
                cluster,
                "--workload",
                "register",
                "--faults",
                "pause",
                "--rate",
                "100",
            ])
            .args(["--time-limit", "600s", "--seed", "5", "--out", "out"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Until a fault is under way, which is in the history then.
        let history = out.join("register/history.jsonl");
        let under_way = (0..6000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            fs::read_to_string(&history).is_ok_and(|text| text.contains("nemesis_start"))
        });
        let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
        for _ in 0..2 {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        }
        if !under_way {
            running.kill().unwrap();
        }
        let output = running.wait_with_output().unwrap();
        assert!(under_way, "no fault within a minute: {}", texts(&output));
        assert_eq!(output.status.code(), Some(3), "{cluster}: {}", texts(&output));
        assert!(texts(&output).contains("the run was interrupted"), "{}", texts(&output));
        assert_eq!(results(&out)["verdict"], "unknown");
        let text = fs::read_to_string(&history).unwrap();
        let count = |kind: &str| text.matches(&format!("\"type\":\"{kind}\"")).count();
        assert_eq!(count("nemesis_start"), count("nemesis_end"), "a fault is not healed: {text}");
        assert_eq!(processes_of(&out), Vec::<String>::new(), "left running");
    }
}

/// Killed without a chance to clean up, it leaves no process behind, and its history is readable.
#[test]
fn a_killed_run_leaves_no_process_and_a_readable_history() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut running = assay(dir.path())
        .args(["run", "--cluster", "local", "--nodes", "1", "--workload", "set", "--faults", "none"])
        .args(["--time-limit", "600s", "--rate", "100", "--seed", "5", "--out", "out"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let history = out.join("set/history.jsonl");
    let loaded = (0..6000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        fs::read_to_string(&history).is_ok_and(|text| text.lines().count() > 200)
    });
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(loaded, "no load within a minute");
    let gone = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        processes_of(&out).is_empty()
    });
    assert!(gone, "left running: {:?}", processes_of(&out));
    let checked = assay(dir.path()).args(["check", "out/set/history.jsonl"]).output().unwrap();
    // Nothing was observed at the end, so it cannot be valid; but it can be read, and nothing is wrong in it.
    assert_eq!(checked.status.code(), Some(3), "{}", texts(&checked));
    assert!(texts(&checked).contains("valid set"), "{}", texts(&checked));
}

#[test]
fn a_bench_under_faults_has_a_verdict_and_tells_what_each_fault_cost() {
    let dir = tempfile::tempdir().unwrap();
    let output = assay(dir.path())
        .args(["bench", "--workload", "ycsb-a", "--keys", "60", "--rate", "150", "--time-limit", "8s"])
        .args(["--warmup", "1s", "--faults", "kill-one", "--check", "all", "--seed", "5", "--out", "out"])
        .output()
        .unwrap();
    let out = dir.path().join("out");
    // A machine that is busy with other things may be too slow for the figures, and not for the verdict.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", texts(&output));
    let results = results(&out);
    assert_eq!(results["check"]["verdict"], "valid", "{}", texts(&output));
    assert!(results["check"]["operations"].as_u64().unwrap() > 500, "{}", results["check"]);
    let faults = results["faults"].as_array().unwrap();
    assert!(!faults.is_empty(), "{}", texts(&output));
    for fault in faults {
        assert_eq!(fault["fault"], "kill");
        assert!(fault["end_s"].as_f64() > fault["start_s"].as_f64(), "{fault}");
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Check: valid") && page.contains("recovery s"));
    assert_eq!(processes_of(dir.path()), Vec::<String>::new());
    // Its history can be judged again.
    let again = assay(dir.path()).args(["check", "out/history.jsonl"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", texts(&again));
}
