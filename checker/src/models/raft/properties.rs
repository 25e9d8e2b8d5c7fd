//! What must always hold, and what must sometimes happen lest the model prove nothing.

use super::{
    Bounds,
    ghosts::mark,
    state::{RaftModel, State},
};
use stateright::Property;
use std::fmt;

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
    /// A node cannot start from what it made durable, and says why.
    Restart(String),
    /// What clients saw has no sequential explanation.
    Linearizability,
    /// A heartbeat was answered in another term than its own, under its round's number: in that term the number
    /// means another round.
    RoundOfAnotherTerm,
    /// An invariant of the core itself, with the panic's message: monotonic term and commit, one vote a term,
    /// and the others that it asserts.
    Invariant(String),
}

impl Broken {
    /// The property's name.
    pub fn name(&self) -> &'static str {
        match self {
            Broken::ElectionSafety => "election safety",
            Broken::LogMatching => "log matching",
            Broken::LeaderCompleteness => "leader completeness",
            Broken::StateMachineSafety => "state machine safety",
            Broken::DurableBeforeSent => "durable before sent",
            Broken::Restart(_) => "restart",
            Broken::Linearizability => "linearizability",
            Broken::RoundOfAnotherTerm => "rounds stay in their term",
            Broken::Invariant(_) => "invariants of the core",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Broken::ElectionSafety => "two nodes lead one term (Raft paper, section 5.2)",
            Broken::LogMatching => {
                "two logs agree at an index, and differ before it (Raft paper, section 5.3)"
            }
            Broken::LeaderCompleteness => {
                "a leader lacks an entry that was committed in an earlier term (Raft paper, section 5.4)"
            }
            Broken::StateMachineSafety => {
                "two nodes applied different entries at one index (Raft paper, section 5.4.3)"
            }
            Broken::DurableBeforeSent => "a node promised what its disk does not hold (Raft paper, figure 2)",
            Broken::Restart(why) => return write!(f, "restart: a node cannot start from its disk: {why}"),
            Broken::Linearizability => "no order of the clients' operations explains what they saw",
            Broken::RoundOfAnotherTerm => {
                "a heartbeat was answered in another term under its round's number (Raft thesis, section 6.4)"
            }
            Broken::Invariant(text) => return write!(f, "invariants of the core: {text}"),
        };
        write!(f, "{}: {what}", self.name())
    }
}

/// What must happen somewhere, within bounds that allow it: its bit and its name.
pub(super) fn sometimes(bounds: &Bounds) -> Vec<(u8, &'static str)> {
    let elections = bounds.terms > 1;
    [
        (true, mark::LED, "a leader is elected"),
        (bounds.puts > 0, mark::PUT_ANSWERED, "a write is answered"),
        (elections, mark::OLD_ENTRY_COMMITTED, "an entry of an earlier term is committed"),
        (elections && bounds.reads > 0, mark::READ_BY_NEW_LEADER, "a read is served by a new leader"),
        (bounds.snapshots > 0 && bounds.nodes > 1, mark::INSTALLED, "an image is installed"),
    ]
    .into_iter()
    .filter_map(|(possible, mark, name)| possible.then_some((mark, name)))
    .collect()
}

/// The names of what must always hold.
pub const ALWAYS: [&str; 9] = [
    "election safety",
    "log matching",
    "leader completeness",
    "state machine safety",
    "durable before sent",
    "restart",
    "invariants of the core",
    "linearizability",
    "rounds stay in their term",
];

type Condition = fn(&RaftModel, &State) -> bool;

/// All properties of the model within `bounds`, for stateright.
pub(super) fn all(bounds: &Bounds) -> Vec<Property<RaftModel>> {
    fn holds<const AT: usize>(_: &RaftModel, state: &State) -> bool {
        state.broken().is_none_or(|broken| broken.name() != ALWAYS[AT])
    }
    const HOLDS: [Condition; 9] = [
        holds::<0>, holds::<1>, holds::<2>, holds::<3>, holds::<4>, holds::<5>, holds::<6>, holds::<7>,
        holds::<8>,
    ];
    fn marked<const BIT: u8>(_: &RaftModel, state: &State) -> bool {
        state.marks() & BIT != 0
    }
    let always = ALWAYS.into_iter().zip(HOLDS).map(|(name, holds)| Property::always(name, holds));
    let sometimes = sometimes(bounds).into_iter().map(|(bit, name)| {
        let condition: Condition = match bit {
            mark::LED => marked::<{ mark::LED }>,
            mark::PUT_ANSWERED => marked::<{ mark::PUT_ANSWERED }>,
            mark::OLD_ENTRY_COMMITTED => marked::<{ mark::OLD_ENTRY_COMMITTED }>,
            mark::READ_BY_NEW_LEADER => marked::<{ mark::READ_BY_NEW_LEADER }>,
            _ => marked::<{ mark::INSTALLED }>,
        };
        Property::sometimes(name, condition)
    });
    always.chain(sometimes).collect()
}
