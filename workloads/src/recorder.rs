//! The only writer of histories.
//!
//! A [`Recorder`] puts one event a line into `history.jsonl`. Every line goes through one buffer that is
//! handed to the operating system at least every [`FLUSH_EVERY`], whenever a phase begins, and when the
//! recorder is dropped. So after a crash of the harness the file is complete up to the last flush, and a
//! reader loses at most the last 100 ms and one torn line; only a crash of the machine can lose more, since
//! nothing is synced to the disk. It leaves out what the events mean: that is [`checker::history`].

use checker::history::event::{Event, Header, What};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long a line may stay in the recorder's own buffer.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Name of the observation of whom a member takes for the leader while the load goes on. Its value: `leader` (a
/// name, null where the member knows of none) and `term`, or `error` where it did not answer.
pub const ROLE: &str = "role";

/// Where a fault, or anything else that concerns a whole run, writes its events.
pub trait Record: Send + Sync {
    /// Writes one event.
    ///
    /// # Errors
    /// Whatever the file system says; the history is incomplete from then on.
    fn record(&self, what: What) -> io::Result<()>;
}

/// Writes one history. Shared between threads; events get their number and time under one lock, so both
/// only ever grow.
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
    path: PathBuf,
    start: Instant,
    flusher: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Inner {
    out: BufWriter<File>,
    next: u64,
    /// Who is told of every event as it is written.
    tap: Option<SyncSender<Event>>,
    /// The first error of the background flusher, kept for the next caller.
    failed: Option<io::Error>,
}

impl Recorder {
    /// Creates the file, which must not exist yet, with the header as its first line. Time starts now.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path, header: &Header) -> io::Result<Recorder> {
        Recorder::create_at(path, header, Instant::now())
    }

    /// Like [`Recorder::create`], but time starts at `start`, so that several histories of one run share
    /// one clock.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create_at(path: &Path, header: &Header, start: Instant) -> io::Result<Recorder> {
        let mut out = BufWriter::with_capacity(1 << 16, File::create_new(path)?);
        serde_json::to_writer(&mut out, header)?;
        out.write_all(b"\n")?;
        out.flush()?;
        let inner = Arc::new(Mutex::new(Inner { out, next: 0, tap: None, failed: None }));
        let flusher = spawn_flusher(Arc::clone(&inner))?;
        Ok(Recorder { inner, path: path.to_path_buf(), start, flusher: Some(flusher) })
    }

    /// Writes one event and returns its number.
    ///
    /// # Errors
    /// When this write, or an earlier one in the background, failed: the history is incomplete.
    pub fn append(&self, what: What) -> io::Result<u64> {
        let phase = matches!(what, What::Phase { .. });
        let mut inner = lock(&self.inner);
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        let event = Event { i: inner.next, t: self.now_ns(), what };
        serde_json::to_writer(&mut inner.out, &event)?;
        inner.out.write_all(b"\n")?;
        inner.next += 1;
        if phase {
            inner.out.flush()?;
        }
        let i = event.i;
        // The load does not wait for who listens: one that cannot follow is told nothing more.
        if inner.tap.as_ref().is_some_and(|tap| tap.try_send(event).is_err()) {
            inner.tap = None;
        }
        Ok(i)
    }

    /// Tells of every event from now on. Whoever does not take them fast enough, or is gone, is told nothing more:
    /// [`Recorder::untap`] says so.
    pub fn tap(&self, events: SyncSender<Event>) {
        lock(&self.inner).tap = Some(events);
    }

    /// Tells of no more events; whether all were told of.
    pub fn untap(&self) -> bool {
        lock(&self.inner).tap.take().is_some()
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        inner.out.flush()
    }

    /// Nanoseconds from the start of the run: the `t` of an event written now.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("the run is shorter than 584 years")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Record for Recorder {
    fn record(&self, what: What) -> io::Result<()> {
        self.append(what).map(drop)
    }
}

/// Several histories at once: what happens to a cluster is written to every history made on it.
impl Record for [Arc<Recorder>] {
    fn record(&self, what: What) -> io::Result<()> {
        self.iter().try_for_each(|recorder| recorder.record(what.clone()))
    }
}

impl Record for Vec<Arc<Recorder>> {
    fn record(&self, what: What) -> io::Result<()> {
        self.as_slice().record(what)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.flusher.take() {
            drop(stop);
            // A flusher that panicked has nothing more to say; the flush below still runs.
            let _ = thread.join();
        }
        if let Err(error) = lock(&self.inner).out.flush() {
            tracing::error!(path = %self.path.display(), %error, "the end of a history is lost");
        }
    }
}

