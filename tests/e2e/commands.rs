//! Commands of etcdctl that need two stores, or much time, and that none is left out.

use crate::pair::{Held, Outcome, Pair, etcdctl_help};
use std::time::{Duration, Instant};

/// How long a mirror may take to copy a key.
const COPY_MAX: Duration = Duration::from_secs(30);

/// Commands that nothing here compares, and why.
const EXCEPTED: &[(&str, &str)] = &[
    ("check datascale", "it writes as much as it can, for seconds; `its_own_checks_pass` runs it on request"),
    ("check perf", "it writes for a minute, and judges the machine; likewise"),
    ("completion", "what the program does by itself"),
    ("help", "what the program does by itself"),
    ("migrate", "it reads the files of an etcd 2"),
    ("snapshot restore", "it makes a data directory of etcd's out of a file of etcd's"),
];

#[test]
fn every_command_has_a_row() {
    let Some(help) = etcdctl_help() else {
        eprintln!("SKIPPED every_command_has_a_row: there is no etcdctl");
        return;
    };
    let rows = [include_str!("etcdctl.rs"), include_str!("held.rs"), include_str!("commands.rs")].concat();
    let commands = help.lines().skip_while(|line| *line != "COMMANDS:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim_start().split('\t').next().expect("a command").trim_end())
        .collect();
    for command in &commands {
        let words: Vec<String> = command.split(' ').map(|word| format!("{word:?}")).collect();
        let is_excepted = EXCEPTED.iter().any(|(excepted, _)| command.starts_with(excepted));
        assert!(is_excepted || rows.contains(&words.join(", ")), "`etcdctl {command}` is never compared");
    }
    assert!(commands.len() > 40, "{help}");
}

/// Copies from one to the other, and says what has come.
fn mirror(pair: &Pair, from: &str, to: &str, options: &[&str], last: &str) -> String {
    let run = |endpoint: &str, args: &[&str], stdin: &str| {
        let outcome = pair.etcdctl(endpoint, args, stdin);
        assert!(outcome.ok, "{args:?}: {outcome:?}");
        outcome.stdout
    };
    run(to, &["del", "--prefix", ""], "");
    run(from, &["del", "--prefix", ""], "");
    run(from, &["put", "m/1", "one"], "");
    run(from, &["put", "m/2", "two"], "");
    run(from, &["put", "other", "stays"], "");
    let target = to.trim_start_matches("http://");
    let _running = Held::of(pair.hold(from, &[&["make-mirror"], options, &[target]].concat()));
    let copied = |key: &str| {
        let begun = Instant::now();
        while run(to, &["get", "--prefix", key], "").is_empty() {
            assert!(begun.elapsed() < COPY_MAX, "{from} to {to}, {options:?}: {key} is not copied");
        }
    };
    let copy = |key: &str| last.replace("end", key);
    copied(&copy("2"));
    run(from, &["put", "m/1", "uno"], "");
    run(from, &["del", "m/2"], "");
    run(from, &["txn"], "\nput m/3 three\nput m/4 four\n\n\n");
    run(from, &["put", "m/end", "."], "");
    copied(&copy("end"));
    run(to, &["get", "--prefix", ""], "")
}

#[test]
fn mirrors_are_made_in_both_directions() {
    let Some(pair) = Pair::start("mirrors_are_made_in_both_directions") else { return };
    let (etcd, ours) = (&pair.etcd.endpoint, &pair.ours.endpoint);
    for (from, to, options, last, want) in [
        (etcd, ours, &["--prefix=m/"][..], "m/end", "m/1\nuno\nm/3\nthree\nm/4\nfour\nm/end\n.\n"),
        (
            ours,
            etcd,
            &["--prefix=m/", "--dest-prefix=c/"],
            "c/end",
            "c/1\nuno\nc/3\nthree\nc/4\nfour\nc/end\n.\n",
        ),
        (etcd, ours, &["--prefix=m/", "--no-dest-prefix"], "end", "1\nuno\n3\nthree\n4\nfour\nend\n.\n"),
        (ours, etcd, &[], "m/end", "m/1\nuno\nm/3\nthree\nm/4\nfour\nm/end\n.\nother\nstays\n"),
    ] {
        assert_eq!(mirror(&pair, from, to, options, last), want, "{from} to {to}, {options:?}");
    }
}

/// `datascale` and `perf` write as much as they can, and say how much memory or time that took.
#[test]
#[ignore = "it takes more than a minute, and wants the machine for itself"]
fn its_own_checks_pass() {
    let Some(pair) = Pair::start("its_own_checks_pass") else { return };
    // What it says but for its numbers, and for the bar that shows how far it is.
    let words = |endpoint: &str, args: &[&str]| {
        let Outcome { ok, stdout, .. } = pair.etcdctl(endpoint, args, "");
        let lines = stdout.split(['\n', '\r']).filter(|line| !line.contains('%'));
        (ok, lines.collect::<Vec<_>>().join("\n").replace(|c: char| c.is_ascii_digit() || c == '.', ""))
    };
    let (etcd, ours) = (&pair.etcd.endpoint, &pair.ours.endpoint);
    let args = ["check", "datascale", "--load=s", "--auto-compact", "--auto-defrag"];
    assert_eq!(words(ours, &args), words(etcd, &args));
    let outcome = pair.etcdctl(ours, &["check", "perf", "--load=s"], "");
    println!("{}", outcome.stdout.rsplit('\r').next().unwrap_or_default());
    assert!(outcome.ok && outcome.stdout.ends_with("PASS\n"), "{outcome:?}");
}
