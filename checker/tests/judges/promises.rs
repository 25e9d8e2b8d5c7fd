//! Systems' own promises: one bad history by hand for each anomaly, and good ones that are spoilt.

use checker::AnomalyKind as Kind;
use checker::render;
use checker::watch::{Asked, Event, EventKind, Past, Response, Seen, Stopped};
use serde_json::{Value, json};

use crate::script::Script;

#[test]
fn a_counter_holds_what_was_added_at_least_and_what_may_have_been_at_most() {
    let history = |found: i64| {
        let mut script = Script::new("counter");
        script.did(0, "add", "", json!(5), Value::Null, 0);
        script.did(0, "add", "", json!(-2), Value::Null, 0);
        // One that failed counts for nothing, one without an answer and one under way perhaps.
        script.invoke(0, "add", "", json!(100)).fail(0);
        script.invoke(1, "add", "", json!(10)).info(1);
        script.invoke(2, "read", "", Value::Null).invoke(0, "add", "", json!(-1));
        script.ok(2, json!(found), 0).ok(0, Value::Null, 0);
        // What began after the read has no part in it.
        script.did(0, "add", "", json!(50), Value::Null, 0);
        script
    };
    for found in [2, 3, 12, 13] {
        history(found).assert_valid();
    }
    for found in [1, 14, 103] {
        let text = history(found).assert_finds(Kind::WrongTotal);
        assert!(text.contains("it had to be from 2 to 13"), "{text}");
    }
}

fn put(key: &str, value: i64, create: i64, rev: i64, version: i64) -> Event {
    Event {
        kind: EventKind::Put,
        key: key.to_owned(),
        value: Some(value),
        create_revision: create,
        mod_revision: rev,
        version,
        prev: None,
    }
}

fn delete(key: &str, rev: i64) -> Event {
    Event { kind: EventKind::Delete, value: None, ..put(key, 0, 0, rev, 0) }
}

fn events(rev: i64, events: Vec<Event>) -> Response {
    Response { rev, events, fragment: false }
}

/// A store in which x, y are put, then both at once, y is deleted, and x put again; and what a watch of all keys from
/// revision 2 sees of it.
fn good() -> (Asked, Seen) {
    let asked = Asked { key: "a".into(), end: "zz".into(), from: 2, prev_kv: true, ..Asked::default() };
    let past = |value, create, rev, version| {
        Some(Past { value, create_revision: create, mod_revision: rev, version })
    };
    let seen = Seen {
        created: 1,
        responses: vec![
            events(2, vec![put("x", 1, 2, 2, 1)]),
            events(3, vec![put("y", 2, 3, 3, 1)]),
            events(
                4,
                vec![
                    Event { prev: past(1, 2, 2, 1), ..put("x", 3, 2, 4, 2) },
                    Event { prev: past(2, 3, 3, 1), ..put("y", 4, 3, 4, 2) },
                ],
            ),
            events(5, vec![Event { prev: past(4, 3, 4, 2), ..delete("y", 5) }]),
            events(5, Vec::new()),
            events(6, vec![Event { prev: past(3, 2, 4, 2), ..put("x", 5, 2, 6, 3) }]),
        ],
        stopped: Stopped::Enough,
    };
    (asked, seen)
}

fn writes() -> Script {
    let mut script = Script::new("watch");
    let put = |key: &str, value: i64| json!({"put": {"key": key, "value": value}});
    script.did(0, "write", "", json!([put("x", 1)]), json!([true]), 2);
    script.did(0, "write", "", json!([put("y", 2)]), json!([true]), 3);
    script.did(0, "write", "", json!([put("x", 3), put("y", 4)]), json!([true, true]), 4);
    script.did(0, "write", "", json!([{"delete": {"key": "y"}}]), json!([true]), 5);
    script.did(0, "write", "", json!([put("x", 5)]), json!([true]), 6);
    script.did(0, "write", "", json!([{"delete": {"key": "z"}}]), json!([false]), 6);
    script
}