fn spawn_flusher(inner: Arc<Mutex<Inner>>) -> io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
        while stopped.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
            let mut inner = lock(&inner);
            if let Err(error) = inner.out.flush() {
                inner.failed.get_or_insert(error);
            }
        }
    })?;
    Ok((stop, thread))
}

/// A panic of another writer leaves at most a torn line behind, which a reader reports; the rest of the
/// history is still worth having.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::event::VERSION;
    use serde_json::{Value, json};

    fn header() -> Header {
        Header {
            v: VERSION,
            seed: 7,
            scenario: "register".into(),
            faults: vec!["kill".into()],
            system: "assay".into(),
            nodes: 3,
            clock: "monotonic_ns".into(),
        }
    }

    fn invoke(p: u64) -> What {
        What::Invoke {
            p,
            node: Some("n1".into()),
            f: "read".into(),
            key: Some("k1".into()),
            value: Value::Null,
        }
    }

    fn events(text: &str) -> Vec<Event> {
        text.lines().skip(1).map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn numbers_have_no_gaps_and_time_never_goes_back_with_many_writers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let recorder = Recorder::create(&path, &header()).unwrap();
        std::thread::scope(|scope| {
            for p in 0..8 {
                let recorder = &recorder;
                scope.spawn(move || {
                    for _ in 0..200 {
                        recorder.append(invoke(p)).unwrap();
                    }
                });
            }
        });
        drop(recorder);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Header>(text.lines().next().unwrap()).unwrap(), header());
        let events = events(&text);
        assert_eq!(events.len(), 1600);
        for (n, pair) in events.windows(2).enumerate() {
            assert_eq!(pair[1].i, pair[0].i + 1, "after event {n}");
            assert!(pair[1].t >= pair[0].t, "time goes back after event {n}: {pair:?}");
        }
    }

    /// A harness that dies runs no destructor: what was written must reach the file by itself.
    #[test]
    fn lines_reach_the_file_without_a_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let recorder = std::mem::ManuallyDrop::new(Recorder::create(&path, &header()).unwrap());
        recorder.append(invoke(3)).unwrap();
        let written = (0..2000).find(|_| {
            std::thread::sleep(Duration::from_millis(5));
            events(&std::fs::read_to_string(&path).unwrap()).len() == 1
        });
        assert!(written.is_some(), "the line stayed in the buffer for 10 s");
    }

    #[test]
    fn a_listener_hears_every_event_or_is_known_to_have_missed_some() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(&dir.path().join("history.jsonl"), &header()).unwrap();
        let (tap, events) = mpsc::sync_channel(2);
        recorder.tap(tap);
        recorder.append(invoke(1)).unwrap();
        recorder.append(invoke(2)).unwrap();
        assert_eq!(events.try_iter().map(|event| event.i).collect::<Vec<_>>(), [0, 1]);
        assert!(recorder.untap(), "all were told of");
        let (tap, events) = mpsc::sync_channel(1);
        recorder.tap(tap);
        recorder.append(invoke(1)).unwrap();
        recorder.append(invoke(2)).unwrap();
        recorder.append(invoke(3)).unwrap();
        assert_eq!(events.iter().map(|event| event.i).collect::<Vec<_>>(), [2]);
        assert!(!recorder.untap(), "it could not follow");
    }

    #[test]
    fn a_phase_is_on_its_way_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let recorder = std::mem::ManuallyDrop::new(Recorder::create(&path, &header()).unwrap());
        recorder.append(invoke(3)).unwrap();
        recorder.append(What::Phase { f: "heal".into() }).unwrap();
        assert_eq!(events(&std::fs::read_to_string(&path).unwrap()).len(), 2);
    }

    #[test]
    fn a_history_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        drop(Recorder::create(&path, &header()).unwrap());
        let error = Recorder::create(&path, &header()).err().expect("the file exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_concerns_the_cluster_goes_to_every_history() {
        let dir = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let create =
            |name: &str| Arc::new(Recorder::create_at(&dir.path().join(name), &header(), start).unwrap());
        let all = vec![create("a"), create("b")];
        all.record(What::NemesisStart {
            f: "kill".into(),
            fault: 1,
            value: json!(["n1"]),
            proof: Value::Null,
        })
        .unwrap();
        drop(all);
        for name in ["a", "b"] {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            assert!(matches!(&events(&text)[0].what, What::NemesisStart { fault: 1, .. }), "{text}");
        }
    }
}
