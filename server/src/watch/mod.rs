//! Who follows which keys, and telling them what was changed.
//!
//! The thread that applies entries hands what each revision changed to the [`Hub`] and goes on: it never waits
//! for a watcher. The hub finds the watchers of a key (a map for single keys, a tree for ranges), so an event
//! costs what its own watchers cost, and puts it into the [`Outbox`] of each watcher's stream. All of them
//! share one copy of the event, encoded once.
//!
//! An outbox is bounded. A watcher whose outbox is full is taken off the hub and told at which revision: its
//! stream reads on from the store's history, as fast as its client takes it, and joins the hub again once it
//! has caught up. The same happens where revisions reach the hub in one leap: a state image was installed,
//! nobody watched, or too much was waiting. So nothing is ever lost silently, and what is held for slow
//! clients has a bound; if the history that a watcher still needs is compacted, it is told so.
//!
//! - `block` is a revision's changes, shared and encoded once;
//! - `outbox` is the queue of one stream;
//! - `registry` says who watches what, over `intervals`;
//! - `hub` is the meeting place: events come in, watchers join and leave.
//!
//! Left out: the protocol of a stream (`api::watch`), and where history is read from (`mvcc`).

mod block;
mod hub;
mod intervals;
mod outbox;
mod registry;
#[cfg(test)]
mod tests;

pub use block::{Block, Shared};
pub use hub::{Hub, Slow};
pub use outbox::{Item, Lagging, Outbox};
pub use registry::{Filters, Interest, Ticket};