fn watched(asked: &Asked, seen: &Seen) -> Script {
    let mut script = writes();
    script.did(1, "watch", "", json!(asked), json!(seen), 0);
    script
}

#[test]
fn a_watch_that_keeps_every_guarantee_is_valid() {
    let (asked, seen) = good();
    watched(&asked, &seen).assert_valid();
    // From the middle, one key only, without puts, and from what comes next.
    let middle = Seen { created: 6, responses: seen.responses[2..].to_vec(), ..Seen::default() };
    watched(&Asked { from: 4, ..asked.clone() }, &middle).assert_valid();
    let one = Asked { key: "y".into(), end: String::new(), no_put: true, ..asked.clone() };
    let seen_of_y = Seen { responses: vec![seen.responses[3].clone()], ..seen.clone() };
    watched(&one, &seen_of_y).assert_valid();
    let next = Seen { created: 5, responses: vec![seen.responses[5].clone()], ..Seen::default() };
    watched(&Asked { from: 0, ..asked.clone() }, &next).assert_valid();
    // Its creation was answered a moment after it had begun.
    let later = Seen { created: 5, responses: seen.responses[3..].to_vec(), ..Seen::default() };
    watched(&Asked { from: 0, ..asked.clone() }, &later).assert_valid();
    // A revision in fragments.
    let mut parts = seen.clone();
    let last = parts.responses[2].events.pop().expect("two events");
    parts.responses[2].fragment = true;
    parts.responses.insert(3, events(4, vec![last]));
    watched(&Asked { fragment: true, ..asked }, &parts).assert_valid();
    writes().assert_unknown("a single event of a watch");
}

#[test]
fn each_guarantee_of_a_watch_has_its_violation() {
    type Spoil = fn(&mut Asked, &mut Seen);
    let cases: [(Kind, Spoil); 19] = [
        (Kind::WatchNotOrdered, |_, seen| seen.responses.swap(0, 1)),
        (Kind::WatchDuplicate, |_, seen| seen.responses.insert(1, seen.responses[0].clone())),
        // An old event again, much later (etcd issue 15271).
        (Kind::WatchNotOrdered, |_, seen| seen.responses.push(seen.responses[1].clone())),
        (Kind::WatchDuplicate, |_, seen| seen.responses.push(seen.responses[1].clone())),
        (Kind::WatchSplit, |_, seen| {
            let last = seen.responses[2].events.pop().expect("two events");
            seen.responses.insert(3, events(4, vec![last]));
        }),
        (Kind::WatchMissed, |_, seen| drop(seen.responses.remove(1))),
        (Kind::WatchMissed, |_, seen| drop(seen.responses[2].events.pop())),
        // The last event is missing, but a later bookmark says that all came.
        (Kind::WatchMissed, |_, seen| seen.responses[5] = events(6, Vec::new())),
        (Kind::WatchGap, |_, seen| drop(seen.responses.remove(0))),
        (Kind::WatchGap, |_, seen| seen.stopped = Stopped::Compacted(3)),
        (Kind::WatchBookmarkBroken, |_, seen| seen.responses.swap(3, 4)),
        (Kind::WatchBookmarkBroken, |_, seen| seen.responses[4].rev = 4),
        (Kind::WatchNotAskedFor, |asked, _| asked.end = "y".into()),
        (Kind::WatchNotAskedFor, |asked, _| asked.no_delete = true),
        (Kind::WatchNotAskedFor, |asked, _| asked.from = 3),
        // However it began, what comes after its creation is not left out.
        (Kind::WatchMissed, |asked, seen| {
            (asked.from, seen.created) = (0, 2);
            seen.responses.remove(1);
        }),
        (Kind::WatchWrongEvent, |_, seen| seen.responses[1].events[0].value = Some(77)),
        (Kind::WatchWrongCreation, |_, seen| {
            let event = &mut seen.responses[5].events[0];
            (event.create_revision, event.version) = (6, 1);
        }),
        (Kind::WatchWrongPrevKv, |_, seen| seen.responses[5].events[0].prev = None),
    ];
    for (at, (kind, spoil)) in cases.into_iter().enumerate() {
        let (mut asked, mut seen) = good();
        spoil(&mut asked, &mut seen);
        println!("case {at}");
        let text = watched(&asked, &seen).assert_finds(kind);
        assert!(text.contains("the watch is #6 of process 1"), "case {at}: {text}");
    }
}

