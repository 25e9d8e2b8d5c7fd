//! What is wrong with a request whatever the store holds: decided before anything is proposed.
//!
//! Pure. The rules, the order in which they are tried, and where they look away are etcd's, so that a client
//! gets the same answer from both.

use crate::{
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

#[cfg(test)]
mod tests;
