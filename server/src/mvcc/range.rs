//! Reads.

use super::{Store, history::Version, key_range::KeyRange};
use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{
            RangeRequest, RangeResponse, ResponseHeader,
            range_request::{SortOrder, SortTarget},
        },
        mvccpb::KeyValue,
    },
};
use bytes::Bytes;
use std::cmp::Ordering;

impl Store {
    /// Reads keys at the newest revision, or at an older one.
    ///
    /// # Errors
    /// [`ApiError::EmptyKey`], [`ApiError::InvalidSortOption`]; [`ApiError::Compacted`] below the compaction
    /// revision, [`ApiError::FutureRevision`] above the newest one.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        let current = self.revision();
        if request.key.is_empty() {
            return Err(ApiError::EmptyKey);
        }
        let (Ok(order), Ok(target)) =
            (SortOrder::try_from(request.sort_order), SortTarget::try_from(request.sort_target))
        else {
            return Err(ApiError::InvalidSortOption);
        };
        if request.revision > current {
            return Err(ApiError::FutureRevision);
        }
        let at = if request.revision > 0 { request.revision } else { current };
        if at < self.compact_revision() {
            return Err(ApiError::Compacted);
        }
        let mut response = RangeResponse {
            header: Some(ResponseHeader { revision: current, ..Default::default() }),
            ..Default::default()
        };
        let found = self.visible(KeyRange::new(&request.key, &request.range_end), at);
        if request.count_only {
            response.count = i64::try_from(found.count()).expect("fewer than 2^63 keys");
            return Ok(response);
        }
        let mut found: Vec<_> = found.collect();
        response.count = i64::try_from(found.len()).expect("fewer than 2^63 keys");
        found.retain(|(_, version)| passes(request, version));
        sort(&mut found, order, target);
        if let Ok(limit) = usize::try_from(request.limit)
            && limit > 0
            && found.len() > limit
        {
            found.truncate(limit);
            response.more = true;
        }
        response.kvs = found
            .into_iter()
            .map(|(key, version)| {
                let kv = version.to_kv(key);
                if request.keys_only { KeyValue { value: Bytes::new(), ..kv } } else { kv }
            })
            .collect();
        Ok(response)
    }
}

fn passes(request: &RangeRequest, version: &Version) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(version.modified.main, request.min_mod_revision, request.max_mod_revision)
        && within(version.created, request.min_create_revision, request.max_create_revision)
}

fn sort(found: &mut [(&Bytes, &Version)], order: SortOrder, target: SortTarget) {
    let compare = |a: &(&Bytes, &Version), b: &(&Bytes, &Version)| -> Ordering {
        match target {
            SortTarget::Key => a.0.cmp(b.0),
            SortTarget::Version => a.1.number.cmp(&b.1.number),
            SortTarget::Create => a.1.created.cmp(&b.1.created),
            SortTarget::Mod => a.1.modified.main.cmp(&b.1.modified.main),
            SortTarget::Value => a.1.value.cmp(&b.1.value),
        }
    };
    match order {
        SortOrder::None | SortOrder::Ascend => found.sort_by(compare),
        SortOrder::Descend => found.sort_by(|a, b| compare(b, a)),
    }
}
