//! What a member keeps on disk: the log (segments of checksummed records) and images of the state.
//!
//! Every turn of raft is one record, one append and one flush. Nothing here is retried: after an error of
//! the disk the node stops, since what reached the disk is unknown then. All file operations go through
//! [`Files`], so that a simulator can put a faulty disk there.
mod data_dir;
mod error;
mod files;
mod record;
mod repair;
mod segment;
mod snapshot;
#[cfg(test)]
mod tests;
mod wal;

pub use data_dir::{Birth, DataDir, Lock, Opened};
pub use error::{Identity, OpenError, SaveError};
pub use files::{AppendFile, Files, RealFile, RealFiles};
pub use snapshot::{ImageReader, ImageWriter, Images};
pub use wal::{Obsolete, Wal};
