//! The files of the log: names and headers.
//!
//! A segment's header tells whose it is and where it belongs, 64 bytes:
//! ```text
//! "ASSAYLOG" | version u32 | 0 u32 | cluster u64 | node u64 | seq u64 | first record u64 | first index u64 | 0 u32 | crc u32
//! ```
//! A segment is made under another name, header and first record flushed, and then renamed: one that has
//! its name is whole up to there.

use super::{Identity, OpenError};
use bytes::BufMut;
use std::path::Path;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// A segment that has grown to this is followed by a new one.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Version of the format of the log.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"ASSAYLOG";
const SUFFIX: &str = ".log";

/// Whose segment it is and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of which member of which cluster.
    pub identity: Identity,
    /// Its place among the segments, from 1, without gaps.
    pub seq: u64,
    /// Number of its first record.
    pub first_record: u64,
    /// Index after the last entry of the segments before it.
    pub first_index: u64,
}

impl Header {
    /// Appends the header's bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        for word in
            [self.identity.cluster, self.identity.node.0, self.seq, self.first_record, self.first_index]
        {
            out.put_u64_le(word);
        }
        out.put_u32_le(0);
        let crc = crc32c::crc32c(&out[start..]);
        out.put_u32_le(crc);
    }

    /// Where the checksums of its records start from.
    pub fn seed(&self) -> u32 {
        let mut bytes = Vec::with_capacity(24);
        for word in [self.identity.cluster, self.identity.node.0, self.seq] {
            bytes.put_u64_le(word);
        }
        crc32c::crc32c(&bytes)
    }

    /// Reads the header of the segment `path` that should have number `seq`.
    ///
    /// # Errors
    /// Damage, another version, another cluster's or member's file, each by name.
    pub fn read(bytes: &[u8], path: &Path, seq: u64, identity: Identity) -> Result<Header, OpenError> {
        let damaged = |why: &str| OpenError::Damaged { file: path.into(), offset: 0, why: why.into() };
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(damaged("the header is incomplete"));
        };
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        if &bytes[..8] != MAGIC {
            return Err(damaged("it does not start as a log segment does"));
        }
        // The version stands before the checksum, so that a later format may change how it is made.
        if u32_at(8) != VERSION {
            let got = u32_at(8);
            return Err(OpenError::Version { file: path.into(), wanted: VERSION, got });
        }
        if crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) != u32_at(HEADER_BYTES - 4) {
            return Err(damaged("the checksum of the header does not match"));
        }
        identity.check(path, u64_at(16), Some(u64_at(24)))?;
        let header = Header { identity, seq: u64_at(32), first_record: u64_at(40), first_index: u64_at(48) };
        if header.seq != seq {
            return Err(damaged(&format!("it is segment {}, renamed", header.seq)));
        }
        Ok(header)
    }
}

/// The name of segment `seq`.
pub fn name(seq: u64) -> String {
    format!("{seq:016x}{SUFFIX}")
}

/// The number in a segment's name; `None` for another file.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 16 { None } else { u64::from_str_radix(digits, 16).ok() }
}
