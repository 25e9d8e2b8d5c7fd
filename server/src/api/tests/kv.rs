//! KV: what etcd answers to every kind of request, rule by rule.

use super::{Call, Server, run};
use crate::{
    api::Limits,
    error::ApiError,
    proto::etcdserverpb::{
        CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        kv_client::KvClient,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};
use tonic::Code;

const EMPTY_KEY: &str = "InvalidArgument: etcdserver: key is not provided";
const KEY_NOT_FOUND: &str = "InvalidArgument: etcdserver: key not found";
const DUPLICATE: &str = "InvalidArgument: etcdserver: duplicate key given in txn request";
const TOO_MANY: &str = "InvalidArgument: etcdserver: too many operations in txn request";
const NO_LEASE: &str = "NotFound: etcdserver: requested lease not found";
const COMPACTED: &str = "OutOfRange: etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "OutOfRange: etcdserver: mvcc: required revision is a future revision";

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..PutRequest::default() }
}

fn put(key: &str, value: &str) -> Call {
    Call::Put(put_request(key, value))
}

fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: key.to_string().into(), range_end: end.to_string().into(), ..RangeRequest::default() }
}

fn get(key: &str) -> Call {
    Call::Range(range(key, ""))
}

fn delete_request(key: &str, end: &str, prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.to_string().into(), range_end: end.to_string().into(), prev_kv }
}

fn delete(key: &str, end: &str) -> Call {
    Call::Delete(delete_request(key, end, false))
}

fn compact(revision: i64) -> Call {
    Call::Compact(CompactionRequest { revision, physical: true })
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put_op(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(put_request(key, value)))
}

fn get_op(key: &str) -> RequestOp {
    op(Request::RequestRange(range(key, "")))
}

fn get_at(key: &str, revision: i64) -> RequestOp {
    op(Request::RequestRange(RangeRequest { revision, ..range(key, "") }))
}

fn delete_op(key: &str) -> RequestOp {
    op(Request::RequestDeleteRange(delete_request(key, "", false)))
}

fn leased(key: &str) -> RequestOp {
    op(Request::RequestPut(PutRequest { lease: 12, ..put_request(key, "v") }))
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
}

fn txn(success: Vec<RequestOp>) -> Call {
    Call::Txn(TxnRequest { success, ..TxnRequest::default() })
}

