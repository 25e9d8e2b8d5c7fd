//! Forgetting history: at once for readers, bit by bit in memory.

use super::{Store, history::Dropped, write::header};
use crate::{error::ApiError, proto::etcdserverpb::CompactionResponse};
use std::sync::Arc;

/// How far the scrub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrub {
    /// Nothing is left to do.
    Done,
    /// There is more to do.
    More,
    /// Nothing was done, because an image is being written.
    Pinned,
}

impl Store {
    /// Makes `revision` the oldest readable one. Superseded versions stay in memory until they are scrubbed,
    /// but no answer, hash or image shows them.
    ///
    /// # Errors
    /// [`ApiError::Compacted`] at or below the last compaction, [`ApiError::FutureRevision`] above the newest
    /// revision.
    pub fn compact(&mut self, revision: i64) -> Result<CompactionResponse, ApiError> {
        if revision <= self.compacted {
            return Err(ApiError::Compacted);
        }
        if revision > self.revision() {
            return Err(ApiError::FutureRevision);
        }
        if self.scrub_next.0 == self.compacted {
            // The keys that this revision deleted were kept, and are not kept any longer.
            self.scrub_next.1 = 0;
        }
        self.compacted = revision;
        Ok(CompactionResponse { header: header(self.revision()) })
    }

    /// Whether everything that the last compaction superseded is gone from memory.
    pub fn compaction_done(&self) -> bool {
        self.scrubbed == self.compacted
    }

    /// Frees superseded versions, in up to `budget` steps. To be called between writes, with a budget that they
    /// can wait for: a step takes 0.1 to 3 microseconds, the more the larger the store.
    ///
    /// Work is in proportion to the revisions compacted and what they superseded, not to the store.
    pub fn scrub(&mut self, budget: usize) -> Scrub {
        if self.compaction_done() {
            return Scrub::Done;
        }
        if Arc::strong_count(&self.pin) > 1 {
            return Scrub::Pinned;
        }
        let mut left = budget;
        let until = self.compacted;
        loop {
            let (revision, place) = self.scrub_next;
            if revision > until {
                break;
            }
            if left == 0 {
                return Scrub::More;
            }
            left -= 1;
            match self.log.keys_at(revision).get(place) {
                None => {
                    self.scrub_next = (revision + 1, 0);
                    self.log.forget_below((revision + 1).min(until));
                }
                Some(key) => {
                    let key = key.clone();
                    if self.scrub_key(&key, &mut left) {
                        self.scrub_next = (revision, place + 1);
                    }
                }
            }
        }
        // Its tombstones stay for now: the next compaction comes back for them.
        self.scrub_next = (self.oldest(), 0);
        self.scrubbed = self.compacted;
        Scrub::Done
    }

    /// Frees superseded versions of one key; false if some are left.
    fn scrub_key(&mut self, key: &[u8], left: &mut usize) -> bool {
        let Some(history) = self.keys.get_mut(key) else {
            // A later write of the same key has been scrubbed before it.
            return true;
        };
        let until = self.compacted;
        #[cfg(feature = "plant")]
        let until = until + i64::from(crate::plant::is(crate::plant::Plant::CompactionFreesOneMore));
        loop {
            match history.drop_oldest(until) {
                Dropped::Nothing => return true,
                Dropped::Version(version) => self.held_bytes -= version.bytes(key),
                Dropped::Last => {
                    self.held_bytes -= history.newest.bytes(key);
                    self.keys.remove(key);
                    return true;
                }
            }
            if *left == 0 {
                return false;
            }
            *left -= 1;
        }
    }
}
