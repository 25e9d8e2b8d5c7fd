//! Who watches what.

use super::{
    Block,
    intervals::{Edge, Intervals},
    outbox::{Item, Lagging, Outbox},
};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Names one stay of a watch on the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: u32,
    /// Slots are used again.
    generation: u32,
}

/// Events that a watch does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
}

impl Filters {
    /// Whether the event passes.
    pub fn pass(self, is_delete: bool) -> bool {
        if is_delete { !self.no_delete } else { !self.no_put }
    }
}

/// What a watch wants to be told.
#[derive(Clone, Debug)]
pub struct Interest {
    /// As in a request.
    pub key: Bytes,
    /// As in a request. The range must not be empty.
    pub range_end: Bytes,
    /// What it does not want to be told.
    pub filters: Filters,
    /// The first revision that it wants to be told of.
    pub next: i64,
}

/// A watch on the hub.
#[derive(Debug)]
struct Watcher {
    outbox: Arc<Outbox>,
    watch_id: i64,
    interest: Interest,
    /// Its place among those of the same key or range.
    place: u32,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    watcher: Option<Watcher>,
}

/// All watches that are told of new events.
#[derive(Debug, Default)]
pub(super) struct Registry {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: FxHashMap<Bytes, Vec<u32>>,
    by_range: Intervals,
    /// Every event up to this revision is in the outboxes, or its watchers know that they lag.
    pub(super) delivered: i64,
    /// Watches taken off because their outbox was full.
    pub(super) overflows: u64,
    /// Found watchers of a block: slot, and place of the event. Kept for its memory.
    found: Vec<(u32, u32)>,
}

impl Registry {
    /// Of a store at this revision.
    pub(super) fn new(revision: i64) -> Registry {
        Registry { delivered: revision, ..Registry::default() }
    }

    /// How many watches there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a watch, unless events that it wants have passed already.
    pub(super) fn join(
        &mut self,
        outbox: &Arc<Outbox>,
        watch_id: i64,
        interest: &Interest,
    ) -> Option<Ticket> {
        if interest.next <= self.delivered {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 watches")
        });
        let group = match Range::of(interest) {
            Range::Key(key) => match self.by_key.get_mut(key) {
                Some(group) => group,
                None => self.by_key.entry(key.clone()).or_default(),
            },
            Range::Between(start, end) => self.by_range.group(start, &end),
        };
        let place = u32::try_from(group.len()).expect("fewer than 2^32 watches");
        group.push(slot);
        let entry = &mut self.slots[slot as usize];
        entry.watcher =
            Some(Watcher { outbox: Arc::clone(outbox), watch_id, interest: interest.clone(), place });
        outbox.joined();
        Some(Ticket { slot, generation: entry.generation })
    }

    /// Removes a watch, if it is still there.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if self.slots[ticket.slot as usize].generation == ticket.generation
            && let Some(watcher) = self.remove(ticket.slot)
        {
            watcher.outbox.left();
        }
    }

    /// Takes off every watch that misses something where revisions up to `until` are left out.
    pub(super) fn skip(&mut self, until: i64) {
        if until <= self.delivered {
            return;
        }
        let missed = self.delivered + 1;
        for slot in 0..self.slots.len() {
            let watcher = self.slots[slot].watcher.as_ref();
            if let Some(watcher) = watcher.filter(|watcher| watcher.interest.next <= until) {
                let next = watcher.interest.next.max(missed);
                self.lag(u32::try_from(slot).expect("fewer than 2^32 watches"), next);
            }
        }
        self.delivered = until;
    }

    /// Puts the changes of the next revision into the outboxes of their watchers.
    pub(super) fn deliver(&mut self, block: &Arc<Block>, room: bool) {
        let mut found = std::mem::take(&mut self.found);
        for (at, event) in block.events.iter().enumerate() {
            let at = u32::try_from(at).expect("a revision has fewer than 2^32 writes");
            let mut find = |group: &Vec<u32>| found.extend(group.iter().map(|slot| (*slot, at)));
            if let Some(group) = self.by_key.get(event.key()) {
                find(group);
            }
            self.by_range.stab(event.key(), &mut find);
        }
        if block.events.len() > 1 {
            found.sort_unstable();
        }
        for hits in found.chunk_by(|(slot, _), (other, _)| slot == other) {
            self.offer(block, hits, room);
        }
        found.clear();
        self.found = found;
        self.delivered = block.revision;
    }

    /// Offers events of a block to one watcher: one slot, and the places of the events.
    fn offer(&mut self, block: &Arc<Block>, hits: &[(u32, u32)], room: bool) {
        let slot = hits[0].0;
        let entry = &self.slots[slot as usize];
        let Some(watcher) = &entry.watcher else { return };
        if watcher.interest.next > block.revision {
            return;
        }
        let wanted =
            |at: u32| watcher.interest.filters.pass(block.events[at as usize].is_delete()).then_some(at);
        let count = hits.iter().filter_map(|(_, at)| wanted(*at)).count();
        if count == 0 {
            return;
        }
        let picks = (count < block.events.len())
            .then(|| hits.iter().filter_map(|(_, at)| wanted(*at)).collect::<Box<[u32]>>());
        let ticket = Ticket { slot, generation: entry.generation };
        let item = Item::new(ticket, watcher.watch_id, Arc::clone(block), picks);
        if watcher.outbox.push(item, room).is_err() {
            self.overflows += 1;
            self.lag(slot, block.revision);
        }
    }

    fn lag(&mut self, slot: u32, next: i64) {
        let ticket = Ticket { slot, generation: self.slots[slot as usize].generation };
        if let Some(Watcher { outbox, watch_id, .. }) = self.remove(slot) {
            outbox.lag(Lagging { ticket, watch_id, next });
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Watcher> {
        let entry = &mut self.slots[slot as usize];
        let watcher = entry.watcher.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        let range = Range::of(&watcher.interest);
        let group = match &range {
            Range::Key(key) => self.by_key.get_mut(*key).expect("a watcher has its group"),
            Range::Between(start, end) => self.by_range.group(start, end),
        };
        let place = watcher.place as usize;
        assert_eq!(group.swap_remove(place), slot, "a watcher knows its place");
        if let Some(moved) = group.get(place) {
            let moved = self.slots[*moved as usize].watcher.as_mut();
            moved.expect("a group holds watchers").place = watcher.place;
        }
        if group.is_empty() {
            match range {
                Range::Key(key) => drop(self.by_key.remove(key)),
                Range::Between(start, end) => self.by_range.remove(start, &end),
            }
        }
        Some(watcher)
    }
}

/// The keys of an interest.
enum Range<'a> {
    Key(&'a Bytes),
    Between(&'a Bytes, Edge),
}

impl Range<'_> {
    fn of(interest: &Interest) -> Range<'_> {
        match &interest.range_end[..] {
            [] => Range::Key(&interest.key),
            [0] => Range::Between(&interest.key, Edge::End),
            _ => Range::Between(&interest.key, Edge::Key(interest.range_end.clone())),
        }
    }
}