#[test]
fn a_failed_write_that_a_watch_delivers_was_observed() {
    let (asked, mut seen) = good();
    seen.responses.push(events(7, vec![put("w", 9, 7, 7, 1)]));
    let mut script = writes();
    script.invoke(2, "write", "", json!([{"put": {"key": "w", "value": 9}}])).fail(2);
    script.did(1, "watch", "", json!(asked), json!(seen), 0);
    script.assert_finds(Kind::FailedOpObserved);
    // Of unknown outcome it may have happened.
    let mut script = writes();
    script.invoke(2, "write", "", json!([{"put": {"key": "w", "value": 9}}])).info(2);
    script.did(1, "watch", "", json!(asked), json!(seen), 0);
    script.assert_valid();
}

/// What a store did to one key, as a watch without deletions saw it: put at 2, and created again at 4.
#[test]
fn a_deletion_of_unknown_outcome_may_have_been_seen_by_nobody() {
    let history = |deletes: &str, other: i64| {
        let mut script = Script::new("watch");
        let write = |key: &str, value: i64| json!([{"put": {"key": key, "value": value}}]);
        script.did(0, "write", "", write("x", 1), json!([true]), 2);
        script.invoke(2, "write", "", json!([{"delete": {"key": deletes}}])).info(2);
        script.invoke(3, "write", "", write("y", 2));
        script.did(0, "write", "", write("x", 3), json!([true]), 4).ok(3, json!([true]), other);
        let asked = Asked { key: "x".into(), no_delete: true, from: 2, prev_kv: true, ..Asked::default() };
        let responses = vec![events(2, vec![put("x", 1, 2, 2, 1)]), events(4, vec![put("x", 3, 4, 4, 1)])];
        let seen = Seen { created: 1, responses, ..Seen::default() };
        script.did(1, "watch", "", json!(asked), json!(seen), 0);
        script
    };
    history("x", 5).assert_valid();
    // Of another key, or where another write has the only revision between.
    for script in [history("z", 5), history("x", 3)] {
        script.assert_finds(Kind::WatchWrongCreation);
        script.assert_finds(Kind::WatchWrongPrevKv);
    }
}

#[test]
fn watches_of_two_members_agree() {
    let (asked, seen) = good();
    let mut script = Script::new("watch");
    // Nobody knows what became of the writes; the watches do.
    script.invoke(0, "write", "", json!([{"put": {"key": "x", "value": 1}}])).info(0);
    script.invoke(3, "write", "", json!([{"put": {"key": "x", "value": 8}}])).info(3);
    let one = Seen { responses: seen.responses[..1].to_vec(), ..seen.clone() };
    let mut other = one.clone();
    other.responses[0].events[0].value = Some(8);
    script.did(1, "watch", "", json!(asked), json!(one), 0);
    script.did(2, "watch", "", json!(asked), json!(other), 0);
    script.assert_finds(Kind::WatchWrongEvent);
}

#[test]
fn a_total_that_changes_and_an_overdrawn_account_are_found() {
    let read = |script: &mut Script, balances: Value| {
        script.did(0, "read", "", Value::Null, balances, 0);
    };
    let mut script = Script::new("bank");
    read(&mut script, json!({"a": 10, "b": 5}));
    let transfer = json!({"from": "a", "to": "b", "amount": 3});
    script.did(1, "transfer", "", transfer.clone(), transfer, 0);
    read(&mut script, json!({"a": 7, "b": 8}));
    script.assert_valid();
    read(&mut script, json!({"a": 7, "b": 5}));
    let text = script.assert_finds(Kind::WrongTotal);
    assert!(text.contains("was 15 when #0 read it, but #3"), "{text}");
    read(&mut script, json!({"a": -1, "b": 16}));
    script.assert_finds(Kind::NegativeBalance);
}

