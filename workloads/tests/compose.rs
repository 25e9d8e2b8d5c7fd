//! Runs on containers, from the host. What needs docker and our images says so where they are not to be had.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// `assay run --cluster compose` with more arguments.
fn assay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(["run", "--cluster", "compose"]).args(arguments).stdin(Stdio::null());
    command
}

fn ends_with(command: &mut Command, status: i32, say: &[&str]) {
    let output = command.output().expect("assay runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
    for word in say {
        assert!(said.contains(word), "{command:?}: no {word:?} in {said}");
    }
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().expect("docker runs")
}

/// Whether docker, compose and the images are there; if not, says what is missing.
fn docker_is_there(test: &str) -> bool {
    let answers = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let mut missing = Vec::new();
    if !answers("docker", &["version"]) {
        missing.push("a docker daemon");
    } else {
        for image in ["assay-harness:dev", "assay-etcd:3.4.23"] {
            if !answers("docker", &["image", "inspect", image]) {
                missing.push(image);
            }
        }
    }
    if !answers("docker", &["compose", "version"]) && !answers("docker-compose", &["version"]) {
        missing.push("compose");
    }
    if !missing.is_empty() {
        eprintln!(
            "SKIPPED: {test} needs {} (.docker/build-images, .docker/build-images etcd)",
            missing.join(", ")
        );
    }
    missing.is_empty()
}

/// What docker has of runs: containers, networks and volumes whose owner is a process.
fn of_runs() -> Vec<String> {
    let mut all = Vec::new();
    for (list, name) in [
        (&["container", "ls", "--all"][..], "{{.Names}}"),
        (&["network", "ls"], "{{.Name}}"),
        (&["volume", "ls"], "{{.Name}}"),
    ] {
        let format = format!("{name} {{{{.Label \"assay.owner\"}}}}");
        let output = docker(&[list, &["--filter", "label=assay.owner", "--format", &format]].concat());
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        all.extend(listed.lines().filter(|line| !line.ends_with(" compose")).map(str::to_owned));
    }
    all
}

/// What docker has of the runs that this process's child `pid` has made.
fn of_child(pid: u32) -> Vec<String> {
    let name = format!("assay-{pid}-");
    of_runs().into_iter().filter(|line| line.starts_with(&name)).collect()
}

/// Ends with the test, however that ends.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_run_on_containers_needs_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = assay(arguments);
        command.current_dir(dir.path());
        command
    };
    ends_with(&mut run(&["--nodes", "6"]), 2, &["1 to 5 nodes"]);
    ends_with(&mut run(&["--system", "etcd", "--etcd-bin", "/opt/etcd"]), 2, &["ETCD_IMAGE"]);
    ends_with(&mut run(&["--faults", "meteor"]), 2, &["meteor"]);
    ends_with(run(&[]).env("PATH", dir.path()), 3, &["install docker"]);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn compose_takes_the_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tried = 0;
    for (program, first) in [("docker", &["compose"][..]), ("docker-compose", &[])] {
        let there = Command::new(program).args(first).arg("version").output();
        if !there.is_ok_and(|output| output.status.success()) {
            continue;
        }
        tried += 1;
        for files in [&["docker-compose.yml"][..], &["docker-compose.yml", ".docker/etcd.yml"]] {
            let mut command = Command::new(program);
            command.current_dir(&root).args(first);
            for file in files {
                command.args(["-f", file]);
            }
            let services = command.args(["config", "--services"]).output().expect("compose runs");
            let said = String::from_utf8_lossy(&services.stderr);
            assert!(services.status.success() && !said.contains("obsolete"), "{command:?}: {said}");
            let mut names: Vec<&str> = std::str::from_utf8(&services.stdout).unwrap().lines().collect();
            names.sort_unstable();
            assert_eq!(names, ["harness", "n1", "n2", "n3", "n4", "n5"], "{command:?}");
        }
    }
    if tried == 0 {
        eprintln!("SKIPPED: neither `docker compose` nor `docker-compose` is there");
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_named_with_its_remedy() {
    if Command::new("docker").arg("--version").output().is_err() {
        eprintln!("SKIPPED: a daemon that does not answer needs the docker program");
        return;
    }
    ends_with(assay(&[]).env("DOCKER_HOST", "unix:///nonexistent.sock"), 3, &["start the docker daemon"]);
}

#[test]
fn a_missing_image_is_named_with_what_makes_it() {
    if !docker_is_there("a missing image") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let status = docker(&["image", "inspect", "assay-server:dev"]).status.success();
    if status {
        eprintln!("SKIPPED: the image assay-server:dev is here, so that it cannot be missed");
        return;
    }
    ends_with(assay(&[]).current_dir(dir.path()), 3, &["assay-server:dev", ".docker/build-images"]);
}

#[test]
fn real_etcd_on_containers_is_judged_and_nothing_is_left() {
    if !docker_is_there("real etcd on containers") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("results");
    let arguments = [
        "--system",
        "etcd",
        "--time-limit",
        "12s",
        "--seed",
        "5",
        "--workload",
        "register",
        "--format",
        "json",
        "--out",
    ];
    let mut run = Run(assay(&arguments)
        .arg(&out)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("assay runs"));
    let (mut said, mut complained) = (String::new(), String::new());
    run.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    run.0.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    let status = run.0.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{complained}\n{said}");
    let results: serde_json::Value =
        serde_json::from_str(&said).expect("the results are on stdout, and nothing else");
    assert_eq!(results["run"]["cluster"], "compose");
    assert!(results["run"]["system"].as_str().unwrap().starts_with("etcd 3."), "{}", results["run"]);
    assert!(out.join("report.html").is_file() && out.join("register/history.jsonl").is_file());
    assert!(fs::read_to_string(out.join("nodes/n1.log")).unwrap().contains("etcd"));
    assert_eq!(of_child(run.0.id()), Vec::<String>::new());
}

#[test]
fn a_run_that_is_killed_in_the_middle_of_a_fault_leaves_nothing() {
    if !docker_is_there("a run that is killed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        "--system",
        "etcd",
        "--time-limit",
        "120s",
        "--seed",
        "5",
        "--workload",
        "register",
        "--faults",
        "partition",
    ];
    let mut command = assay(&arguments);
    command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = Run(command.spawn().expect("assay runs"));
    let history = dir.path().join("store/register/latest/register/history.jsonl");
    wait_for(Duration::from_secs(60), "a partition", || has_partition(&history));
    assert!(!of_child(run.0.id()).is_empty(), "it has made containers");

    run.0.kill().unwrap();
    run.0.wait().unwrap();
    let pid = run.0.id();
    wait_for(Duration::from_secs(5), "the partition's end", || {
        fs::read_to_string(&history).is_ok_and(|text| text.contains("\"nemesis_end\""))
    });
    wait_for(Duration::from_secs(60), "everything's end", || of_child(pid).is_empty());
    let mut said = String::new();
    run.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

fn has_partition(history: &Path) -> bool {
    let Ok(file) = fs::File::open(history) else { return false };
    BufReader::new(file).lines().map_while(Result::ok).any(|line| line.contains("\"nemesis_start\""))
}

fn wait_for(limit: Duration, what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < limit, "no sign of {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
