//! A running member: a [`Replica`](crate::replica::Replica) with its disk, its network, its clock.
//!
//! One thread runs the replica: it takes all that came since its last turn, steps it, sends what may go at
//! once, makes the turn durable with one append and one flush, sends the rest. What comes meanwhile is the
//! next turn: that is the group commit. Committed entries are applied by a second thread, in order, and
//! images are written by a third; a fourth passes
//! changes on to those who watch, and a fifth keeps the time of leases. Requests wait on tokio's side.
mod apply_loop;
pub mod corruption;
mod handle;
mod images;
mod lease_loop;
mod members;
mod peers;
pub mod questions;
mod queue;
mod raft_loop;
mod running;
mod shared;
#[cfg(test)]
mod tests;
mod waiters;

pub use handle::Node;
pub use images::{LoadError, load as load_image};
pub use running::{Running, StartError};
pub use shared::Options;
