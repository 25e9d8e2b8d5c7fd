//! Writes: one revision in the making, and the requests that make one each.

use super::{
    Revision, Store,
    history::{KeyHistory, Version},
    key_range::KeyRange,
    log::{Delta, Keys, Sum},
    store::Moved,
};
#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::{
    error::ApiError,
    proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, ResponseHeader},
};
use bytes::Bytes;
use std::collections::btree_map;

/// Tells whether a lease exists.
pub type LeaseExists<'a> = &'a dyn Fn(i64) -> bool;

impl Store {
    /// Writes one key, at a new revision.
    ///
    /// # Errors
    /// [`ApiError::EmptyKey`], [`ApiError::ValueProvided`], [`ApiError::LeaseProvided`],
    /// [`ApiError::LeaseNotFound`]; [`ApiError::KeyNotFound`] where `ignore_value` or `ignore_lease` misses
    /// the key. Nothing is written then.
    pub fn put(
        &mut self,
        request: &PutRequest,
        lease_exists: LeaseExists<'_>,
    ) -> Result<PutResponse, ApiError> {
        check_put(request)?;
        if request.lease != 0 && !lease_exists(request.lease) {
            return Err(ApiError::LeaseNotFound);
        }
        if (request.ignore_value || request.ignore_lease) && !self.exists(&request.key) {
            return Err(ApiError::KeyNotFound);
        }
        let mut write = Write::begin(self);
        let response = write.put(request);
        write.finish();
        Ok(response)
    }

    /// Deletes keys, at a new revision if there are any.
    ///
    /// # Errors
    /// [`ApiError::EmptyKey`].
    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, ApiError> {
        check_delete(request)?;
        let mut write = Write::begin(self);
        let response = write.delete_range(request);
        write.finish();
        Ok(response)
    }

    /// Deletes those of the keys that exist, in their order, at a new revision if there are any.
    pub fn delete_keys(&mut self, keys: impl IntoIterator<Item = Bytes>) {
        #[cfg(feature = "plant")]
        let keys = keys.into_iter().skip(usize::from(self.planted(Plant::KeyOutlivesLease)));
        let mut write = Write::begin(self);
        for key in keys {
            if write.store.exists(&key) {
                write.delete(key);
            }
        }
        write.finish();
    }

    /// Whether the key exists now.
    pub(super) fn exists(&self, key: &[u8]) -> bool {
        self.keys.get(key).is_some_and(|history| history.live().is_some())
    }
}

/// What is wrong with a put, whatever the store holds.
pub(super) fn check_put(request: &PutRequest) -> Result<(), ApiError> {
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

/// What is wrong with a deletion, whatever the store holds.
pub(super) fn check_delete(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() { Err(ApiError::EmptyKey) } else { Ok(()) }
}

/// A header that says only the revision: the rest is not the store's.
pub(super) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

/// All writes of one request: they share a revision, and read what was written before them.
///
/// Writes go to the store at once: everything that can be refused is refused before.
#[derive(Debug)]
#[must_use = "a revision is not in the log before `finish`"]
pub(super) struct Write<'a> {
    store: &'a mut Store,
    /// The revision of the writes: the one after the store's newest.
    main: i64,
    first: Option<Bytes>,
    rest: Vec<Bytes>,
    delta: Delta,
}

