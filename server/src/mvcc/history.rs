//! All stored versions of one key.

use super::{Revision, digest::checksum};
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use std::{collections::VecDeque, mem};

/// What a version takes beside its key and value, in the figures for the store's size: the version itself,
/// its place in the log of revisions, and the allocations' own overhead.
pub(super) const VERSION_BYTES: usize = 160;

/// One write of a key: a put, or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Main revision of the write.
    pub(super) main: i64,
    /// Its number within the revision.
    pub(super) sub: u32,
    /// Of everything else here and the key.
    pub(super) crc: u32,
    /// Main revision of the put that created the key since its last deletion; 0 in a tombstone.
    pub(super) created: i64,
    /// Puts since the creation; 0 in a tombstone.
    pub(super) number: i64,
    /// The lease that the key hangs from, 0 for none.
    pub(super) lease: i64,
    /// The value; empty in a tombstone.
    pub(super) value: Bytes,
}

impl Version {
    pub(super) fn put(key: &[u8], at: Revision, numbers: [i64; 3], value: Bytes) -> Version {
        let crc = checksum(key, at.main, at.sub, &numbers, &value);
        let [created, number, lease] = numbers;
        Version { main: at.main, sub: at.sub, crc, created, number, lease, value }
    }

    pub(super) fn tombstone(key: &[u8], at: Revision) -> Version {
        Version::put(key, at, [0; 3], Bytes::new())
    }

    pub(super) fn modified(&self) -> Revision {
        Revision { main: self.main, sub: self.sub }
    }

    /// Creation, number and lease.
    pub(super) fn numbers(&self) -> [i64; 3] {
        [self.created, self.number, self.lease]
    }

    /// Whether this write deleted the key.
    pub(super) fn is_tombstone(&self) -> bool {
        self.number == 0
    }

    /// What the version counts for in the store's size.
    pub(super) fn bytes(&self, key: &[u8]) -> u64 {
        u64::try_from(key.len() + self.value.len() + VERSION_BYTES).expect("sizes fit 64 bits")
    }

    /// As clients see it.
    pub(super) fn to_kv(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            create_revision: self.created,
            mod_revision: self.main,
            version: self.number,
            value: self.value.clone(),
            lease: self.lease,
        }
    }
}

/// The versions of one key in the order of their revisions. There is at least one.
#[derive(Debug)]
pub(super) struct KeyHistory {
    /// Apart from the others: most reads want it, and most keys have no other.
    pub(super) newest: Version,
    /// Oldest first.
    pub(super) older: VecDeque<Version>,
}

impl KeyHistory {
    pub(super) fn new(first: Version) -> KeyHistory {
        KeyHistory { newest: first, older: VecDeque::new() }
    }

    pub(super) fn push(&mut self, version: Version) {
        let newest = self.newest.modified();
        assert!(version.modified() > newest, "{version:?} follows {newest:?}");
        self.older.push_back(mem::replace(&mut self.newest, version));
    }

    /// The newest version unless it is a tombstone.
    pub(super) fn live(&self) -> Option<&Version> {
        (!self.newest.is_tombstone()).then_some(&self.newest)
    }

    /// The version that a reader at revision `main` sees, if the key exists there.
    pub(super) fn at(&self, main: i64) -> Option<&Version> {
        self.written_at(main).filter(|version| !version.is_tombstone())
    }

    /// The newest write up to revision `main`, which may be a tombstone.
    pub(super) fn written_at(&self, main: i64) -> Option<&Version> {
        if self.newest.main <= main {
            return Some(&self.newest);
        }
        let behind = self.older.partition_point(|version| version.main <= main);
        self.older.get(behind.checked_sub(1)?)
    }

    /// The versions up to revision `until` that a compaction at `compacted` leaves, oldest first; only those
    /// behind `after`, if given.
    pub(super) fn visible(
        &self,
        compacted: i64,
        until: i64,
        after: Option<Revision>,
    ) -> impl Iterator<Item = &Version> {
        let passed = after.map_or(0, |after| self.count_while(|version| version.modified() <= after));
        self.versions_from(passed.max(self.count_dropped(compacted)))
            .take_while(move |version| version.main <= until)
    }

    /// What revision `main` wrote, as far as a compaction at `compacted` leaves it.
    pub(super) fn versions_at(&self, main: i64, compacted: i64) -> impl Iterator<Item = &Version> {
        let before = self.count_while(|version| version.main < main);
        self.versions_from(before.max(self.count_dropped(compacted)))
            .take_while(move |version| version.main == main)
    }

    fn versions_from(&self, place: usize) -> impl Iterator<Item = &Version> {
        let newest = (place <= self.older.len()).then_some(&self.newest);
        self.older.range(place.min(self.older.len())..).chain(newest)
    }

    /// How many versions, from the oldest on, satisfy a condition that no later one satisfies.
    fn count_while(&self, condition: impl Fn(&Version) -> bool) -> usize {
        if condition(&self.newest) { self.older.len() + 1 } else { self.older.partition_point(condition) }
    }

    /// How many versions a compaction drops: all but the last one up to its revision, and that one too if
    /// it is a tombstone below it.
    fn count_dropped(&self, compacted: i64) -> usize {
        let reached = self.count_while(|version| version.main <= compacted);
        let Some(last) = reached.checked_sub(1) else { return 0 };
        let version = self.older.get(last).unwrap_or(&self.newest);
        if is_dropped(version, None, compacted) { reached } else { last }
    }

    /// Removes the oldest version if a compaction at `compacted` drops it; gives `Last` instead when no
    /// version at all would be left.
    pub(super) fn drop_oldest(&mut self, compacted: i64) -> Dropped {
        let Some(oldest) = self.older.front() else {
            return if is_dropped(&self.newest, None, compacted) { Dropped::Last } else { Dropped::Nothing };
        };
        let successor = self.older.get(1).unwrap_or(&self.newest);
        if !is_dropped(oldest, Some(successor), compacted) {
            // Halving at most: each version is moved a constant number of times in all.
            if self.older.len() < self.older.capacity() / 4 {
                self.older.shrink_to(self.older.len() * 2);
            }
            return Dropped::Nothing;
        }
        Dropped::Version(self.older.pop_front().expect("there is an oldest version"))
    }
}

/// What [`KeyHistory::drop_oldest`] did.
#[derive(Debug)]
pub(super) enum Dropped {
    /// The oldest version stays.
    Nothing,
    /// It is gone.
    Version(Version),
    /// Only a tombstone is left, and nobody can see it: the key itself is to go.
    Last,
}

/// Whether a compaction drops a version: nobody can read it at or above the compaction revision.
///
/// A tombstone at the compaction revision itself stays, so that who follows the history from that revision
/// on is told of the deletion.
fn is_dropped(version: &Version, successor: Option<&Version>, compacted: i64) -> bool {
    successor.is_some_and(|successor| successor.main <= compacted)
        || (version.is_tombstone() && version.main < compacted)
}
