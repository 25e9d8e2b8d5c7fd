//! The revisions since the compaction: which keys each of them wrote, and sums up to each of them.

use bytes::Bytes;
use std::{collections::VecDeque, ops};

/// Revisions in one segment. Segments keep a long log from ever being moved or freed as a whole. Short ones in
/// debug tests, so that small stores have several.
const SEGMENT: usize = if cfg!(all(test, debug_assertions)) { 4 } else { 1024 };

/// A sum over versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Of digests, modulo 2^64.
    pub(super) digest: u64,
    /// Of sizes.
    pub(super) bytes: u64,
}

impl ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.digest = self.digest.wrapping_add(other.digest);
        self.bytes += other.bytes;
    }
}

impl ops::SubAssign for Sum {
    fn sub_assign(&mut self, other: Sum) {
        self.digest = self.digest.wrapping_sub(other.digest);
        self.bytes -= other.bytes;
    }
}

/// The keys that a revision wrote, in the order of its writes.
#[derive(Debug)]
pub(super) enum Keys {
    /// The usual case.
    One(Bytes),
    /// None for the revision of an empty store.
    Many(Box<[Bytes]>),
}

impl Keys {
    pub(super) fn as_slice(&self) -> &[Bytes] {
        match self {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Many(keys) => keys,
        }
    }
}

impl From<Vec<Bytes>> for Keys {
    fn from(mut keys: Vec<Bytes>) -> Keys {
        match keys.pop() {
            Some(key) if keys.is_empty() => Keys::One(key),
            Some(key) => {
                keys.push(key);
                Keys::Many(keys.into())
            }
            None => Keys::Many(Box::default()),
        }
    }
}

/// What one revision changes in the sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta {
    /// The versions that it writes.
    pub(super) added: Sum,
    /// The versions that a compaction at it, but not before it, drops: those that it supersedes.
    pub(super) dropped: Sum,
    /// The tombstones that it writes: a compaction at the next revision drops them.
    pub(super) tombstones: Sum,
}

#[derive(Debug)]
struct Entry {
    keys: Keys,
    /// Digests of all versions written up to here.
    added: u64,
    /// All versions that a compaction here drops.
    dropped: Sum,
}

/// One entry a revision, without gaps.
#[derive(Debug)]
pub(super) struct RevisionLog {
    /// All but the last are full.
    segments: VecDeque<Vec<Entry>>,
    /// Revision of the first entry.
    first: i64,
    /// Revision of the last entry.
    newest: i64,
    added: Sum,
    dropped: Sum,
    tombstones: Sum,
}

impl RevisionLog {
    /// Starts with `first`, the revision of an empty store or of a compaction, which wrote `keys`; `kept` are
    /// all versions up to it, `tombstones` those among them that are tombstones.
    pub(super) fn new(first: i64, keys: Keys, kept: Sum, tombstones: Sum) -> RevisionLog {
        let entry = Entry { keys, added: kept.digest, dropped: Sum::default() };
        RevisionLog {
            segments: VecDeque::from([vec![entry]]),
            first,
            newest: first,
            added: kept,
            dropped: Sum::default(),
            tombstones,
        }
    }

    /// The newest revision.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    /// The oldest revision that the log still holds.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// Adds the next revision.
    pub(super) fn push(&mut self, keys: Keys, delta: Delta) {
        self.added += delta.added;
        self.dropped += self.tombstones;
        self.dropped += delta.dropped;
        self.tombstones = delta.tombstones;
        let entry = Entry { keys, added: self.added.digest, dropped: self.dropped };
        match self.segments.back_mut() {
            Some(segment) if segment.len() < SEGMENT => segment.push(entry),
            _ => {
                let mut segment = Vec::with_capacity(SEGMENT);
                segment.push(entry);
                self.segments.push_back(segment);
            }
        }
        self.newest = self.newest.checked_add(1).expect("fewer than 2^63 revisions");
    }

    /// The keys that `revision` wrote.
    pub(super) fn keys_at(&self, revision: i64) -> &[Bytes] {
        self.entry(revision).keys.as_slice()
    }

    /// Sum of the digests of all versions written up to `revision`.
    pub(super) fn added_at(&self, revision: i64) -> u64 {
        self.entry(revision).added
    }

    /// Sum of all versions that a compaction at `revision` drops.
    pub(super) fn dropped_at(&self, revision: i64) -> Sum {
        self.entry(revision).dropped
    }

    /// Bytes of all versions ever written.
    pub(super) fn bytes_added(&self) -> u64 {
        self.added.bytes
    }

    /// Frees what is known of revisions below `revision`, as far as whole segments go.
    pub(super) fn forget_below(&mut self, revision: i64) {
        while let Some(segment) = self.segments.front()
            && self.segments.len() > 1
            && let end = self.first + i64::try_from(segment.len()).expect("a segment is small")
            && end <= revision
        {
            self.first = end;
            self.segments.pop_front();
        }
    }

    fn entry(&self, revision: i64) -> &Entry {
        let place = revision.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let first_len = self.segments.front().map_or(0, Vec::len);
        let found = place.and_then(|place| match place.checked_sub(first_len) {
            None => self.segments.front()?.get(place),
            Some(rest) => self.segments.get(1 + rest / SEGMENT)?.get(rest % SEGMENT),
        });
        let Some(entry) = found else {
            panic!("revision {revision} is outside of the log, {} to {}", self.first, self.newest)
        };
        entry
    }
}
