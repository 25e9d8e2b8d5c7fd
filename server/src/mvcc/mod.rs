//! The multi-version store: every write makes a new revision, and every revision since the last compaction
//! stays readable.
//!
//! Pure and single-threaded: no clock, no IO, no randomness. The same requests in the same order give the
//! same store on every member.

mod history;
mod key_range;
mod range;
mod revision;
mod store;

pub use revision::Revision;
pub use store::Store;
