//! Cases about whole processes: those that enter namespaces, and what is left when they end.

use crate::setup::{Bench, eventually, processes_with};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use workloads::cluster::netns;

/// Whether namespaces can be had; says so if not.
fn available() -> bool {
    match netns::available() {
        Ok(()) => true,
        Err(why) => {
            println!("left out: {why}");
            false
        }
    }
}

/// This program in another part, in a process group of its own.
fn part(bench: &Bench, part: &str) -> Command {
    let mut command = Command::new(bench.program());
    command.arg(format!("--part={part}")).arg(bench.dir()).process_group(0);
    command
}

fn run(mut command: Command) {
    let status = command.status().expect("this program runs");
    assert!(status.success(), "{command:?} ended with {status}");
}

pub(crate) fn netns_all_faults() {
    if available() {
        run(part(&Bench::new(), "faults"));
    }
}

pub(crate) fn netns_all_faults_as_nobody() {
    if !geteuid().is_root() {
        println!("left out: only root can become nobody");
    } else if available() {
        let bench = Bench::new();
        let mut command = part(&bench, "faults");
        // Dropping the user id drops the supplementary groups with it.
        command.uid(65534).gid(65534).current_dir(bench.out());
        command.env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
        run(command);
    }
}

pub(crate) fn netns_rules() {
    if available() {
        run(part(&Bench::new(), "basics"));
    }
}

/// Starts a part that holds a cluster, and waits until it does.
fn hold(bench: &Bench, part_name: &str) -> Child {
    let mut child = part(bench, part_name).stdout(Stdio::piped()).spawn().expect("this program runs");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "holding\n");
    child
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(id, signal).expect("our own child");
}

/// Ends the outermost process with a signal, and sees that nothing of it is left.
fn ends_by(part_name: &str, by: Signal) -> ExitStatus {
    let bench = Bench::new();
    let mut child = hold(&bench, part_name);
    let mark = bench.dir().to_str().expect("a plain path").to_owned();
    assert!(processes_with(&mark).len() >= 4, "the harness and three nodes run");
    signal(&child, by);
    let status = child.wait().expect("our own child");
    let gone = eventually(Duration::from_secs(5), || processes_with(&mark).is_empty());
    assert!(gone, "left after {by}: {:?}", processes_with(&mark));
    status
}

pub(crate) fn local_dies() {
    assert_eq!(ends_by("hold-local", Signal::SIGKILL).signal(), Some(Signal::SIGKILL as i32));
}

pub(crate) fn netns_dies() {
    if available() {
        assert_eq!(ends_by("hold", Signal::SIGKILL).signal(), Some(Signal::SIGKILL as i32));
    }
}

pub(crate) fn netns_signals() {
    if available() {
        assert_eq!(ends_by("hold", Signal::SIGINT).code(), Some(42), "the harness takes an interrupt");
        assert_eq!(ends_by("hold", Signal::SIGTERM).code(), Some(128 + Signal::SIGTERM as i32));
    }
}
