//! Hashes of the store's contents.
//!
//! The hash of a set of versions is made from the sum of the versions' digests. A sum does not care about
//! order, so it can be kept up to date write by write: `log` remembers, for every revision, the sum of all
//! versions written up to it, and the sum of all that a compaction at it would drop. What is visible between
//! a compaction and a revision is the difference of two such sums, however far the scrub has come.

use super::{Store, history::Version};
use crate::error::ApiError;

/// A hash of the visible history, as `HashKV` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// Equal on all members that have the same history between the compaction and the revision asked for.
    pub hash: u32,
    /// Oldest readable revision; -1 before the first compaction. Hashes at different ones do not compare.
    pub compact_revision: i64,
    /// Newest revision of the store.
    pub revision: i64,
}

impl Store {
    /// Hashes the history visible at `revision` (0 or less: the newest), in constant time: the sums are kept
    /// as writes are applied. What has been damaged in memory since then shows in [`Store::hash`] only.
    ///
    /// # Errors
    /// [`ApiError::Compacted`] below the compaction revision, [`ApiError::FutureRevision`] above the newest.
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, ApiError> {
        let current = self.revision();
        if revision > current {
            return Err(ApiError::FutureRevision);
        }
        let at = if revision > 0 { revision } else { current };
        if at < self.compact_revision() {
            return Err(ApiError::Compacted);
        }
        let sum = self.log.added_at(at).wrapping_sub(self.log.dropped_at(self.oldest()).digest);
        Ok(HashKv { hash: finish(sum), compact_revision: self.compact_revision(), revision: current })
    }

    /// Hashes the whole visible store from its contents. Equals `hash_kv` of the newest revision, unless
    /// memory was damaged.
    ///
    /// Takes time in proportion to the store, about a second for 2 GB, and writers wait for it.
    pub fn hash(&self) -> u32 {
        let mut sum = 0_u64;
        for (key, history) in &self.keys {
            for version in history.visible(self.compacted, i64::MAX, None) {
                let crc = checksum(key, version.main, version.sub, &version.numbers(), &version.value);
                sum = sum.wrapping_add(digest(version.main, crc));
            }
        }
        finish(sum)
    }
}

/// CRC of all that a version says.
pub(super) fn checksum(key: &[u8], main: i64, sub: u32, numbers: &[i64; 3], value: &[u8]) -> u32 {
    let key_len = u32::try_from(key.len()).expect("keys are far smaller than 4 GiB");
    let mut head = [0_u8; 40];
    head[0..8].copy_from_slice(&main.to_le_bytes());
    head[8..12].copy_from_slice(&sub.to_le_bytes());
    head[12..16].copy_from_slice(&key_len.to_le_bytes());
    for (place, number) in head[16..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&head), key), value)
}

/// Spreads a CRC over 64 bits, so that sums of digests differ where the sets do. The constants are those of
/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(super) fn digest(main: i64, crc: u32) -> u64 {
    let mut x = main.cast_unsigned().rotate_left(32) ^ u64::from(crc);
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn finish(sum: u64) -> u32 {
    crc32c::crc32c(&sum.to_le_bytes())
}

impl Version {
    /// This version's part in the sums.
    pub(super) fn digest(&self) -> u64 {
        digest(self.main, self.crc)
    }
}
