//! The rules of etcd 3.5 for transactions, one row each. The expectations come from calls to etcd 3.5.16.

use super::{
    requests::{Show, bytes, compare, delete, delete_range, get, no, put, range, txn, yes},
    semantics::{A, carry_out, filled, write},
};
use crate::proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

#[test]
fn transactions() {
    let nested = |compare, success, failure| -> RequestOp { txn(compare, success, failure).into() };
    let a_is_new = || vec![compare("n", CompareResult::Greater, TargetUnion::Version(0))];
    for (request, want, why) in [
        (txn(yes(), vec![], vec![]), "@8 then {}", "nothing to do"),
        (
            txn(yes(), vec![put("b", "1").into(), put("c", "2").into()], vec![]),
            "@9 then {@9 put; @9 put}",
            "two puts, one revision",
        ),
        (
            txn(no(), vec![put("b", "1").into()], vec![get("r/2").into()]),
            "@8 else {@8 n1 [r/2=7 c3 m3 v1]}",
            "only reads: no new revision",
        ),
        (
            txn(yes(), vec![put("b", "1").into(), get("b").into()], vec![]),
            "@9 then {@9 put; @9 n1 [b=1 c9 m9 v1]}",
            "a read sees the write before it",
        ),
        (
            txn(yes(), vec![get("b").into(), put("b", "1").into()], vec![]),
            "@9 then {@8 n0; @9 put}",
            "a read does not see the write behind it; its header has the revision that it saw",
        ),
        (
            txn(yes(), vec![delete_range("r/", "r0").into(), range("r/", "r0").into()], vec![]),
            "@9 then {@9 deleted 3; @9 n0}",
            "a read sees the deletion before it",
        ),
        (
            txn(yes(), vec![delete("no").into()], vec![]),
            "@8 then {@8 deleted 0}",
            "deletes nothing: no revision",
        ),
        (
            txn(yes(), vec![put("b", "1").into(), delete("no").into()], vec![]),
            "@9 then {@9 put; @9 deleted 0}",
            "the revision is the transaction's",
        ),
        (
            txn(yes(), vec![delete("a").into(), delete("a").into()], vec![]),
            "@9 then {@9 deleted 1; @9 deleted 0}",
            "the second deletion finds nothing",
        ),
        (
            txn(yes(), vec![nested(yes(), vec![put("b", "1").into(), get("b").into()], vec![])], vec![]),
            "@9 then {@0 then {@9 put; @9 n1 [b=1 c9 m9 v1]}}",
            "a nested one shares the revision; its header says nothing",
        ),
        (
            txn(
                yes(),
                vec![put("n", "1").into(), nested(a_is_new(), vec![], vec![put("m", "1").into()])],
                vec![],
            ),
            "@9 then {@9 put; @0 else {@9 put}}",
            "nested conditions are about the state before the whole transaction",
        ),
        (
            txn(yes(), vec![put("b", "1").into(), RangeRequest { revision: 9, ..get("b") }.into()], vec![]),
            "FutureRevision",
            "its own revision is not there yet",
        ),
        (
            txn(yes(), vec![put("a", "3").into(), RangeRequest { revision: 8, ..get("a") }.into()], vec![]),
            "@9 then {@9 put; @9 n1 [a=2 c7 m8 v2 lease7]}",
            "the revision before it is",
        ),
        (
            txn(yes(), vec![put("b", "1").into(), PutRequest { lease: 99, ..put("c", "1") }.into()], vec![]),
            "LeaseNotFound",
            "an unknown lease",
        ),
        (
            txn(yes(), vec![put("b", "1").into()], vec![PutRequest { lease: 99, ..put("c", "1") }.into()]),
            "@9 then {@9 put}",
            "an unknown lease on the path not taken",
        ),
        (
            txn(
                yes(),
                vec![
                    RangeRequest { revision: 99, ..get("b") }.into(),
                    PutRequest { lease: 99, ..put("c", "1") }.into(),
                ],
                vec![],
            ),
            "LeaseNotFound",
            "puts are checked before ranges",
        ),
        (
            txn(yes(), vec![PutRequest { ignore_value: true, lease: 99, ..put("no", "") }.into()], vec![]),
            "KeyNotFound",
            "and in a transaction the key before the lease",
        ),
        (
            txn(yes(), vec![PutRequest { ignore_value: true, ..put("a", "x") }.into()], vec![]),
            "ValueProvided",
            "a value to be ignored",
        ),
        (txn(yes(), vec![RequestOp::default()], vec![]), "KeyNotFound", "an operation that says nothing"),
        (txn(yes(), vec![put("", "1").into()], vec![]), "EmptyKey", "a put without a key"),
        (txn(yes(), vec![delete("").into()], vec![]), "EmptyKey", "a deletion without a key"),
        (txn(yes(), vec![get("").into()], vec![]), "EmptyKey", "a range without a key"),
        (
            txn(vec![compare("", CompareResult::Equal, TargetUnion::Version(0))], vec![], vec![]),
            "EmptyKey",
            "a condition without a key",
        ),
    ] {
        let mut store = filled();
        assert_eq!(carry_out(&mut store, &request), want, "{why}: {request:?}");
        if !want.contains("@9") {
            assert_eq!(store.revision(), 8, "nothing was written: {why}");
            assert_eq!(store.hash(), filled().hash(), "nothing was written: {why}");
        }
    }
}

