//! What a stream has not sent yet.

use super::{Block, registry::Ticket};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::Notify;

/// Items that may wait, beside a few for each watch of the stream.
const ITEMS_MAX: usize = 1024;
/// Items that may wait for each watch of the stream.
const ITEMS_PER_WATCH: usize = 4;
/// Bytes of events that may wait.
const BYTES_MAX: usize = 4 << 20;

/// The queue between the hub and one stream: bounded, and never waited for by the hub.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    watches: usize,
    lagging: Vec<Lagging>,
}

/// Events for one watch.
#[derive(Debug)]
pub struct Item {
    /// The watch, as it joined.
    pub ticket: Ticket,
    /// The id that the stream gave with it.
    pub watch_id: i64,
    /// Where the events are.
    pub block: Arc<Block>,
    /// Which of the block's events; `None` for all.
    pub picks: Option<Box<[u32]>>,
    bytes: usize,
}

impl Item {
    pub(super) fn new(ticket: Ticket, watch_id: i64, block: Arc<Block>, picks: Option<Box<[u32]>>) -> Item {
        Item { ticket, watch_id, block, picks, bytes: 0 }
    }
}

/// A watch that was taken off the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagging {
    /// The watch, as it had joined.
    pub ticket: Ticket,
    /// The id that the stream gave with it.
    pub watch_id: i64,
    /// The first revision of which it was not told.
    pub next: i64,
}

impl Outbox {
    /// Queues an item, or gives it back if there is no room. `room` is false where what all streams together
    /// hold has reached its bound: then only an empty outbox takes anything.
    pub(super) fn push(&self, mut item: Item, room: bool) -> Result<(), Item> {
        let mut state = self.state.lock();
        let full = state.items.len() >= ITEMS_MAX + ITEMS_PER_WATCH * state.watches
            || state.bytes >= BYTES_MAX
            || !(room || state.items.is_empty());
        if full {
            return Err(item);
        }
        // A block that several watches of the stream wait for is held once.
        let known = state.items.back().is_some_and(|last| Arc::ptr_eq(&last.block, &item.block));
        item.bytes = if known { 0 } else { item.block.bytes() };
        state.bytes += item.bytes;
        state.items.push_back(item);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    pub(super) fn joined(&self) {
        self.state.lock().watches += 1;
    }

    pub(super) fn left(&self) {
        self.state.lock().watches -= 1;
    }

    pub(super) fn lag(&self, lagging: Lagging) {
        let mut state = self.state.lock();
        state.watches -= 1;
        state.lagging.push(lagging);
        drop(state);
        self.ready.notify_one();
    }

    /// Takes the oldest item, and with it those behind it that are for the same watch, as long as they have
    /// less than `max_bytes` in all.
    pub fn take(&self, max_bytes: usize, into: &mut Vec<Item>) {
        let mut state = self.state.lock();
        let mut bytes = 0;
        while let Some(item) = state.items.front() {
            let more = into.last().is_none_or(|last| last.ticket == item.ticket && bytes < max_bytes);
            if !more {
                break;
            }
            bytes += item.block.bytes();
            let item = state.items.pop_front().expect("there is a first item");
            state.bytes -= item.bytes;
            into.push(item);
        }
    }

    /// Takes the watches that were taken off the hub. To be called once all items are taken: the items of
    /// these watches come before what they missed.
    pub fn take_lagging(&self) -> Vec<Lagging> {
        let mut state = self.state.lock();
        if state.items.is_empty() { std::mem::take(&mut state.lagging) } else { Vec::new() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.items.is_empty() && state.lagging.is_empty()
    }

    /// Returns once something waits. Only one may wait for it.
    pub async fn ready(&self) {
        while self.is_empty() {
            self.ready.notified().await;
        }
    }
}
