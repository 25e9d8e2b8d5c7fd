//! Changes that many are told of, encoded once.

use crate::proto::mvccpb::{Event, event::EventType};
use bytes::Bytes;
use prost::Message as _;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What an event takes in memory beside its keys and values.
const EVENT_BYTES: usize = 256;

/// Some changes, in order: those of one revision, or a piece of history.
#[derive(Debug)]
pub struct Block {
    /// The newest revision in it.
    pub revision: i64,
    /// The changes.
    pub events: Box<[Shared]>,
    bytes: usize,
    retained: Arc<AtomicUsize>,
}

impl Block {
    /// Makes a block that counts itself in `retained` as long as it lives.
    pub(super) fn new(revision: i64, events: Vec<Event>, retained: &Arc<AtomicUsize>) -> Block {
        let events: Box<[Shared]> = events.into_iter().map(Shared::new).collect();
        let bytes = events.iter().map(Shared::bytes).sum();
        retained.fetch_add(bytes, Relaxed);
        Block { revision, events, bytes, retained: Arc::clone(retained) }
    }

    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.retained.fetch_sub(self.bytes, Relaxed);
    }
}

/// One change.
#[derive(Debug)]
pub struct Shared {
    event: Event,
    bare: OnceLock<Bytes>,
    with_prev: OnceLock<Bytes>,
}

impl Shared {
    fn new(event: Event) -> Shared {
        Shared { event, bare: OnceLock::new(), with_prev: OnceLock::new() }
    }

    /// The key that was changed.
    pub fn key(&self) -> &[u8] {
        self.event.kv.as_ref().map_or(&[], |kv| &kv.key)
    }

    /// The revision that changed it.
    pub fn revision(&self) -> i64 {
        self.event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
    }

    /// Whether it was deleted.
    pub fn is_delete(&self) -> bool {
        self.event.r#type == i32::from(EventType::Delete)
    }

    /// The event, with the pair as it was before or without.
    pub fn event(&self, prev_kv: bool) -> Event {
        let mut event = self.event.clone();
        event.prev_kv = event.prev_kv.filter(|_| prev_kv);
        event
    }

    /// The event's encoding, with the pair as it was before or without. Made when it is first asked for.
    pub fn wire(&self, prev_kv: bool) -> &Bytes {
        let cell = if prev_kv && self.event.prev_kv.is_some() { &self.with_prev } else { &self.bare };
        cell.get_or_init(|| self.event(prev_kv).encode_to_vec().into())
    }

    fn bytes(&self) -> usize {
        self.event.encoded_len() + EVENT_BYTES
    }
}
