//! Mistakes that a node can be told to make, to prove that tests and checkers see them.

use crate::{
    ready::Write,
    types::{LogIndex, Payload},
};
use std::{fmt, str::FromStr};

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// One mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Mutation] = &[$(Mutation::$variant,)+];

            /// The name on a command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutation::$variant => $name,)+
                }
            }
        }
    };
}

mutations! {
    /// A leader gives entries out for applying, and so acknowledges them, as soon as it appended them.
    AckBeforeCommit = "ack-before-commit",
    /// Vote and term are not written to disk, so that a node may vote again after a crash.
    VoteNotPersisted = "vote-not-persisted",
    /// A follower now and then acknowledges entries that it did not append.
    AckWithoutAppend = "ack-without-append",
    /// A leader answers reads without asking a majority whether it still leads.
    ReadWithoutQuorum = "read-without-quorum",
    /// A leader commits entries of earlier terms by counting (Raft paper, figure 8).
    CommitsOldTerm = "commits-old-term",
    /// A vote goes to any candidate, however old its log is.
    VoteWithoutLogCheck = "vote-without-log-check",
    /// A node votes for every candidate of a term.
    VotesTwice = "votes-twice",
    /// Votes and acknowledgements go out before what they promise is durable.
    AckBeforeDurable = "ack-before-durable",
    /// A leader counts itself before its own write is durable.
    CountsUnsaved = "counts-unsaved",
    /// A follower drops the end of its log at every append, not only where it contradicts the leader's.
    TruncatesAlways = "truncates-always",
    /// A follower acknowledges its whole log, not what the leader is known to have. It also lets the leader
    /// probe from its commit index on; that is no mistake, but with exact hints the other one never shows.
    AckWholeLog = "ack-whole-log",
    /// A follower does not compare the term of the entry before the new ones.
    PrevTermUnchecked = "prev-term-unchecked",
    /// A follower takes entries from leaders of earlier terms.
    StaleTermAccepted = "stale-term-accepted",
    /// During a change of membership the new majority commits alone.
    NewMajorityOnly = "new-majority-only",
    /// A heartbeat of an old term is answered with its own round's number, which may be one of the new term's
    /// too.
    StaleRoundConfirmed = "stale-round-confirmed",
    /// A follower commits all that the leader says it has committed, also what it does not know to match.
    CommitNotClamped = "commit-not-clamped",
    /// Heartbeats name the leader's commit index, whatever the follower is known to hold.
    HeartbeatCommitNotClamped = "heartbeat-commit-not-clamped",
    /// Reads are taken before an entry of the leader's own term is committed.
    ReadTooEarly = "read-too-early",
    /// A confirmed read may be served at once, whatever was applied where it is served.
    ReadIndexForgotten = "read-index-forgotten",
    /// The term is not written to disk.
    TermNotPersisted = "term-not-persisted",
    /// Of the entries of a turn the last is not written to disk.
    EntriesNotPersisted = "entries-not-persisted",
    /// A candidate counts its own vote before it is durable.
    OwnVoteCountsUnsaved = "own-vote-counts-unsaved",
    /// A candidate counts votes that were given for an earlier term.
    StaleVotesCounted = "stale-votes-counted",
    /// One vote fewer than a majority elects.
    ElectedByMinority = "elected-by-minority",
    /// One acknowledgement fewer than a majority commits.
    CommitsByMinority = "commits-by-minority",
    /// A conflicting tail is kept: entries that contradict the leader's are not replaced.
    ConflictKept = "conflict-kept",
    /// A leader that meets a newer term in an answer goes on.
    IgnoresNewerTerm = "ignores-newer-term",
    /// All election timeouts are the shortest.
    TimeoutsNotRandom = "timeouts-not-random",
    /// Appends that were lost are never sent again.
    LossNotRepaired = "loss-not-repaired",
    /// A rejected append is tried again at the very same place.
    NoBacktrack = "no-backtrack",
    /// A follower that needs what was truncated gets no image.
    NoImageSent = "no-image-sent",
    /// The target of a transfer is told to campaign before it has the whole log.
    UnsafeTransfer = "transfer-before-caught-up",
    /// A change of membership is taken while another one is under way.
    TwoChangesAtOnce = "two-changes-at-once",
    /// A new leader changes the membership before an entry of its own term is committed.
    ChangeTooEarly = "change-too-early",
    /// During a change of membership the new majority elects alone.
    NewMajorityElects = "new-majority-elects",
    /// What a learner holds counts towards the majority.
    LearnerCounts = "learner-counts",
    /// A membership stays in force although its entry was truncated.
    MembershipNotRolledBack = "membership-not-rolled-back",
    /// A new leader appends no entry of its own.
    NoFirstEntry = "no-first-entry",
    /// An image names the first membership, not that of its last entry.
    ImageForgetsMembership = "image-forgets-membership",
    /// An image is acknowledged before the log is replaced by it on disk.
    ImageAckBeforeDurable = "image-ack-before-durable",
    /// Whatever rejection comes, however late, the leader believes it.
    StaleRejectionBelieved = "stale-rejection-believed",
    /// One other member's answer confirms a read.
    ReadByMinority = "read-by-minority",
    /// The vote of the term before stays in a new term.
    VoteKept = "vote-kept",
    /// A node that answers a newer term's request stays in its own term.
    TermNotRaisedByVote = "term-not-raised-by-vote",
    /// A restart takes a write that a crash cut short for a whole one: see [`torn`].
    TornTailAccepted = "torn-tail-accepted",
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No mutation has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMutation(String);

impl fmt::Display for UnknownMutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Mutation::ALL.iter().map(|mutation| mutation.name()).collect();
        write!(f, "no mutation is named `{}`; there are {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownMutation {}

impl FromStr for Mutation {
    type Err = UnknownMutation;

    fn from_str(name: &str) -> Result<Mutation, UnknownMutation> {
        let found = Mutation::ALL.iter().find(|mutation| mutation.name() == name);
        found.copied().ok_or_else(|| UnknownMutation(name.to_string()))
    }
}

/// What some mutations must remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Planted {
    /// Last entry of the newest append that was acknowledged and dropped.
    pub(crate) dropped: LogIndex,
}

/// What a write that a crash cut short looks like to a log that does not notice: its entries are there, but the last
/// one's payload never arrived, and neither did the hard state, which comes last. A restart on it is a mistake of whoever
/// keeps the log, not of the core; models and tests of the core make it where [`Mutation::TornTailAccepted`] is planted.
pub fn torn(write: &Write) -> Write {
    let mut torn = Write { hard_state: None, ..write.clone() };
    if let Some(last) = torn.entries.last_mut() {
        last.payload = Payload::Command(bytes::Bytes::new());
    }
    torn
}
