//! The events of a store, put together from what clients were told.

use rustc_hash::{FxHashMap, FxHashSet};

use super::observed::{Act, Event, EventKind, Watch};
use crate::history::OpId;

/// A write of a history, as its writer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its operation.
    pub id: OpId,
    /// What it does, at one revision.
    pub acts: Vec<Act>,
    /// Where it stands, if it was acknowledged, and which of its acts changed something.
    pub done: Option<(i64, Vec<bool>)>,
    /// Whether it failed for certain.
    pub failed: bool,
}

/// An event that surely happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its revision.
    pub rev: i64,
    /// The key.
    pub key: &'a str,
    /// What it does.
    pub kind: EventKind,
    /// The value that was put.
    pub value: Option<i64>,
    /// The operation that tells: the write where it was acknowledged, else the first watch that saw it.
    pub told_by: OpId,
    /// How often the key had been written since its creation, where somebody saw that.
    pub version: i64,
}

/// All events that surely happened, by revision and key.
#[derive(Clone, Debug, Default)]
pub struct Log<'a> {
    entries: Vec<Entry<'a>>,
    /// The place of the event before it on the same key, of each.
    before: Vec<Option<u32>>,
    /// Writers of values, and whether they failed for certain.
    writers: FxHashMap<(&'a str, i64), (OpId, bool)>,
    /// Keys that a write of unknown outcome deletes.
    perhaps_deleted: FxHashSet<&'a str>,
    /// Revisions of acknowledged writes, each once.
    acknowledged: Vec<i64>,
    /// Revisions that a compaction was asked for.
    compactions: Vec<i64>,
}

impl<'a> Log<'a> {
    /// Puts the log together. Of events that contradict each other, the writer's word counts, then the earliest
    /// watch's.
    pub fn new(writes: &'a [Write], watches: &[Watch<'a>], compactions: Vec<i64>) -> Log<'a> {
        let mut log = Log { compactions, ..Log::default() };
        // The order of evidence: writers first.
        let mut rows: Vec<(u32, Entry<'a>)> = Vec::new();
        for write in writes {
            for (at, act) in write.acts.iter().enumerate() {
                match act {
                    Act::Put { key, value } => {
                        log.writers.insert((key, *value), (write.id, write.failed));
                    }
                    Act::Delete { key } if write.done.is_none() && !write.failed => {
                        log.perhaps_deleted.insert(key);
                    }
                    Act::Delete { .. } => {}
                }
                let Some((rev, changed)) = &write.done else { continue };
                let last = write.acts[at + 1..].iter().all(|later| later.key() != act.key());
                if changed.get(at).copied().unwrap_or(true) && last {
                    let (kind, value) = match act {
                        Act::Put { value, .. } => (EventKind::Put, Some(*value)),
                        Act::Delete { .. } => (EventKind::Delete, None),
                    };
                    let (rev, key, told_by) = (*rev, act.key(), write.id);
                    rows.push((0, Entry { rev, key, kind, value, told_by, version: 0 }));
                }
            }
        }
        log.acknowledged = rows.iter().map(|(_, entry)| entry.rev).collect();
        log.acknowledged.sort_unstable();
        log.acknowledged.dedup();
        for (at, watch) in watches.iter().enumerate() {
            let rank = 1 + u32::try_from(at).unwrap_or(u32::MAX);
            rows.extend(watch.events().map(|event| {
                let &Event { kind, ref key, value, mod_revision: rev, version, .. } = event;
                (rank, Entry { rev, key, kind, value, told_by: watch.id, version })
            }));
        }
        rows.sort_by(|(rank, one), (other_rank, other)| {
            (one.rev, one.key, rank).cmp(&(other.rev, other.key, other_rank))
        });
        for (_, entry) in rows {
            match log.entries.last_mut() {
                Some(last) if (last.rev, last.key) == (entry.rev, entry.key) => {
                    if last.version == 0 {
                        last.version = entry.version;
                    }
                }
                Some(_) | None => log.entries.push(entry),
            }
        }
        log.link();
        log
    }

    fn link(&mut self) {
        let mut newest: FxHashMap<&str, u32> = FxHashMap::default();
        for (at, entry) in (0..).zip(&self.entries) {
            self.before.push(newest.insert(entry.key, at));
        }
    }

    /// All events, by revision and key.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// Events from one revision up to another, both included.
    pub fn between(&self, from: i64, to: i64) -> &[Entry<'a>] {
        let first = self.entries.partition_point(|entry| entry.rev < from);
        let last = self.entries.partition_point(|entry| entry.rev <= to);
        self.entries.get(first..last).unwrap_or_default()
    }

    /// The event at a revision on a key.
    pub fn find(&self, rev: i64, key: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| (entry.rev, entry.key).cmp(&(rev, key))).ok()
    }

    /// The known event before one, on the same key.
    pub fn before(&self, at: usize) -> Option<&Entry<'a>> {
        self.before[at].map(|before| &self.entries[before as usize])
    }

    /// Whether a key may have been deleted between two revisions without anybody having been told: by a write of unknown
    /// outcome, at a revision that no other took.
    pub fn may_be_deleted_between(&self, key: &str, after: i64, before: i64) -> bool {
        let below = |rev: i64| self.acknowledged.partition_point(|known| *known < rev);
        let taken = below(before).saturating_sub(below(after + 1));
        self.perhaps_deleted.contains(key) && (taken as i64) < before - after - 1
    }

    /// Who wrote a value to a key, and whether that failed for certain.
    pub fn writer(&self, key: &str, value: i64) -> Option<(OpId, bool)> {
        self.writers.get(&(key, value)).copied()
    }

    /// Whether a compaction at this revision, or a later one, was asked for.
    pub fn may_be_compacted(&self, rev: i64) -> bool {
        self.compactions.iter().any(|compaction| *compaction >= rev)
    }
}