fn txn_if(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> Call {
    Call::Txn(TxnRequest { compare, success, failure })
}

fn compare(key: &str, result: CompareResult, union: TargetUnion) -> Compare {
    let target = match union {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: key.to_string().into(),
        range_end: "".into(),
        target_union: Some(union),
    }
}

#[tokio::test]
async fn puts() {
    let ignore_value = |key, value| Call::Put(PutRequest { ignore_value: true, ..put_request(key, value) });
    let ignore_lease =
        |key, lease| Call::Put(PutRequest { ignore_lease: true, lease, ..put_request(key, "v") });
    run(vec![
        ("a store starts at revision 1", put("a", "1"), "rev 2"),
        ("each put makes one revision", put("a", "2"), "rev 3"),
        ("no key", put("", "v"), EMPTY_KEY),
        ("ignored and given", ignore_value("a", "v"), "InvalidArgument: etcdserver: value is provided"),
        ("ignored and given", ignore_lease("a", 5), "InvalidArgument: etcdserver: lease is provided"),
        ("no value to keep", ignore_value("none", ""), KEY_NOT_FOUND),
        ("no lease to keep", ignore_lease("none", 0), KEY_NOT_FOUND),
        ("an unknown lease", Call::Put(PutRequest { lease: 99, ..put_request("a", "v") }), NO_LEASE),
        ("nothing refused was written", get("a"), "rev 3: 1 in range [a=2 c2/m3/v2]"),
        (
            "the pair before",
            Call::Put(PutRequest { prev_kv: true, ..put_request("a", "3") }),
            "rev 4, was a=2 c2/m3/v2",
        ),
        ("no pair before", Call::Put(PutRequest { prev_kv: true, ..put_request("new", "") }), "rev 5"),
        ("an empty value is a value", get("new"), "rev 5: 1 in range [new= c5/m5/v1]"),
        ("the value stays", ignore_value("a", ""), "rev 6"),
        ("and the version counts on", get("a"), "rev 6: 1 in range [a=3 c2/m6/v4]"),
    ])
    .await;
}

#[tokio::test]
async fn ranges() {
    let all = || range("r/", "r0");
    let at = |revision| Call::Range(RangeRequest { revision, ..range("a", "") });
    run(vec![
        ("", put("a", "1"), "rev 2"),
        ("", put("a", "2"), "rev 3"),
        ("", put("r/3", "6"), "rev 4"),
        ("", put("r/2", "7"), "rev 5"),
        ("", put("r/1", "5"), "rev 6"),
        ("", put("r/1", "z"), "rev 7"),
        ("no key", get(""), EMPTY_KEY),
        ("no such key", get("none"), "rev 7: 0 in range"),
        ("an end before the key", Call::Range(range("b", "a")), "rev 7: 0 in range"),
        ("an end equal to the key", Call::Range(range("a", "a")), "rev 7: 0 in range"),
        (
            "from a key on",
            Call::Range(RangeRequest { count_only: true, ..range("r/2", "\0") }),
            "rev 7: 2 in range",
        ),
        (
            "everything",
            Call::Range(RangeRequest { count_only: true, ..range("\0", "\0") }),
            "rev 7: 4 in range",
        ),
        (
            "in key order",
            Call::Range(all()),
            "rev 7: 3 in range [r/1=z c6/m7/v2] [r/2=7 c5/m5/v1] [r/3=6 c4/m4/v1]",
        ),
        (
            "a limit cuts, the count does not care",
            Call::Range(RangeRequest { limit: 2, ..all() }),
            "rev 7: more, 3 in range [r/1=z c6/m7/v2] [r/2=7 c5/m5/v1]",
        ),
        (
            "a limit that cuts nothing",
            Call::Range(RangeRequest { limit: 3, keys_only: true, ..all() }),
            "rev 7: 3 in range [r/1= c6/m7/v2] [r/2= c5/m5/v1] [r/3= c4/m4/v1]",
        ),
        (
            "a negative limit is none",
            Call::Range(RangeRequest { limit: -1, keys_only: true, ..all() }),
            "rev 7: 3 in range [r/1= c6/m7/v2] [r/2= c5/m5/v1] [r/3= c4/m4/v1]",
        ),
        (
            "filters do not touch the count",
            Call::Range(RangeRequest { min_mod_revision: 5, max_mod_revision: 6, ..all() }),
            "rev 7: 3 in range [r/2=7 c5/m5/v1]",
        ),
        (
            "filters come before the limit",
            Call::Range(RangeRequest { max_mod_revision: 5, limit: 1, ..all() }),
            "rev 7: more, 3 in range [r/2=7 c5/m5/v1]",
        ),
        (
            "a window of creations",
            Call::Range(RangeRequest { min_create_revision: 5, max_create_revision: 6, ..all() }),
            "rev 7: 3 in range [r/1=z c6/m7/v2] [r/2=7 c5/m5/v1]",
        ),
        ("a revision to come", at(8), FUTURE),
        ("the largest revision", at(i64::MAX), FUTURE),
        ("the newest", at(7), "rev 7: 1 in range [a=2 c2/m3/v2]"),
        ("an old one; the header has the newest", at(2), "rev 7: 1 in range [a=1 c2/m2/v1]"),
        ("before the key", at(1), "rev 7: 0 in range"),
        ("a negative revision is the newest", at(-5), "rev 7: 1 in range [a=2 c2/m3/v2]"),
        (
            "an unknown order",
            Call::Range(RangeRequest { sort_order: 9, ..all() }),
            "InvalidArgument: etcdserver: invalid sort option",
        ),
        (
            "an unknown target",
            Call::Range(RangeRequest { sort_target: -1, ..all() }),
            "InvalidArgument: etcdserver: invalid sort option",
        ),
    ])
    .await;
}

#[tokio::test]
async fn sorted_ranges() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    for (key, value) in [("3", "6"), ("2", "7"), ("1", "5"), ("1", "z")] {
        kv.put(put_request(key, value)).await.expect("a put");
    }
    for (target, order, want) in [
        (SortTarget::Key, SortOrder::None, "123"),
        (SortTarget::Key, SortOrder::Ascend, "123"),
        (SortTarget::Key, SortOrder::Descend, "321"),
        (SortTarget::Version, SortOrder::None, "231"),
        (SortTarget::Version, SortOrder::Ascend, "231"),
        (SortTarget::Version, SortOrder::Descend, "123"),
        (SortTarget::Create, SortOrder::None, "321"),
        (SortTarget::Create, SortOrder::Ascend, "321"),
        (SortTarget::Create, SortOrder::Descend, "123"),
        (SortTarget::Mod, SortOrder::None, "321"),
        (SortTarget::Mod, SortOrder::Ascend, "321"),
        (SortTarget::Mod, SortOrder::Descend, "123"),
        (SortTarget::Value, SortOrder::None, "321"),
        (SortTarget::Value, SortOrder::Ascend, "321"),
        (SortTarget::Value, SortOrder::Descend, "123"),
    ] {
        let (sort_target, sort_order) = (target.into(), order.into());
        let request = RangeRequest { sort_target, sort_order, ..range("1", "9") };
        let response = kv.range(request).await.expect("a range").into_inner();
        let keys = response.kvs.iter().map(|pair| String::from_utf8_lossy(&pair.key).into_owned());
        assert_eq!(keys.collect::<String>(), want, "{target:?} {order:?}");
    }
}

