//! One connection to a server. Source of the rules: RFC 9113, whose sections are named.

mod control;
mod peer;
mod receive;
mod send;
mod state;
mod stream;

pub use peer::{Broken, Peer};
pub use state::Connection;
