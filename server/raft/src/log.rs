//! The log of one node, held in memory from its base on.

use crate::types::{Entry, LogIndex, Payload, SnapshotMeta, Term};
use std::collections::VecDeque;

/// The entries after a base; what was before the base is in a state image.
///
/// Invariant: indexes are consecutive from `base + 1`; terms never decrease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    base_index: LogIndex,
    base_term: Term,
    entries: VecDeque<Entry>,
}

impl Payload {
    /// Size of the entry that carries this: term, index and payload.
    pub(crate) fn entry_bytes(&self) -> usize {
        16 + match self {
            Payload::Empty => 0,
            Payload::Command(command) => command.len(),
            Payload::Membership { membership, context } => {
                let nodes = membership.voters.len() + membership.outgoing.len() + membership.learners.len();
                context.len() + 8 * nodes
            }
        }
    }
}

impl Entry {
    /// Bytes that count against the limits of messages and of uncommitted entries: term, index and payload.
    pub fn size_bytes(&self) -> usize {
        self.payload.entry_bytes()
    }
}

impl Log {
    /// The log that follows an image, from entries that were checked to be consecutive and without a gap to
    /// the image. Entries that contradict the image are dropped: the image is committed, they are not.
    pub(crate) fn recover(snapshot: &SnapshotMeta, entries: Vec<Entry>) -> Log {
        let mut log = Log::after(snapshot);
        let Some(first) = entries.first() else { return log };
        if first.index == snapshot.index.next() {
            log.entries = entries.into();
            return log;
        }
        let at_snapshot = entries.get((snapshot.index.0 - first.index.0) as usize);
        if at_snapshot.is_some_and(|entry| entry.term == snapshot.term) {
            // The term before the first entry is not known, so the first entry itself becomes the base.
            (log.base_index, log.base_term) = (first.index, first.term);
            log.entries = entries.into();
            log.entries.pop_front();
        }
        log
    }

    /// An empty log that follows an image.
    pub(crate) fn after(snapshot: &SnapshotMeta) -> Log {
        Log { base_index: snapshot.index, base_term: snapshot.term, entries: VecDeque::new() }
    }

    /// Index of the first entry held, or, in an empty log, of the next one to come.
    pub fn first_index(&self) -> LogIndex {
        self.base_index.next()
    }

    /// The entry before the first: its term is still known.
    pub fn base_index(&self) -> LogIndex {
        self.base_index
    }

    /// Index of the last entry.
    pub fn last_index(&self) -> LogIndex {
        LogIndex(self.base_index.0 + self.entries.len() as u64)
    }

