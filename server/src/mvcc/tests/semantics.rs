//! The rules of etcd 3.5, one row each: what a store that holds a little answers. The expectations come from
//! calls to etcd 3.5.16.

use super::requests::{Show, delete, delete_range, get, put, range, txn, yes};
use crate::{
    mvcc::Store,
    proto::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest,
        range_request::{SortOrder, SortTarget},
    },
};

/// The only lease that exists.
pub(super) const LEASE: i64 = 7;

pub(super) fn write(store: &mut Store, request: &PutRequest) -> String {
    store.put(request, &|id| id == LEASE).show()
}

pub(super) fn carry_out(store: &mut Store, request: &TxnRequest) -> String {
    store.txn(request, &|id| id == LEASE).show()
}

/// `r/1` written at 2, 5 and 6, `r/2` at 3, `r/3` at 4; `a` at 7 and 8 with the lease.
pub(super) fn filled() -> Store {
    let mut store = Store::new();
    for (key, value) in [("r/1", "x"), ("r/2", "7"), ("r/3", "6"), ("r/1", "y"), ("r/1", "z"), ("a", "1")] {
        write(&mut store, &put(key, value));
    }
    write(&mut store, &PutRequest { lease: LEASE, ..put("a", "2") });
    store
}

pub(super) const R1: &str = " [r/1=z c2 m6 v3]";
pub(super) const R2: &str = " [r/2=7 c3 m3 v1]";
pub(super) const R3: &str = " [r/3=6 c4 m4 v1]";
pub(super) const A: &str = " [a=2 c7 m8 v2 lease7]";

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

/// As etcd 3.5.30, whatever the order of the writes.
#[test]
fn a_transaction_is_no_past_of_itself() {
    let mut store = filled();
    let ops =
        vec![put("r/1", "new").into(), delete("r/1").into(), delete("r/2").into(), put("r/2", "new").into()];
    carry_out(&mut store, &txn(yes(), ops, vec![]));
    let events = store.events(9).expect("a revision of now");
    let before: Vec<Option<i64>> =
        events.iter().map(|event| event.prev_kv.as_ref().map(|kv| kv.mod_revision)).collect();
    assert_eq!(before, [Some(6), Some(6), Some(3), None]);
    for (key, own) in [("r/1", &events[..2]), ("r/2", &events[2..])] {
        let changes = store.changes(key.as_bytes(), b"", 9, usize::MAX).expect("a revision of now");
        assert_eq!(changes.events, own, "{key} by itself");
    }
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

/// As etcd to 3.5.1; 3.5.16 and 3.5.30 lose the pair, and die as soon as somebody reads it.
#[test]
fn a_pair_outlives_a_compaction_at_the_revision_that_deleted_it_and_put_it() {
    for later in [false, true] {
        let mut store = filled();
        let ops = vec![delete("r/2").into(), put("r/2", "new").into()];
        carry_out(&mut store, &txn(yes(), ops, vec![]));
        if later {
            write(&mut store, &put("r/2", "newest"));
        }
        store.compact(9).expect("a revision of now");
        while !store.compaction_done() {
            store.scrub(1);
        }
        let request = RangeRequest { revision: 9, ..range("r/2", "") };
        let at = if later { 10 } else { 9 };
        assert_eq!(store.range(&request).show(), format!("@{at} n1 [r/2=new c9 m9 v1]"));
    }
}
