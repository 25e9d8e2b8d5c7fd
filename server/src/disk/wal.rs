//! The log: appends turns, rotates segments, and reads itself back.

use super::{
    AppendFile, Files, Identity, OpenError, SaveError,
    error::Doing,
    record::{self, Bad, Record},
    repair::{self, End},
    segment::{self, Header},
};
#[cfg(feature = "plant")]
use crate::plant::{self, Plant};
use raft::{
    ready::{Storage, Write},
    types::{Entry, HardState, LogIndex},
};
use std::path::{Path, PathBuf};

/// A buffer that one huge turn has grown is given back above this.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// The log of a member, open for appending.
#[derive(Debug)]
pub struct Wal<F: Files> {
    files: F,
    dir: PathBuf,
    identity: Identity,
    segment_bytes: u64,
    /// All segments, in order; the last one is appended to.
    segments: Vec<Segment>,
    file: F::File,
    seed: u32,
    /// Bytes in the last segment, and how many of them are flushed.
    len: u64,
    durable: u64,
    next_record: u64,
    next_index: LogIndex,
    hard_state: HardState,
    installed: LogIndex,
    buffer: Vec<u8>,
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    seq: u64,
    /// Largest index of an entry in it, 0 for none.
    last_index: LogIndex,
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest hard state.
    pub hard_state: HardState,
    /// The newest image that replaced the log: one at least as new must be there.
    pub installed: LogIndex,
    /// Consecutive entries; the first one's index is at most one after the oldest image that is kept.
    pub entries: Vec<Entry>,
}

/// Segments that nothing needs any more.
#[derive(Debug)]
#[must_use = "the files are still there"]
pub struct Obsolete<F: Files> {
    files: F,
    dir: PathBuf,
    names: Vec<String>,
}

impl<F: Files> Obsolete<F> {
    /// Removes them, oldest first, so that a crash on the way leaves no gap.
    ///
    /// # Errors
    /// The operating system's; what is left is removed another time.
    pub fn remove(self) -> std::io::Result<usize> {
        for name in &self.names {
            self.files.remove(&self.dir.join(name))?;
        }
        if !self.names.is_empty() {
            self.files.sync_dir(&self.dir)?;
        }
        Ok(self.names.len())
    }
}

