//! Planted bugs: faults in the server's own code, chosen at run time, which prove that the checkers find
//! what they claim to find. Only in builds with the feature `plant`.

use std::{error::Error, fmt, str::FromStr};

/// A bug that a server can be told to have. Its text form is its name in kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plant {
    /// A linearizable read is served from local state, without asking a quorum.
    LocalRead,
    /// A write is acknowledged before it is committed.
    AckBeforeCommit,
    /// Vote and term are not written to disk, so that a restarted member can vote twice in a term.
    VoteNotPersisted,
    /// A follower acknowledges entries that it has not appended.
    AckUnappended,
    /// After a restart, the last applied entry is applied once more.
    ApplyTwiceAfterRestart,
    /// A transaction with a put in its success branch takes that branch whatever its comparisons say.
    CasIgnoresCompare,
    /// Deletions at every third revision are acknowledged, and not carried out.
    LostDelete,
    /// A range inside a transaction does not see the earlier writes of that transaction.
    StaleRange,
    /// The `count` of a range counts deleted keys too.
    CountIncludesTombstones,
}

impl Plant {
    /// Every planted bug, in the order of the variants.
    pub const ALL: [Plant; 9] = [
        Plant::LocalRead,
        Plant::AckBeforeCommit,
        Plant::VoteNotPersisted,
        Plant::AckUnappended,
        Plant::ApplyTwiceAfterRestart,
        Plant::CasIgnoresCompare,
        Plant::LostDelete,
        Plant::StaleRange,
        Plant::CountIncludesTombstones,
    ];

    /// The text form.
    pub fn name(self) -> &'static str {
        match self {
            Plant::LocalRead => "local-read",
            Plant::AckBeforeCommit => "ack-before-commit",
            Plant::VoteNotPersisted => "vote-not-persisted",
            Plant::AckUnappended => "ack-unappended",
            Plant::ApplyTwiceAfterRestart => "apply-twice-after-restart",
            Plant::CasIgnoresCompare => "cas-ignores-compare",
            Plant::LostDelete => "lost-delete",
            Plant::StaleRange => "stale-range",
            Plant::CountIncludesTombstones => "count-includes-tombstones",
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no planted bug of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPlant(pub String);

impl fmt::Display for UnknownPlant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no planted bug is called {:?}; there are", self.0)?;
        for (i, plant) in Plant::ALL.iter().enumerate() {
            write!(f, "{} {plant}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Error for UnknownPlant {}

impl FromStr for Plant {
    type Err = UnknownPlant;

    fn from_str(name: &str) -> Result<Plant, UnknownPlant> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name).ok_or_else(|| UnknownPlant(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_plants() {
        for plant in Plant::ALL {
            assert_eq!(plant.to_string().parse(), Ok(plant));
        }
        let error = "lost-put".parse::<Plant>().expect_err("not a plant");
        assert!(error.to_string().contains("lost-delete"), "the message lists the names: {error}");
    }
}
