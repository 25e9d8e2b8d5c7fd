//! The production Raft core as a model: all that can happen within bounds, looked at exhaustively or in walks.
//!
//! The transition function is [`raft::Raft::step`] itself; nothing of the algorithm is written here a second
//! time. The model decides what a real world would: when elections start, which message arrives next, how
//! often, or never, when a write reaches the disk, who crashes and comes back with what the disk holds.
//!
//! - The network is the set of all messages ever sent, or (within [`Bounds::window`]) of the newest of each
//!   link. Any of them may be delivered at any time and again: that is loss, duplication, delay and reordering
//!   at once. Without a window the states are too many to exhaust; walks do without.
//! - A turn's write is a step of its own ([`Act::Persist`]); a crash before it loses the write.
//! - Time is abstracted: any node may campaign whenever the bounds allow.
//! - State images are not modelled: an image at an index is what the entries up to it make.
//!
//! Two searches share all of that. [`RaftModel`] is a stateright model, for its explorer and as a judge;
//! [`Search`] and [`Walks`] are our own, which look up what the core does to one node's state instead of
//! computing it again. Both count the same states.
mod action;
mod bounds;
mod ghosts;
mod local;
mod mail;
mod properties;
mod replay;
mod script;
mod search;
mod shrink;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod visited;
mod walk;
mod world;

pub use action::{Act, Action, Reconfiguration};
pub use bounds::{Bounds, Named};
pub use properties::{ALWAYS, Broken};
pub use replay::{Replay, Replayed};
pub use script::{Script, ScriptError};
pub use search::{Counterexample, End, Progress, Report, Search};
pub use shrink::shrink;
pub use state::{RaftModel, State};
pub use walk::{WalkReport, Walks};
