//! The replicated state: what the commands of the log have made so far.
//!
//! `apply` cannot fail and reads no clock and no randomness, so members that have applied the same entries
//! hold the same state. An image is that state as bytes, written in chunks while entries are applied.

mod apply;
mod image;
mod restore;

#[cfg(test)]
mod tests;

pub use apply::{News, Outcome, Response, RevisionEvents, StateMachine};
pub use image::Image;
pub use restore::{Restore, RestoreError};
