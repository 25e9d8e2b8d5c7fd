//! A member without its shell: raft, and the requests that wait for it. No clock, no disk, no network, no
//! thread: the server and the simulator run exactly this.
//!
//! A [`Replica`] decides what becomes of proposals and reads: proposed here, handed on to the leader (once),
//! kept until there is a leader, or refused. An [`Applier`] carries out what was committed, and knows which
//! requests that answers. [`office`] is what a member does about leases.
mod apply;
mod command;
mod core;
pub mod office;
pub mod peer;
mod reads;
#[cfg(test)]
mod tests;
mod traced;

pub use self::core::{Input, Replica, Settings, Turn};
pub use apply::{Answers, Applier, Batch};
pub use command::command;
pub use peer::{Outgoing, PeerMessage, Refusal, Tag};
pub use reads::Decided;
pub use traced::Recorder;