impl<'a> Write<'a> {
    pub(super) fn begin(store: &'a mut Store) -> Write<'a> {
        let main = store.revision().checked_add(1).expect("fewer than 2^63 revisions");
        Write { store, main, first: None, rest: Vec::new(), delta: Delta::default() }
    }

    /// The revision that a read now sees: the new one once something is written.
    pub(super) fn revision(&self) -> i64 {
        if self.first.is_some() { self.main } else { self.main - 1 }
    }

    /// The store, as it is in the middle of the writes.
    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// Puts one key. The request has been checked.
    pub(super) fn put(&mut self, request: &PutRequest) -> PutResponse {
        self.store.written.puts += 1;
        let at = self.next_revision();
        let mut prev_kv = None;
        // An entry of the map wants an owned key: this one is the request's, and is not kept, because it
        // would hold the whole message in memory that it is a part of.
        let (key, added) = match self.store.keys.entry(request.key.clone()) {
            btree_map::Entry::Occupied(mut entry) => {
                let key = entry.key().clone();
                let history = entry.get_mut();
                let live = history.live();
                if request.prev_kv {
                    prev_kv = live.map(|version| version.to_kv(&key));
                }
                let version = next_version(request, at, live);
                #[cfg(feature = "plant")]
                let version = if live.is_none() && crate::plant::is(Plant::VersionSurvivesDeletion) {
                    Version::put(&request.key, at, [at.main, 2, version.lease], version.value)
                } else {
                    version
                };
                note_lease(&mut self.store.moved, &key, live.map_or(0, |live| live.lease), version.lease);
                let added = Sum { digest: version.digest(), bytes: version.bytes(&key) };
                supersede(&mut self.delta, &history.newest, &key, at);
                history.push(version);
                (key, added)
            }
            btree_map::Entry::Vacant(_) => {
                let key = Bytes::copy_from_slice(&request.key);
                let version = next_version(request, at, None);
                note_lease(&mut self.store.moved, &key, 0, version.lease);
                let added = Sum { digest: version.digest(), bytes: version.bytes(&key) };
                self.store.keys.insert(key.clone(), KeyHistory::new(version));
                (key, added)
            }
        };
        self.note(key, added);
        PutResponse { header: header(self.main), prev_kv }
    }

    /// Deletes the keys of the range that exist. The request has been checked.
    pub(super) fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        self.store.written.deletes += 1;
        let range = KeyRange::new(&request.key, &request.range_end);
        let mut prev_kvs = Vec::new();
        let keys: Vec<Bytes> = self
            .store
            .visible(range, i64::MAX)
            .map(|(key, version)| {
                if request.prev_kv {
                    prev_kvs.push(version.to_kv(key));
                }
                key.clone()
            })
            .collect();
        let deleted = i64::try_from(keys.len()).expect("fewer than 2^63 keys");
        #[cfg(feature = "plant")]
        let keys =
            if self.store.planted(Plant::LostDelete) && self.main % 3 == 0 { Vec::new() } else { keys };
        #[cfg(feature = "plant")]
        let keys = if self.store.planted(Plant::DeleteLostInScrub) && !self.store.compaction_done() {
            Vec::new()
        } else {
            keys
        };
        for key in keys {
            self.delete(key);
        }
        DeleteRangeResponse { header: header(self.revision()), deleted, prev_kvs }
    }

    /// Puts the revision into the log, if anything was written. Gives the store's newest revision.
    pub(super) fn finish(self) -> i64 {
        if let Some(first) = self.first {
            let keys = if self.rest.is_empty() {
                Keys::One(first)
            } else {
                Keys::Many(std::iter::once(first).chain(self.rest).collect())
            };
            self.store.log.push(keys, self.delta);
        }
        self.store.revision()
    }

    fn delete(&mut self, key: Bytes) {
        let at = self.next_revision();
        let Some(history) = self.store.keys.get_mut(&key) else {
            panic!("{key:?} was found, and is missing now")
        };
        let tombstone = Version::tombstone(&key, at);
        let added = Sum { digest: tombstone.digest(), bytes: tombstone.bytes(&key) };
        note_lease(&mut self.store.moved, &key, history.newest.lease, 0);
        supersede(&mut self.delta, &history.newest, &key, at);
        history.push(tombstone);
        self.delta.tombstones += added;
        self.note(key, added);
    }

    fn next_revision(&self) -> Revision {
        let written = self.rest.len() + usize::from(self.first.is_some());
        let sub = u32::try_from(written).expect("a revision has fewer than 2^32 writes");
        Revision { main: self.main, sub }
    }

    fn note(&mut self, key: Bytes, added: Sum) {
        self.delta.added += added;
        self.store.held_bytes += added.bytes;
        if self.first.is_none() {
            self.first = Some(key);
        } else {
            self.rest.push(key);
        }
    }
}

/// Notes what a write does to the lease of its key.
fn note_lease(moved: &mut Vec<Moved>, key: &Bytes, from: i64, to: i64) {
    if from != to {
        moved.push(Moved { key: key.clone(), from, to });
    }
}

/// What a put makes of the live version before it.
fn next_version(request: &PutRequest, at: Revision, live: Option<&Version>) -> Version {
    let (created, number) = match live {
        Some(live) => (live.created, live.number.checked_add(1).expect("fewer than 2^63 puts")),
        None => (at.main, 1),
    };
    let lease = match live {
        Some(live) if request.ignore_lease => live.lease,
        _ => request.lease,
    };
    let value = match live {
        Some(live) if request.ignore_value => live.value.clone(),
        // A copy: the request's bytes are a part of a larger message, which they would keep in memory.
        _ => Bytes::copy_from_slice(&request.value),
    };
    Version::put(&request.key, at, [created, number, lease], value)
}

/// Notes in the sums that `old` has a successor now.
fn supersede(delta: &mut Delta, old: &Version, key: &[u8], at: Revision) {
    let sum = Sum { digest: old.digest(), bytes: old.bytes(key) };
    if !old.is_tombstone() {
        delta.dropped += sum;
    } else if old.main == at.main {
        // Only a request that breaks the rules writes a key twice at one revision; the sums stay true.
        delta.tombstones -= sum;
        delta.dropped += sum;
    }
}
