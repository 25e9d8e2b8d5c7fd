//! The peer protocol: how members talk to each other, over TCP.
//!
//! One connection per directed pair carries messages; images have connections of their own. Losing messages
//! is normal: raft repeats what matters. What the protocol owes is that a message is never doubled, that a
//! damaged or foreign one is never taken, that nothing waits for a slow peer, and that traffic flows again
//! within a second of a cut's end. Connections to https URLs are encrypted below all of this (`stream`).
mod frame;
mod fuzz;
mod handshake;
mod image;
mod link;
mod listener;
mod network;
mod question;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use frame::{put_raft, take_raft};
pub(crate) use fuzz::fuzz;
pub use handshake::Party;
pub use image::{ImageSink, ImageSource};
pub use network::{Network, Port, Receiver, Settings};
pub use question::ask;
pub use socket::Address;
