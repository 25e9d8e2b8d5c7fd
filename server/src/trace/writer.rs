//! Writing a trace: a bounded queue to a thread that has the file.

use super::{Reader, format};
use crate::replica::Recorder;
use bytes::Bytes;
use raft::{Config, Durable, Input, ready::Ready};
use std::{
    fs, io,
    io::Write as _,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

/// Pieces that may wait for the file; each is what belongs to one turn, or this many bytes.
const PIECES_MAX: usize = 4096;
const PIECE_BYTES: usize = 64 << 10;

/// Writes the trace of one member. It never waits for the disk: what that cannot take is left out, and said to be.
#[derive(Debug)]
pub struct Writer {
    pieces: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    records: u64,
    /// Records left out since the last one that was written.
    lost: u64,
}

impl Writer {
    /// Goes on with the trace at `path`, or begins it, with the start of a core.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::InvalidData`] where the file is there and is no trace.
    pub fn open(path: &Path, config: &Config, durable: &Durable) -> io::Result<Writer> {
        let mut piece = Vec::new();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        match fs::read(path)? {
            old if old.is_empty() => format::put_header(&mut piece),
            old => file.set_len(whole(Bytes::from(old))? as u64)?,
        }
        format::put_start(&mut piece, config, durable);
        file.write_all(&piece)?;
        let (pieces, queue) = sync_channel(PIECES_MAX);
        thread::Builder::new().name("trace".into()).spawn(move || write(file, &queue))?;
        Ok(Writer { pieces, piece: Vec::new(), records: 0, lost: 0 })
    }

    fn pass_on(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        let records = std::mem::take(&mut self.records);
        match self.pieces.try_send(piece) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.lost += records,
        }
        if self.lost > 0 {
            format::put_gap(&mut self.piece, self.lost);
        }
    }
}

/// How much of an earlier trace is whole: a torn record at its end is dropped, or nothing could be read behind it.
fn whole(bytes: Bytes) -> io::Result<usize> {
    let foreign = |error: super::TraceError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut reader = Reader::new(bytes).map_err(foreign)?;
    loop {
        let before = reader.offset();
        if reader.record().map_err(foreign)?.is_none() {
            return Ok(before);
        }
    }
}

impl Recorder for Writer {
    fn input(&mut self, input: &Input) {
        format::put_input(&mut self.piece, input);
        self.records += 1;
        if self.piece.len() >= PIECE_BYTES {
            self.pass_on();
        }
    }

    fn turn(&mut self, ready: &Ready) {
        format::put_turn(&mut self.piece, ready);
        self.records += 1;
        self.pass_on();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pass_on();
    }
}

/// The thread: everything in order, until the member stops or the file fails.
fn write(mut file: fs::File, queue: &Receiver<Vec<u8>>) {
    for piece in queue {
        if let Err(error) = file.write_all(&piece) {
            tracing::error!(%error, "the trace cannot be written any more");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Record, TraceError, digest},
        *,
    };
    use raft::{Membership, NodeId, Raft};

    /// A core of a cluster of one that wins, takes two commands and is traced; gives the digests of its turns.
    fn traced(path: &Path) -> Vec<u64> {
        let config = Config::new(NodeId(1), 7);
        let durable = Durable::bootstrap(Membership::of_voters([NodeId(1)]));
        let mut writer = Writer::open(path, &config, &durable).expect("a new file");
        let mut raft = Raft::new(config, durable).expect("a valid start");
        let mut digests = Vec::new();
        let inputs = [Input::Campaign, Input::Tick, Input::Propose(Bytes::from_static(b"a"))];
        for input in inputs {
            writer.input(&input);
            raft.step(input).expect("it is taken");
            let ready = raft.ready();
            writer.turn(&ready);
            digests.push(digest(&ready));
            let persisted = Input::Persisted(ready.mark());
            writer.input(&persisted);
            raft.step(persisted).expect("its own mark");
        }
        digests
    }

    fn records(bytes: &[u8]) -> Result<(Vec<Record>, bool), TraceError> {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes))?;
        let mut records = Vec::new();
        while let Some(record) = reader.record()? {
            records.push(record);
        }
        Ok((records, reader.is_torn()))
    }

    /// The file once its thread has written everything: it grows until then.
    fn written(path: &Path, turns: usize) -> Vec<u8> {
        loop {
            let bytes = fs::read(path).expect("it is there");
            let (records, _) = records(&bytes).expect("what is there is whole");
            let starts = records.iter().filter(|record| matches!(record, Record::Start(_))).count();
            let inputs = records.iter().filter(|record| matches!(record, Record::Persisted(_))).count();
            if starts > 0 && inputs >= turns {
                return bytes;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_written_is_read_back_over_restarts() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("trace");
        let first = traced(&path);
        written(&path, 3);
        let second = traced(&path);
        let bytes = written(&path, 6);
        let (records, torn) = records(&bytes).expect("whole");
        assert!(!torn);
        let digests: Vec<u64> = records
            .iter()
            .filter_map(|record| if let Record::Turn { digest, .. } = record { Some(*digest) } else { None })
            .collect();
        assert_eq!(digests, [first, second].concat());
        assert!(records.contains(&Record::Input(Input::Propose(Bytes::from_static(b"a")))));
        assert_eq!(records.iter().filter(|record| matches!(record, Record::Start(_))).count(), 2);
    }

    #[test]
    fn damage_is_named_and_a_torn_end_is_an_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("trace");
        traced(&path);
        let bytes = written(&path, 3);
        let (all, _) = records(&bytes).expect("whole");
        let (fewer, torn) = records(&bytes[..bytes.len() - 1]).expect("a torn end");
        assert!(torn && fewer.len() == all.len() - 1);
        let mut flipped = bytes.clone();
        flipped[40] ^= 1;
        assert_eq!(records(&flipped), Err(TraceError::Checksum { offset: 16 }));
        let mut foreign = bytes.clone();
        foreign[0] = b'X';
        assert_eq!(records(&foreign), Err(TraceError::Foreign));
        let mut newer = bytes.clone();
        newer[8] = 9;
        assert_eq!(records(&newer), Err(TraceError::Format(9)));
        let mut endless = bytes;
        endless[16..20].fill(0xff);
        assert_eq!(records(&endless), Err(TraceError::Length { offset: 16 }));
    }
}
