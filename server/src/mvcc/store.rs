//! The store and its writes.

use super::{
    Revision,
    history::{KeyHistory, Version},
    key_range::KeyRange,
};
use crate::{
    error::ApiError,
    proto::etcdserverpb::{PutRequest, PutResponse, ResponseHeader},
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A multi-version key-value store in memory.
#[derive(Debug)]
pub struct Store {
    keys: BTreeMap<Bytes, KeyHistory>,
    current: i64,
    compacted: i64,
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

impl Store {
    /// An empty store, at revision 1.
    pub fn new() -> Store {
        Store { keys: BTreeMap::new(), current: 1, compacted: -1 }
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.current
    }

    /// The oldest readable revision; -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// Writes one key, at a new revision. `lease_exists` tells whether a lease is known.
    ///
    /// # Errors
    /// [`ApiError::EmptyKey`], [`ApiError::ValueProvided`], [`ApiError::LeaseProvided`],
    /// [`ApiError::LeaseNotFound`]; [`ApiError::KeyNotFound`] where `ignore_value` or `ignore_lease` misses
    /// the key. Nothing is written then.
    pub fn put(
        &mut self,
        request: &PutRequest,
        lease_exists: &dyn Fn(i64) -> bool,
    ) -> Result<PutResponse, ApiError> {
        if request.key.is_empty() {
            return Err(ApiError::EmptyKey);
        }
        if request.ignore_value && !request.value.is_empty() {
            return Err(ApiError::ValueProvided);
        }
        if request.ignore_lease && request.lease != 0 {
            return Err(ApiError::LeaseProvided);
        }
        if request.lease != 0 && !lease_exists(request.lease) {
            return Err(ApiError::LeaseNotFound);
        }
        let previous = self.keys.get(&request.key).and_then(|history| history.at(self.current));
        if previous.is_none() && (request.ignore_value || request.ignore_lease) {
            return Err(ApiError::KeyNotFound);
        }
        let prev_kv = previous.filter(|_| request.prev_kv).map(|version| version.to_kv(&request.key));
        let modified = Revision { main: self.current + 1, sub: 0 };
        let version = Version {
            modified,
            created: previous.map_or(modified.main, |previous| previous.created),
            number: previous.map_or(1, |previous| previous.number + 1),
            lease: match previous {
                Some(previous) if request.ignore_lease => previous.lease,
                _ => request.lease,
            },
            value: match previous {
                Some(previous) if request.ignore_value => previous.value.clone(),
                _ => Bytes::copy_from_slice(&request.value),
            },
        };
        match self.keys.get_mut(&request.key) {
            Some(history) => history.push(version),
            None => {
                self.keys.insert(Bytes::copy_from_slice(&request.key), KeyHistory::new(version));
            }
        }
        self.current = modified.main;
        let header = Some(ResponseHeader { revision: self.current, ..Default::default() });
        Ok(PutResponse { header, prev_kv })
    }

    /// The keys of the range that exist at revision `at`, in key order.
    pub(crate) fn visible(&self, range: KeyRange<'_>, at: i64) -> impl Iterator<Item = (&Bytes, &Version)> {
        let bounds = range.bounds();
        bounds
            .into_iter()
            .flat_map(|bounds| self.keys.range::<[u8], _>(bounds))
            .filter_map(move |(key, history)| Some((key, history.at(at)?)))
    }
}
