//! What is not a history, or breaks an assumption, is named; it is never valid and never a panic.

use std::io::Cursor;
use std::path::Path;

use checker::history::event::{Event, What};
use checker::history::file::Reader;
use checker::{Cancel, Engine, History, Options, check, render};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::script::{Script, error, options};
use crate::{stores, synthetic};

fn script() -> Script {
    let mut script = Script::new("register");
    script.write(0, "k1", 1, 0).read(1, "k1", Some((1, 0, 0)), 0);
    script
}

fn ok(p: u64, f: &str, value: Value) -> What {
    What::Ok { p, f: f.to_owned(), key: Some("k1".to_owned()), value, rev: None }
}

#[test]
fn broken_assumptions_are_named_with_their_line() {
    let mut twice = script();
    twice.invoke(0, "read", "k1", Value::Null).invoke(0, "read", "k1", Value::Null);
    twice.assert_unknown("line 7: process 0 invokes while its operation #2 is open");
    let mut after_info = script();
    after_info.invoke(5, "write", "k1", json!(2)).info(5).write(5, "k1", 3, 0);
    after_info.assert_unknown("line 8: process 5 acts again after line 7");
    script()
        .push(ok(9, "read", Value::Null))
        .assert_unknown("process 9 completes an operation that it has not invoked");
    let mut another = script();
    another.invoke(0, "read", "k1", Value::Null).push(ok(0, "write", Value::Null));
    another.assert_unknown("process 0 invoked `read k1` and completes `write k1`");
    let mut gap = script();
    gap.events[2].i = 7;
    gap.assert_unknown("line 4: event 7 stands where event 2 should");
    let mut back = script();
    back.events[3].t = 1;
    back.assert_unknown("line 5: time goes back from 2000000 ns to 1 ns");
    let mut unknown = script();
    unknown
        .did(0, "frob", "k1", Value::Null, Value::Null, 0)
        .assert_unknown("the workload has no function `frob`");
    let mut wrong = script();
    wrong
        .did(0, "write", "k1", json!("five"), Value::Null, 0)
        .assert_unknown("\"five\" is not a whole number");
    script()
        .push(What::NemesisEnd { f: "kill".to_owned(), fault: 3, proof: Value::Null })
        .assert_unknown("fault 3 ends");
    Script::new("casino").assert_unknown("no check knows the workload `casino`");
    Script::new("register").assert_unknown("only 0 operations that succeeded");
    let mut full = Script::new("register");
    full.read(0, "k1", Some((4, 2, 1)), 2)
        .write(0, "k1", 1, 3)
        .assert_unknown("the store was not empty at the start");
}

#[test]
fn an_anomaly_is_one_in_the_smallest_history_but_valid_needs_more() {
    let mut bad = script();
    bad.read(0, "k1", None, 0);
    let few = Options { ok_min: 1000, ..options() };
    assert_eq!(check(&bad.history(), &few).verdict.name(), "anomaly");
    assert_eq!(check(&script().history(), &few).verdict.name(), "unknown");
}

const HEADER: &str = r#"{"v":1,"seed":7,"scenario":"set","system":"x","nodes":3,"clock":"monotonic_ns"}"#;
const EVENT: &str = r#"{"i":0,"t":5,"type":"invoke","p":0,"f":"add","value":1}"#;

fn read(text: &str, accept_torn: bool) -> Result<(usize, Option<u64>), String> {
    let reader = Reader::new(Cursor::new(text.to_owned()), Path::new("h.jsonl"));
    let mut reader = reader.map_err(|error| error.to_string())?;
    if accept_torn {
        reader = reader.accept_torn();
    }
    let mut events = 0;
    while reader.next_event().map_err(|error| error.to_string())?.is_some() {
        events += 1;
    }
    Ok((events, reader.torn().map(|torn| torn.line)))
}

#[test]
fn lines_that_are_no_events_are_named_and_a_torn_last_one_is_kept_apart() {
    assert_eq!(read(&format!("{HEADER}\n{EVENT}\n\n"), false), Ok((1, None)));
    assert_eq!(read(&format!("{HEADER}\n{EVENT}\n{}", &EVENT[..20]), true), Ok((1, Some(3))));
    let torn = read(&format!("{HEADER}\n{EVENT}\n{}", &EVENT[..20]), false).expect_err("torn");
    assert!(torn.starts_with("h.jsonl:3: not an event: EOF"), "{torn}");
    let middle = read(&format!("{HEADER}\n{}\n{EVENT}\n", &EVENT[..20]), true).expect_err("damaged");
    assert!(middle.starts_with("h.jsonl:2: not an event"), "{middle}");
    assert!(read("", true).expect_err("empty").contains("the file is empty"));
    assert!(read(EVENT, true).expect_err("no header").contains("h.jsonl:1: not a history's header"));
    let newer = HEADER.replace("\"v\":1", "\"v\":2");
    assert!(
        read(&newer, true).expect_err("version").contains("format version 2, this build reads version 1")
    );
}

#[test]
fn a_file_becomes_a_history_and_its_torn_line_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    std::fs::write(&path, format!("{HEADER}\n{EVENT}\n{{\"i\":1,")).expect("written");
    let history = History::load(&path).expect("loads");
    assert_eq!((history.events(), history.operations().len()), (1, 1));
    assert_eq!(history.torn().map(|torn| torn.line), Some(3));
    assert!(history.operations()[0].is_info(), "nobody knows how it ended");
    let missing = History::load(&folder.path().join("none")).expect_err("is not there");
    assert!(missing.to_string().contains("none: "), "{missing}");
}

