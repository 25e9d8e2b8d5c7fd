//! What a revision changed, for those who follow the history.

use super::{Store, history::Version};
use crate::{
    error::ApiError,
    proto::mvccpb::{Event, KeyValue, event::EventType},
};
use bytes::Bytes;

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
        let mut found: Vec<(u32, Event)> = Vec::new();
        for key in self.log.keys_at(revision) {
            let Some(history) = self.keys.get(key) else { continue };
            let mut before = history.written_at(revision - 1);
            for version in history.versions_at(revision, self.compacted) {
                found.push((version.sub, self.event(key, version, before)));
                before = Some(version);
            }
        }
        found.sort_by_key(|(sub, _)| *sub);
        found.dedup_by_key(|(sub, _)| *sub);
        Ok(found.into_iter().map(|(_, event)| event).collect())
    }

    fn event(&self, key: &Bytes, version: &Version, before: Option<&Version>) -> Event {
        let readable = before.filter(|before| !before.is_tombstone() && version.main > self.oldest());
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
