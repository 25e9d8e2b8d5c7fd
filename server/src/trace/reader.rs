//! Reading a trace back.

use super::format::{self, FORMAT, HEADER_BYTES, MAGIC, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Record};
use crate::codec::DecodeError;
use bytes::Bytes;
use std::fmt;

/// Why a file is no trace, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// It does not begin as a trace does.
    Foreign,
    /// Another format.
    Format(u32),
    /// A record's checksum does not match.
    Checksum {
        /// Where the record begins, in bytes.
        offset: usize,
    },
    /// A record's length cannot be.
    Length {
        /// Where the record begins, in bytes.
        offset: usize,
    },
    /// A record is intact and makes no sense.
    Contents {
        /// Where the record begins, in bytes.
        offset: usize,
        /// What is wrong.
        error: DecodeError,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::Foreign => write!(f, "it is no trace: name a file that `assay-server --trace` wrote"),
            TraceError::Format(format) => {
                write!(
                    f,
                    "it has format {format}; this program reads format {FORMAT}: use the one that wrote it"
                )
            }
            TraceError::Checksum { offset } => {
                write!(f, "the record at offset {offset} is damaged: its checksum does not match")
            }
            TraceError::Length { offset } => {
                write!(f, "the record at offset {offset} is damaged: its length cannot be")
            }
            TraceError::Contents { offset, error } => {
                write!(f, "the record at offset {offset} makes no sense: {error}")
            }
        }
    }
}

impl std::error::Error for TraceError {}

/// The records of a trace, in order. A last one that is cut off ends it: the member was killed in writing it.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    torn: bool,
}

impl Reader {
    /// A reader of a file's contents.
    ///
    /// # Errors
    /// [`TraceError::Foreign`], [`TraceError::Format`].
    pub fn new(bytes: Bytes) -> Result<Reader, TraceError> {
        let Some(header) = bytes.get(..HEADER_BYTES).filter(|header| &header[..8] == MAGIC) else {
            return Err(TraceError::Foreign);
        };
        let format = u32::from_le_bytes(header[8..12].try_into().expect("4 bytes"));
        if format != FORMAT {
            return Err(TraceError::Format(format));
        }
        Ok(Reader { bytes, at: HEADER_BYTES, torn: false })
    }

    /// Where the next record begins, in bytes.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Whether the last record was cut off. To be asked at the end.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The next record; `None` after the last one.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn record(&mut self) -> Result<Option<Record>, TraceError> {
        let offset = self.at;
        let left = &self.bytes[offset..];
        if left.is_empty() {
            return Ok(None);
        }
        let Some(header) = left.get(..RECORD_HEADER_BYTES) else {
            return Ok(self.tear());
        };
        let len = u32::from_le_bytes(header[..4].try_into().expect("4 bytes")) as usize;
        let crc = u32::from_le_bytes(header[4..].try_into().expect("4 bytes"));
        if len == 0 || len > RECORD_BYTES_MAX {
            return Err(TraceError::Length { offset });
        }
        let begin = offset + RECORD_HEADER_BYTES;
        let Some(content) = self.bytes.get(begin..begin + len) else {
            return Ok(self.tear());
        };
        if format::checksum(content) != crc {
            return Err(TraceError::Checksum { offset });
        }
        let content = self.bytes.slice(begin..begin + len);
        self.at = begin + len;
        format::take(content).map(Some).map_err(|error| TraceError::Contents { offset, error })
    }

    fn tear(&mut self) -> Option<Record> {
        self.torn = true;
        self.at = self.bytes.len();
        None
    }
}
