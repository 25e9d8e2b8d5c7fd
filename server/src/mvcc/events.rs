//! What revisions changed, for those who follow the history.

use super::{
    Revision, Store,
    history::{KeyHistory, Version},
    key_range::KeyRange,
};
use crate::{
    error::ApiError,
    proto::mvccpb::{Event, KeyValue, event::EventType},
};
use bytes::Bytes;

/// Revisions that one call looks at: what readers and writers wait for at most. A look takes some 30 ns.
const REVISIONS_MAX: i64 = 10_000;

/// A piece of history.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// In the order of their revisions, and within one of its writes.
    pub events: Vec<Event>,
    /// The first revision that was not looked at.
    pub next: i64,
}

impl Store {
    /// The changes of one revision, in the order of its writes, with the pairs as they were before where
    /// those can still be read. Costs nothing until it is asked for.
    ///
    /// # Errors
    /// [`ApiError::Compacted`] below the compaction revision, [`ApiError::FutureRevision`] above the newest.
    pub fn events(&self, revision: i64) -> Result<Vec<Event>, ApiError> {
        if revision < self.oldest() {
            return Err(ApiError::Compacted);
        }
        if revision > self.revision() {
            return Err(ApiError::FutureRevision);
        }
        Ok(self.events_within(revision, KeyRange::From(b"")))
    }

    /// The changes of a range (`key` and `range_end` as in a request) from revision `from` on. Stops behind a
    /// whole revision once the events hold `max_bytes`, or after many revisions: then `next` says where to go
    /// on. A revision is never split.
    ///
    /// # Errors
    /// [`ApiError::Compacted`] if `from` lies below the compaction revision.
    pub fn changes(
        &self,
        key: &[u8],
        range_end: &[u8],
        from: i64,
        max_bytes: usize,
    ) -> Result<Changes, ApiError> {
        if from < self.oldest() {
            return Err(ApiError::Compacted);
        }
        let range = KeyRange::new(key, range_end);
        if let KeyRange::One(key) = range {
            return Ok(self.changes_of_key(key, from, max_bytes));
        }
        let mut changes = Changes { events: Vec::new(), next: from };
        let mut bytes = 0;
        let end = self.revision().min(from.saturating_add(REVISIONS_MAX));
        while changes.next <= end && bytes < max_bytes {
            let revision = changes.next;
            changes.next += 1;
            if self.log.keys_at(revision).iter().any(|key| range.contains(key)) {
                let events = self.events_within(revision, range);
                bytes += events.iter().map(size).sum::<usize>();
                changes.events.extend(events);
            }
        }
        Ok(changes)
    }

    /// [`Store::changes`] of one key: its own history is all there is to look at.
    fn changes_of_key(&self, key: &[u8], from: i64, max_bytes: usize) -> Changes {
        let end = self.revision().max(from - 1) + 1;
        let mut changes = Changes { events: Vec::new(), next: end };
        let Some((key, history)) = self.keys.get_key_value(key) else { return changes };
        let mut last = history.written_at(from - 1);
        let mut before = last;
        let mut bytes = 0;
        let after = Revision { main: from - 1, sub: u32::MAX };
        for version in history.visible(self.compacted, i64::MAX, Some(after)) {
            if last.is_some_and(|last| last.main < version.main) {
                if bytes >= max_bytes {
                    changes.next = version.main;
                    break;
                }
                before = last;
            }
            let event = self.event(key, version, before);
            bytes += size(&event);
            changes.events.push(event);
            last = Some(version);
        }
        changes
    }

    /// The changes of one revision that the log knows, as far as they fall into a range.
    fn events_within(&self, revision: i64, range: KeyRange<'_>) -> Vec<Event> {
        let mut found: Vec<(u32, Event)> = Vec::new();
        for key in self.log.keys_at(revision).iter().filter(|key| range.contains(key)) {
            let Some(history) = self.keys.get(key) else { continue };
            self.events_of_key(key, history, revision, &mut found);
        }
        found.sort_by_key(|(sub, _)| *sub);
        found.dedup_by_key(|(sub, _)| *sub);
        found.into_iter().map(|(_, event)| event).collect()
    }

    fn events_of_key(&self, key: &Bytes, history: &KeyHistory, revision: i64, found: &mut Vec<(u32, Event)>) {
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant changes it"))]
        let mut last = revision - 1;
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::PrevKvTooOld)
            && let Some(before) = history.written_at(last)
        {
            last = before.main - 1;
        }
        let before = history.written_at(last);
        for version in history.versions_at(revision, self.compacted) {
            found.push((version.sub, self.event(key, version, before)));
        }
    }

    /// What a write changed. `before` is the key's last version of an earlier revision: as in etcd, what a
    /// transaction itself wrote before counts for nothing, and a pair that comes into being has none.
    fn event(&self, key: &Bytes, version: &Version, before: Option<&Version>) -> Event {
        let is_new = !version.is_tombstone() && version.created == version.main;
        let readable =
            before.filter(|before| !is_new && !before.is_tombstone() && version.main > self.oldest());
        let prev_kv = readable.map(|before| before.to_kv(key));
        let (kind, kv) = if version.is_tombstone() {
            let kv = KeyValue { key: key.clone(), mod_revision: version.main, ..KeyValue::default() };
            (EventType::Delete, kv)
        } else {
            (EventType::Put, version.to_kv(key))
        };
        Event { r#type: kind.into(), kv: Some(kv), prev_kv }
    }
}

/// What an event weighs: its keys and values.
fn size(event: &Event) -> usize {
    let pair = |kv: &Option<KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    pair(&event.kv) + pair(&event.prev_kv)
}
