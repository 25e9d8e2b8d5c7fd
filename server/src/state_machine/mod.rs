//! The replicated state: what the commands of the log have made so far.
//!
//! `apply` cannot fail and reads no clock and no randomness, so members that have applied the same entries
//! hold the same state.

mod apply;

pub use apply::{Outcome, Response, StateMachine};