#[tokio::test]
async fn deletions() {
    run(vec![
        ("no key", delete("", ""), EMPTY_KEY),
        ("nothing there makes no revision", delete("none", ""), "rev 1: 0 deleted"),
        ("", put("r/1", "x"), "rev 2"),
        ("", put("r/2", "y"), "rev 3"),
        (
            "a range is one revision",
            Call::Delete(delete_request("r/", "r0", true)),
            "rev 4: 2 deleted [r/1=x c2/m2/v1] [r/2=y c3/m3/v1]",
        ),
        ("a new life starts at version 1", put("r/1", "z"), "rev 5"),
        ("", get("r/1"), "rev 5: 1 in range [r/1=z c5/m5/v1]"),
        ("an inverted range", delete("s", "r"), "rev 5: 0 deleted"),
        ("everything from a key on", delete("r", "\0"), "rev 6: 1 deleted"),
    ])
    .await;
}

#[tokio::test]
async fn transactions() {
    let no_deletions = &format!("rev 5: yes {}", ["0 deleted"; 128].join("; "));
    run(vec![
        ("nothing to do", txn(vec![]), "rev 1: yes"),
        ("two puts at one revision", txn(vec![put_op("a", "1"), put_op("b", "1")]), "rev 2: yes put; put"),
        ("both have it", get("b"), "rev 2: 1 in range [b=1 c2/m2/v1]"),
        ("twice the same key", txn(vec![put_op("a", "1"), put_op("a", "2")]), DUPLICATE),
        ("put and delete", txn(vec![put_op("a", "1"), delete_op("a")]), DUPLICATE),
        ("delete and put", txn(vec![delete_op("a"), put_op("a", "1")]), DUPLICATE),
        (
            "within a deleted range",
            txn(vec![op(Request::RequestDeleteRange(delete_request("a", "c", false))), put_op("b", "")]),
            DUPLICATE,
        ),
        ("two deletions", txn(vec![delete_op("none"), delete_op("none")]), "rev 2: yes 0 deleted; 0 deleted"),
        (
            "in the branch not taken",
            txn_if(vec![], vec![], vec![put_op("a", "1"), put_op("a", "2")]),
            DUPLICATE,
        ),
        (
            "one key in both branches",
            txn_if(vec![], vec![put_op("a", "2")], vec![put_op("a", "3")]),
            "rev 3: yes put",
        ),
        ("nested twice", txn(vec![put_op("a", ""), nested(vec![put_op("a", "")], vec![])]), DUPLICATE),
        ("nested", txn(vec![nested(vec![put_op("a", "n")], vec![])]), "rev 4: yes (yes put)"),
        (
            "nested, one key in both branches",
            txn(vec![nested(vec![put_op("a", "n")], vec![put_op("a", "m")])]),
            "rev 5: yes (yes put)",
        ),
        ("too long", txn(vec![get_op("a"); 129]), TOO_MANY),
        ("just not too long", txn(vec![delete_op("none"); 128]), no_deletions),
        (
            "too many compares",
            txn_if(vec![compare("a", CompareResult::Equal, TargetUnion::Version(0)); 129], vec![], vec![]),
            TOO_MANY,
        ),
        ("a nested one over budget", txn(vec![nested(vec![get_op("a"); 128], vec![])]), TOO_MANY),
        ("an operation that says nothing", txn(vec![RequestOp { request: None }]), KEY_NOT_FOUND),
        ("a compare without a key", txn_if(vec![Compare::default()], vec![], vec![]), EMPTY_KEY),
        (
            "a read sees the writes before it",
            txn(vec![put_op("n", "W"), get_op("n")]),
            "rev 6: yes put; 1 in range [n=W c6/m6/v1]",
        ),
        ("not the ones after it", txn(vec![get_op("o"), put_op("o", "")]), "rev 7: yes 0 in range; put"),
        ("reads make no revision", txn(vec![get_op("n")]), "rev 7: yes 1 in range [n=W c6/m6/v1]"),
        ("deletions of nothing neither", txn(vec![delete_op("none")]), "rev 7: yes 0 deleted"),
        ("a revision to come, with a write", txn(vec![put_op("p", ""), get_at("n", 99)]), FUTURE),
        ("a revision to come, without", txn(vec![get_at("n", 99)]), FUTURE),
        ("an unknown lease", txn(vec![put_op("p", ""), leased("q")]), NO_LEASE),
        ("nothing refused was written", get("p"), "rev 7: 0 in range"),
        ("a lease not looked at", txn_if(vec![], vec![put_op("p", "")], vec![leased("q")]), "rev 8: yes put"),
    ])
    .await;
}

