//! The rules of etcd 3.5, one row each: what a store that holds a little answers. The expectations come from
//! calls to etcd 3.5.16.

use super::requests::{Show, bytes, compare, delete, delete_range, get, no, put, range, txn, yes};
use crate::{
    mvcc::Store,
    proto::etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
    },
};

/// The only lease that exists.
const LEASE: i64 = 7;

fn write(store: &mut Store, request: &PutRequest) -> String {
    store.put(request, &|id| id == LEASE).show()
}

fn carry_out(store: &mut Store, request: &TxnRequest) -> String {
    store.txn(request, &|id| id == LEASE).show()
}

/// `r/1` written at 2, 5 and 6, `r/2` at 3, `r/3` at 4; `a` at 7 and 8 with the lease.
fn filled() -> Store {
    let mut store = Store::new();
    for (key, value) in [("r/1", "x"), ("r/2", "7"), ("r/3", "6"), ("r/1", "y"), ("r/1", "z"), ("a", "1")] {
        write(&mut store, &put(key, value));
    }
    write(&mut store, &PutRequest { lease: LEASE, ..put("a", "2") });
    store
}

const R1: &str = " [r/1=z c2 m6 v3]";
const R2: &str = " [r/2=7 c3 m3 v1]";
const R3: &str = " [r/3=6 c4 m4 v1]";
const A: &str = " [a=2 c7 m8 v2 lease7]";

#[test]
fn puts() {
    for (request, want, left, why) in [
        (put("a", "3"), "@9 put", "a=3 c7 m9 v3", "one revision; without a lease the old one goes"),
        (put("b", ""), "@9 put", "b= c9 m9 v1", "an empty value is a value"),
        (
            PutRequest { prev_kv: true, ..put("a", "3") },
            "@9 put [a=2 c7 m8 v2 lease7]",
            "a=3 c7 m9 v3",
            "the pair before, where asked for",
        ),
        (PutRequest { prev_kv: true, ..put("b", "3") }, "@9 put", "b=3 c9 m9 v1", "nothing before it"),
        (PutRequest { ignore_value: true, ..put("a", "") }, "@9 put", "a=2 c7 m9 v3", "the lease goes"),
        (PutRequest { ignore_lease: true, ..put("a", "3") }, "@9 put", "a=3 c7 m9 v3 lease7", "it stays"),
        (
            PutRequest { ignore_lease: true, ignore_value: true, ..put("a", "") },
            "@9 put",
            "a=2 c7 m9 v3 lease7",
            "both stay",
        ),
        (PutRequest { lease: LEASE, ..put("b", "1") }, "@9 put", "b=1 c9 m9 v1 lease7", "a known lease"),
    ] {
        let mut store = filled();
        assert_eq!(write(&mut store, &request), want, "{why}: {request:?}");
        let read = RangeRequest { key: request.key, ..RangeRequest::default() };
        assert_eq!(store.range(&read).show(), format!("@9 n1 [{left}]"), "{why}");
    }
}

#[test]
fn puts_that_are_refused() {
    for (request, want, why) in [
        (put("", "1"), "EmptyKey", "the key is needed"),
        (PutRequest { lease: 99, ..put("a", "3") }, "LeaseNotFound", "a lease that does not exist"),
        (PutRequest { lease: -3, ..put("a", "3") }, "LeaseNotFound", "negative ids are ids"),
        (PutRequest { ignore_value: true, ..put("a", "3") }, "ValueProvided", "a value to be ignored"),
        (
            PutRequest { ignore_lease: true, lease: LEASE, ..put("a", "3") },
            "LeaseProvided",
            "a lease to be ignored",
        ),
        (
            PutRequest { ignore_value: true, ignore_lease: true, lease: 99, ..put("a", "3") },
            "ValueProvided",
            "the value is looked at first",
        ),
        (PutRequest { ignore_value: true, ..put("no", "") }, "KeyNotFound", "no value to keep"),
        (PutRequest { ignore_lease: true, ..put("no", "1") }, "KeyNotFound", "no lease to keep"),
        (
            PutRequest { ignore_value: true, lease: 99, ..put("no", "") },
            "LeaseNotFound",
            "by itself a put looks for its lease first",
        ),
    ] {
        let mut store = filled();
        assert_eq!(write(&mut store, &request), want, "{why}: {request:?}");
        assert_eq!((store.revision(), store.hash()), (8, filled().hash()), "nothing was written: {why}");
    }
}

