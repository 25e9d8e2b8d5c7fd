//! Commands of etcdctl that go on until they are ended, or whose answers name what a store has made up: leases,
//! watches, locks, elections, backups. What real etcd and our server make them print must be the same, but for leases.

use crate::pair::{Held, Outcome, Pair, complaint, mask_json};
use std::path::Path;

/// One store, and what its etcdctl has printed, without the names of its leases.
struct Session<'a> {
    pair: &'a Pair,
    endpoint: &'a str,
    leases: Vec<String>,
    said: Vec<String>,
}

impl Session<'_> {
    fn note(&mut self, what: &str, text: &str) {
        let text = format!("{what}: {}", without_own(text));
        let hidden = self.leases.iter().enumerate().fold(text, |text, (at, lease)| {
            let number = i64::from_str_radix(lease, 16).expect("a lease").to_string();
            text.replace(lease, &format!("LEASE{at}")).replace(&number, &format!("LEASE{at}"))
        });
        self.said.push(hidden.replace(self.endpoint, "ENDPOINT"));
    }

    fn run(&mut self, args: &[&str]) -> Outcome {
        let outcome = self.pair.etcdctl(self.endpoint, args, "");
        let shown = args.join(" ");
        let text = format!("{} {:?} {:?}", outcome.ok, outcome.stdout, complaint(&outcome.stderr));
        self.note(&shown, &text);
        outcome
    }

    fn json(&mut self, args: &[&str]) {
        let outcome = self.pair.etcdctl(self.endpoint, &[args, &["-w", "json"]].concat(), "");
        let text = mask_json(&outcome.stdout);
        self.note(&args.join(" "), &text);
    }

    /// Grants a lease, whose name stands for `LEASE` and its place from now on.
    fn grant(&mut self, ttl: &str) -> String {
        let outcome = self.pair.etcdctl(self.endpoint, &["lease", "grant", ttl], "");
        let lease = outcome.stdout.split(' ').nth(1).expect("lease ID granted").to_string();
        self.leases.push(lease.clone());
        self.note("lease grant", &outcome.stdout);
        lease
    }

    fn hold(&self, args: &[&str]) -> Held {
        Held::of(self.pair.hold(self.endpoint, args))
    }

    fn hear(&mut self, what: &str, held: &Held, lines: usize) {
        for _ in 0..lines {
            let line = held.line();
            let line = if line.starts_with('{') { mask_json(&line) } else { line };
            self.note(what, &line);
        }
    }
}

/// With each store's own numbers masked in what `-w fields` prints.
fn without_own(text: &str) -> String {
    let mut parts = text.split_inclusive(['\n', ' ', '"']);
    let mut masked = String::new();
    while let Some(part) = parts.next() {
        masked.push_str(part);
        if ["ClusterID", "MemberID", "RaftTerm"].iter().any(|own| part.starts_with(own)) {
            // A quote, a colon, and the number.
            let number = parts.find(|part| part.starts_with(|c: char| c.is_ascii_digit()));
            masked.push_str(number.map_or("", |_| "#"));
        }
    }
    masked
}

