//! The thread that applies what was committed, and answers.

use super::{
    images,
    queue::Queue,
    shared::{Event, Shared},
};
use crate::{
    disk::{Files, Images},
    error::ApiError,
    lease::Change,
    mvcc::Scrub,
    replica::{Answers, Applier, Batch, Decided},
};
use parking_lot::RwLockWriteGuard;
use raft::types::{Entry, LogIndex, Payload, SnapshotMeta};
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

/// Entries applied under one lock: readers get their turn in between.
const BATCH_ENTRIES: usize = 256;
/// Superseded versions freed under one lock.
const SCRUB_BUDGET: usize = 1000;
/// How often a scrub is tried again while an image pins the state.
const SCRUB_RETRY: Duration = Duration::from_millis(20);
/// A batch that takes longer is counted as slow. As etcd.
const SLOW: Duration = Duration::from_millis(100);

/// What the apply thread is told.
#[derive(Debug)]
pub(super) enum Work {
    /// Apply these.
    Entries(Vec<Entry>),
    /// Serve these reads once their index is applied.
    Reads(Decided),
    /// Refuse these proposals, unless what was applied before answered them.
    Lost(Vec<u64>),
    /// Replace the state by this image.
    Install(SnapshotMeta),
    /// Stop.
    Stop,
}

pub(super) struct ApplyLoop<F: Files> {
    pub(super) shared: Arc<Shared>,
    pub(super) applier: Applier,
    pub(super) images: Images<F>,
    pub(super) work: Arc<Queue<Work>>,
    pub(super) snapshots: Snapshots,
    /// Of the roster that was published last.
    pub(super) roster_version: u64,
}

/// When the next image is due.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// Where the newest image ends.
    last: LogIndex,
    /// Bytes of commands applied since then.
    bytes_since: u64,
    /// Size of the last image that was written.
    image_bytes: Arc<AtomicU64>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Snapshots {
    pub(super) fn new(last: LogIndex) -> Snapshots {
        Snapshots { last, bytes_since: 0, image_bytes: Arc::default(), writer: None }
    }
}

impl<F: Files> ApplyLoop<F> {
    /// Runs until stopped. An error means that the node must stop.
    pub(super) fn run(mut self) -> Result<(), images::LoadError> {
        let mut answers = Answers::default();
        let mut work = Vec::new();
        let mut scrub = Scrub::Done;
        loop {
            let deadline = match scrub {
                Scrub::Done => None,
                Scrub::More => Some(Instant::now()),
                Scrub::Pinned => Some(Instant::now() + SCRUB_RETRY),
            };
            self.work.take(&mut work, deadline, false);
            let mut entries = Vec::new();
            for item in work.drain(..) {
                match item {
                    Work::Entries(more) if entries.is_empty() => entries = more,
                    Work::Entries(more) => entries.extend(more),
                    Work::Reads(decided) => self.applier.wait(decided, &mut answers),
                    Work::Lost(numbers) => {
                        self.apply(std::mem::take(&mut entries), &mut answers);
                        let refused = numbers.into_iter().map(|number| (number, ApiError::NoLeader));
                        self.shared.waiters.refuse(refused.collect());
                    }
                    Work::Install(meta) => {
                        self.apply(std::mem::take(&mut entries), &mut answers);
                        self.install(meta, &mut answers)?;
                    }
                    Work::Stop => {
                        if let Some(writer) = self.snapshots.writer.take() {
                            let _ = writer.join();
                        }
                        return Ok(());
                    }
                }
            }
            self.apply(entries, &mut answers);
            self.shared.waiters.answer(&mut answers);
            scrub = self.scrub();
        }
    }