#[test]
fn an_empty_store_stands_at_revision_1() {
    let mut store = Store::new();
    assert_eq!(store.range(&get("a")).show(), "@1 n0");
    assert_eq!(write(&mut store, &put("a", "1")), "@2 put");
    assert_eq!(store.range(&RangeRequest { revision: 1, ..get("a") }).show(), "@2 n0");
}

#[test]
fn key_ranges() {
    let store = filled();
    for (request, want, why) in [
        (get("r/2"), format!("@8 n1{R2}"), "one key"),
        (get("nowhere"), "@8 n0".into(), "a key that is not there"),
        (get(""), "EmptyKey".into(), "the key is needed"),
        (range("", "\0"), "EmptyKey".into(), "the key is needed for a range too"),
        (range("r/", "r0"), format!("@8 n3{R1}{R2}{R3}"), "a prefix, in key order"),
        (range("r/1", "r/3"), format!("@8 n2{R1}{R2}"), "the end is exclusive"),
        (range("r/2", "\0"), format!("@8 n2{R2}{R3}"), "a zero byte as end: all keys from there on"),
        (range("\0", "\0"), format!("@8 n4{A}{R1}{R2}{R3}"), "zero bytes as key and end: all keys"),
        (range("r/3", "r/1"), "@8 n0".into(), "an end before the key"),
        (range("r/3", "r/3"), "@8 n0".into(), "an end equal to the key"),
        (RangeRequest { serializable: true, ..get("r/2") }, format!("@8 n1{R2}"), "no matter here"),
    ] {
        assert_eq!(store.range(&request).show(), want, "{why}: {request:?}");
    }
}

#[test]
fn limits_filters_and_parts() {
    let store = filled();
    let all = || range("r/", "r0");
    for (request, want, why) in [
        (RangeRequest { limit: 2, ..all() }, format!("@8 n3 more{R1}{R2}"), "the count ignores the limit"),
        (RangeRequest { limit: 3, ..all() }, format!("@8 n3{R1}{R2}{R3}"), "a limit that cuts nothing"),
        (RangeRequest { limit: -1, ..all() }, format!("@8 n3{R1}{R2}{R3}"), "negative: no limit"),
        (RangeRequest { limit: i64::MAX, ..all() }, format!("@8 n3{R1}{R2}{R3}"), "the largest limit"),
        (RangeRequest { limit: i64::MIN, ..all() }, format!("@8 n3{R1}{R2}{R3}"), "the smallest limit"),
        (RangeRequest { count_only: true, ..all() }, "@8 n3".into(), "no pairs"),
        (RangeRequest { count_only: true, limit: 1, ..all() }, "@8 n3".into(), "and never more"),
        (RangeRequest { count_only: true, min_mod_revision: 6, ..all() }, "@8 n3".into(), "no filter"),
        (
            RangeRequest { keys_only: true, ..all() },
            "@8 n3 [r/1= c2 m6 v3] [r/2= c3 m3 v1] [r/3= c4 m4 v1]".into(),
            "no values, all else",
        ),
        (RangeRequest { min_mod_revision: 4, ..all() }, format!("@8 n3{R1}{R3}"), "inclusive"),
        (RangeRequest { max_mod_revision: 4, ..all() }, format!("@8 n3{R2}{R3}"), "inclusive"),
        (RangeRequest { max_mod_revision: 5, limit: 1, ..all() }, format!("@8 n3 more{R2}"), "filter first"),
        (RangeRequest { max_mod_revision: 5, limit: 2, ..all() }, format!("@8 n3{R2}{R3}"), "nothing cut"),
        (
            RangeRequest { min_create_revision: 3, max_create_revision: 3, ..all() },
            format!("@8 n3{R2}"),
            "a window of creations",
        ),
        (RangeRequest { min_mod_revision: -1, limit: 1, ..all() }, format!("@8 n3 more{R1}"), "all pass"),
        (RangeRequest { max_mod_revision: -1, ..all() }, "@8 n3".into(), "none passes"),
    ] {
        assert_eq!(store.range(&request).show(), want, "{why}: {request:?}");
    }
}

