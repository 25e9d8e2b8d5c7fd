//! The multi-version store: every write makes a new revision, and every revision since the last compaction
//! stays readable.
//!
//! Pure and single-threaded: no clock, no IO, no randomness. The same requests in the same order give the
//! same answers, the same hashes and the same images on every member.
//!
//! - `history` keeps the versions of one key, its newest one in place;
//! - `log` keeps, for every revision since the compaction, which keys it wrote, and running sums that make
//!   hashes and sizes a subtraction;
//! - `write` makes one revision, `txn` many writes at one revision, `range` reads;
//! - `compaction` moves the oldest readable revision at once, and frees memory later, in small steps;
//! - `image` and `restore` turn the store into bytes and back.
//!
//! Left out: who may do what, limits on sizes of requests, leases (a put asks whether its lease exists, and the
//! store tells which keys hang from which).

pub(crate) mod codec;
mod compaction;
mod compare;
mod digest;
mod events;
mod history;
mod image;
mod key_range;
mod log;
mod range;
mod restore;
mod revision;
mod store;
mod txn;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use compaction::Scrub;
pub use digest::HashKv;
pub use events::Changes;
pub(crate) use image::{Pinned, Totals};
pub(crate) use restore::Builder;
pub use restore::Damage;
pub use revision::Revision;
pub use store::{Moved, Store, Written};
pub use txn::is_read_only;
pub use write::LeaseExists;
