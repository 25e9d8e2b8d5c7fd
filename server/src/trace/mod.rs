//! Traces: what a member's raft core took and gave out, in a file, so that it can be replayed and judged later
//! (`assay model --validate`).
//!
//! ```text
//! "ASSAYTRC" | format u32 | 0 u32                       once, at the beginning of the file
//! (length u32 | CRC32C u32 | kind u8, fields)*          one record each; the checksum covers kind and fields
//! ```
//! A start of the member is a record with the core's parameters and what its disk held; then come the inputs, and
//! for each turn a digest of everything that it gave out. Digests are compared by the program's own version only,
//! so a start names that. What the disk could not take in time is left out, and a record tells how much
//! ([`Record::Gap`]): a trace never holds up the member.

mod format;
mod reader;
mod writer;

pub use format::{Record, Start, checksum, digest};
pub use reader::{Reader, TraceError};
pub use writer::Writer;