#[tokio::test]
async fn comparisons_with_a_missing_key() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    for (union, want) in [
        // Equal, NotEqual, Greater, Less with 0: a missing key counts as 0.
        (TargetUnion::Version(0), [true, false, false, false]),
        (TargetUnion::CreateRevision(0), [true, false, false, false]),
        (TargetUnion::ModRevision(0), [true, false, false, false]),
        (TargetUnion::Lease(0), [true, false, false, false]),
        // It has no value at all.
        (TargetUnion::Value("".into()), [false; 4]),
    ] {
        for (result, want) in
            [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less]
                .into_iter()
                .zip(want)
        {
            let compare = vec![compare("none", result, union.clone())];
            let request = TxnRequest { compare, ..TxnRequest::default() };
            let succeeded = kv.txn(request).await.expect("a transaction").into_inner().succeeded;
            assert_eq!(succeeded, want, "{union:?} {result:?}");
        }
    }
}

#[tokio::test]
async fn comparisons() {
    let value =
        |key, text: &str| compare(key, CompareResult::Equal, TargetUnion::Value(text.to_string().into()));
    let over = |end: &str, compare: Compare| Compare { range_end: end.to_string().into(), ..compare };
    run(vec![
        ("", put("c/1", "x"), "rev 2"),
        ("", put("c/2", "x"), "rev 3"),
        ("", put("d", "y"), "rev 4"),
        ("all of a range", txn_if(vec![over("c0", value("c/", "x"))], vec![], vec![]), "rev 4: yes"),
        ("not all", txn_if(vec![over("e", value("c/", "x"))], vec![], vec![]), "rev 4: no"),
        ("all must hold", txn_if(vec![value("c/1", "x"), value("d", "x")], vec![], vec![]), "rev 4: no"),
        (
            "no operand is 0",
            txn_if(
                vec![Compare { target_union: None, key: "d".into(), ..Compare::default() }],
                vec![],
                vec![],
            ),
            "rev 4: no",
        ),
        (
            "the branches",
            txn_if(vec![value("d", "x")], vec![put_op("d", "1")], vec![put_op("d", "2"), get_op("d")]),
            "rev 5: no put; 1 in range [d=2 c4/m5/v2]",
        ),
    ])
    .await;
}

#[tokio::test]
async fn compactions() {
    let at = |revision| Call::Range(RangeRequest { revision, ..range("a", "") });
    run(vec![
        ("", put("a", "1"), "rev 2"),
        ("", put("a", "2"), "rev 3"),
        ("", put("a", "3"), "rev 4"),
        ("hashes before the first compaction", Call::HashKv(0), "rev 4, compacted at -1"),
        ("a negative revision", compact(-1), COMPACTED),
        ("0, the only time", compact(0), "rev 4"),
        ("0 again", compact(0), COMPACTED),
        ("to come", compact(5), FUTURE),
        ("a compaction makes no revision", compact(3), "rev 4"),
        ("again", compact(3), COMPACTED),
        ("the compacted revision is readable", at(3), "rev 4: 1 in range [a=2 c2/m3/v2]"),
        ("below it nothing is", at(2), COMPACTED),
        ("nor in a transaction", txn(vec![get_at("a", 2)]), COMPACTED),
        ("nor in one that writes", txn(vec![put_op("a", "4"), get_at("a", 2)]), COMPACTED),
        ("hashes know the compaction", Call::HashKv(0), "rev 4, compacted at 3"),
        ("below it there is no hash", Call::HashKv(2), COMPACTED),
        ("none to come", Call::HashKv(5), FUTURE),
    ])
    .await;
}