#[test]
fn transactions_read_old_revisions_by_their_own_rule() {
    let mut store = filled();
    let reading = |revision, write: bool| {
        let mut ops = vec![RangeRequest { revision, ..get("a") }.into()];
        if write {
            ops.push(put("b", "1").into());
        }
        txn(yes(), ops, vec![])
    };
    assert_eq!(carry_out(&mut store, &reading(-1, false)), format!("@8 then {{@8 n1{A}}}"), "not compacted");
    assert_eq!(carry_out(&mut store, &reading(-2, false)), "Compacted");
    assert_eq!(store.compact(7).map(|_| ()), Ok(()));
    for (revision, want) in
        [(-1, "Compacted"), (6, "Compacted"), (7, "@8 then {@8 n1 [a=1 c7 m7 v1]}"), (9, "FutureRevision")]
    {
        assert_eq!(carry_out(&mut store, &reading(revision, false)), want, "at {revision}");
        let request = reading(revision, false);
        assert_eq!(store.read_txn(&request).show(), want, "without the log, at {revision}");
    }
    for (revision, want) in [(6, "Compacted"), (9, "FutureRevision")] {
        assert_eq!(carry_out(&mut store, &reading(revision, true)), want, "at {revision}, with a write");
        assert_eq!(store.revision(), 8, "nothing was written");
    }
}

#[test]
fn conditions() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
    let store = filled();
    // `a` has version 2, create revision 7, mod revision 8, value 2, lease 7.
    for (same, smaller) in [
        (Version(2), Version(1)),
        (CreateRevision(7), CreateRevision(6)),
        (ModRevision(8), ModRevision(7)),
        (Value(bytes("2")), Value(bytes("1"))),
        (Lease(7), Lease(6)),
    ] {
        for (relation, to_same, to_smaller) in
            [(Equal, true, false), (NotEqual, false, true), (Greater, false, true), (Less, false, false)]
        {
            let holds = |operand: &TargetUnion| store.holds(&compare("a", relation, operand.clone()));
            assert_eq!((holds(&same), holds(&smaller)), (to_same, to_smaller), "{relation:?} {same:?}");
        }
    }
    // A missing key: every number is 0, and a value compares in no way.
    for operand in [Version(0), CreateRevision(0), ModRevision(0), Lease(0), Value(bytes(""))] {
        let is_value = matches!(operand, Value(_));
        for (relation, want) in [(Equal, !is_value), (NotEqual, false), (Greater, false), (Less, false)] {
            let compare = compare("nowhere", relation, operand.clone());
            assert_eq!(store.holds(&compare), want, "{relation:?} {operand:?}");
        }
    }
}

#[test]
fn odd_conditions() {
    use CompareResult::{Equal, Greater, NotEqual};
    use TargetUnion::{CreateRevision, ModRevision, Value, Version};
    let over = |compare: Compare, end: &str| Compare { range_end: bytes(end), ..compare };
    let mut store = filled();
    write(&mut store, &put("empty", ""));
    for (compare, want, why) in [
        (over(compare("r/", Greater, CreateRevision(1)), "r0"), true, "every key of the range"),
        (over(compare("r/", Greater, CreateRevision(2)), "r0"), false, "every key but one"),
        (over(compare("\0", Greater, Version(0)), "\0"), true, "all keys"),
        (over(compare("x", Equal, Version(0)), "y"), true, "no key in the range: as one missing key"),
        (over(compare("x", Greater, Version(0)), "y"), false, "no key in the range: as one missing key"),
        (over(compare("r/3", Equal, Version(0)), "r/1"), true, "an empty range: as one missing key"),
        (over(compare("x", NotEqual, Value(bytes("1"))), "y"), false, "no key, no value"),
        (Compare { target_union: None, ..compare("a", Greater, Version(9)) }, true, "no operand: 0"),
        (
            Compare { target_union: None, ..compare("empty", Equal, Value(bytes("x"))) },
            true,
            "no operand: an empty value",
        ),
        (
            Compare { target_union: Some(ModRevision(500)), ..compare("a", Greater, Version(0)) },
            true,
            "an operand of another kind: 0",
        ),
        (Compare { target: 9, ..compare("a", Equal, Version(5)) }, true, "an unknown target is equal"),
        (Compare { target: 9, ..compare("a", Greater, Version(5)) }, false, "an unknown target is equal"),
        (Compare { result: 9, ..compare("a", Equal, Version(5)) }, true, "an unknown relation holds"),
        (
            Compare { target: CompareTarget::Value.into(), ..compare("nowhere", Equal, Version(0)) },
            false,
            "the target decides what a missing key means",
        ),
    ] {
        assert_eq!(store.holds(&compare), want, "{why}: {compare:?}");
    }
    let both = |result| {
        let conditions = vec![compare("a", Equal, Version(2)), compare("r/1", result, Version(3))];
        carry_out(&mut filled(), &txn(conditions, vec![], vec![]))
    };
    assert_eq!(both(Equal), "@8 then {}", "all conditions hold");
    assert_eq!(both(NotEqual), "@8 else {}", "one does not");
}
