//! The Raft consensus algorithm as a pure state machine: no disk, no network, no clock, no thread.
//!
//! A [`Raft`] takes one [`Input`] at a time ([`Raft::step`]) and says what is to be done ([`Raft::ready`]):
//! what to write, what to send at once, what to send once the write is durable, what to apply, which reads
//! may be served. Two equal nodes that get equal inputs stay equal: the only randomness is a generator that
//! is seeded by [`Config::seed`] and kept in the node. The server, the simulator and the model checker run
//! this same code.
//!
//! ```text
//!   Input ----> Raft::step ----> Raft::ready ----> Ready { messages, committed, reads, soft_state }
//!     ^                                              |
//!     |                                              v
//!     +---- Persisted(mark) <---- Saved { messages, mark } <---- Ready::save(storage)
//! ```
//!
//! # What whoever drives a node owes it
//! - Readies are saved one after the other, in the order in which they were made, also those with nothing to
//!   write; [`Saved`] frees the messages that had to wait, and its mark comes back as [`Input::Persisted`].
//!   Steps, and further readies, need not wait for that.
//! - `committed` is applied in order, on top of the image in [`Write::install`] where there is one. It may be
//!   ahead of the node's own disk.
//! - [`Body::InstallSnapshot`] is carried together with the image that it names, or a newer one whose `meta`
//!   then takes its place; the receiver stores the image before it steps the message in; the sender's node is
//!   told what came of it ([`Input::SnapshotReport`]).
//! - An image is durable before [`Input::SnapshotTaken`]. After a start, [`Raft::log`] and
//!   [`Raft::snapshot`] say what is left of what was found: anything else is to be dropped from the disk
//!   before the next write.
//! - After an error of the disk the node stops. So it does after a panic: an invariant is broken.
//!
//! # What is in
//! Elections with randomised timeouts, pre-vote and check-quorum; replication that is pipelined, with
//! conflict hints; the leader's write in parallel with its sends; reads by ReadIndex, batched; transfer of
//! leadership; snapshots; membership changes by joint consensus; learners.
//!
//! # What is left out, on purpose
//! - **Leader leases for reads.** They trust clocks; every read costs a round of heartbeats, shared by all
//!   reads of a turn.
//! - **Forwarding of proposals and reads** from follower to leader. The core refuses with the leader's id;
//!   only the layer above knows how to forward without applying twice.
//! - **Changes of one voter in a single step** (Raft thesis, section 4.1). All changes of voters go through
//!   joint consensus: one way is easier to get right than two.
//! - **State images.** The core only names them: see [`SnapshotMeta`].
//!
//! Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (the *Raft paper*);
//! Ongaro, "Consensus: Bridging Theory and Practice" (the *Raft thesis*).
mod candidate;
mod canonical;
pub mod config;
mod follower;
pub mod input;
mod invariants;
mod leader;
pub mod log;
pub mod membership;
pub mod message;
#[cfg(feature = "plant")]
pub mod mutation;
mod node;
pub mod progress;
mod quorum;
mod raft;
mod read_index;
pub mod ready;
mod rng;
pub mod types;
pub mod view;

#[cfg(feature = "plant")]
pub use mutation::Mutation;
pub use {
    canonical::Rename,
    config::{Config, ConfigError, Durable, DurableError, StartError},
    input::{Input, StepError},
    membership::{MembershipChange, MembershipError},
    message::{Body, Message},
    raft::Raft,
    ready::{Mark, ReadState, Ready, Saved, SoftState, Storage, Write},
    types::{Entry, HardState, LogIndex, Membership, NodeId, Payload, ReadId, Role, SnapshotMeta, Term},
    view::NodeView,
};
