//! One bad history for each anomaly, and good ones that look like them.

use checker::AnomalyKind;
use serde_json::{Value, json};

use crate::script::Script;

fn register() -> Script {
    Script::new("register")
}

#[test]
fn a_stale_read_without_revisions_is_found_by_search_and_shrunk() {
    let mut script = register();
    for value in 1..30 {
        script.write(0, "k1", value, 0).read(1, "k1", Some((value, 0, 0)), 0).write(2, "k2", value, 0);
    }
    script.read(3, "k1", Some((28, 0, 0)), 0);
    let text = script.assert_finds(AnomalyKind::NotLinearizable);
    assert!(text.contains("2 of 59 operations") || text.contains("3 of 59 operations"), "{text}");
    assert!(text.contains("`read k1` of process 3 on n1 was answered `28`"), "{text}");
    assert!(text.contains("possible then"), "{text}");
}

#[test]
fn concurrent_reads_may_see_either_value_but_not_the_new_one_and_then_the_old() {
    let mut good = register();
    good.write(0, "k1", 1, 0).invoke(0, "write", "k1", json!(2));
    good.read(1, "k1", Some((1, 0, 0)), 0).read(1, "k1", Some((2, 0, 0)), 0).ok(0, Value::Null, 0);
    good.assert_valid();
    let mut bad = register();
    bad.write(0, "k1", 1, 0).invoke(0, "write", "k1", json!(2));
    bad.read(1, "k1", Some((2, 0, 0)), 0).read(1, "k1", Some((1, 0, 0)), 0).ok(0, Value::Null, 0);
    bad.assert_finds(AnomalyKind::NotLinearizable);
}

#[test]
fn a_cas_that_ignores_its_compare_is_found_with_and_without_revisions() {
    let mut script = register();
    script.write(0, "k1", 1, 0).did(1, "cas", "k1", json!([7, 2]), json!({"swapped": true}), 0);
    script.read(2, "k1", Some((2, 0, 0)), 0);
    script.assert_finds(AnomalyKind::NotLinearizable);
    let mut script = register();
    script.write(0, "k1", 1, 2).did(1, "cas", "k1", json!([7, 2]), json!({"swapped": true}), 3);
    script.read(2, "k1", Some((2, 3, 2)), 3);
    let text = script.assert_finds(AnomalyKind::WrongAnswer);
    assert!(text.contains("`cas k1 [7,2]` of process 1 on n2 was answered `swapped, revision 3`"), "{text}");
}

#[test]
fn a_read_from_an_older_revision_than_what_was_acknowledged_is_stale() {
    let mut script = register();
    script.write(0, "k1", 1, 2).write(0, "k1", 2, 3).read(1, "k1", Some((1, 2, 1)), 2);
    let text = script.assert_finds(AnomalyKind::StaleRead);
    assert!(text.contains("`write k1 2` of process 0 on n1 had been answered at revision 3"), "{text}");
}

#[test]
fn a_serializable_read_may_be_older_than_the_workload_and_finds_nothing_of_it_then() {
    let script = |found: Value| {
        let mut script = Script::new("register");
        script.observe("n1", "base", json!({"revision": 100, "alone": true}));
        script.write(0, "k1", 1, 101);
        script.did(1, "read", "k1", json!({"serializable": true}), found, 7);
        script
    };
    // What the members hold in the end is not known here.
    let report = script(Value::Null).report();
    let serializable =
        report.results.iter().find(|result| result.check == "serializable").expect("it is checked");
    assert!(serializable.verdict.is_valid() && report.verdict.anomalies().is_empty(), "{report:?}");
    script(json!({"value": 1, "mod_revision": 5, "version": 1})).assert_finds(AnomalyKind::WrongAnswer);
}