#[test]
fn ids_and_forks_are_told() {
    let mut ids = Script::new("unique-ids");
    ids.did(0, "generate", "", Value::Null, json!(1), 0).did(1, "generate", "", Value::Null, json!(2), 0);
    ids.assert_valid();
    ids.did(0, "generate", "", Value::Null, json!(2), 0).assert_finds(Kind::DuplicateId);
    let read = |script: &mut Script, x: Value, y: Value| {
        let asked = json!([["r", "x", null], ["r", "y", null]]);
        script.did(0, "read", "", asked, json!([["r", "x", x], ["r", "y", y]]), 0);
    };
    let mut fork = Script::new("long-fork");
    read(&mut fork, Value::Null, Value::Null);
    read(&mut fork, json!(1), Value::Null);
    read(&mut fork, json!(1), json!(1));
    fork.assert_valid();
    read(&mut fork, Value::Null, json!(1));
    fork.assert_finds(Kind::LongFork);
}

fn hold(script: &mut Script, p: u64, element: i64, fence: i64, span: (u64, u64), wrote: i64) {
    let held = json!({"fence": fence, "from_ns": span.0, "to_ns": span.1, "wrote": wrote});
    script.did(p, "hold", "l", json!(element), held, 0);
}

#[test]
fn a_lock_has_one_holder_and_one_that_lost_it_has_no_effect() {
    let mut script = Script::new("lock");
    hold(&mut script, 0, 1, 5, (100, 200), 6);
    // It believes longer than it may, and does nothing with that.
    hold(&mut script, 1, 2, 8, (190, 300), 9);
    script.did(2, "read", "l", Value::Null, json!([1, 2]), 0);
    script.assert_valid();
    let mut stale = Script::new("lock");
    hold(&mut stale, 0, 1, 5, (100, 200), 10);
    hold(&mut stale, 1, 2, 8, (190, 300), 9);
    let text = stale.assert_finds(Kind::StaleHolder);
    assert!(text.contains("wrote at revision 10 with the lock of revision 5"), "{text}");
    let mut two = Script::new("lock");
    hold(&mut two, 0, 1, 5, (100, 200), 6);
    hold(&mut two, 1, 2, 5, (300, 400), 7);
    two.assert_finds(Kind::TwoHolders);
    let mut lost = Script::new("lock-unfenced");
    hold(&mut lost, 0, 1, 5, (1_000_000, 9_000_000), 6);
    hold(&mut lost, 1, 2, 8, (4_000_000, 12_000_000), 9);
    lost.did(2, "read", "l", Value::Null, json!([2]), 0);
    let text = lost.assert_finds(Kind::TwoHolders);
    assert!(text.contains("both held l for 5 ms"), "{text}");
    lost.assert_finds(Kind::LostElement);
    let mut failed = Script::new("lock");
    hold(&mut failed, 0, 1, 5, (100, 200), 6);
    failed.invoke(1, "hold", "l", json!(2)).fail(1);
    failed.did(2, "read", "l", Value::Null, json!([1, 2]), 0);
    failed.assert_finds(Kind::FailedOpObserved);
}

#[test]
fn a_term_has_one_leader_and_terms_do_not_go_back() {
    let mut script = Script::new("election");
    let leader = |term: i64, leader: i64| json!({"term": term, "leader": leader});
    script.did(0, "campaign", "e", json!(7), leader(5, 7), 0);
    script.did(1, "observe", "e", Value::Null, leader(5, 7), 0);
    script.did(1, "observe", "e", Value::Null, Value::Null, 0);
    script.did(0, "campaign", "e", json!(8), leader(9, 8), 0);
    script.assert_valid();
    let mut two = Script::new("election");
    two.did(0, "campaign", "e", json!(7), leader(5, 7), 0);
    two.did(1, "campaign", "e", json!(8), leader(5, 8), 0);
    two.assert_finds(Kind::TwoLeaders);
    script.did(2, "observe", "e", Value::Null, leader(5, 7), 0);
    script.assert_finds(Kind::StaleRead);
}