#[tokio::test]
async fn requests_are_measured_before_they_are_proposed() {
    let server = Server::with(Limits { max_request_bytes: 1000, max_txn_ops: 2, ..Limits::default() }).await;
    let mut kv = KvClient::new(server.channel().await);
    // A key of one byte, two tags and lengths, the request's own, and what etcd wraps around it.
    let overhead = 3 + 3 + 3 + 14;
    kv.put(put_request("k", &"x".repeat(1000 - overhead))).await.expect("the largest that fits");
    let status = kv.put(put_request("k", &"x".repeat(1001 - overhead))).await.expect_err("one byte more");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "etcdserver: request is too large");
    let long_key = RangeRequest { key: vec![b'k'; 2000].into(), ..RangeRequest::default() };
    kv.range(long_key).await.expect("reads are not proposed");
    let three = TxnRequest { success: vec![get_op("a"); 3], ..TxnRequest::default() };
    assert_eq!(
        kv.txn(three).await.expect_err("three").message(),
        "etcdserver: too many operations in txn request"
    );
}

#[tokio::test]
async fn only_serializable_reads_do_without_a_leader() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    server.fake.set_leaderless(true);
    let serializable = |serializable| RangeRequest { serializable, ..range("k", "") };
    let reading = |requests: Vec<RangeRequest>| {
        let success = requests.into_iter().map(|request| op(Request::RequestRange(request))).collect();
        TxnRequest { success, ..TxnRequest::default() }
    };
    kv.range(serializable(true)).await.expect("a local read");
    kv.txn(reading(vec![serializable(true), serializable(true)])).await.expect("local reads");
    for (why, outcome) in [
        ("a read", kv.range(serializable(false)).await.map(drop)),
        ("a put", kv.put(put_request("k", "v")).await.map(drop)),
        ("a deletion", kv.delete_range(delete_request("k", "", false)).await.map(drop)),
        ("mixed reads", kv.txn(reading(vec![serializable(true), serializable(false)])).await.map(drop)),
        ("only compares", kv.txn(TxnRequest::default()).await.map(drop)),
        ("a compaction", kv.compact(CompactionRequest::default()).await.map(drop)),
    ] {
        let status = outcome.expect_err(why);
        let (code, text) = (status.code(), status.message().to_string());
        assert_eq!((code, &text[..]), (Code::Unavailable, "etcdserver: no leader"), "{why}");
    }
    // What is wrong with a request is said without asking anybody.
    let status = kv.range(RangeRequest::default()).await.expect_err("no key");
    assert_eq!(status.message(), "etcdserver: key is not provided");
}

#[tokio::test]
async fn every_refusal_has_etcds_code_and_text() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    for (error, code, text) in [
        (ApiError::EmptyKey, Code::InvalidArgument, "etcdserver: key is not provided"),
        (ApiError::KeyNotFound, Code::InvalidArgument, "etcdserver: key not found"),
        (ApiError::ValueProvided, Code::InvalidArgument, "etcdserver: value is provided"),
        (ApiError::LeaseProvided, Code::InvalidArgument, "etcdserver: lease is provided"),
        (ApiError::TooManyOps, Code::InvalidArgument, "etcdserver: too many operations in txn request"),
        (ApiError::DuplicateKey, Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
        (ApiError::InvalidSortOption, Code::InvalidArgument, "etcdserver: invalid sort option"),
        (ApiError::RequestTooLarge, Code::InvalidArgument, "etcdserver: request is too large"),
        (ApiError::Compacted, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
        (
            ApiError::FutureRevision,
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (ApiError::LeaseNotFound, Code::NotFound, "etcdserver: requested lease not found"),
        (ApiError::MemberNotFound, Code::NotFound, "etcdserver: member not found"),
        (ApiError::NotLeader, Code::FailedPrecondition, "etcdserver: not leader"),
        (ApiError::BadLeaderTransferee, Code::FailedPrecondition, "etcdserver: bad leader transferee"),
        (ApiError::TooManyRequests, Code::ResourceExhausted, "etcdserver: too many requests"),
        (ApiError::NoLeader, Code::Unavailable, "etcdserver: no leader"),
        (ApiError::LeaderChanged, Code::Unavailable, "etcdserver: leader changed"),
        (ApiError::Timeout, Code::Unavailable, "etcdserver: request timed out"),
        (ApiError::Stopped, Code::Unavailable, "etcdserver: server stopped"),
        (ApiError::Unimplemented("what"), Code::Unimplemented, "what"),
    ] {
        server.fake.fail_next_proposal(error);
        let status = kv.put(put_request("k", "v")).await.expect_err("a refusal");
        assert_eq!((status.code(), status.message()), (code, text), "{error:?}");
    }
    kv.put(put_request("k", "v")).await.expect("the trouble is over");
}