#[test]
fn a_serializable_read_may_be_stale_but_not_wrong_nor_go_back_in_its_process() {
    let serializable = || json!({"serializable": true});
    let mut good = register();
    good.write(0, "k1", 1, 2).write(0, "k1", 2, 3);
    good.did(1, "read", "k1", serializable(), json!({"value": 1, "mod_revision": 2, "version": 1}), 2);
    good.did(1, "read", "k1", serializable(), json!({"value": 2, "mod_revision": 3, "version": 2}), 3);
    good.assert_valid();
    let mut bare = register();
    bare.write(0, "k1", 1, 0).write(0, "k1", 2, 0).did(
        1,
        "read",
        "k1",
        serializable(),
        json!({"value": 1}),
        0,
    );
    bare.read(2, "k1", Some((2, 0, 0)), 0);
    bare.assert_valid();
    bare.did(1, "read", "k1", serializable(), json!({"value": 3}), 0).assert_finds(AnomalyKind::PhantomValue);
    let mut wrong = register();
    wrong.write(0, "k1", 1, 2).write(0, "k1", 2, 3);
    wrong.did(1, "read", "k1", serializable(), json!({"value": 1, "mod_revision": 2, "version": 1}), 3);
    let text = wrong.assert_finds(AnomalyKind::StaleRead);
    assert!(text.contains("a serializable read is the store's state at its revision"), "{text}");
    let mut back = register();
    back.write(0, "k1", 1, 2).write(0, "k1", 2, 3).read(1, "k1", Some((2, 3, 2)), 3);
    back.did(1, "read", "k1", serializable(), json!({"value": 1, "mod_revision": 2, "version": 1}), 2);
    back.assert_finds(AnomalyKind::RevisionWentBack);
}

#[test]
fn a_revision_belongs_to_one_write() {
    let mut script = register();
    script.write(0, "k1", 1, 2).write(1, "k2", 2, 2);
    script.read(0, "k1", Some((1, 2, 1)), 2);
    script.assert_finds(AnomalyKind::DuplicateRevision);
}

#[test]
fn a_write_is_not_ordered_before_what_had_returned() {
    let mut script = register();
    script.write(0, "k1", 1, 3).write(1, "k2", 2, 2).read(2, "k1", Some((1, 3, 1)), 3);
    script.assert_finds(AnomalyKind::RevisionWentBack);
}

#[test]
fn what_failed_for_certain_is_not_seen_and_neither_is_what_nobody_wrote() {
    let mut failed = register();
    failed.write(0, "k1", 1, 2).invoke(1, "write", "k1", json!(2)).fail(1);
    failed.read(0, "k1", Some((2, 3, 2)), 3);
    let text = failed.assert_finds(AnomalyKind::FailedOpObserved);
    assert!(text.contains("`write k1 2` of process 1 on n2, which failed: refused"), "{text}");
    let mut phantom = register();
    phantom.write(0, "k1", 1, 2).read(0, "k1", Some((9, 2, 1)), 2);
    phantom.assert_finds(AnomalyKind::PhantomValue);
}

#[test]
fn a_revision_that_nobody_made_and_a_write_that_took_effect_twice() {
    let mut gap = register();
    gap.write(0, "k1", 1, 2).write(0, "k1", 2, 4).read(1, "k1", Some((2, 4, 2)), 4);
    gap.assert_finds(AnomalyKind::UnexplainedRevision);
    let mut twice = register();
    twice.write(0, "k1", 1, 2).write(0, "k2", 5, 3).read(1, "k1", Some((1, 4, 2)), 4);
    twice.assert_finds(AnomalyKind::AppliedTwice);
}

#[test]
fn an_unknown_write_explains_a_gap_only_after_it_began() {
    let mut good = register();
    good.write(0, "k1", 1, 2).invoke(1, "write", "k1", json!(2)).info(1);
    good.write(0, "k1", 3, 4).read(0, "k1", Some((3, 4, 3)), 4);
    good.assert_valid();
    let mut bad = register();
    bad.write(0, "k1", 1, 2).write(0, "k1", 3, 4).invoke(1, "write", "k1", json!(2)).info(1);
    bad.read(0, "k1", Some((3, 4, 3)), 4);
    bad.assert_finds(AnomalyKind::UnexplainedRevision);
}