impl<F: Files> Wal<F> {
    /// Begins a log in the empty directory `dir`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(files: F, dir: &Path, identity: Identity) -> Result<Wal<F>, OpenError> {
        let header = Header { identity, seq: 1, first_record: 1, first_index: 1 };
        let (file, len) = new_segment(&files, dir, &header, &HardState::default(), LogIndex::ZERO)
            .map_err(|error| error.into_open())?;
        let segment = Segment { seq: 1, last_index: LogIndex::ZERO };
        Ok(Wal {
            files,
            dir: dir.into(),
            identity,
            segment_bytes: segment::SEGMENT_BYTES,
            segments: vec![segment],
            file,
            seed: header.seed(),
            len,
            durable: len,
            next_record: 2,
            next_index: LogIndex(1),
            hard_state: HardState::default(),
            installed: LogIndex::ZERO,
            buffer: Vec::new(),
            failed: false,
        })
    }

    /// Reads the log in `dir` back. A torn tail is cut off.
    ///
    /// # Errors
    /// Damage and foreign files, by name; then nothing was changed.
    pub fn open(files: F, dir: &Path, identity: Identity) -> Result<(Wal<F>, Recovered), OpenError> {
        let seqs = segments_in(&files, dir)?;
        let (Some(&first), Some(&last)) = (seqs.first(), seqs.last()) else {
            return Err(OpenError::Missing { place: dir.into(), what: "the log".into() });
        };
        let mut replay = Replay::default();
        let mut segments = Vec::with_capacity(seqs.len());
        let mut tail = None;
        for (seq, wanted) in seqs.iter().copied().zip(first..) {
            if seq != wanted {
                let what = format!("log segment {}", segment::name(wanted));
                return Err(OpenError::Missing { place: dir.into(), what });
            }
            let path = dir.join(segment::name(seq));
            let bytes = files.read(&path).doing("read", &path)?;
            let header = Header::read(&bytes, &path, seq, identity)?;
            let (last_index, end) = replay.segment(&bytes, &header, &path, seq == last)?;
            segments.push(Segment { seq, last_index });
            tail = Some((path, header, end, bytes.len()));
        }
        let (path, header, end, found) = tail.expect("there is a last segment");
        let mut file = files.open_append(&path).doing("open", &path)?;
        #[cfg(feature = "plant")]
        let found = if plant::is(Plant::TornTailLeft) { end } else { found };
        if end < found {
            tracing::warn!(
                file = %path.display(), offset = end, bytes = found - end,
                "cut off a torn write at the end of the log; it had not been acknowledged"
            );
            file.truncate(end as u64).doing("truncate", &path)?;
        }
        // What a crash left unflushed must be durable before anything is built on it.
        file.sync().doing("flush", &path)?;
        let next_index = replay.next_index.expect("a segment was read");
        let recovered = replay.recovered;
        let wal = Wal {
            files,
            dir: dir.into(),
            identity,
            segment_bytes: segment::SEGMENT_BYTES,
            segments,
            file,
            seed: header.seed(),
            len: end as u64,
            durable: end as u64,
            next_record: replay.next_record,
            next_index,
            hard_state: recovered.hard_state,
            installed: recovered.installed,
            buffer: Vec::new(),
            failed: false,
        };
        Ok((wal, recovered))
    }

    /// The index that the next entry has, unless it replaces others.
    pub fn next_index(&self) -> LogIndex {
        self.next_index
    }

    /// Begins a new segment once the last one has `bytes`: for tests and simulations that want many.
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// Lets go of the segments that hold nothing after entry `index`. Call it once images that cover
    /// everything up to there are durable.
    pub fn release(&mut self, index: LogIndex) -> Obsolete<F> {
        #[cfg(feature = "plant")]
        let index = LogIndex(index.0 + u64::from(plant::is(Plant::SegmentReleasedEarly)));
        let all_but_last = &self.segments[..self.segments.len() - 1];
        let count = all_but_last.iter().take_while(|segment| segment.last_index <= index).count();
        let names = self.segments.drain(..count).map(|segment| segment::name(segment.seq)).collect();
        Obsolete { files: self.files.clone(), dir: self.dir.clone(), names }
    }

    /// Flushes what was written without a flush: on a graceful stop.
    ///
    /// # Errors
    /// As [`Storage::save`].
    pub fn flush(&mut self) -> Result<(), SaveError> {
        if self.durable == self.len || self.failed {
            return Ok(());
        }
        self.checked(|wal| {
            wal.file.sync().saving("flush", || wal.path())?;
            wal.durable = wal.len;
            Ok(())
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(segment::name(self.segments.last().expect("there is a last segment").seq))
    }

    /// Runs `act` unless an earlier one failed, and remembers if it fails.
    fn checked(&mut self, act: impl FnOnce(&mut Self) -> Result<(), SaveError>) -> Result<(), SaveError> {
        if self.failed {
            let source = std::io::Error::other("an earlier write or flush failed");
            return Err(SaveError { doing: "append to", file: self.path(), source });
        }
        let result = act(self);
        self.failed = result.is_err();
        result
    }

    fn append(&mut self, write: &Write) -> Result<(), SaveError> {
        if self.len >= self.segment_bytes {
            self.rotate()?;
        }
        let durable = u32::try_from(self.durable).expect("a segment is shorter than 4 GiB");
        self.buffer.clear();
        record::put_turn(&mut self.buffer, self.seed, self.next_record, durable, write);
        let appended = self.file.append(&self.buffer);
        #[cfg(feature = "plant")]
        let appended = if plant::is(Plant::WriteErrorSwallowed) { Ok(()) } else { appended };
        appended.saving("append to", || self.path())?;
        self.len += self.buffer.len() as u64;
        self.next_record += 1;
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        let must_sync = write.must_sync || write.install.is_some();
        #[cfg(feature = "plant")]
        let must_sync = must_sync && !self.forgets_flush(write);
        if must_sync {
            let flushed = self.file.sync();
            #[cfg(feature = "plant")]
            let flushed = if plant::is(Plant::FlushErrorSwallowed) { Ok(()) } else { flushed };
            flushed.saving("flush", || self.path())?;
            self.durable = self.len;
        }
        if let Some(meta) = &write.install {
            self.installed = meta.index;
            self.next_index = meta.index.next();
        }
        if let Some(entry) = write.entries.last() {
            self.next_index = entry.index.next();
            let segment = self.segments.last_mut().expect("there is a last segment");
            segment.last_index = segment.last_index.max(entry.index);
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        Ok(())
    }

    #[cfg(feature = "plant")]
    fn forgets_flush(&self, write: &Write) -> bool {
        plant::is(Plant::VoteNotFlushed) && write.entries.is_empty() && write.install.is_none()
            || plant::is(Plant::SomeTurnsNotFlushed) && self.next_record.is_multiple_of(4)
    }

    fn rotate(&mut self) -> Result<(), SaveError> {
        // Only the last segment may have a torn tail: this one is about to stop being the last.
        if self.durable < self.len {
            self.file.sync().saving("flush", || self.path())?;
        }
        let header = Header {
            identity: self.identity,
            seq: self.segments.last().expect("there is a last segment").seq + 1,
            first_record: self.next_record,
            first_index: self.next_index.0,
        };
        let hard_state = self.hard_state;
        #[cfg(feature = "plant")]
        let hard_state = if plant::is(Plant::RotationForgetsVote) {
            HardState { vote: None, ..hard_state }
        } else {
            hard_state
        };
        let (file, len) = new_segment(&self.files, &self.dir, &header, &hard_state, self.installed)?;
        self.segments.push(Segment { seq: header.seq, last_index: LogIndex::ZERO });
        self.file = file;
        self.seed = header.seed();
        self.len = len;
        self.durable = len;
        self.next_record += 1;
        Ok(())
    }
}

impl<F: Files> Storage for Wal<F> {
    type Error = SaveError;

    fn save(&mut self, write: &Write) -> Result<(), SaveError> {
        self.checked(|wal| wal.append(write))
    }
}

/// The numbers of the segments in `dir`, ascending.
pub(super) fn segments_in<F: Files>(files: &F, dir: &Path) -> Result<Vec<u64>, OpenError> {
    let names = files.list(dir).doing("list", dir)?;
    let mut seqs: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    seqs.sort_unstable();
    Ok(seqs)
}

/// Makes a segment that holds its checkpoint, durably, under its name.
fn new_segment<F: Files>(
    files: &F,
    dir: &Path,
    header: &Header,
    hard_state: &HardState,
    installed: LogIndex,
) -> Result<(F::File, u64), SaveError> {
    let path = dir.join(segment::name(header.seq));
    let temporary = path.with_extension("tmp");
    let mut bytes = Vec::new();
    header.put(&mut bytes);
    record::put_checkpoint(&mut bytes, header.seed(), header.first_record, hard_state, installed);
    let mut file = files.create(&temporary).saving("create", || temporary.clone())?;
    file.append(&bytes).saving("write", || temporary.clone())?;
    file.sync().saving("flush", || temporary.clone())?;
    files.rename(&temporary, &path).saving("rename", || temporary.clone())?;
    #[cfg(feature = "plant")]
    if plant::is(Plant::DirectoryNotFlushed) && header.seq > 1 {
        return Ok((file, bytes.len() as u64));
    }
    files.sync_dir(dir).saving("flush", || dir.into())?;
    Ok((file, bytes.len() as u64))
}

trait Saving<T> {
    fn saving(self, doing: &'static str, file: impl FnOnce() -> PathBuf) -> Result<T, SaveError>;
}

impl<T> Saving<T> for std::io::Result<T> {
    fn saving(self, doing: &'static str, file: impl FnOnce() -> PathBuf) -> Result<T, SaveError> {
        self.map_err(|source| SaveError { doing, file: file(), source })
    }
}

impl SaveError {
    fn into_open(self) -> OpenError {
        OpenError::Io { doing: self.doing, file: self.file, source: self.source }
    }
}

/// Puts together what the records say.
#[derive(Debug, Default)]
struct Replay {
    recovered: Recovered,
    /// `None` before the first segment.
    next_index: Option<LogIndex>,
    next_record: u64,
}

impl Replay {
    /// Takes one segment in; gives the largest index in it and where its good records end.
    fn segment(
        &mut self,
        bytes: &[u8],
        header: &Header,
        path: &Path,
        is_last: bool,
    ) -> Result<(LogIndex, usize), OpenError> {
        let damaged =
            |offset: usize, why: String| OpenError::Damaged { file: path.into(), offset: offset as u64, why };
        let next = self.next_index.unwrap_or(LogIndex(header.first_index));
        if next.0 != header.first_index || (self.next_record != 0 && self.next_record != header.first_record)
        {
            let (index, record) = (header.first_index, header.first_record);
            let why = format!(
                "it begins at entry {index}, record {record}, but {} ends before entry {next}, record {}",
                segment::name(header.seq - 1),
                self.next_record
            );
            return Err(damaged(0, why));
        }
        self.next_index = Some(next);
        let scan = repair::scan(bytes, header);
        self.next_record = header.first_record + scan.records.len() as u64;
        let end = match scan.end {
            End::Clean => bytes.len(),
            End::Damaged { at, why, proof } => {
                return Err(damaged(
                    at,
                    format!("{why}, and the record at offset {proof} shows that it had been durable"),
                ));
            }
            // The first record is flushed before the segment gets its name; intact bytes that make no
            // sense are not torn; and a segment that is followed by another was flushed whole.
            End::Torn { at, why }
                if !is_last || at == segment::HEADER_BYTES || matches!(why, Bad::Contents(_)) =>
            {
                return Err(damaged(at, why.to_string()));
            }
            End::Torn { at, .. } => at,
        };
        if !matches!(scan.records.first(), Some((_, Record::Checkpoint { .. }))) {
            return Err(damaged(segment::HEADER_BYTES, "it does not begin with a checkpoint".into()));
        }
        let mut last_index = LogIndex::ZERO;
        for (at, record) in scan.records {
            self.record(record, &mut last_index).map_err(|why| damaged(at, why))?;
        }
        Ok((last_index, end))
    }

    fn record(&mut self, record: Record, last_index: &mut LogIndex) -> Result<(), String> {
        match record {
            Record::Checkpoint { hard_state, installed } => {
                self.recovered.hard_state = hard_state;
                self.recovered.installed = installed;
            }
            Record::Turn { install, entries, hard_state } => {
                if let Some(meta) = install {
                    self.recovered.entries.clear();
                    self.recovered.installed = meta.index;
                    self.next_index = Some(meta.index.next());
                }
                for entry in entries {
                    *last_index = (*last_index).max(entry.index);
                    self.entry(entry)?;
                }
                self.recovered.hard_state = hard_state.unwrap_or(self.recovered.hard_state);
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        let next = self.next_index.expect("set by the segment's header");
        let entries = &mut self.recovered.entries;
        let first = entries.first().map_or(next, |first| first.index);
        if entry.index > next || entry.index == LogIndex::ZERO {
            return Err(format!("entry {} where the log holds {first} up to {next}", entry.index));
        }
        // It may replace an entry whose segment was released since: an image covers that one by now, and whoever
        // reads this compares where the log begins with what the images cover.
        entries.truncate(entry.index.0.saturating_sub(first.0) as usize);
        self.next_index = Some(entry.index.next());
        entries.push(entry);
        Ok(())
    }
}