#[test]
fn a_lease_lives_as_long_as_it_is_kept_and_its_keys_go_at_once() {
    let life = |renewed_ns: u64, gone_ns: u64, revs: [i64; 2]| {
        json!({"ttl_s": 2, "renewed_ns": renewed_ns, "renewals": 3, "gone_ns": gone_ns,
            "gone": [["a", revs[0]], ["b", revs[1]]]})
    };
    let judge = |life: Value| {
        let mut script = Script::new("lease");
        script.did(0, "lease", "", json!({"ttl_s": 2}), life, 0);
        script
    };
    judge(life(1_000_000_000, 3_000_000_001, [9, 9])).assert_valid();
    let text = judge(life(1_000_000_000, 2_500_000_000, [9, 9])).assert_finds(Kind::LeaseExpiredEarly);
    assert!(text.contains("were gone 500 ms before that"), "{text}");
    // An end that its owner asked for may come at any time after that, be it within the first TTL of the run.
    let revoked = |revoked_ns: u64| {
        let mut life = life(1_000_000_000, 1_500_000_000, [9, 9]);
        life["revoked_ns"] = json!(revoked_ns);
        judge(life)
    };
    revoked(1_400_000_000).assert_valid();
    revoked(1_600_000_000).assert_finds(Kind::LeaseExpiredEarly);
    judge(life(1_000_000_000, 3_500_000_000, [9, 10])).assert_finds(Kind::LeaseSplit);
    let mut left = judge(life(1_000_000_000, 3_500_000_000, [9, 9]));
    left.did(0, "read", "", Value::Null, json!({"waited_ms": 3_000, "ttl_s_max": 2, "keys": ["c"]}), 0);
    left.assert_valid();
    left.did(0, "read", "", Value::Null, json!({"waited_ms": 12_000, "ttl_s_max": 2, "keys": ["c"]}), 0);
    left.assert_finds(Kind::LeaseOutlived);
}

#[test]
fn registers_show_what_lists_do() {
    let txns = |txns: &[Value]| {
        let mut script = Script::new("txn");
        for (p, txn) in txns.iter().enumerate() {
            let steps = txn.as_array().expect("steps").iter();
            let asked: Vec<Value> = steps
                .map(|step| if step[0] == "r" { json!(["r", step[1], null]) } else { step.clone() })
                .collect();
            script.invoke(p as u64, "txn", "", json!(asked));
        }
        for (p, txn) in txns.iter().enumerate() {
            script.ok(p as u64, txn.clone(), 0);
        }
        script
    };
    txns(&[json!([["w", "x", 1]]), json!([["r", "x", 1], ["w", "x", 2]]), json!([["r", "x", 2]])])
        .assert_valid();
    txns(&[json!([["w", "x", 1], ["r", "x", 2]]), json!([["w", "x", 2]])]).assert_finds(Kind::Internal);
    txns(&[json!([["r", "x", 1], ["w", "x", 1]])]).assert_finds(Kind::FutureRead);
    txns(&[json!([["r", "x", 1]])]).assert_finds(Kind::PhantomElement);
    txns(&[json!([["w", "x", 1], ["w", "x", 2]]), json!([["r", "x", 1]])]).assert_finds(Kind::G1b);
    let lost = [
        json!([["r", "x", null], ["w", "x", 1]]),
        json!([["r", "x", null], ["w", "x", 2]]),
        json!([["r", "x", 2]]),
    ];
    txns(&lost).assert_finds(Kind::LostUpdate);
    let both = json!([["w", "x", 1], ["w", "y", 1]]);
    let back = [both.clone(), json!([["r", "x", 1], ["r", "y", null]])];
    let text = txns(&back).assert_finds(Kind::NonMonotonicRead);
    assert!(text.contains("the beginning comes before #0: it is the first of all"), "{text}");
    let fractured = [both, json!([["r", "y", null], ["r", "x", 1]])];
    let text = txns(&fractured).assert_finds(Kind::FracturedRead);
    assert!(text.contains("#1 knew of #0, but read the beginning in y"), "{text}");
    let text = txns(&fractured).assert_finds(Kind::GSingle);
    assert!(text.contains("read skew"), "{text}");
    let skew = [json!([["r", "x", null], ["w", "y", 1]]), json!([["r", "y", null], ["w", "x", 1]])];
    let text = txns(&skew).assert_finds(Kind::G2Item);
    assert!(text.contains("write skew: "), "{text}");
    let fork = [
        json!([["w", "x", 1]]),
        json!([["w", "y", 1]]),
        json!([["r", "x", 1], ["r", "y", null]]),
        json!([["r", "x", null], ["r", "y", 1]]),
    ];
    let text = txns(&fork).assert_finds(Kind::GNonadjacent);
    assert!(text.contains("long fork: "), "{text}");
    let circle = [json!([["r", "x", 2], ["w", "x", 1]]), json!([["r", "x", 1], ["w", "x", 2]])];
    txns(&circle).assert_finds(Kind::CyclicVersions);
    let causal = [
        json!([["w", "x", 1]]),
        json!([["r", "x", 1], ["w", "y", 1]]),
        json!([["r", "y", 1], ["r", "x", null]]),
    ];
    txns(&causal).assert_finds(Kind::CausalViolation);
}

