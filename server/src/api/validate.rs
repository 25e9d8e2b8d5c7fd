//! What is wrong with a request whatever the store holds: decided before anything is proposed.
//!
//! Pure. The rules, the order in which they are tried, and where they look away are etcd's, so that a client
//! gets the same answer from both.

use crate::{
    config::Url,
    error::ApiError,
    proto::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Checks a range.
///
/// # Errors
/// [`ApiError::EmptyKey`], [`ApiError::InvalidSortOption`].
pub fn range(request: &RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(ApiError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// [`ApiError::EmptyKey`], [`ApiError::ValueProvided`], [`ApiError::LeaseProvided`].
pub fn put(request: &PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::LeaseProvided);
    }
    Ok(())
}

/// Checks a deletion.
///
/// # Errors
/// [`ApiError::EmptyKey`].
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() { Err(ApiError::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction and everything nested in it. No list may be longer than `max_ops`, those of a nested
/// transaction than what its parent's longest list leaves of that.
///
/// # Errors
/// [`ApiError::TooManyOps`], [`ApiError::DuplicateKey`], [`ApiError::KeyNotFound`] for an operation that says
/// nothing, and what is wrong with a single operation.
pub fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    ops(request, max_ops)?;
    Effects::of(&request.success)?;
    Effects::of(&request.failure)?;
    Ok(())
}

fn ops(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = max_ops.checked_sub(longest).ok_or(ApiError::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(ApiError::EmptyKey);
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete_range(request),
        Some(Request::RequestTxn(request)) => ops(request, left),
        None => Err(ApiError::KeyNotFound),
    })
}

/// What a list of operations may put and delete.
///
/// Two gaps are etcd's and kept: a deletion without an upper end (`range_end` a zero byte) collides with
/// nothing, and the deletions of a nested transaction only collide with puts that are looked at after it.
#[derive(Default)]
struct Effects<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

impl<'a> Effects<'a> {
    fn of(ops: &'a [RequestOp]) -> Result<Effects<'a>, ApiError> {
        let mut effects = Effects::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                effects.deletes.insert(Interval::new(&delete.key, &delete.range_end));
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                effects.add_nested(Effects::of(&nested.success)?, Effects::of(&nested.failure)?)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                effects.put(&put.key)?;
            }
        }
        Ok(effects)
    }

    /// Only one branch is taken, so the two may put the same key.
    fn add_nested(&mut self, success: Effects<'a>, failure: Effects<'a>) -> Result<(), ApiError> {
        for key in failure.puts.difference(&success.puts).chain(&success.puts) {
            self.put(key)?;
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), ApiError> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(ApiError::DuplicateKey);
        }
        Ok(())
    }
}

/// Keys from `start` to `end`, the last of them only if `closed`.
#[derive(Clone, Copy)]
struct Interval<'a> {
    start: &'a [u8],
    end: &'a [u8],
    closed: bool,
}

impl<'a> Interval<'a> {
    fn new(start: &'a [u8], end: &'a [u8]) -> Interval<'a> {
        if end.is_empty() {
            Interval { start, end: start, closed: true }
        } else {
            Interval { start, end, closed: false }
        }
    }
}

