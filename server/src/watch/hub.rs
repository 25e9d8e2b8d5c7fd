//! Where events and watchers meet.

use super::{
    Block, Outbox,
    registry::{Interest, Registry, Ticket},
};
use crate::{metrics::Counter, proto::mvccpb::Event, state_machine::RevisionEvents};
use parking_lot::{Condvar, Mutex};
use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use tokio::sync::watch;

/// Bytes of events that may be held for all streams together. Beyond, streams that have anything to send
/// already are left to read history.
const RETAINED_BYTES_MAX: usize = 256 << 20;
/// Of these, how much may wait for the hub itself.
const INBOX_BYTES_MAX: usize = 64 << 20;

/// Takes in what was changed, and passes it to those who watch. Shared by all threads.
#[derive(Debug)]
pub struct Hub {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    registry: Mutex<Registry>,
    /// Whether there is any watcher: without, nobody needs to make events.
    watched: AtomicBool,
    delivered: watch::Sender<i64>,
    retained: Arc<AtomicUsize>,
    /// Streams there are.
    pub streams: Counter,
    /// Watches that read history, of all streams.
    slow: Counter,
    /// Events that were put into outboxes or read from history.
    pub events: Counter,
}

#[derive(Debug, Default)]
struct Inbox {
    blocks: Vec<Arc<Block>>,
    bytes: usize,
    newest: i64,
    /// Somebody watches: `newest` is worth a look.
    wanted: bool,
    stop: bool,
}

/// A watch that reads history: it is not on the hub, or not any more.
#[derive(Debug)]
pub struct Slow(Arc<Hub>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.slow.sub(1);
    }
}

impl Hub {
    /// A hub of a store at this revision.
    pub fn new(revision: i64) -> Hub {
        let registry = Registry::new(revision);
        Hub {
            inbox: Mutex::new(Inbox { newest: revision, ..Inbox::default() }),
            wake: Condvar::new(),
            registry: Mutex::new(registry),
            watched: AtomicBool::new(false),
            delivered: watch::Sender::new(revision),
            retained: Arc::default(),
            streams: Counter::default(),
            slow: Counter::default(),
            events: Counter::default(),
        }
    }

    /// Whether anybody watches. What is published without its events is read from history where it is needed.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Acquire)
    }

    /// The store is at revision `newest` now; this is what the revisions on the way changed, as far as it is
    /// known. Never waits for a watcher.
    pub fn publish(&self, newest: i64, changes: Vec<RevisionEvents>) {
        let block =
            |changes: RevisionEvents| Arc::new(Block::new(changes.revision, changes.events, &self.retained));
        let blocks: Vec<Arc<Block>> = changes.into_iter().map(block).collect();
        let bytes: usize = blocks.iter().map(|block| block.bytes()).sum();
        let mut inbox = self.inbox.lock();
        inbox.newest = newest;
        let wanted = inbox.wanted;
        if !wanted {
            inbox.blocks.clear();
            inbox.bytes = 0;
        } else if inbox.bytes + bytes <= INBOX_BYTES_MAX {
            inbox.bytes += bytes;
            inbox.blocks.extend(blocks);
        }
        drop(inbox);
        if wanted {
            self.wake.notify_one();
        }
    }

    /// Passes on what is published, on the calling thread, until [`stop`](Self::stop).
    pub fn run(&self) {
        loop {
            let mut inbox = self.inbox.lock();
            while !(inbox.stop || inbox.wanted && self.is_behind(&inbox)) {
                self.wake.wait(&mut inbox);
            }
            if inbox.stop {
                return;
            }
            drop(inbox);
            self.pass_on();
        }
    }

    /// Ends [`run`](Self::run).
    pub fn stop(&self) {
        self.inbox.lock().stop = true;
        self.wake.notify_all();
    }

    /// Passes on what is published so far.
    pub fn pass_on(&self) {
        let mut inbox = self.inbox.lock();
        let blocks = std::mem::take(&mut inbox.blocks);
        inbox.bytes = 0;
        let newest = inbox.newest;
        drop(inbox);
        for block in blocks {
            let room = self.retained.load(Relaxed) < RETAINED_BYTES_MAX;
            let mut registry = self.registry.lock();
            if block.revision <= registry.delivered {
                continue;
            }
            registry.skip(block.revision - 1);
            registry.deliver(&block, room);
            drop(registry);
            self.events.add(block.events.len() as u64);
        }
        let mut registry = self.registry.lock();
        registry.skip(newest);
        self.delivered.send_if_modified(|delivered| {
            let advanced = registry.delivered > *delivered;
            *delivered = registry.delivered;
            advanced
        });
    }

    /// Puts a watch on the hub: from now on its events come to the outbox. `None` if events that it wants have
    /// passed already: they must be read from history first.
    pub fn join(&self, outbox: &Arc<Outbox>, watch_id: i64, interest: &Interest) -> Option<Ticket> {
        let mut registry = self.registry.lock();
        let ticket = registry.join(outbox, watch_id, interest)?;
        if !self.watched.swap(true, Release) {
            self.inbox.lock().wanted = true;
            self.wake.notify_one();
        }
        Some(ticket)
    }

    /// Takes a watch off the hub, if it is still there.
    pub fn leave(&self, ticket: Ticket) {
        let mut registry = self.registry.lock();
        registry.leave(ticket);
        if registry.len() == 0 {
            // Before anybody can join again.
            self.watched.store(false, Release);
            self.inbox.lock().wanted = false;
        }
    }

    /// Every event up to this revision is in the outboxes of those on the hub.
    pub fn delivered(&self) -> watch::Receiver<i64> {
        self.delivered.subscribe()
    }

    /// Makes a block of events that were read from history.
    pub fn block(&self, revision: i64, events: Vec<Event>) -> Arc<Block> {
        self.events.add(events.len() as u64);
        Arc::new(Block::new(revision, events, &self.retained))
    }

    /// Counts a watch that reads history, as long as what it gets lives.
    pub fn slow(self: &Arc<Self>) -> Slow {
        self.slow.inc();
        Slow(Arc::clone(self))
    }

    /// Watches that read history.
    pub fn slow_count(&self) -> u64 {
        self.slow.get()
    }

    /// Watches on the hub, and how often one was taken off because its outbox was full.
    pub fn load(&self) -> (usize, u64) {
        let registry = self.registry.lock();
        (registry.len(), registry.overflows)
    }

    /// Bytes of events that are held for streams.
    pub fn retained_bytes(&self) -> usize {
        self.retained.load(Relaxed)
    }

    fn is_behind(&self, inbox: &Inbox) -> bool {
        !inbox.blocks.is_empty() || inbox.newest > *self.delivered.borrow()
    }
}
