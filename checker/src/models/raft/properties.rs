//! What must always hold, and what must sometimes happen lest the model prove nothing.

use super::{
    Bounds,
    state::{RaftModel, State},
};
use stateright::{Property, semantics::ConsistencyTester as _};

/// A promise that a step broke.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// Two leaders in one term. Raft paper, section 5.2.
    ElectionSafety,
    /// Two logs agree at an index but not before it. Raft paper, section 5.3.
    LogMatching,
    /// A leader lacks an entry that was committed in an earlier term. Raft paper, section 5.4.
    LeaderCompleteness,
    /// Two nodes applied different entries at one index. Raft paper, section 5.4.3.
    StateMachineSafety,
    /// A node promised what its disk does not hold.
    DurableBeforeSent,
    /// A node cannot start from what it made durable.
    Restart,
    /// What clients saw has no sequential explanation.
    Linearizability,
    /// An invariant of the core itself, with the panic's message.
    Invariant(String),
}

/// All properties of the model within `bounds`.
pub(super) fn all(bounds: &Bounds) -> Vec<Property<RaftModel>> {
    let mut properties = vec![
        Property::<RaftModel>::always("election safety", |_, state: &State| {
            state.broken() != Some(&Broken::ElectionSafety)
        }),
        Property::<RaftModel>::always("log matching", |_, state: &State| {
            state.broken() != Some(&Broken::LogMatching)
        }),
        Property::<RaftModel>::always("leader completeness", |_, state: &State| {
            state.broken() != Some(&Broken::LeaderCompleteness)
        }),
        Property::<RaftModel>::always("state machine safety", |_, state: &State| {
            state.broken() != Some(&Broken::StateMachineSafety)
        }),
        Property::<RaftModel>::always("durable before sent", |_, state: &State| {
            state.broken() != Some(&Broken::DurableBeforeSent)
        }),
        Property::<RaftModel>::always("restart", |_, state: &State| state.broken() != Some(&Broken::Restart)),
        Property::<RaftModel>::always("invariants of the core", |_, state: &State| {
            !matches!(state.broken(), Some(Broken::Invariant(_)))
        }),
        Property::<RaftModel>::always("linearizability", |_, state: &State| {
            state.broken() != Some(&Broken::Linearizability)
        }),
        Property::<RaftModel>::sometimes("a leader is elected", |_, state: &State| {
            !state.ghosts().leaders.is_empty()
        }),
    ];
    if bounds.puts > 0 {
        properties.push(Property::<RaftModel>::sometimes("a put is answered", |_, state: &State| {
            state.answered_puts()
        }));
    }
    if bounds.terms > 1 {
        properties.push(Property::<RaftModel>::sometimes(
            "an entry of an earlier term is committed",
            |_, state: &State| state.ghosts().committed.iter().any(|known| known.in_term > known.entry.term),
        ));
    }
    if bounds.terms > 1 && bounds.reads > 0 {
        properties.push(Property::<RaftModel>::sometimes(
            "a read is served by a new leader",
            |_, state: &State| state.ghosts().read_by_new_leader,
        ));
    }
    if bounds.snapshots > 0 {
        properties.push(Property::<RaftModel>::sometimes("an image is installed", |_, state: &State| {
            state.ghosts().installed
        }));
    }
    properties
}

impl State {
    fn answered_puts(&self) -> bool {
        let ghosts = self.ghosts();
        ghosts.committed.iter().any(|known| super::ghosts::command_value(&known.entry).is_some())
    }

    /// Whether what clients saw has a sequential explanation.
    pub(super) fn clients_are_consistent(&self) -> bool {
        self.ghosts().clients.is_consistent()
    }
}
