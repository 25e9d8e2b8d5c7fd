//! Objects and logs of other tools: each operation is read as what it is, and each way to be wrong is named.

use std::fmt::Debug;
use std::path::Path;

use checker::decode::{self, Decoded};
use checker::history::History;
use checker::history::import::porcupine;
use checker::online::{Check as _, Registers};
use checker::spec::counter::CounterAction;
use checker::spec::log::LogAction;
use checker::spec::members::MembersAction;
use checker::spec::multi_register::MultiRegisterStep;
use checker::spec::mutex::MutexAction;
use checker::spec::queue::QueueAction;
use checker::spec::strings::StringAction;
use checker::{Options, check};
use serde_json::{Value, json};

use crate::script::{Script, options};

/// What was asked, with the answer where there was one.
type Did = (&'static str, Value, Option<Value>);

fn decoded<Op>(decode: impl Fn(&History) -> Decoded<Op>, all: &[Did]) -> Decoded<Op> {
    let mut script = Script::new("objects");
    for (p, (f, asked, answered)) in (0..).zip(all) {
        script.invoke(p, f, "o", asked.clone());
        match answered {
            Some(answer) => script.ok(p, answer.clone(), 0),
            None => script.info(p),
        };
    }
    decode(&script.history())
}

/// Each of `good` is read as the action beside it, and each of `bad` is refused for the reason beside it.
fn read_as<Op, Action: Debug + PartialEq>(
    decode: impl Fn(&History) -> Decoded<Op>,
    action: impl Fn(&Op) -> Action,
    good: Vec<(Did, Action)>,
    bad: Vec<(Did, &str)>,
) {
    for (did, wanted) in good {
        let Decoded { calls, problems, .. } = decoded(&decode, std::slice::from_ref(&did));
        assert!(problems.is_empty(), "{did:?}: {problems:?}");
        assert_eq!(calls.iter().map(|call| action(&call.op)).collect::<Vec<_>>(), [wanted], "{did:?}");
    }
    for (did, why) in bad {
        let Decoded { calls, problems, .. } = decoded(&decode, std::slice::from_ref(&did));
        let named: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(calls.is_empty() && named.len() == 1 && named[0].contains(why), "{did:?}: {named:?}");
    }
}

const NULL: Value = Value::Null;

#[test]
fn queues_locks_and_counters() {
    read_as(
        decode::queue,
        |op| op.action,
        vec![
            (("enqueue", json!(1), Some(NULL)), QueueAction::Put(1)),
            (("push", json!(1), None), QueueAction::Put(1)),
            (("pop", NULL, Some(json!(2))), QueueAction::Take(Some(2))),
            (("dequeue", NULL, Some(NULL)), QueueAction::Take(None)),
            (("dequeue", NULL, None), QueueAction::TakeUnknown),
        ],
        vec![
            (("enqueue", json!("x"), None), "\"x\" is not a whole number of 64 bits"),
            (("dequeue", NULL, Some(json!(1.5))), "1.5 is not a whole number of 64 bits"),
            (("peek", NULL, Some(NULL)), "no function `peek`"),
        ],
    );
    read_as(
        decode::mutex,
        |op| op.action,
        vec![
            (("acquire", NULL, Some(NULL)), MutexAction::Acquire),
            (("release", NULL, None), MutexAction::Release),
        ],
        vec![(("lock", NULL, Some(NULL)), "no function `lock`")],
    );
    read_as(
        decode::counter,
        |op| op.action,
        vec![
            (("add", json!(-2), None), CounterAction::Add(-2)),
            (("read", NULL, Some(json!(7))), CounterAction::Read(7)),
            (("read", NULL, None), CounterAction::Read(0)),
        ],
        vec![
            (("add", NULL, None), "null is not a whole number"),
            (("read", NULL, Some(json!([1]))), "[1] is not a whole number"),
            (("reset", NULL, Some(NULL)), "no function `reset`"),
        ],
    );
}

#[test]
fn sets_by_element_and_logs() {
    read_as(
        decode::members,
        |op| op.action,
        vec![
            (("add", json!(1), Some(json!(true))), MembersAction::Add(Some(true))),
            (("add", json!(1), Some(NULL)), MembersAction::Add(None)),
            (("remove", json!(1), Some(json!(1))), MembersAction::Remove(None)),
            (("contains", json!(1), Some(json!(false))), MembersAction::Contains(false)),
            (("contains", json!(1), None), MembersAction::Contains(false)),
        ],
        vec![
            (("add", json!(1), Some(json!("yes"))), "the answer is true, false or nothing, not \"yes\""),
            (("contains", json!(1), Some(NULL)), "`contains` answers true or false"),
            (("remove", json!([]), Some(json!(true))), "[] is not a whole number"),
            (("toggle", json!(1), Some(NULL)), "no function `toggle`"),
        ],
    );
    read_as(
        decode::log,
        |op| op.action,
        vec![
            (("append", json!(5), Some(json!(0))), LogAction::Append { element: 5, offset: Some(0) }),
            (("append", json!(5), None), LogAction::Append { element: 5, offset: None }),
            (("read", json!(3), Some(json!(8))), LogAction::Read { offset: 3, found: Some(8) }),
            (("read", json!(3), Some(NULL)), LogAction::Read { offset: 3, found: None }),
        ],
        vec![
            (("append", json!("x"), None), "\"x\" is not a whole number"),
            (("append", json!(5), Some(json!(-1))), "-1 is no offset, which counts from 0"),
            (("read", json!(-1), None), "-1 is no offset"),
            (("read", json!(0), Some(json!("x"))), "\"x\" is not a whole number"),
            (("truncate", json!(0), Some(NULL)), "no function `truncate`"),
        ],
    );
}

#[test]
fn strings_and_registers_that_are_accessed_together() {
    let text = |text: &str| text.to_owned();
    read_as(
        decode::strings,
        |op| op.action.clone(),
        vec![
            (("get", NULL, Some(json!("ab"))), StringAction::Get(text("ab"))),
            (("get", NULL, Some(NULL)), StringAction::Get(text(""))),
            (("get", NULL, None), StringAction::Get(text(""))),
            (("put", json!("a"), Some(NULL)), StringAction::Put(text("a"))),
            (("append", NULL, Some(NULL)), StringAction::Append(text(""))),
        ],
        vec![
            (("get", NULL, Some(json!(1))), "1 is not text"),
            (("put", json!(["a"]), None), "[\"a\"] is not text"),
            (("append", json!(true), None), "true is not text"),
            (("cut", NULL, Some(NULL)), "no function `cut`"),
        ],
    );
    let (key, step) = ("k".into(), json!([["r", "k", null]]));
    let read = |found| vec![MultiRegisterStep::Read { key: "k".into(), found }];
    read_as(
        decode::multi_register,
        |op| op.0.clone(),
        vec![
            (("txn", step.clone(), Some(json!([["r", "k", 4]]))), read(Some(Some(4)))),
            (("txn", step.clone(), Some(NULL)), read(Some(None))),
            (("txn", step, None), read(None)),
            (("txn", json!([["w", "k", 1]]), None), vec![MultiRegisterStep::Write { key, value: 1 }]),
        ],
        vec![
            (("txn", json!("r k"), Some(NULL)), "a transaction is an array of steps"),
            (("txn", json!([["r", "k"]]), None), "a step is [\"r\" or \"w\", key, value], not [\"r\",\"k\"]"),
            (("txn", json!([["x", "k", 1]]), None), "a step is"),
            (("txn", json!([7]), None), "not 7"),
            (("txn", json!([["w", "k", null]]), None), "null is not a whole number"),
            (("txn", json!([["r", "k", "x"]]), None), "\"x\" is not a whole number"),
        ],
    );
}

fn log(lines: &[&str]) -> Result<History, String> {
    let text: String = lines.iter().map(|line| format!("INFO  jepsen.util - {line}\n")).collect();
    let noise = "etcd says something\n\n";
    porcupine::read(format!("{noise}{text}").as_bytes(), Path::new("log")).map_err(|error| error.to_string())
}

#[test]
fn a_log_of_registers_is_read_and_judged() {
    let good = [
        "0\t:invoke\t:write\t3",
        "1\t:invoke\t:read\tnil",
        "0\t:ok\t:write\t3",
        "1\t:ok\t:read\t3",
        "0\t:invoke\t:cas\t[3 4]",
        "0\t:ok\t:cas\t[3 4]",
        "1\t:invoke\t:cas\t[3 5]",
        "1\t:fail\t:cas\t[3 5]",
        "1\t:invoke\t:read\tnil",
        "1\t:fail\t:read\t:timed-out",
        "2\t:invoke\t:write\t9",
        "2\t:info\t:write\t:timed-out",
        "3\t:invoke\t:read\tnil",
        "3\t:ok\t:read\t4",
    ];
    let history = log(&good).expect("it is a log");
    let operations = history.operations();
    assert_eq!(operations.iter().filter(|operation| operation.is_ok()).count(), 5);
    assert_eq!(operations.iter().filter(|operation| operation.is_fail()).count(), 1);
    assert!(check(&history, &options()).verdict.is_valid());
    let mut bad = good;
    bad[13] = "3\t:ok\t:read\tnil";
    assert_eq!(check(&log(&bad).expect("it is a log"), &options()).verdict.name(), "anomaly");
}

#[test]
fn a_line_of_a_log_that_is_no_event_is_named() {
    for (line, why) in [
        ("0\t:invoke", "an event has a process, a type, a function and a value"),
        ("nemesis\t:invoke\t:write\t3", "`nemesis` is no process"),
        ("0\t:invoke\t:write\tx", "`x` is no number"),
        ("0\t:invoke\t:write\t", "`` is no value"),
        ("0\t:invoke\t:cas\t[1 2 3]", "`[1 2 3]` is no value"),
        ("0\t:invoke\t:cas\t[1 x]", "`x` is no number"),
        ("0\t:ok\t:read\t[nil y]", "`y` is no number"),
        ("0\t:fail\t:write\t3", "`:fail :write` is no event of a register"),
        ("0\t:ok\t:cas\t:done", "`:ok :cas` is no event of a register"),
        ("0\t:start\t:read\tnil", "`:start :read` is no event of a register"),
    ] {
        let error = log(&["0\t:invoke\t:read\tnil", line]).expect_err(line);
        assert!(error.contains(why) && error.contains("log:4"), "{line:?}: {error}");
    }
}

/// What a check of registers says that goes on while a history is made, and whether it gave something up.
fn meanwhile(script: &Script) -> (Option<String>, bool) {
    let mut online = Registers::new(&Options::default());
    let found = script.events.iter().find_map(|event| online.event(event));
    (found, !online.seen().given_up.is_empty())
}

#[test]
fn registers_are_judged_meanwhile_and_what_cannot_be_is_left_out() {
    let mut good = Script::new("register");
    good.write(0, "k", 1, 0).read(1, "k", Some((1, 0, 0)), 0);
    good.invoke(2, "write", "k", json!(2)).info(2);
    good.invoke(3, "write", "k", json!(3)).fail(3);
    good.read(1, "k", Some((2, 0, 0)), 0).observe("n1", "status", json!({})).phase("end");
    assert_eq!(meanwhile(&good), (None, false));
    let mut stale = Script::new("register");
    stale.write(0, "k", 1, 0).write(0, "k", 2, 0).read(1, "k", Some((1, 0, 0)), 0);
    let (found, _) = meanwhile(&stale);
    let found = found.expect("it is stale");
    assert!(found.contains("operations on k must appear to happen one at a time"), "{found}");
    assert!(found.contains("when `read k` of process 1 on n2 was answered `1`"), "{found}");
    let mut failed = Script::new("register");
    failed.invoke(0, "write", "k", json!(5)).fail(0).read(1, "k", Some((5, 0, 0)), 0);
    assert!(meanwhile(&failed).0.is_some(), "what failed was read");
    // Without a key, of another kind, or with an answer that cannot be read: for the check of the whole history.
    let mut odd = Script::new("register");
    odd.did(0, "write", "", json!(1), NULL, 0).did(0, "frob", "k", NULL, NULL, 0);
    odd.did(0, "read", "k", NULL, json!("x"), 0).read(0, "k", Some((9, 0, 0)), 0);
    assert_eq!(meanwhile(&odd).0, None);
}