fn compare(test: &str, script: impl Fn(&mut Session<'_>)) {
    let Some(pair) = Pair::start(test) else { return };
    let run = |endpoint: &str| {
        let mut session = Session { pair: &pair, endpoint, leases: Vec::new(), said: Vec::new() };
        script(&mut session);
        session.said
    };
    let (theirs, ours) = (run(&pair.etcd.endpoint), run(&pair.ours.endpoint));
    let differing = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    let shown: Vec<String> =
        differing.map(|(theirs, ours)| format!("  etcd: {theirs}\n  ours: {ours}")).collect();
    assert!(shown.is_empty(), "{test}: {} differences\n{}", shown.len(), shown.join("\n"));
    assert_eq!(theirs.len(), ours.len(), "{test}");
    assert!(theirs.len() > 3, "{test}: the script ran");
}

#[test]
fn leases() {
    compare("leases", |session| {
        session.run(&["lease", "grant"]);
        session.run(&["lease", "grant", "soon"]);
        session.run(&["lease", "grant", "9000000001"]);
        let lease = session.grant("5000");
        let other = session.grant("70000");
        session.run(&["put", "k", "v", &format!("--lease={lease}")]);
        session.run(&["put", "l", "v", &format!("--lease={lease}")]);
        session.run(&["get", "k", "-w", "fields"]);
        session.run(&["lease", "keep-alive", "--once", &lease]);
        session.run(&["lease", "keep-alive", "--once", "7b"]);
        session.run(&["lease", "timetolive", "7b"]);
        session.json(&["lease", "timetolive", "7b"]);
        session.run(&["lease", "timetolive", "zz"]);
        session.run(&["lease", "revoke", "7b"]);
        session.run(&["lease", "revoke", &other]);
        session.run(&["lease", "list"]);
        session.run(&["put", "k", "w"]);
        session.run(&["lease", "revoke", &lease]);
        session.run(&["get", "--prefix", ""]);
        session.run(&["lease", "list"]);
        session.run(&["lease", "keep-alive", &lease]);
    });
}

#[test]
fn watches() {
    compare("watches", |session| {
        for n in ["1", "2"] {
            session.run(&["put", "w/a", n]);
            session.run(&["put", "w/b", n]);
        }
        session.run(&["del", "w/a"]);
        for (args, lines) in [
            (&["watch", "w/a", "--rev=1"][..], 8),
            (&["watch", "--prefix", "w/", "--rev=3"], 11),
            (&["watch", "w/a", "w/c", "--rev=2", "--prev-kv"], 19),
            (&["watch", "w/a", "--rev=1", "-w", "fields"], 10),
        ] {
            let held = session.hold(args);
            session.hear(&args.join(" "), &held, lines);
        }
        // How events are spread over answers is each store's own affair: one event at a time.
        let args = ["watch", "w/b", "--rev=5", "-w", "json"];
        let held = session.hold(&args);
        session.hear("watch json", &held, 1);
        let mut held = session.hold(&["watch", "-i"]);
        held.types("watch w/b --rev=5\n");
        session.hear("watch -i", &held, 3);
        session.run(&["put", "w/b", "3"]);
        session.hear("watch -i", &held, 3);
        held.types("progress\n");
        session.hear("watch -i", &held, 1);
        session.run(&["compaction", "6"]);
        session.run(&["watch", "w/a", "--rev=2"]);
        session.run(&["watch"]);
    });
}

#[test]
fn locks_and_elections() {
    compare("locks_and_elections", |session| {
        session.run(&["lock"]);
        session.run(&["lock", "m", "echo", "held"]);
        session.run(&["lock", "m", "--ttl=20", "sh", "-c", "exit 3"]);
        session.run(&["elect"]);
        let held = session.hold(&["elect", "e", "me"]);
        // Its key ends with its lease.
        let key = held.line();
        session.note("elect", key.rsplit_once('/').expect("a name and a lease").0);
        session.hear("elect", &held, 1);
        let observer = session.hold(&["elect", "-l", "e"]);
        let observed = observer.line();
        assert_eq!(observed, key, "who leads is who was elected");
        session.hear("elect -l", &observer, 1);
        drop(held);
    });
}

#[test]
fn backups_and_passwords() {
    let dir = tempfile::tempdir().expect("a folder");
    compare("backups_and_passwords", |session| {
        session.run(&["put", "k", "v"]);
        let name = if session.endpoint == session.pair.etcd.endpoint { "etcd" } else { "ours" };
        let file = dir.path().join(name).display().to_string();
        let saved = session.pair.etcdctl(session.endpoint, &["snapshot", "save", &file], "");
        session.note("snapshot save", &saved.stdout.replace(&file, "FILE"));
        assert!(Path::new(&file).metadata().expect("a file").len() > 0);
        session.run(&["snapshot", "save"]);
        session.run(&["snapshot", "status", "no-such-file"]);
        session.run(&["user", "add", "u", "--new-user-password=one"]);
        for (args, typed) in [
            (&["user", "passwd", "u", "--interactive=false"][..], "two\n"),
            (&["user", "passwd", "none", "--interactive=false"], "two\n"),
            (&["user", "add", "v", "--interactive=false"], "three\n"),
            (&["user", "add", ":x"], ""),
        ] {
            let Outcome { ok, stdout, stderr } = session.pair.etcdctl(session.endpoint, args, typed);
            session.note(&args.join(" "), &format!("{ok} {stdout:?} {:?}", complaint(&stderr)));
        }
        session.run(&["role", "add", "r"]);
        session.run(&["role", "grant-permission", "r", "readwrite", "", "--prefix"]);
        session.run(&["role", "get", "r"]);
        session.run(&["role", "revoke-permission", "r", "", "--prefix"]);
        session.run(&["role", "get", "r"]);
        session.run(&["role", "delete", "r"]);
        session.run(&["role", "delete", "r"]);
        session.run(&["user", "delete", "v"]);
        session.run(&["user", "list"]);
        session.run(&["alarm", "disarm"]);
        session.run(&["completion", "bash", "--help"]);
    });
}
