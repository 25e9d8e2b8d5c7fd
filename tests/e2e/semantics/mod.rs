//! What etcd 3.5.16 does, rule by rule, and that our server does the same.
//!
//! Every rule was seen on that release, under the name that it has here; each file of `scripts/` is run on a store of
//! its own. Our server needs no etcd beside it for that. Where `ASSAY_ETCD_BIN` names one, it is asked the same, so
//! the scripts are known to be true. What our server, or another release of etcd, does differently stands in
//! `exceptions.txt`, with the reason and with what it says instead.
//!
//! `UPDATE_GOLDENFILES=1` rewrites the scripts with what etcd answers, or our server where there is none.

mod backup;
mod http;
mod raw;
mod request;
mod runner;
mod show;

use crate::pair::{Etcd, Ours};
use runner::Asked;
use std::{collections::BTreeSet, env, fs, path::PathBuf};

/// Script, and how many rules it has: none may get lost.
const SCRIPTS: &[(&str, usize)] = &[
    ("put", 13),
    ("range", 32),
    ("delete", 4),
    ("txn", 51),
    ("lease", 17),
    ("watch", 23),
    ("compaction", 9),
    ("cluster", 13),
    ("gateway", 77),
    ("json", 54),
];

/// What a rule's commands came to, or must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    name: String,
    why: String,
    output: String,
}

/// Somebody who does not follow a rule.
#[derive(Debug)]
struct Exception {
    rule: String,
    /// `ours`, or releases of etcd, as `3.4` or `3.5.30`.
    whose: Vec<String>,
    why: String,
    output: String,
}

impl Exception {
    fn is_of(&self, who: &str) -> bool {
        self.whose.iter().any(|whose| whose == who || who.starts_with(&format!("{whose}.")))
    }
}

fn path(script: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("e2e/semantics/scripts").join(script)
}

fn read(script: &str) -> String {
    let path = path(script);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The parts of a script between empty lines: a comment, and the rest after three dashes.
fn parts(text: &str) -> impl Iterator<Item = (String, String)> {
    text.trim_end().split("\n\n").map(|part| {
        let (commands, output) = part.split_once("\n---").unwrap_or_else(|| panic!("no output: {part}"));
        let comment = commands.lines().filter_map(|line| line.strip_prefix("# "));
        (comment.collect::<Vec<_>>().join(" "), output.trim().to_string())
    })
}

fn rules(text: &str) -> Vec<Rule> {
    let rule = |(comment, output): (String, String)| {
        let (name, why) =
            comment.split_once(": ").unwrap_or_else(|| panic!("a name and a reason: {comment:?}"));
        Rule { name: name.into(), why: why.into(), output }
    };
    parts(text).map(rule).collect()
}

fn exceptions() -> Vec<Exception> {
    let exception = |(comment, output): (String, String)| {
        let parts = comment.split_once(": ").and_then(|(head, why)| Some((head.split_once(" of ")?, why)));
        let ((rule, whose), why) = parts.unwrap_or_else(|| panic!("RULE of WHOM: REASON, not {comment:?}"));
        let whose = whose.split(", ").map(str::to_string).collect();
        Exception { rule: rule.into(), whose, why: why.into(), output }
    };
    parts(include_str!("exceptions.txt")).map(exception).collect()
}

/// Runs a script, and says which of its rules this store does not follow.
fn broken(who: &str, endpoint: &str, script: &str, rewrite: bool) -> Vec<String> {
    let text = read(script);
    let mut asked = Asked::at(endpoint, who == "ours");
    let answered = goldenscript::generate(&mut asked, &text);
    let answered = answered.unwrap_or_else(|error| panic!("{script}, {who}: {error}"));
    if rewrite && env::var("UPDATE_GOLDENFILES").is_ok_and(|set| set == "1") {
        fs::write(path(script), &answered).expect("it can be written");
        return Vec::new();
    }
    let (wanted, came) = (rules(&text), rules(&answered));
    assert_eq!(wanted.len(), came.len(), "{script}, {who}");
    let exceptions = exceptions();
    let differs = |(wanted, came): (Rule, Rule)| {
        let exception =
            exceptions.iter().find(|exception| exception.rule == wanted.name && exception.is_of(who));
        let output = exception.map_or(&wanted.output, |exception| &exception.output);
        (*output != came.output).then(|| {
            format!("{}: {}\n  wanted:\n{output}\n  {who}:\n{}\n", wanted.name, wanted.why, came.output)
        })
    };
    wanted.into_iter().zip(came).filter_map(differs).collect()
}

fn follows(script: &str) {
    let etcd = Etcd::alone();
    let ours = Ours::start(&[]);
    let mut broken_rules = broken("ours", &ours.endpoint, script, etcd.is_none());
    if let Some((etcd, version)) = etcd {
        let release = version.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a release");
        if ["gateway", "json"].contains(&script) && release.starts_with("3.4.") {
            eprintln!("SKIPPED {script} of etcd {release}: it words errors differently and lacks some paths");
        } else {
            broken_rules.extend(broken(release, &etcd.endpoint, script, true));
        }
    }
    assert!(
        broken_rules.is_empty(),
        "{script}: {} differences\n{}",
        broken_rules.len(),
        broken_rules.join("\n")
    );
}

#[test]
fn no_rule_is_left_out() {
    let mut names = BTreeSet::new();
    for (script, count) in SCRIPTS {
        let rules = rules(&read(script));
        println!("{script}: {}", rules.iter().map(|rule| &rule.name[..]).collect::<Vec<_>>().join(", "));
        assert_eq!(rules.len(), *count, "{script}");
        for rule in rules {
            assert!(!rule.why.is_empty() && !rule.output.is_empty(), "{rule:?}");
            assert!(names.insert(rule.name.clone()), "{} stands twice", rule.name);
        }
    }
    let files = fs::read_dir(path("")).expect("it can be listed").count();
    assert_eq!(files, SCRIPTS.len(), "a script without a row is never run");
}

#[test]
fn every_exception_is_one() {
    let rules: Vec<Rule> = SCRIPTS.iter().flat_map(|(script, _)| rules(&read(script))).collect();
    for exception in exceptions() {
        println!("{} of {}: {}", exception.rule, exception.whose.join(", "), exception.why);
        let rule = rules.iter().find(|rule| rule.name == exception.rule);
        let rule = rule.unwrap_or_else(|| panic!("there is no rule {}", exception.rule));
        assert_ne!(rule.output, exception.output, "{}", exception.rule);
        assert!(!exception.why.is_empty() && !exception.whose.is_empty(), "{}", exception.rule);
    }
}

#[test]
fn puts() {
    follows("put");
}

#[test]
fn ranges() {
    follows("range");
}

#[test]
fn deletions() {
    follows("delete");
}

#[test]
fn transactions() {
    follows("txn");
}

#[test]
fn leases() {
    follows("lease");
}

#[test]
fn watches() {
    follows("watch");
}

#[test]
fn compactions() {
    follows("compaction");
}

#[test]
fn clusters() {
    follows("cluster");
}

#[test]
fn the_gateway() {
    follows("gateway");
}

#[test]
fn json() {
    follows("json");
}