    fn apply(&mut self, mut entries: Vec<Entry>, answers: &mut Answers) {
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(BATCH_ENTRIES));
            let bytes: usize = entries
                .iter()
                .map(|entry| match &entry.payload {
                    Payload::Command(command) => command.len(),
                    Payload::Empty | Payload::Membership { .. } => 0,
                })
                .sum();
            self.snapshots.bytes_since += bytes as u64;
            let batch = Batch::prepare(std::mem::replace(&mut entries, rest));
            let begun = Instant::now();
            let mut state = self.shared.state.write();
            state.record_events(self.shared.hub.is_watched());
            self.applier.apply(&mut state, batch, answers);
            let (news, revision) = (state.take_news(), state.kv().revision());
            RwLockWriteGuard::unlock_fair(state);
            // Before anybody learns that it is applied.
            self.shared.leases.note(&news.leases);
            for change in &news.leases {
                match change {
                    Change::Granted { .. } => self.shared.metrics.leases_granted.inc(),
                    Change::Ended { .. } => self.shared.metrics.leases_revoked.inc(),
                }
            }
            self.shared.hub.publish(revision, news.events);
            self.applied();
            self.shared.waiters.answer(answers);
            if begun.elapsed() >= SLOW {
                self.shared.metrics.slow_apply.inc();
            }
            self.maybe_write_image();
        }
    }

    fn applied(&mut self) {
        self.publish();
        let applied = self.applier.applied();
        self.shared.status.set_applied(applied);
        self.shared.metrics.proposals_applied.set(applied.0);
    }

    /// Tells everybody what the state has become, as far as it is asked for all the time.
    fn publish(&mut self) {
        let state = self.shared.state.read();
        self.shared.auth_enabled.store(state.auth().enabled, Relaxed);
        self.shared.size_bytes.store(state.kv().size_bytes(), Relaxed);
        if state.roster_version() == self.roster_version {
            return;
        }
        self.roster_version = state.roster_version();
        let roster = Arc::new(state.roster().clone());
        drop(state);
        *self.shared.roster.write() = roster.clone();
        self.shared.events.push(Event::Roster(roster));
    }

    fn scrub(&self) -> Scrub {
        let mut state = self.shared.state.write();
        let scrub = state.scrub(SCRUB_BUDGET);
        self.shared.size_bytes.store(state.kv().size_bytes(), Relaxed);
        RwLockWriteGuard::unlock_fair(state);
        scrub
    }

    fn install(&mut self, meta: SnapshotMeta, answers: &mut Answers) -> Result<(), images::LoadError> {
        let index = meta.index;
        self.shared.metrics.image_installs.inc();
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut state = images::load(&self.images, index, &self.shared.options.roster)?;
        #[cfg(feature = "plant")]
        state.set_plant(self.shared.options.plant);
        let mut held = self.shared.state.write();
        self.shared.generation.fetch_add(1, Release);
        let revision = state.kv().revision();
        let old = std::mem::replace(&mut *held, state);
        drop(held);
        // Whoever watches reads on from the new state's history. Leases are the leader's, and this is none.
        self.shared.hub.publish(revision, Vec::new());
        drop(old); // may be large: not under the lock
        // Another value's versions say nothing about this one's.
        self.roster_version = u64::MAX;
        self.applier.installed(meta, answers);
        self.applied();
        self.snapshots.last = index;
        self.snapshots.bytes_since = 0;
        self.shared.metrics.image_installs.sub(1);
        tracing::info!(node = %self.shared.options.id, index = index.0, "installed a snapshot image");
        Ok(())
    }

    /// Begins an image when enough was applied since the last one: `snapshot_count` entries, and half the
    /// last image's bytes, so that a large state is not written again and again for a few entries.
    fn maybe_write_image(&mut self) {
        let snapshots = &mut self.snapshots;
        let entries = self.applier.applied().0 - snapshots.last.0;
        if entries < self.shared.options.snapshot_count
            || snapshots.bytes_since < snapshots.image_bytes.load(Relaxed) / 2
            || snapshots.writer.as_ref().is_some_and(|writer| !writer.is_finished())
        {
            return;
        }
        let image = self.shared.state.read().begin_image();
        let meta = self.applier.meta().clone();
        let (shared, images) = (self.shared.clone(), self.images.clone());
        let (generation, image_bytes) = (shared.generation.load(Acquire), snapshots.image_bytes.clone());
        snapshots.last = meta.index;
        snapshots.bytes_since = 0;
        let write = move || match images::write(&shared, &images, meta, image, generation) {
            Ok(Some(bytes)) => image_bytes.store(bytes, Relaxed),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "cannot write a snapshot image; the log is kept"),
        };
        match thread::Builder::new().name("image".into()).spawn(write) {
            Ok(writer) => snapshots.writer = Some(writer),
            Err(error) => tracing::error!(%error, "cannot start a thread"),
        }
    }
}