fn put(key: &str, value: &str) -> Value {
    json!({"put": {"key": key, "value": value}})
}

fn pair(key: &str, value: &str, create: i64, modified: i64, version: i64) -> Value {
    json!({"key": key, "value": value, "create_revision": create, "mod_revision": modified, "version": version})
}

#[test]
fn a_range_below_a_compaction_is_refused_once_the_compaction_is_acknowledged() {
    let range = || json!({"range": {"key": "a", "revision": 2}});
    let found = || json!({"range": {"kvs": [pair("a", "1", 2, 2, 1)], "count": 1}});
    let mut good = Script::new("kv");
    good.did(0, "put", "", put("a", "1"), json!({"put": {}}), 2);
    good.did(0, "put", "", put("a", "2"), json!({"put": {}}), 3);
    good.invoke(1, "compact", "", json!({"compact": {"revision": 3}}));
    good.did(0, "range", "", range(), found(), 3).ok(1, json!({"compact": {}}), 3);
    good.assert_valid();
    let mut bad = Script::new("kv");
    bad.did(0, "put", "", put("a", "1"), json!({"put": {}}), 2);
    bad.did(0, "put", "", put("a", "2"), json!({"put": {}}), 3);
    bad.did(1, "compact", "", json!({"compact": {"revision": 3}}), json!({"compact": {}}), 3);
    bad.did(0, "range", "", range(), found(), 3);
    let text = bad.assert_finds(AnomalyKind::ReadBelowCompaction);
    assert!(text.contains("`range a at 2` of process 0 on n1"), "{text}");
}

#[test]
fn a_transaction_takes_the_branch_that_its_compares_demand() {
    let txn = json!({"txn": {
        "compare": [{"key": "a", "op": "=", "version": 0}],
        "success": [put("a", "1")], "failure": [{"range": {"key": "a"}}]}});
    let mut script = Script::new("kv");
    script.did(0, "put", "", put("a", "0"), json!({"put": {}}), 2);
    script.did(1, "txn", "", txn, json!({"txn": {"succeeded": true, "responses": [{"put": {}}]}}), 3);
    script.did(
        0,
        "range",
        "",
        json!({"range": {"key": "a"}}),
        json!({"range": {"kvs": [pair("a", "1", 2, 3, 2)], "count": 1}}),
        3,
    );
    let text = script.assert_finds(AnomalyKind::WrongAnswer);
    assert!(text.contains("txn if version(a) = 0 then [put a=1] else [range a]"), "{text}");
}

fn set() -> Script {
    let mut script = Script::new("set");
    script.did(0, "add", "s", json!(1), Value::Null, 0).did(0, "add", "s", json!(2), Value::Null, 0);
    script
}

fn reads(script: &mut Script, p: u64, elements: Value) -> &mut Script {
    script.did(p, "read", "s", Value::Null, elements, 0)
}

#[test]
fn a_set_keeps_what_was_added_and_nothing_else() {
    reads(&mut set(), 1, json!([1, 2])).assert_valid();
    let mut lost = set();
    reads(&mut lost, 1, json!([2])).assert_finds(AnomalyKind::LostElement);
    let mut stale = set();
    reads(&mut stale, 1, json!([2]));
    let text = reads(&mut stale, 2, json!([1, 2])).assert_finds(AnomalyKind::StaleElement);
    assert!(text.contains("`add s 1` of process 0 on n1 had returned"), "{text}");
    let mut vanished = set();
    reads(&mut vanished, 1, json!([1, 2]));
    reads(&mut vanished, 2, json!([1])).assert_finds(AnomalyKind::StaleElement);
    let mut doubled = set();
    reads(&mut doubled, 1, json!([1, 2, 2])).assert_finds(AnomalyKind::DuplicateElement);
    let mut phantom = set();
    reads(&mut phantom, 1, json!([1, 2, 3])).assert_finds(AnomalyKind::PhantomElement);
    let mut failed = set();
    failed.invoke(3, "add", "s", json!(3)).fail(3);
    reads(&mut failed, 1, json!([1, 2, 3])).assert_finds(AnomalyKind::FailedOpObserved);
    let mut unknown = set();
    unknown.invoke(3, "add", "s", json!(3)).info(3);
    reads(&mut unknown, 1, json!([1, 2, 3])).assert_valid();
    let mut forked = set();
    forked.invoke(3, "add", "s", json!(3)).invoke(4, "add", "s", json!(4));
    forked.invoke(1, "read", "s", Value::Null).invoke(2, "read", "s", Value::Null);
    forked.ok(1, json!([1, 2, 3]), 0).ok(2, json!([1, 2, 4]), 0).ok(3, Value::Null, 0).ok(4, Value::Null, 0);
    forked.assert_finds(AnomalyKind::ForkedReads);
}

