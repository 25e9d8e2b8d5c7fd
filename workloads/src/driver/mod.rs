//! What speaks to a system under test: one [`Client`] a process, pinned to one member.
//!
//! A driver never retries, never hides an answer and never guesses. Each call is one request on one
//! connection with one deadline; what went wrong comes back as a [`DriverError`], whose
//! [`certainty`](DriverError::certainty) alone decides whether an operation ends as `fail` or as `info`.

mod client;
mod clock;
mod connection;
mod error;
mod lease;
mod watch;

pub use client::{Answer, Client, Port, revision};
pub use clock::{Clock, VirtualTime};
pub use error::{Certainty, DriverError};
pub use watch::{Responses, WatchStream};
