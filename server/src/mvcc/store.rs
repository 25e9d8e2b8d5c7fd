//! The store itself, and what it says about itself.

use super::{
    history::{KeyHistory, Version},
    key_range::KeyRange,
    log::{Keys, RevisionLog, Sum},
};
#[cfg(feature = "plant")]
use crate::plant::Plant;
use bytes::Bytes;
use std::{collections::BTreeMap, mem, sync::Arc};

/// The revision of an empty store; the first write makes the next one.
pub(super) const FIRST_REVISION: i64 = 1;

/// The compaction revision before the first compaction, as `HashKV` shows it.
pub(super) const NOT_COMPACTED: i64 = -1;

/// A key that hangs from another lease than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The key.
    pub key: Bytes,
    /// The lease it hung from, 0 for none.
    pub from: i64,
    /// The lease it hangs from, 0 for none.
    pub to: i64,
}

/// A multi-version key-value store in memory.
#[derive(Debug)]
pub struct Store {
    /// Every key that has a version, deleted ones too.
    pub(super) keys: BTreeMap<Bytes, KeyHistory>,
    pub(super) log: RevisionLog,
    /// Revision of the last compaction.
    pub(super) compacted: i64,
    /// The compaction whose superseded versions are all gone from memory.
    pub(super) scrubbed: i64,
    /// Where the scrub goes on: a revision, and the place of a key among its writes.
    pub(super) scrub_next: (i64, usize),
    /// Bytes of the versions in memory.
    pub(super) held_bytes: u64,
    /// What was written in this process: not part of the state.
    pub(super) written: Written,
    /// Keys that came to hang from a lease, or from another or none, since somebody asked.
    pub(super) moved: Vec<Moved>,
    /// Also held by every image that is being written: while there is one, nothing is scrubbed.
    pub(super) pin: Arc<()>,
    #[cfg(feature = "plant")]
    plant: Option<Plant>,
}

/// How much was written since this value was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Puts.
    pub puts: u64,
    /// Requests to delete, and operations of transactions that do.
    pub deletes: u64,
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

impl Store {
    /// An empty store, at revision 1.
    pub fn new() -> Store {
        let log = RevisionLog::new(FIRST_REVISION, Keys::from(Vec::new()), Sum::default(), Sum::default());
        Store::from_parts(BTreeMap::new(), log, NOT_COMPACTED)
    }

    /// A store that holds exactly what a compaction at `compacted` leaves.
    pub(super) fn from_parts(keys: BTreeMap<Bytes, KeyHistory>, log: RevisionLog, compacted: i64) -> Store {
        Store {
            keys,
            compacted,
            scrubbed: compacted,
            scrub_next: (log.first(), 0),
            held_bytes: log.bytes_added(),
            log,
            written: Written::default(),
            moved: Vec::new(),
            pin: Arc::new(()),
            #[cfg(feature = "plant")]
            plant: None,
        }
    }

    /// The newest revision: 1 in an empty store.
    pub fn revision(&self) -> i64 {
        self.log.newest()
    }

    /// The oldest readable revision; -1 before the first compaction.
    pub fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// How much was written in this process.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Keys that exist now. Takes time in proportion to all that ever did.
    pub fn key_count(&self) -> usize {
        self.keys.values().filter(|history| history.at(i64::MAX).is_some()).count()
    }

    /// Bytes that a store takes which holds nothing: clients are told of a size that is never 0, as etcd's is not.
    pub const EMPTY_BYTES: u64 = size_of::<Store>() as u64;

    /// Bytes that keys, values and their index take in memory, superseded versions that wait to be scrubbed
    /// included. An estimate: the index is counted with a fixed amount a version.
    pub fn size_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Like `size_bytes`, without what waits to be scrubbed.
    pub fn size_in_use_bytes(&self) -> u64 {
        self.log.bytes_added() - self.log.dropped_at(self.oldest()).bytes
    }

    /// Which keys the writes since the last call hung from another lease, in their order.
    pub fn take_moved(&mut self) -> Vec<Moved> {
        mem::take(&mut self.moved)
    }

    /// All keys that hang from a lease, with it, in key order.
    pub fn leased(&self) -> impl Iterator<Item = (&Bytes, i64)> {
        let all = self.visible(KeyRange::From(b""), i64::MAX);
        all.filter(|(_, version)| version.lease != 0).map(|(key, version)| (key, version.lease))
    }

    /// The first revision whose writes the log still knows for sure.
    pub(super) fn oldest(&self) -> i64 {
        self.compacted.max(FIRST_REVISION)
    }

    /// The keys of the range that exist at revision `at`, in key order.
    pub(super) fn visible(
        &self,
        range: KeyRange<'_>,
        at: i64,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Version)> {
        self.histories(range).filter_map(move |(key, history)| Some((key, history.at(at)?)))
    }

    /// The keys of the range that have any version, in key order.
    pub(super) fn histories(
        &self,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &KeyHistory)> {
        let one = range.one().and_then(|key| self.keys.get_key_value(key));
        let many = range.bounds().map(|bounds| self.keys.range::<[u8], _>(bounds));
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether this planted bug is in force.
    #[cfg(feature = "plant")]
    pub(super) fn planted(&self, plant: Plant) -> bool {
        self.plant == Some(plant) || crate::plant::is(plant)
    }

    /// Chooses the planted bug of this store.
    #[cfg(feature = "plant")]
    pub fn set_plant(&mut self, plant: Option<Plant>) {
        self.plant = plant;
    }
}
