//! The production Raft core as a stateright model.
//!
//! The transition function is [`raft::Raft::step`] itself; nothing of the algorithm is written here a second
//! time. The model decides what a real world would: when elections start, which message arrives next, how
//! often, or never, when a write reaches the disk, who crashes and comes back with what the disk holds.
//!
//! - The network is the set of all messages ever sent. Any of them may be delivered at any time and again:
//!   that is loss, duplication, delay and reordering at once.
//! - A turn's write is a step of its own ([`Action::Persist`]); a crash before it loses the write.
//! - Time is abstracted: any node may campaign whenever the bounds allow.
//! - State images are not modelled: an image at an index is what the entries up to it make.
mod action;
mod ghosts;
mod hashed;
mod node;
mod properties;
mod state;

pub use action::{Action, Reconfiguration};
pub use properties::Broken;
pub use state::{RaftModel, State};

/// How far a model goes. All counts are over the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Members, numbered from 1.
    pub nodes: u64,
    /// Largest term.
    pub terms: u64,
    /// Commands that clients propose.
    pub puts: u8,
    /// Linearizable reads that clients ask for.
    pub reads: u8,
    /// Crashes; every node that crashed may come back.
    pub crashes: u8,
    /// State images taken.
    pub snapshots: u8,
    /// Changes of membership.
    pub reconfigs: u8,
    /// Leadership transfers asked for.
    pub transfers: u8,
    /// Whether a turn's write is a step of its own, rather than part of the step that made it.
    pub slow_disk: bool,
    /// Whether elections begin with a pre-vote.
    pub pre_vote: bool,
}

impl Bounds {
    /// Explored within a minute on two cores: for every change.
    pub fn smoke() -> Bounds {
        Bounds {
            nodes: 3,
            terms: 2,
            puts: 1,
            reads: 1,
            crashes: 0,
            snapshots: 0,
            reconfigs: 0,
            transfers: 0,
            slow_disk: false,
            pre_vote: false,
        }
    }
}

#[cfg(test)]
mod tests;