#[test]
fn a_store_that_stays_silent_after_a_fault_has_not_recovered() {
    use checker::history::event::{Event, What};
    // A fault from 1 s to 2 s, and after it one operation that is answered late; `stale` is answered early.
    let with_answer_at = |answered_s: u64, stale: bool| {
        let mut script = Script::new("register");
        let mut push = |t_s: u64, what: What| {
            let i = script.events.len() as u64;
            script.events.push(Event { i, t: t_s * 1_000_000_000, what });
        };
        let (key, null) = (Some("k0".to_owned()), Value::Null);
        push(1, What::NemesisStart { f: "kill".into(), fault: 0, value: null.clone(), proof: json!("gone") });
        push(2, What::NemesisEnd { f: "kill".into(), fault: 0, proof: json!("back") });
        let f = "read".to_owned();
        push(3, What::Invoke { p: 0, node: None, f: f.clone(), key: key.clone(), value: null.clone() });
        if stale {
            let (f, value) = (f.clone(), json!({ "serializable": true }));
            push(4, What::Invoke { p: 1, node: None, f: f.clone(), key: key.clone(), value });
            push(5, What::Ok { p: 1, f, key: key.clone(), value: null.clone(), rev: None });
        }
        push(answered_s, What::Ok { p: 0, f, key, value: null, rev: None });
        script
    };
    with_answer_at(9, false).assert_valid();
    with_answer_at(40, false).assert_finds(Kind::NoRecovery);
    // What one member answers alone is no sign of life of the store.
    with_answer_at(40, true).assert_finds(Kind::NoRecovery);
}

#[test]
fn one_read_tells_where_all_writes_of_an_unanswered_transaction_are() {
    let mut script = Script::new("txn");
    script.invoke(0, "txn", "", json!([["w", "x", -1], ["w", "y", -1]])).info(0);
    script.did(
        1,
        "txn",
        "",
        json!([["r", "x", null]]),
        json!([["r", "x", { "value": -1, "mod_revision": 2 }]]),
        2,
    );
    for rev in 3..9 {
        let write = json!([["w", "y", rev]]);
        script.did(2, "txn", "", write.clone(), write, rev);
    }
    let report = script.report();
    assert!(report.verdict.is_valid(), "{}", render::report(&report));
    // The order of versions is known, so none had to be looked for.
    assert!(!render::report(&report).contains("serial_order"), "{}", render::report(&report));
}
