//! The store as bytes, piece by piece while writes go on.
//!
//! A record for every version that is visible between the compaction and the pinned revision, in the order
//! of keys, then of revisions: a tag byte; the key, unless it is that of the record before in the same piece;
//! main and sub revision; for a put also creation, number, lease and value.

use super::{
    Revision, Store,
    codec::{put_bytes, put_i64, put_u64},
    history::Version,
};
use bytes::Bytes;
use std::{ops::Bound, sync::Arc};

/// In a tag: the record begins with its key.
pub(super) const TAG_KEY: u8 = 1;
/// In a tag: the record is a put, not a tombstone.
pub(super) const TAG_PUT: u8 = 2;

/// A state of the store that is being turned into bytes. While it lives, nothing that it shows is freed.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// The store's own; its existence keeps the scrub away.
    pin: Arc<()>,
    revision: i64,
    compacted: i64,
    totals: Totals,
    place: Place,
}

/// What an image holds in all, for its end to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Versions.
    pub(crate) versions: u64,
    /// Sum of their digests.
    pub(crate) digest: u64,
}

/// How far the image has come.
#[derive(Debug)]
enum Place {
    Start,
    /// The versions of this key up to this one are written.
    Behind(Bytes, Revision),
    End,
}

impl Pinned {
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    pub(crate) fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// Of everything written so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }
}

impl Store {
    /// Pins the state of now.
    pub(crate) fn pin(&self) -> Pinned {
        Pinned {
            pin: Arc::clone(&self.pin),
            revision: self.revision(),
            compacted: self.compacted,
            totals: Totals::default(),
            place: Place::Start,
        }
    }

    /// Whether it is this store that was pinned.
    pub(crate) fn owns(&self, pinned: &Pinned) -> bool {
        Arc::ptr_eq(&self.pin, &pinned.pin)
    }

    /// Appends the next records to `out` until it holds `max_bytes` or more, which at most one record makes
    /// it exceed. False once there are none left. The store must be the one that was pinned.
    pub(crate) fn write_records(&self, pinned: &mut Pinned, max_bytes: usize, out: &mut Vec<u8>) -> bool {
        assert!(self.owns(pinned), "the image was begun on another store");
        let (start, mut after) = match &pinned.place {
            Place::Start => (Bound::Unbounded, None),
            Place::Behind(key, after) => (Bound::Included(key.clone()), Some(*after)),
            Place::End => return false,
        };
        for (key, history) in self.keys.range::<Bytes, _>((start, Bound::Unbounded)) {
            let mut with_key = TAG_KEY;
            for version in history.visible(pinned.compacted, pinned.revision, after.take()) {
                write_record(out, with_key, key, version);
                with_key = 0;
                pinned.totals.versions += 1;
                pinned.totals.digest = pinned.totals.digest.wrapping_add(version.digest());
                if out.len() >= max_bytes {
                    pinned.place = Place::Behind(key.clone(), version.modified());
                    return true;
                }
            }
        }
        pinned.place = Place::End;
        false
    }
}

fn write_record(out: &mut Vec<u8>, with_key: u8, key: &[u8], version: &Version) {
    let put = if version.is_tombstone() { 0 } else { TAG_PUT };
    out.push(with_key | put);
    if with_key != 0 {
        put_bytes(out, key);
    }
    put_i64(out, version.main);
    put_u64(out, u64::from(version.sub));
    if put != 0 {
        put_i64(out, version.created);
        put_i64(out, version.number);
        put_i64(out, version.lease);
        put_bytes(out, &version.value);
    }
}