#[test]
fn sorting() {
    use SortOrder::{Ascend, Descend, None};
    use SortTarget::{Create, Key, Mod, Value, Version};
    let mut store = filled();
    write(&mut store, &put("r/2", "8"));
    let r2 = " [r/2=8 c3 m9 v2]";
    for (target, order, want) in [
        (Key, None, [R1, r2, R3]),
        (Key, Ascend, [R1, r2, R3]),
        (Key, Descend, [R3, r2, R1]),
        (Version, None, [R3, r2, R1]),
        (Version, Ascend, [R3, r2, R1]),
        (Version, Descend, [R1, r2, R3]),
        (Create, None, [R1, r2, R3]),
        (Create, Descend, [R3, r2, R1]),
        (Mod, None, [R3, R1, r2]),
        (Mod, Ascend, [R3, R1, r2]),
        (Mod, Descend, [r2, R1, R3]),
        (Value, None, [R3, r2, R1]),
        (Value, Descend, [R1, r2, R3]),
    ] {
        let request =
            RangeRequest { sort_order: order.into(), sort_target: target.into(), ..range("r/", "r0") };
        assert_eq!(store.range(&request).show(), format!("@9 n3{}", want.concat()), "{target:?} {order:?}");
        // An order that was asked for goes before the limit; one that was not goes after it.
        let limited = RangeRequest { limit: 1, ..request.clone() };
        let first = match (order, target) {
            // The order sorts what the limit leaves of the keys in key order, and one pair more.
            (None, Version | Value) => r2,
            (None, Create | Mod) => R1,
            _ => want[0],
        };
        assert_eq!(store.range(&limited).show(), format!("@9 n3 more{first}"), "{target:?} {order:?}, one");
        let filtered = RangeRequest { min_mod_revision: 1, ..limited };
        assert_eq!(store.range(&filtered).show(), format!("@9 n3 more{}", want[0]), "{target:?} {order:?}");
    }
    for request in [
        RangeRequest { sort_order: 3, ..range("r/", "r0") },
        RangeRequest { sort_order: 1, sort_target: 5, ..range("r/", "r0") },
        RangeRequest { sort_target: -1, ..range("r/", "r0") },
    ] {
        assert_eq!(store.range(&request).show(), "InvalidSortOption", "{request:?}");
        let request = txn(yes(), vec![put("b", "1").into(), request.into()], vec![]);
        assert_eq!(carry_out(&mut store, &request), "InvalidSortOption", "nothing of it is done");
        assert_eq!(store.revision(), 9);
    }
}

#[test]
fn revisions_of_reads() {
    let mut store = filled();
    let at = |revision| RangeRequest { revision, ..get("a") };
    for (revision, want, why) in [
        (6, "@8 n0", "before the key was created; the header has the current revision"),
        (7, "@8 n1 [a=1 c7 m7 v1]", "an old version"),
        (8, "@8 n1 [a=2 c7 m8 v2 lease7]", "the newest, by its number"),
        (0, "@8 n1 [a=2 c7 m8 v2 lease7]", "the newest"),
        (-1, "@8 n1 [a=2 c7 m8 v2 lease7]", "negative: the newest"),
        (9, "FutureRevision", "ahead of the store"),
        (i64::MAX, "FutureRevision", "far ahead"),
    ] {
        assert_eq!(store.range(&at(revision)).show(), want, "{why}: {revision}");
    }
    assert_eq!(store.compact(7).map(|_| ()), Ok(()));
    for (revision, want, why) in [
        (6, "Compacted", "below the compaction"),
        (7, "@8 n1 [a=1 c7 m7 v1]", "the compaction's own revision stays readable"),
        (-5, "@8 n1 [a=2 c7 m8 v2 lease7]", "negative: the newest"),
    ] {
        assert_eq!(store.range(&at(revision)).show(), want, "{why}: {revision}");
    }
}

