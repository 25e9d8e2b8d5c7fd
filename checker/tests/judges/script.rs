//! Histories by hand.

use checker::history::event::{Event, Header, OpError, What};
use checker::{AnomalyKind, CheckReport, History, Options, check, render};
use serde_json::{Value, json};

use crate::synthetic::header;

/// Events one after the other, 1 ms apart.
pub struct Script {
    header: Header,
    pub events: Vec<Event>,
    open: Vec<(u64, String, Option<String>)>,
}

impl Script {
    pub fn new(scenario: &str) -> Script {
        Script { header: header(scenario), events: Vec::new(), open: Vec::new() }
    }

    pub fn push(&mut self, what: What) -> &mut Script {
        let i = self.events.len() as u64;
        self.events.push(Event { i, t: i * 1_000_000, what });
        self
    }

    /// `key` "" is none.
    pub fn invoke(&mut self, p: u64, f: &str, key: &str, value: Value) -> &mut Script {
        let key = (!key.is_empty()).then(|| key.to_owned());
        self.open.push((p, f.to_owned(), key.clone()));
        self.push(What::Invoke { p, node: Some(format!("n{}", p % 3 + 1)), f: f.to_owned(), key, value })
    }

    fn close(&mut self, process: u64) -> (String, Option<String>) {
        let at = self.open.iter().position(|(p, _, _)| *p == process).expect("the process has invoked");
        let (_, f, key) = self.open.remove(at);
        (f, key)
    }

    /// `rev` 0 is none.
    pub fn ok(&mut self, p: u64, value: Value, rev: i64) -> &mut Script {
        let (f, key) = self.close(p);
        self.push(What::Ok { p, f, key, value, rev: (rev > 0).then_some(rev) })
    }

    pub fn fail(&mut self, p: u64) -> &mut Script {
        let (f, key) = self.close(p);
        self.push(What::Fail { p, f, key, error: error("refused") })
    }

    pub fn info(&mut self, p: u64) -> &mut Script {
        let (f, key) = self.close(p);
        self.push(What::Info { p, f, key, error: error("deadline") })
    }

    /// Invocation and answer, with nothing between.
    pub fn did(
        &mut self,
        p: u64,
        f: &str,
        key: &str,
        asked: Value,
        answered: Value,
        rev: i64,
    ) -> &mut Script {
        self.invoke(p, f, key, asked);
        self.ok(p, answered, rev)
    }

    pub fn write(&mut self, p: u64, key: &str, value: i64, rev: i64) -> &mut Script {
        self.did(p, "write", key, json!(value), Value::Null, rev)
    }

    /// A read that found `(value, mod_revision, version)`.
    pub fn read(&mut self, p: u64, key: &str, found: Option<(i64, i64, i64)>, rev: i64) -> &mut Script {
        self.did(p, "read", key, Value::Null, found_json(found), rev)
    }

    pub fn observe(&mut self, node: &str, f: &str, value: Value) -> &mut Script {
        self.push(What::Observe { node: node.to_owned(), f: f.to_owned(), value })
    }

    pub fn phase(&mut self, f: &str) -> &mut Script {
        self.push(What::Phase { f: f.to_owned() })
    }

    pub fn history(&self) -> History {
        History::new(self.header.clone(), self.events.clone())
    }

    pub fn report(&self) -> CheckReport {
        check(&self.history(), &options())
    }

    /// The one anomaly of a kind that is found, among others perhaps; gives its text.
    pub fn assert_finds(&self, kind: AnomalyKind) -> String {
        let report = self.report();
        let found = report.verdict.anomalies().iter().find(|anomaly| anomaly.kind == kind);
        let text = render::report(&report);
        let anomaly = found.unwrap_or_else(|| panic!("no {kind} in\n{text}"));
        let drawn = render::svg(&anomaly.witness);
        assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{drawn}");
        assert_eq!(
            drawn.matches("<g>").count(),
            anomaly.witness.operations.len(),
            "a bar an operation: {drawn}"
        );
        render::anomaly(anomaly)
    }

    pub fn assert_valid(&self) {
        let report = self.report();
        assert!(report.verdict.is_valid(), "{}", render::report(&report));
    }

    pub fn assert_unknown(&self, because: &str) {
        let report = self.report();
        let text = render::report(&report);
        assert_eq!(report.verdict.name(), "unknown", "{text}");
        assert!(text.contains(because), "`{because}` is not in\n{text}");
    }
}

pub fn found_json(found: Option<(i64, i64, i64)>) -> Value {
    match found {
        None => Value::Null,
        Some((value, 0, _)) => json!({"value": value}),
        Some((value, mod_revision, version)) => {
            json!({"value": value, "mod_revision": mod_revision, "version": version})
        }
    }
}

pub fn error(kind: &str) -> OpError {
    OpError { kind: kind.to_owned(), text: String::new() }
}

/// Small histories mean something here.
pub fn options() -> Options {
    Options { ok_min: 1, ..Options::default() }
}