/// A set of keys, kept as disjoint intervals by their start: a message of 2 MiB can hold 10^5 deletions and
/// as many puts, so no pair of them must be looked at.
#[derive(Default)]
struct Intervals<'a>(BTreeMap<&'a [u8], (&'a [u8], bool)>);

impl<'a> Intervals<'a> {
    fn contains(&self, key: &[u8]) -> bool {
        let before = self.0.range::<&[u8], _>(..=key).next_back();
        before.is_some_and(|(_, &(end, closed))| key < end || closed && key == end)
    }

    fn insert(&mut self, added: Interval<'a>) {
        let Interval { mut start, end, closed } = added;
        if end < start || end == start && !closed {
            return;
        }
        let mut end = (end, closed);
        if let Some((&before, &before_end)) = self.0.range::<&[u8], _>(..=start).next_back()
            && before_end.0 >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.0.range::<&[u8], _>(start..).next()
            && next <= end.0
        {
            self.0.remove(next);
            end = end.max(next_end);
        }
        self.0.insert(start, end);
    }

    fn extend(&mut self, other: Intervals<'a>) {
        for (start, (end, closed)) in other.0 {
            self.insert(Interval { start, end, closed });
        }
    }
}

/// The URLs of a member to be, as they are compared: there is one, and each is `http://HOST:PORT`.
pub fn member_urls(urls: Vec<String>) -> Result<Vec<String>, ApiError> {
    if urls.is_empty() {
        return Err(ApiError::BadMemberUrls);
    }
    let text = |url: &String| Url::parse(url).ok().filter(|url| !url.unix).map(|url| url.text);
    urls.iter().map(|url| text(url).ok_or(ApiError::BadMemberUrls)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::Compare;

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    fn get(key: &str) -> RequestOp {
        op(Request::RequestRange(RangeRequest { key: key.to_string().into(), ..RangeRequest::default() }))
    }

    fn put(key: &str) -> RequestOp {
        op(Request::RequestPut(PutRequest { key: key.to_string().into(), ..PutRequest::default() }))
    }

    /// Up to `end`; empty for the one key.
    fn del(key: &str, end: &str) -> RequestOp {
        op(Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.to_string().into(),
            range_end: end.to_string().into(),
            prev_kv: false,
        }))
    }

    fn txn_of(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
        TxnRequest { compare: vec![], success, failure }
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        op(Request::RequestTxn(txn_of(success, failure)))
    }

    fn comparing(key: &str, count: usize) -> TxnRequest {
        let compare = Compare { key: key.to_string().into(), ..Compare::default() };
        TxnRequest { compare: vec![compare; count], ..TxnRequest::default() }
    }

    #[test]
    fn single_operations() {
        let key = || "k".into();
        for (request, want, why) in [
            (PutRequest::default(), Err(ApiError::EmptyKey), "no key"),
            (PutRequest { key: key(), ..PutRequest::default() }, Ok(()), "an empty value is a value"),
            (
                PutRequest { key: key(), value: "v".into(), ignore_value: true, ..PutRequest::default() },
                Err(ApiError::ValueProvided),
                "a value beside ignore_value",
            ),
            (PutRequest { key: key(), ignore_value: true, ..PutRequest::default() }, Ok(()), "ignore_value"),
            (
                PutRequest { key: key(), lease: -1, ignore_lease: true, ..PutRequest::default() },
                Err(ApiError::LeaseProvided),
                "a lease beside ignore_lease",
            ),
            (PutRequest { key: key(), ignore_lease: true, ..PutRequest::default() }, Ok(()), "ignore_lease"),
        ] {
            assert_eq!(super::put(&request), want, "{why}");
        }
        for (key, order, target, want) in [
            ("", 0, 0, Err(ApiError::EmptyKey)),
            ("k", 2, 4, Ok(())),
            ("k", 3, 0, Err(ApiError::InvalidSortOption)),
            ("k", 0, 5, Err(ApiError::InvalidSortOption)),
            ("k", -1, 0, Err(ApiError::InvalidSortOption)),
        ] {
            let (sort_order, sort_target) = (order, target);
            let request =
                RangeRequest { key: key.into(), sort_order, sort_target, ..RangeRequest::default() };
            assert_eq!(range(&request), want, "{key:?} {order} {target}");
        }
        assert_eq!(delete_range(&DeleteRangeRequest::default()), Err(ApiError::EmptyKey));
    }

    #[test]
    fn no_list_of_a_transaction_is_too_long() {
        let gets = |count| vec![get("k"); count];
        for (request, want, why) in [
            (txn_of(gets(128), gets(128)), Ok(()), "as many as allowed"),
            (txn_of(gets(129), vec![]), Err(ApiError::TooManyOps), "one more"),
            (txn_of(vec![], gets(129)), Err(ApiError::TooManyOps), "one more in the other branch"),
            (comparing("k", 128), Ok(()), "as many compares"),
            (comparing("k", 129), Err(ApiError::TooManyOps), "one more compare"),
            (txn_of(vec![nested(gets(127), vec![])], vec![]), Ok(()), "the parent's one, and 127"),
            (txn_of(vec![nested(gets(128), vec![])], vec![]), Err(ApiError::TooManyOps), "and 128"),
            (
                txn_of(vec![nested(gets(127), vec![])], gets(2)),
                Err(ApiError::TooManyOps),
                "the parent's longest list counts, whichever holds the nested one",
            ),
            (
                txn_of(vec![nested(vec![nested(gets(126), vec![])], vec![])], vec![]),
                Ok(()),
                "every level takes its share",
            ),
            (txn_of(vec![nested(gets(100), vec![]), nested(gets(100), vec![])], vec![]), Ok(()), "not a sum"),
        ] {
            assert_eq!(txn(&request, 128), want, "{why}");
        }
    }

    #[test]
    fn every_operation_of_a_transaction_is_checked() {
        let empty = || RequestOp { request: None };
        for (request, want, why) in [
            (TxnRequest::default(), Ok(()), "nothing to do"),
            (txn_of(vec![empty()], vec![]), Err(ApiError::KeyNotFound), "an operation that says nothing"),
            (txn_of(vec![], vec![nested(vec![], vec![empty()])]), Err(ApiError::KeyNotFound), "also nested"),
            (comparing("", 1), Err(ApiError::EmptyKey), "a compare without a key"),
            (txn_of(vec![get("")], vec![]), Err(ApiError::EmptyKey), "a range without a key"),
            (txn_of(vec![], vec![put("")]), Err(ApiError::EmptyKey), "a put without a key"),
            (txn_of(vec![nested(vec![del("", "")], vec![])], vec![]), Err(ApiError::EmptyKey), "nested"),
            (
                txn_of(vec![put("k"), put("k"), empty()], vec![]),
                Err(ApiError::KeyNotFound),
                "duplicates last",
            ),
        ] {
            assert_eq!(txn(&request, 128), want, "{why}");
        }
    }

    #[test]
    fn no_branch_puts_a_key_twice_or_puts_and_deletes_it() {
        const DUPLICATE: Result<(), ApiError> = Err(ApiError::DuplicateKey);
        let then = |ops| nested(ops, vec![]);
        for (ops, want, why) in [
            (vec![put("a"), put("b")], Ok(()), "two keys"),
            (vec![put("a"), put("a")], DUPLICATE, "two puts"),
            (vec![put("a"), del("a", "")], DUPLICATE, "put and delete"),
            (vec![del("a", ""), put("a")], DUPLICATE, "delete and put"),
            (vec![del("a", ""), del("a", "")], Ok(()), "two deletes"),
            (vec![put("a"), get("a")], Ok(()), "reads never collide"),
            (vec![put("b"), del("a", "c")], DUPLICATE, "within a deleted range"),
            (vec![put("b"), del("a", "b")], Ok(()), "a range ends before its end"),
            (vec![put("b"), del("b", "b\0")], DUPLICATE, "a range with one key"),
            (vec![put("b"), del("c", "a")], Ok(()), "an inverted range deletes nothing"),
            (vec![put("b"), del("b", "b")], Ok(()), "an empty range deletes nothing"),
            (vec![put("b"), del("a", "\0")], Ok(()), "etcd's gap: a deletion without an upper end"),
            (vec![put("b"), del("a", "c"), del("d", "e"), del("b", "d")], DUPLICATE, "overlapping deletions"),
            (
                vec![put("cc"), del("a", "b"), del("c", "d"), del("e", "f")],
                DUPLICATE,
                "one of many deletions",
            ),
            (vec![put("bb"), del("a", "b"), del("c", "d"), del("e", "f")], Ok(()), "between deletions"),
            (vec![put("a"), then(vec![put("a")])], DUPLICATE, "put, nested put"),
            (
                vec![nested(vec![], vec![put("a")]), put("a")],
                DUPLICATE,
                "nested put in the other branch, put",
            ),
            (vec![nested(vec![put("a")], vec![put("a")])], Ok(()), "either branch may put it"),
            (vec![nested(vec![put("a")], vec![put("a")]), put("a")], DUPLICATE, "but not the parent too"),
            (vec![nested(vec![del("a", "")], vec![put("a")])], Ok(()), "delete in one, put in the other"),
            (vec![then(vec![put("a")]), then(vec![put("a")])], DUPLICATE, "two nested puts"),
            (vec![then(vec![put("a")]), del("a", "")], DUPLICATE, "nested put, delete"),
            (vec![then(vec![del("a", "c")]), put("b")], DUPLICATE, "nested delete, put"),
            (vec![then(vec![del("a", "c")]), then(vec![put("b")])], DUPLICATE, "nested delete, nested put"),
            (vec![then(vec![put("b")]), then(vec![del("a", "c")])], Ok(()), "etcd's gap: nested put first"),
            (vec![then(vec![then(vec![put("a")])]), put("a")], DUPLICATE, "two levels down"),
        ] {
            assert_eq!(txn(&txn_of(ops.clone(), vec![]), 128), want, "{why}");
            assert_eq!(txn(&txn_of(vec![], ops), 128), want, "{why}, in the failure branch");
        }
        let both = txn_of(vec![put("a")], vec![put("a"), del("b", "")]);
        assert_eq!(txn(&both, 128), Ok(()), "only one branch is taken");
    }

    #[test]
    fn deletions_are_looked_up_as_one_set() {
        // Against the definition, for all sets of three intervals over a small alphabet.
        let ends = ["", "a", "b", "c", "d"];
        let all: Vec<Interval<'_>> = ends[1..]
            .iter()
            .flat_map(|start| ends.map(|end| Interval::new(start.as_bytes(), end.as_bytes())))
            .collect();
        let holds = |interval: &Interval<'_>, key: &[u8]| {
            interval.start <= key && (key < interval.end || interval.closed && key == interval.end)
        };
        for first in &all {
            for second in &all {
                for third in &all {
                    let mut set = Intervals::default();
                    for interval in [first, second, third] {
                        set.insert(*interval);
                    }
                    for key in ["a", "aa", "b", "bb", "c", "cc", "d", "dd"].map(str::as_bytes) {
                        let want = [first, second, third].iter().any(|interval| holds(interval, key));
                        assert_eq!(set.contains(key), want, "{key:?} in {:?}", set.0);
                    }
                }
            }
        }
    }
}