/// Transactions that all overlap, so that real time says nothing.
fn together(txns: &[Value]) -> Script {
    let mut script = Script::new("append");
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
}

#[test]
fn lists_show_what_is_wrong_with_single_transactions() {
    together(&[json!([["append", "x", 1], ["r", "x", [1]]])]).assert_valid();
    together(&[json!([["append", "x", 1], ["r", "x", []]])]).assert_finds(AnomalyKind::Internal);
    together(&[json!([["r", "x", [5]]])]).assert_finds(AnomalyKind::PhantomElement);
    together(&[json!([["append", "x", 1]]), json!([["r", "x", [1, 1]]])])
        .assert_finds(AnomalyKind::DuplicateElement);
    together(&[
        json!([["append", "x", 1], ["append", "x", 2]]),
        json!([["r", "x", [1]]]),
        json!([["r", "x", [1, 2]]]),
    ])
    .assert_finds(AnomalyKind::G1b);
    let incompatible = [
        json!([["append", "x", 1]]),
        json!([["append", "x", 2]]),
        json!([["r", "x", [1]]]),
        json!([["r", "x", [2]]]),
    ];
    together(&incompatible).assert_finds(AnomalyKind::IncompatibleOrder);
    let mut aborted = Script::new("append");
    aborted.invoke(0, "txn", "", json!([["append", "x", 1]])).fail(0);
    aborted.did(1, "txn", "", json!([["r", "x", null]]), json!([["r", "x", [1]]]), 0);
    aborted.assert_finds(AnomalyKind::G1a);
    let mut lost = Script::new("append");
    lost.did(0, "txn", "", json!([["append", "x", 1]]), json!([["append", "x", 1]]), 0);
    lost.did(1, "txn", "", json!([["r", "x", null]]), json!([["r", "x", []]]), 0);
    lost.assert_finds(AnomalyKind::LostAppend);
}

#[test]
fn cycles_are_named_by_the_weakest_level_that_they_break() {
    let g0 = [
        json!([["append", "x", 1], ["append", "y", 1]]),
        json!([["append", "x", 2], ["append", "y", 2]]),
        json!([["r", "x", [1, 2]], ["r", "y", [2, 1]]]),
    ];
    let text = together(&g0).assert_finds(AnomalyKind::G0);
    assert!(text.contains("in x, #1 appended 2 after #0's 1"), "{text}");
    let g1c = [json!([["append", "x", 1], ["r", "y", [1]]]), json!([["append", "y", 1], ["r", "x", [1]]])];
    together(&g1c).assert_finds(AnomalyKind::G1c);
    let g_single = [
        json!([["r", "x", []], ["r", "y", [1]]]),
        json!([["append", "x", 1], ["append", "y", 1]]),
        json!([["r", "x", [1]]]),
    ];
    together(&g_single).assert_finds(AnomalyKind::GSingle);
    let write_skew = [
        json!([["r", "x", []], ["append", "y", 1]]),
        json!([["r", "y", []], ["append", "x", 1]]),
        json!([["r", "x", [1]], ["r", "y", [1]]]),
    ];
    let text = together(&write_skew).assert_finds(AnomalyKind::G2Item);
    assert!(text.contains("so #0 comes before itself"), "{text}");
}

