//! Reads.

use super::{Store, history::Version, key_range::KeyRange, write::header};
#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{
            RangeRequest, RangeResponse,
            range_request::{SortOrder, SortTarget},
        },
        mvccpb::KeyValue,
    },
};
use bytes::Bytes;

/// A pair of the store.
type Pair<'a> = (&'a Bytes, &'a Version);

impl Store {
    /// Reads keys at the newest revision, or at an older one (a negative revision means the newest).
    ///
    /// `count` is the number of keys in the range, whatever the limit and the filters leave of them.
    /// Takes time in proportion to the keys in the range.
    ///
    /// # Errors
    /// [`ApiError::EmptyKey`], [`ApiError::InvalidSortOption`]; [`ApiError::Compacted`] below the compaction
    /// revision, [`ApiError::FutureRevision`] above the newest one.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        let order = check_range(request)?;
        let current = self.revision();
        #[cfg(feature = "plant")]
        let serves_future = self.planted(Plant::FutureRevisionServed);
        #[cfg(not(feature = "plant"))]
        let serves_future = false;
        if request.revision > current && !serves_future {
            return Err(ApiError::FutureRevision);
        }
        let at = if request.revision > 0 { request.revision } else { current };
        let compacted = at < self.compact_revision();
        #[cfg(feature = "plant")]
        let compacted = compacted && !self.planted(Plant::CompactedRevisionServed);
        if compacted {
            return Err(ApiError::Compacted);
        }
        Ok(self.read(request, order, at, current))
    }

    /// Reads at revision `at`, which is readable. `current` is the header's revision.
    pub(super) fn read(&self, request: &RangeRequest, order: Order, at: i64, current: i64) -> RangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let (found, count) = if request.count_only {
            (Vec::new(), self.visible(range, at).count())
        } else if order == Order::Key(Direction::Ascend) {
            self.read_in_key_order(request, range, at, limit)
        } else {
            self.read_sorted(request, range, at, limit, order)
        };
        #[cfg(feature = "plant")]
        let count = if self.planted(Plant::CountIncludesTombstones) {
            self.histories(range).filter(|(_, history)| history.written_at(at).is_some()).count()
        } else {
            count
        };
        let more = limit > 0 && found.len() > limit;
        #[cfg(feature = "plant")]
        let more = more || self.planted(Plant::MoreAtLimit) && limit > 0 && found.len() == limit;
        let kept = if more { &found[..limit] } else { &found[..] };
        RangeResponse {
            header: header(current),
            kvs: kept.iter().map(|&pair| to_kv(pair, request.keys_only)).collect(),
            more,
            count: i64::try_from(count).expect("fewer than 2^63 keys"),
        }
    }

    /// Up to `limit + 1` pairs that pass the filters, in key order, and the number of all keys.
    fn read_in_key_order(
        &self,
        request: &RangeRequest,
        range: KeyRange<'_>,
        at: i64,
        limit: usize,
    ) -> (Vec<Pair<'_>>, usize) {
        let most = if limit > 0 { limit.saturating_add(1) } else { usize::MAX };
        let mut found = Vec::new();
        let mut count = 0;
        for pair in self.visible(range, at) {
            count += 1;
            if found.len() < most && passes(request, pair.1) {
                found.push(pair);
            }
        }
        (found, count)
    }

    /// The pairs that pass the filters, sorted, and the number of all keys.
    fn read_sorted(
        &self,
        request: &RangeRequest,
        range: KeyRange<'_>,
        at: i64,
        limit: usize,
        order: Order,
    ) -> (Vec<Pair<'_>>, usize) {
        let mut found: Vec<Pair<'_>> = self.visible(range, at).collect();
        let count = found.len();
        // As in etcd: an order that nobody asked for sorts only what the limit leaves, and one pair more.
        if request.sort_order() == SortOrder::None && limit > 0 && !has_filters(request) {
            found.truncate(limit.saturating_add(1));
        }
        found.retain(|(_, version)| passes(request, version));
        sort(&mut found, order);
        (found, count)
    }
}

/// The smaller or the larger first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ascend,
    Descend,
}

/// How a range is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Key(Direction),
    Version(Direction),
    Create(Direction),
    Mod(Direction),
    Value(Direction),
}

/// What is wrong with a range, whatever the store holds; else how it is to be sorted: no order means to
/// ascend.
pub(super) fn check_range(request: &RangeRequest) -> Result<Order, ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    let direction = match SortOrder::try_from(request.sort_order) {
        Ok(SortOrder::None | SortOrder::Ascend) => Direction::Ascend,
        Ok(SortOrder::Descend) => Direction::Descend,
        Err(_) => return Err(ApiError::InvalidSortOption),
    };
    match SortTarget::try_from(request.sort_target) {
        Ok(SortTarget::Key) => Ok(Order::Key(direction)),
        Ok(SortTarget::Version) => Ok(Order::Version(direction)),
        Ok(SortTarget::Create) => Ok(Order::Create(direction)),
        Ok(SortTarget::Mod) => Ok(Order::Mod(direction)),
        Ok(SortTarget::Value) => Ok(Order::Value(direction)),
        Err(_) => Err(ApiError::InvalidSortOption),
    }
}

fn has_filters(request: &RangeRequest) -> bool {
    [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ] != [0; 4]
}

fn passes(request: &RangeRequest, version: &Version) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(version.main, request.min_mod_revision, request.max_mod_revision)
        && within(version.created, request.min_create_revision, request.max_create_revision)
}

/// Sorts what is in key order; equal ones stay in key order.
fn sort(found: &mut [Pair<'_>], order: Order) {
    fn by<'a, T: Ord>(found: &mut [Pair<'a>], direction: Direction, field: impl Fn(&Pair<'a>) -> T) {
        match direction {
            Direction::Ascend => found.sort_by_key(|pair| field(pair)),
            Direction::Descend => found.sort_by_key(|pair| std::cmp::Reverse(field(pair))),
        }
    }
    match order {
        Order::Key(Direction::Ascend) => {}
        Order::Key(Direction::Descend) => found.reverse(),
        Order::Version(direction) => by(found, direction, |pair| pair.1.number),
        Order::Create(direction) => by(found, direction, |pair| pair.1.created),
        Order::Mod(direction) => by(found, direction, |pair| pair.1.main),
        Order::Value(direction) => by(found, direction, |pair| &pair.1.value[..]),
    }
}

fn to_kv((key, version): Pair<'_>, keys_only: bool) -> KeyValue {
    let kv = version.to_kv(key);
    if keys_only { KeyValue { value: Bytes::new(), ..kv } } else { kv }
}
