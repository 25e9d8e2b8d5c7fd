//! One record of the log: what one turn made durable, as a unit.
//!
//! ```text
//! crc u32 | len u32 | number u64 | durable u32 | kind u8 | 3 zero bytes | payload, len bytes
//! ```
//! The checksum (CRC32C) covers everything after itself and starts from a seed that is drawn from the
//! segment's identity, and records are numbered without gaps over all segments: a stale record of another
//! file or another place is not a valid one. `durable` says how much of the segment had been flushed when
//! the record was written. It tells damage from a torn write: where a later record proves that a bad one
//! had been flushed, the bad one is damage.

use crate::codec::{self, DecodeError, Decoder};
use bytes::{BufMut, Bytes};
use raft::{
    ready::Write,
    types::{Entry, HardState, LogIndex, SnapshotMeta},
};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 24;
/// Largest payload: a turn is bounded by the node's queues, far below.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

const KIND_CHECKPOINT: u8 = 1;
const KIND_TURN: u8 = 2;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// First in each segment: what the segments before it amount to beside their entries.
    Checkpoint {
        /// The newest hard state.
        hard_state: HardState,
        /// The newest image that replaced the log, 0 for none: an image at least as new must be there.
        installed: LogIndex,
    },
    /// What one turn made durable, in this order.
    Turn {
        /// The log was replaced by this image.
        install: Option<SnapshotMeta>,
        /// Entries, which replace whatever the log held from the first one's index on.
        entries: Vec<Entry>,
        /// The new hard state.
        hard_state: Option<HardState>,
    },
}

/// The numbers before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Checksum of the rest.
    pub crc: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Place in the order of all records.
    pub number: u64,
    /// Bytes of the segment that were flushed when this was written.
    pub durable: u32,
    /// What the payload is.
    pub kind: u8,
}

/// Why the bytes at a place are not the record that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The file ends within the record.
    Incomplete,
    /// The checksum does not match.
    Checksum,
    /// An intact record, but not the one that belongs here.
    Number {
        /// The number that belongs here.
        wanted: u64,
        /// The one found.
        got: u64,
    },
    /// The checksum matches, but the contents make no sense.
    Contents(DecodeError),
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Incomplete => write!(f, "the record is incomplete"),
            Self::Checksum => write!(f, "the checksum does not match"),
            Self::Number { wanted, got } => write!(f, "record {wanted} belongs here, record {got} was found"),
            Self::Contents(error) => write!(f, "the contents make no sense: {error}"),
        }
    }
}

/// Appends a checkpoint record to `out`.
pub fn put_checkpoint(
    out: &mut Vec<u8>,
    seed: u32,
    number: u64,
    hard_state: &HardState,
    installed: LogIndex,
) {
    let start = begin(out, number, 0, KIND_CHECKPOINT);
    codec::put_hard_state(out, hard_state);
    out.put_u64_le(installed.0);
    end(out, start, seed);
}

/// Appends the record of one turn to `out`.
pub fn put_turn(out: &mut Vec<u8>, seed: u32, number: u64, durable: u32, write: &Write) {
    let start = begin(out, number, durable, KIND_TURN);
    out.put_u8(write.install.is_some().into());
    if let Some(meta) = &write.install {
        codec::put_snapshot_meta(out, meta);
    }
    out.put_u8(write.hard_state.is_some().into());
    if let Some(state) = &write.hard_state {
        codec::put_hard_state(out, state);
    }
    codec::put_entries(out, &write.entries);
    end(out, start, seed);
}

fn begin(out: &mut Vec<u8>, number: u64, durable: u32, kind: u8) -> usize {
    let start = out.len();
    out.put_u64_le(0); // checksum and length, known at the end
    out.put_u64_le(number);
    out.put_u32_le(durable);
    out.put_u32_le(u32::from(kind)); // the kind, then three zero bytes
    start
}

fn end(out: &mut [u8], start: usize, seed: u32) {
    let len = out.len() - start - HEADER_BYTES;
    assert!(len <= PAYLOAD_BYTES_MAX, "a turn of {len} bytes passes the limit of {PAYLOAD_BYTES_MAX}");
    out[start + 4..start + 8].copy_from_slice(&(len as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The header at the front of `bytes`, where the record lies within them whole. Nothing is checked.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (crc, len, durable, kind) = (word(0)?, word(4)?, word(16)?, *bytes.get(20)?);
    let number = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    let fits = len as usize <= PAYLOAD_BYTES_MAX && bytes.len() >= HEADER_BYTES + len as usize;
    fits.then_some(Header { crc, len, number, durable, kind })
}

/// Whether the checksum of the record at the front of `bytes` matches.
pub fn checksum_matches(bytes: &[u8], header: &Header, seed: u32) -> bool {
    #[cfg(feature = "plant")]
    if crate::plant::is(crate::plant::Plant::ChecksumIgnored) {
        return true;
    }
    let covered = &bytes[4..HEADER_BYTES + header.len as usize];
    crc32c::crc32c_append(seed, covered) == header.crc
}

/// Reads the record at the front of `bytes`; `Ok` gives it with its length.
///
/// # Errors
/// Why it is not record `number` of the segment with this seed.
pub fn read(bytes: &[u8], seed: u32, number: u64) -> Result<(Record, usize), Bad> {
    let header = header(bytes).ok_or(Bad::Incomplete)?;
    if !checksum_matches(bytes, &header, seed) {
        return Err(Bad::Checksum);
    }
    if header.number != number {
        return Err(Bad::Number { wanted: number, got: header.number });
    }
    let len = HEADER_BYTES + header.len as usize;
    // Copied, so that one entry that lives on does not keep its whole segment in memory.
    let payload = Bytes::copy_from_slice(&bytes[HEADER_BYTES..len]);
    let record = decode(header.kind, payload).map_err(Bad::Contents)?;
    Ok((record, len))
}

/// The record at the front of `bytes`, whatever its checksum says.
#[cfg(feature = "plant")]
pub fn read_unchecked(bytes: &[u8]) -> Option<Record> {
    let header = header(bytes)?;
    let payload = Bytes::copy_from_slice(&bytes[HEADER_BYTES..HEADER_BYTES + header.len as usize]);
    decode(header.kind, payload).ok()
}

fn decode(kind: u8, payload: Bytes) -> Result<Record, DecodeError> {
    let mut from = Decoder::new(payload);
    let record = match kind {
        KIND_CHECKPOINT => Record::Checkpoint { hard_state: from.hard_state()?, installed: from.index()? },
        KIND_TURN => {
            let install = if from.bool()? { Some(from.snapshot_meta()?) } else { None };
            let hard_state = if from.bool()? { Some(from.hard_state()?) } else { None };
            Record::Turn { install, hard_state, entries: from.entries()? }
        }
        other => return Err(DecodeError::Tag { what: "record", got: other.into() }),
    };
    from.end()?;
    Ok(record)
}
