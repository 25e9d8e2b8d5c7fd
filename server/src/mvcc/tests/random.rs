//! Random requests, over few keys so that they meet: valid ones for the most part.

use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, compare::TargetUnion,
    request_op::Request,
};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

/// The only lease that exists.
pub(crate) const LEASE: i64 = 7;

/// One thing to do with a store.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Range(RangeRequest),
    /// Compacts at so many revisions below the newest.
    Compact(i64),
    Scrub(usize),
}

pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..most)
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => put().prop_map(Step::Put),
        3 => delete().prop_map(Step::Delete),
        5 => txn(2).prop_map(Step::Txn),
        5 => range().prop_map(Step::Range),
        1 => (-1_i64..8).prop_map(Step::Compact),
        1 => (1_usize..6).prop_map(Step::Scrub),
    ]
}

fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&'static [u8]; 7] = [b"\0", b"a", b"ab", b"b", b"c", b"d", b"\xff"];
    prop_oneof![
        60 => prop::sample::select(keys.to_vec()).prop_map(Bytes::from_static),
        1 => Just(Bytes::new()),
    ]
}

fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![3 => Just(Bytes::new()), 1 => Just(Bytes::from_static(b"\0")), 2 => key()]
}

fn value() -> impl Strategy<Value = Bytes> {
    let values: [&'static [u8]; 4] = [b"", b"1", b"2", b"a longer value"];
    prop::sample::select(values.to_vec()).prop_map(Bytes::from_static)
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![12 => Just(0), 4 => Just(LEASE), 1 => Just(99)]
}

/// Small numbers, which revisions and versions are at first, and a few that nothing is.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0_i64), 8 => 1_i64..30, 1 => -2_i64..0, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0_i64), 6 => 1_i64..40, 1 => -2_i64..0]
}

fn flag(odds: f64) -> impl Strategy<Value = bool> {
    prop::bool::weighted(odds)
}

pub(crate) fn put() -> impl Strategy<Value = PutRequest> {
    (key(), value(), lease(), any::<bool>(), flag(0.15), flag(0.15)).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| {
            let value = if ignore_value && value.len() > 1 { Bytes::new() } else { value };
            PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

pub(crate) fn range() -> impl Strategy<Value = RangeRequest> {
    let limit = prop_oneof![2 => Just(0_i64), 2 => 1_i64..4, 1 => -1_i64..0];
    let sort = (prop_oneof![60 => 0..=2_i32, 1 => Just(3)], prop_oneof![60 => 0..=4_i32, 1 => Just(5)]);
    let filter = || prop_oneof![6 => Just(0_i64), 1 => number()];
    let flags = (any::<bool>(), flag(0.2), flag(0.2));
    (key(), end(), limit, revision(), sort, flags, [filter(), filter(), filter(), filter()]).prop_map(
        |(key, range_end, limit, revision, sort, flags, filters)| RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order: sort.0,
            sort_target: sort.1,
            serializable: flags.0,
            keys_only: flags.1,
            count_only: flags.2,
            min_mod_revision: filters[0],
            max_mod_revision: filters[1],
            min_create_revision: filters[2],
            max_create_revision: filters[3],
        },
    )
}

fn operand() -> impl Strategy<Value = TargetUnion> {
    prop_oneof![
        number().prop_map(TargetUnion::Version),
        number().prop_map(TargetUnion::CreateRevision),
        number().prop_map(TargetUnion::ModRevision),
        value().prop_map(TargetUnion::Value),
        lease().prop_map(TargetUnion::Lease),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let result = prop_oneof![40 => 0..=3_i32, 1 => Just(4)];
    let target = prop_oneof![8 => Just(None), 2 => (0..=5_i32).prop_map(Some)];
    (key(), end(), result, target, option::weighted(0.95, operand())).prop_map(
        |(key, range_end, result, target, operand)| {
            let fitting = match &operand {
                Some(TargetUnion::Version(_)) | None => 0,
                Some(TargetUnion::CreateRevision(_)) => 1,
                Some(TargetUnion::ModRevision(_)) => 2,
                Some(TargetUnion::Value(_)) => 3,
                Some(TargetUnion::Lease(_)) => 4,
            };
            Compare { key, range_end, result, target: target.unwrap_or(fitting), target_union: operand }
        },
    )
}

/// A transaction with others in it, `depth` deep. Keys may be written twice: that is refused before a request
/// reaches the store, and still has to have one meaning here.
pub(crate) fn txn(depth: u32) -> BoxedStrategy<TxnRequest> {
    let simple = prop_oneof![
        8 => range().prop_map(Request::RequestRange),
        8 => put().prop_map(Request::RequestPut),
        6 => delete().prop_map(Request::RequestDeleteRange),
    ];
    let request = if depth > 0 {
        prop_oneof![4 => simple, 1 => txn(depth - 1).prop_map(Request::RequestTxn)].boxed()
    } else {
        simple.boxed()
    };
    let op = option::weighted(0.995, request).prop_map(|request| RequestOp { request });
    (vec(compare(), 0..3), vec(op.clone(), 0..4), vec(op, 0..4))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
        .boxed()
}