#[test]
fn cycles_through_real_time_are_named_so() {
    let mut script = Script::new("append");
    script.did(0, "txn", "", json!([["append", "x", 1]]), json!([["append", "x", 1]]), 0);
    script.did(1, "txn", "", json!([["r", "x", null]]), json!([["r", "x", []]]), 0);
    script.did(2, "txn", "", json!([["r", "x", null]]), json!([["r", "x", [1]]]), 0);
    let text = script.assert_finds(AnomalyKind::GSingleRealtime);
    assert!(text.contains("#0 had returned before #1 began"), "{text}");
    let mut script = Script::new("append");
    script.did(0, "txn", "", json!([["append", "x", 1]]), json!([["append", "x", 1]]), 0);
    script.did(1, "txn", "", json!([["append", "x", 2]]), json!([["append", "x", 2]]), 0);
    script.did(2, "txn", "", json!([["r", "x", null]]), json!([["r", "x", [2, 1]]]), 0);
    script.assert_finds(AnomalyKind::G0Realtime);
    let mut future = Script::new("append");
    future.did(0, "txn", "", json!([["r", "x", null]]), json!([["r", "x", [1]]]), 0);
    future.did(1, "txn", "", json!([["append", "x", 1]]), json!([["append", "x", 1]]), 0);
    future.assert_finds(AnomalyKind::G1cRealtime);
    let mut skew = Script::new("append");
    skew.invoke(0, "txn", "", json!([["r", "x", null]]));
    skew.invoke(1, "txn", "", json!([["r", "y", null]]));
    skew.ok(0, json!([["r", "x", []]]), 0).ok(1, json!([["r", "y", []]]), 0);
    skew.did(2, "txn", "", json!([["append", "x", 1]]), json!([["append", "x", 1]]), 0);
    skew.did(
        2,
        "txn",
        "",
        json!([["r", "x", null], ["r", "y", null]]),
        json!([["r", "x", [1]], ["r", "y", []]]),
        0,
    );
    skew.assert_valid();
}

fn members(revisions: [i64; 3], applied: [u64; 3], hashes: [u64; 3]) -> Script {
    let mut script = register();
    script.write(0, "k1", 1, 2).read(0, "k1", Some((1, 2, 1)), 2).phase("final");
    for (at, node) in ["n1", "n2", "n3"].into_iter().enumerate() {
        script.observe(node, "status", json!({"revision": revisions[at], "raft_applied_index": applied[at]}));
        let hash = json!({"revision": revisions[at], "hash": hashes[at], "compact_revision": 0});
        script.observe(node, "hashkv", hash);
    }
    script
}

#[test]
fn members_agree_in_the_end_and_have_lost_nothing() {
    members([2, 2, 2], [9, 9, 9], [5, 5, 5]).assert_valid();
    members([2, 2, 3], [9, 9, 9], [5, 5, 5]).assert_finds(AnomalyKind::Divergence);
    let text = members([2, 2, 2], [9, 9, 9], [5, 6, 5]).assert_finds(AnomalyKind::Divergence);
    assert!(text.contains("n1, n3: hash 5; n2: hash 6"), "{text}");
    let text = members([1, 1, 1], [9, 9, 9], [5, 5, 5]).assert_finds(AnomalyKind::LostRevision);
    assert!(text.contains("n1 is at revision 1"), "{text}");
    members([2, 2, 2], [9, 9, 8], [5, 5, 5]).assert_unknown("one applied index");
    let mut script = register();
    script
        .write(0, "k1", 1, 2)
        .read(0, "k1", Some((1, 2, 1)), 2)
        .phase("final")
        .assert_unknown("3 of 3 members");
    let mut back = members([3, 3, 3], [9, 9, 9], [5, 5, 5]);
    back.observe("n1", "status", json!({"revision": 2, "raft_applied_index": 9}));
    back.assert_finds(AnomalyKind::RevisionWentBack);
}