    /// Term of the last entry.
    pub fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |entry| entry.term)
    }

    /// Term of the entry at `index`; `None` before the base and after the end.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base_index { Some(self.base_term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// The entry at `index`, where held.
    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base_index.0)?.checked_sub(1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The entries held, in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> + DoubleEndedIterator {
        self.entries.iter()
    }

    /// The entries after `after`, up to and with `last`; all must be held.
    pub(crate) fn range(&self, after: LogIndex, last: LogIndex) -> impl ExactSizeIterator<Item = &Entry> {
        assert!(
            self.base_index <= after && after <= last && last <= self.last_index(),
            "entries after {after} to {last} are not within {} to {}",
            self.base_index,
            self.last_index()
        );
        self.entries.range(self.offset(after)..self.offset(last))
    }

    /// Consecutive entries from `from` on: as many as fit into `bytes_max`, but at least one where there is one.
    pub(crate) fn batch(&self, from: LogIndex, bytes_max: usize) -> Vec<Entry> {
        let after = LogIndex(from.0 - 1);
        let mut bytes = 0usize;
        let mut count = 0usize;
        for entry in self.range(after, self.last_index()) {
            bytes = bytes.saturating_add(entry.size_bytes());
            if count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        self.range(after, LogIndex(after.0 + count as u64)).cloned().collect()
    }

    /// The last index at or below `index` whose term is at most `term`; no further back than the base, but
    /// `index` itself where that is before the base. Terms never decrease, so this is a binary search.
    pub(crate) fn last_at_most(&self, index: LogIndex, term: Term) -> LogIndex {
        if index <= self.base_index {
            return index;
        }
        let older = self.entries.partition_point(|entry| entry.term <= term);
        index.min(LogIndex(self.base_index.0 + older as u64))
    }

    /// All entries, for what changes no index and no term.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        let (last, last_term) = (self.last_index(), self.last_term());
        assert!(entry.index == last.next(), "entry {} does not follow on {last}", entry.index);
        assert!(
            entry.term >= last_term,
            "term of entry {} fell from {last_term} to {}",
            entry.index,
            entry.term
        );
        self.entries.push_back(entry);
    }

    /// Drops the entry at `first` and all after it.
    pub(crate) fn truncate(&mut self, first: LogIndex) {
        assert!(
            first > self.base_index,
            "truncation from {first} reaches below the base, {}",
            self.base_index
        );
        self.entries.truncate(self.offset(first) - 1);
    }

    /// Drops the entries up to and with `last`, which becomes the base.
    pub(crate) fn drop_prefix(&mut self, last: LogIndex) {
        if last <= self.base_index {
            return;
        }
        let Some(term) = self.term_at(last) else {
            panic!("prefix up to {last} is not within the log, which ends at {}", self.last_index());
        };
        self.entries.drain(..self.offset(last));
        (self.base_index, self.base_term) = (last, term);
        // A long log that became short should not keep its memory.
        if self.entries.capacity() > 4 * self.entries.len().max(1024) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    fn offset(&self, index: LogIndex) -> usize {
        usize::try_from(index.0 - self.base_index.0).expect("the log is in memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Membership;

    fn snapshot(index: u64, term: u64) -> SnapshotMeta {
        SnapshotMeta { index: LogIndex(index), term: Term(term), membership: Membership::default() }
    }

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index: LogIndex(index), term: Term(term), payload: Payload::Command(vec![0; 10].into()) }
    }

    /// Entries 5 to 10 of terms 1, 1, 2, 2, 4, 4 after a base of 4 and term 1.
    fn log() -> Log {
        let terms = [1, 1, 2, 2, 4, 4];
        Log::recover(&snapshot(4, 1), (5..).zip(terms).map(|(index, term)| entry(index, term)).collect())
    }

    #[test]
    fn last_at_most_skips_whole_terms() {
        for (index, term, want, why) in [
            (10, 4, 10, "the term there is not larger"),
            (10, 3, 8, "skips all of term 4"),
            (9, 2, 8, "ends where term 2 ends"),
            (7, 2, 7, "no further than asked"),
            (10, 1, 6, "skips terms 4 and 2"),
            (10, 0, 4, "no further than the base"),
            (3, 0, 3, "before the base nothing is known"),
        ] {
            assert_eq!(log().last_at_most(LogIndex(index), Term(term)), LogIndex(want), "{why}");
        }
    }

    #[test]
    fn batch_holds_at_least_one_entry_and_at_most_the_bytes() {
        for (from, bytes_max, want, why) in [
            (5, 1, 1, "a larger entry travels alone"),
            (5, 52, 2, "two of 26 bytes fit exactly"),
            (5, 77, 2, "a third would not fit"),
            (9, 1000, 2, "no more than there are"),
            (11, 1000, 0, "none after the end"),
        ] {
            assert_eq!(log().batch(LogIndex(from), bytes_max).len(), want, "{why}");
        }
    }

    #[test]
    fn recovery_prefers_the_image() {
        for (snapshot, base, last, why) in [
            (snapshot(4, 1), 4, 10, "the log begins right after the image"),
            (snapshot(7, 2), 5, 10, "kept entries before the image's end stay"),
            (snapshot(7, 3), 7, 7, "a log that contradicts the image is dropped"),
            (snapshot(12, 4), 12, 12, "a log that ends before the image is dropped"),
        ] {
            let entries = log().entries().cloned().collect();
            let log = Log::recover(&snapshot, entries);
            assert_eq!((log.base_index(), log.last_index()), (LogIndex(base), LogIndex(last)), "{why}");
            assert!(log.term_at(LogIndex(base)).is_some(), "{why}");
        }
    }

    #[test]
    fn dropping_a_prefix_keeps_the_base_term() {
        let mut log = log();
        log.drop_prefix(LogIndex(8));
        assert_eq!(log.term_at(LogIndex(8)), Some(Term(2)));
        assert_eq!(log.term_at(LogIndex(7)), None);
        assert_eq!(log.get(LogIndex(8)), None);
        assert_eq!(log.first_index(), LogIndex(9));
        log.truncate(LogIndex(9));
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(8), Term(2)));
    }
}