#[test]
fn deletions() {
    for (request, want, left, why) in [
        (delete("nowhere"), "@8 deleted 0", "@8 n4", "a missing key: no revision"),
        (delete(""), "EmptyKey", "@8 n4", "the key is needed"),
        (delete("r/2"), "@9 deleted 1", "@9 n3", "one key"),
        (delete_range("r/", "r0"), "@9 deleted 3", "@9 n1", "a range at one revision"),
        (delete_range("r/2", "\0"), "@9 deleted 2", "@9 n2", "from a key on"),
        (delete_range("\0", "\0"), "@9 deleted 4", "@9 n0", "everything"),
        (delete_range("r/3", "r/1"), "@8 deleted 0", "@8 n4", "an empty range"),
        (
            DeleteRangeRequest { prev_kv: true, ..delete_range("r/2", "r0") },
            "@9 deleted 2 [r/2=7 c3 m3 v1] [r/3=6 c4 m4 v1]",
            "@9 n2",
            "the pairs before",
        ),
        (DeleteRangeRequest { prev_kv: true, ..delete("no") }, "@8 deleted 0", "@8 n4", "no pairs before"),
    ] {
        let mut store = filled();
        assert_eq!(store.delete_range(&request).show(), want, "{why}: {request:?}");
        let all = RangeRequest { count_only: true, ..range("\0", "\0") };
        assert_eq!(store.range(&all).show(), left, "{why}: afterwards");
    }
}

#[test]
fn a_key_that_comes_back_begins_anew() {
    let mut store = filled();
    assert_eq!(store.delete_range(&delete("r/1")).show(), "@9 deleted 1");
    assert_eq!(store.delete_range(&delete("r/1")).show(), "@9 deleted 0");
    assert_eq!(write(&mut store, &PutRequest { prev_kv: true, ..put("r/1", "new") }), "@10 put");
    assert_eq!(store.range(&get("r/1")).show(), "@10 n1 [r/1=new c10 m10 v1]");
    for (revision, want) in [(8, "@10 n1 [r/1=z c2 m6 v3]"), (9, "@10 n0")] {
        assert_eq!(store.range(&RangeRequest { revision, ..get("r/1") }).show(), want, "at {revision}");
    }
}

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

#[test]
fn compactions() {
    let mut store = Store::new();
    let mut compact = |revision| store.compact(revision).map(|response| response.header.map(|h| h.revision));
    for (revision, want, why) in [
        (-1, Err(crate::error::ApiError::Compacted), "where a new store already is"),
        (0, Ok(Some(1)), "as in etcd, once"),
        (0, Err(crate::error::ApiError::Compacted), "not twice"),
        (1, Ok(Some(1)), "the empty store's own revision"),
        (2, Err(crate::error::ApiError::FutureRevision), "ahead of the store"),
    ] {
        assert_eq!(compact(revision), want, "{why}: {revision}");
    }
    let mut store = filled();
    assert_eq!(store.delete_range(&delete("r/2")).show(), "@9 deleted 1");
    write(&mut store, &put("b", "1"));
    assert_eq!(store.compact(9).map(|response| response.header.map(|h| h.revision)), Ok(Some(10)));
    assert_eq!(store.compact_revision(), 9);
    for (revision, want) in [
        (8, "Compacted".to_owned()),
        (9, format!("@10 n3{A}{R1}{R3}")),
        (10, format!("@10 n4{A} [b=1 c10 m10 v1]{R1}{R3}")),
    ] {
        let request = RangeRequest { revision, ..range("\0", "\0") };
        assert_eq!(store.range(&request).show(), want, "at {revision}");
    }
}

#[test]
fn hashes_have_the_revisions_of_reads() {
    use crate::error::ApiError::{Compacted, FutureRevision};
    let mut store = filled();
    assert_eq!(store.compact(5).map(|_| ()), Ok(()));
    for (revision, want) in
        [(4, Err(Compacted)), (5, Ok(8)), (8, Ok(8)), (0, Ok(8)), (-1, Ok(8)), (9, Err(FutureRevision))]
    {
        let hash = store.hash_kv(revision);
        assert_eq!(hash.map(|hash| hash.revision), want, "at {revision}");
        assert_eq!(hash.map_or(5, |hash| hash.compact_revision), 5, "at {revision}");
    }
    assert_eq!(store.hash_kv(0), store.hash_kv(8), "0 is the newest");
    assert_ne!(store.hash_kv(7), store.hash_kv(8), "another history");
    assert_eq!(Store::new().hash_kv(0).map(|hash| hash.compact_revision), Ok(-1), "as etcd shows it");
}