#[test]
fn out_of_time_out_of_states_and_cancelled_are_unknown_and_say_how_far_they_got() {
    let events = synthetic::kv(400, 10, 0, 1, stores::mixed(100));
    // Without revisions only the search can tell.
    let without = |event: &Event| match event.what.clone() {
        What::Ok { p, f, key, value, .. } => {
            Event { what: What::Ok { p, f, key, value, rev: None }, ..event.clone() }
        }
        _ => event.clone(),
    };
    let history = synthetic::kv_history(events.iter().map(without).collect());
    let unknown = |options: &Options, because: &str| {
        let report = check(&history, options);
        let text = render::report(&report);
        assert_eq!(report.verdict.name(), "unknown", "{text}");
        assert!(text.contains(because) && text.contains("of 4"), "`{because}` is not in {text}");
    };
    unknown(
        &Options { time_limit: std::time::Duration::ZERO, ..options() },
        "the time limit of 0 ms was reached after",
    );
    unknown(&Options { states_max: 1, ..options() }, "the limit of 1 states was reached after");
    let cancel = Cancel::default();
    cancel.cancel();
    unknown(&Options { cancel, engine: Engine::Stateright, ..options() }, "cancelled after");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec![
                    "value", "put", "range", "txn", "key", "kvs", "count", "revision", "success"
                ])
                .prop_map(str::to_owned),
                inner,
                0..4
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_what() -> impl Strategy<Value = What> {
    let f = prop::sample::select(vec![
        "read", "write", "cas", "add", "txn", "put", "range", "delete", "compact", "status",
    ]);
    let key = prop::option::of(prop::sample::select(vec!["k", "l"]).prop_map(str::to_owned));
    (0..8, 0..3_u64, f, key, any_json(), prop::option::of(-3..9_i64)).prop_map(
        |(kind, p, f, key, value, rev)| {
            let f = f.to_owned();
            match kind {
                0..3 => What::Invoke { p, node: None, f, key, value },
                3..5 => What::Ok { p, f, key, value, rev },
                5 => What::Fail { p, f, key, error: error("no") },
                6 => What::Info { p, f, key, error: error("maybe") },
                _ => What::Observe { node: "n1".to_owned(), f, value },
            }
        },
    )
}

/// Answers of the right shape, with numbers that no store gives.
fn wild() -> impl Strategy<Value = (&'static str, &'static str, Value, Value)> {
    let number = || prop_oneof![Just(i64::MAX), Just(i64::MIN), -2..6_i64];
    prop_oneof![
        (number(), number(), number()).prop_map(|(value, modified, version)| {
            let found = json!({"value": value, "mod_revision": modified, "version": version});
            ("register", "read", Value::Null, found)
        }),
        number().prop_map(|value| ("register", "write", Value::from(value), Value::Null)),
        (number(), number(), any::<bool>()).prop_map(|(old, new, swapped)| {
            ("register", "cas", json!([old, new]), json!({"swapped": swapped}))
        }),
        (number(), number(), number()).prop_map(|(create, modified, version)| {
            let pair = json!({"key": "a", "value": "1", "create_revision": create, "mod_revision": modified, "version": version});
            let range = json!({"range": {"key": "a", "revision": version}});
            ("kv", "range", range, json!({"range": {"kvs": [pair], "count": create}}))
        }),
        number().prop_map(|value| {
            let put = json!({"put": {"key": "a", "value": value.to_string()}});
            ("kv", "put", put, json!({"put": {}}))
        }),
        number().prop_map(|deleted| {
            ("kv", "delete", json!({"delete": {"key": "a", "end": "\0"}}), json!({"delete": {"deleted": deleted}}))
        }),
        number().prop_map(|revision| {
            ("kv", "compact", json!({"compact": {"revision": revision}}), json!({"compact": {}}))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_makes_a_check_panic(
        scenario in prop::sample::select(vec!["register", "kv", "set", "append"]),
        events in prop::collection::vec(any_what(), 0..30),
    ) {
        let mut script = Script::new(scenario);
        for what in events {
            script.push(what);
        }
        let report = script.report();
        prop_assert!(report.problems.is_empty() || !report.verdict.is_valid());
    }

    #[test]
    fn no_number_makes_a_check_panic_or_run_for_long(
        operations in prop::collection::vec((wild(), prop_oneof![Just(i64::MAX), 0..9_i64, Just(1 << 50)], 0..8), 1..12),
        shared in any::<bool>(),
    ) {
        for scenario in ["register", "kv"] {
            let mut script = Script::new(scenario);
            for (p, ((of, f, asked, answered), rev, end)) in operations.iter().enumerate() {
                if of != &scenario {
                    continue;
                }
                let key = if *of == "register" { "k1" } else { "" };
                script.invoke(p as u64, f, key, asked.clone());
                match end {
                    0..6 => script.ok(p as u64, answered.clone(), *rev),
                    _ => script.info(p as u64),
                };
            }
            let report = check(&script.history(), &Options { shared_store: shared, ..options() });
            prop_assert!(report.elapsed < std::time::Duration::from_secs(20), "{:?}", report.elapsed);
        }
    }
}
