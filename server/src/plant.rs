//! Planted bugs: faults in the server's own code, chosen at run time, which prove that the checkers find
//! what they claim to find. Only in builds with the feature `plant`.
//!
//! Most are asked for where they act, by [`is`]: a process has one ([`choose_for_process`]), or a thread has
//! another ([`choose_for_thread`]), so that simulations in one process do not share theirs.

use std::{
    cell::Cell,
    error::Error,
    fmt,
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

macro_rules! plants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal in $area:ident,)+) => {
        /// A bug that a server can be told to have. Its text form is its name in kebab-case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Plant {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Plant {
            /// Every planted bug, in the order of the variants.
            pub const ALL: &'static [Plant] = &[$(Plant::$variant,)+];

            /// The text form.
            pub fn name(self) -> &'static str {
                match self {
                    $(Plant::$variant => $name,)+
                }
            }

            /// The part of the server that has it.
            pub fn area(self) -> Area {
                match self {
                    $(Plant::$variant => Area::$area,)+
                }
            }
        }
    };
}

/// A part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The core, by one of its own mutations.
    Raft,
    /// The files of the log, and how they are read back.
    Disk,
    /// State images.
    Image,
    /// Linearizable reads.
    Read,
    /// What clients are told.
    Reply,
    /// The keys and their history.
    Store,
    /// Leases.
    Lease,
    /// Watches.
    Watch,
    /// Who takes part.
    Members,
}

plants! {
    /// A linearizable read is served from local state, without asking a quorum.
    LocalRead = "local-read" in Read,
    /// A write is acknowledged before it is committed.
    AckBeforeCommit = "ack-before-commit" in Raft,
    /// Vote and term are not written to disk, so that a restarted member can vote twice in a term.
    VoteNotPersisted = "vote-not-persisted" in Raft,
    /// A follower acknowledges entries that it has not appended.
    AckUnappended = "ack-unappended" in Raft,
    /// After a restart, the last applied entry is applied once more.
    ApplyTwiceAfterRestart = "apply-twice-after-restart" in Image,
    /// A transaction with a put in its success branch takes that branch whatever its comparisons say.
    CasIgnoresCompare = "cas-ignores-compare" in Store,
    /// Deletions at every third revision are acknowledged, and not carried out.
    LostDelete = "lost-delete" in Store,
    /// A range inside a transaction does not see the earlier writes of that transaction.
    StaleRange = "stale-range" in Store,
    /// The `count` of a range counts deleted keys too.
    CountIncludesTombstones = "count-includes-tombstones" in Store,
    /// A key that was deleted and written again counts its versions on.
    VersionSurvivesDeletion = "version-survives-deletion" in Store,
    /// A range that has just as many keys as its limit says that there are more.
    MoreAtLimit = "more-at-limit" in Store,
    /// A range takes in the key that is its end.
    RangeEndIncluded = "range-end-included" in Store,
    /// A range at a revision that is not there yet is answered from the newest.
    FutureRevisionServed = "future-revision-served" in Store,
    /// A range at a compacted revision is answered from what is left.
    CompactedRevisionServed = "compacted-revision-served" in Store,
    /// A compaction frees the versions that a reader at its own revision needs.
    CompactionFreesOneMore = "compaction-frees-one-more" in Store,
    /// A deletion is forgotten while a compaction is being carried out in memory, which members do at their
    /// own pace.
    DeleteLostInScrub = "delete-lost-in-scrub" in Store,
    /// The checksums of the log are not compared.
    ChecksumIgnored = "checksum-ignored" in Disk,
    /// A record that a crash tore is taken for whole, its missing bytes for zeros.
    TornTailAccepted = "torn-tail-accepted" in Disk,
    /// A flush that fails counts as one that succeeded.
    FlushErrorSwallowed = "flush-error-swallowed" in Disk,
    /// A write that fails counts as one that succeeded.
    WriteErrorSwallowed = "write-error-swallowed" in Disk,
    /// Turns without entries are not flushed, so that a vote may be forgotten.
    VoteNotFlushed = "vote-not-flushed" in Disk,
    /// Every fourth turn is not flushed.
    SomeTurnsNotFlushed = "some-turns-not-flushed" in Disk,
    /// The directory is not flushed after a new segment of the log got its name.
    DirectoryNotFlushed = "directory-not-flushed" in Disk,
    /// A segment of the log is removed although its last entry is not in an image yet.
    SegmentReleasedEarly = "segment-released-early" in Disk,
    /// A new segment does not repeat the hard state of those before it.
    RotationForgetsVote = "rotation-forgets-vote" in Disk,
    /// A file of the log is appended to where the last one ended, without cutting off a torn tail.
    TornTailLeft = "torn-tail-left" in Disk,
    /// An image gets its name before it is flushed.
    ImageNotFlushed = "image-not-flushed" in Image,
    /// An image does not tell up to which revision history was compacted.
    ImageForgetsCompaction = "image-forgets-compaction" in Image,
    /// Keys that come from an image hang from no lease.
    ImageForgetsLeasedKeys = "image-forgets-leased-keys" in Image,
    /// The newest image is believed whatever its checksums say.
    ImageChecksumIgnored = "image-checksum-ignored" in Image,
    /// A confirmed read is served whether or not its index is applied here.
    ReadBeforeApplied = "read-before-applied" in Read,
    /// A read joins the round that is under way, which began before it came.
    ReadJoinsRound = "read-joins-round" in Read,
    /// Answers to rounds of reads of an earlier life of the member count.
    ReadOfEarlierLife = "read-of-earlier-life" in Read,
    /// A proposal is said to be lost as soon as any later entry of its own term is committed.
    LostTooEarly = "lost-too-early" in Reply,
    /// A proposal is handed to the leader twice.
    ProposalSentTwice = "proposal-sent-twice" in Reply,
    /// Proposals that wait for a leader when one appears are refused, and proposed all the same.
    RefusedAndProposed = "refused-and-proposed" in Reply,
    /// The answer to a proposal is another's: the answers of one batch are swapped.
    AnswersSwapped = "answers-swapped" in Reply,
    /// Who led earlier may end leases in a later term.
    ExpiryOfEarlierTerm = "expiry-of-earlier-term" in Lease,
    /// A leader renews a lease without asking whether it still leads.
    RenewedUnconfirmed = "renewed-unconfirmed" in Lease,
    /// A new leader gives leases half their time.
    PromotionHalvesTtl = "promotion-halves-ttl" in Lease,
    /// A renewal is acknowledged and forgotten.
    RenewalForgotten = "renewal-forgotten" in Lease,
    /// Of the keys of a lease that ends the first stays.
    KeyOutlivesLease = "key-outlives-lease" in Lease,
    /// The keys of a lease that ends are deleted at a revision each.
    KeysEndApart = "keys-end-apart" in Lease,
    /// Leases never run out.
    NothingExpires = "nothing-expires" in Lease,
    /// A watch that fell behind reads history from one revision too late.
    WatchGapAfterLag = "watch-gap-after-lag" in Watch,
    /// A watch that fell behind reads history from the revision that it was told of last.
    WatchRepeatsAfterLag = "watch-repeats-after-lag" in Watch,
    /// A watch from now on begins one revision too late.
    WatchStartsLate = "watch-starts-late" in Watch,
    /// Progress is told up to the store's revision, whatever still waits to be told.
    ProgressTooEarly = "progress-too-early" in Watch,
    /// An event shows the pair before the previous one.
    PrevKvTooOld = "prev-kv-too-old" in Watch,
    /// Events that are read from history pass every filter.
    FilterIgnoredInHistory = "filter-ignored-in-history" in Watch,
    /// A watch from a compacted revision goes on with what is left.
    CompactedWatchGoesOn = "compacted-watch-goes-on" in Watch,
    /// The events of one revision come in an answer each.
    RevisionSplit = "revision-split" in Watch,
    /// Who was removed stays a voter: raft is never told.
    RemovedStaysVoter = "removed-stays-voter" in Members,
    /// A learner gets a vote as soon as it has caught up, though nobody promoted it.
    LearnerGetsVote = "learner-gets-vote" in Members,
    /// An image does not tell who was removed.
    ImageForgetsRemoved = "image-forgets-removed" in Members,
    /// An image makes every learner a voter.
    ImageForgetsLearners = "image-forgets-learners" in Members,
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The process's bug: its place in [`Plant::ALL`] and one more, 0 for none.
static OF_PROCESS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's bug, where it has a say of its own.
    static OF_THREAD: Cell<Option<Option<Plant>>> = const { Cell::new(None) };
}

/// Gives the process this bug, or none.
pub fn choose_for_process(plant: Option<Plant>) {
    let place = plant.and_then(|plant| Plant::ALL.iter().position(|one| *one == plant));
    OF_PROCESS.store(place.map_or(0, |place| place + 1), Relaxed);
}

/// Gives the calling thread this bug, or none, whatever the process has, until the guard is dropped.
#[must_use = "the bug is there only as long as the guard"]
pub fn choose_for_thread(plant: Option<Plant>) -> Chosen {
    Chosen { before: OF_THREAD.replace(Some(plant)) }
}

/// Keeps a thread's bug.
#[derive(Debug)]
pub struct Chosen {
    before: Option<Option<Plant>>,
}

impl Drop for Chosen {
    fn drop(&mut self) {
        OF_THREAD.set(self.before);
    }
}

/// Whether the code that asks has this bug.
pub fn is(plant: Plant) -> bool {
    let chosen = OF_THREAD.get().unwrap_or_else(|| {
        let place = OF_PROCESS.load(Relaxed);
        place.checked_sub(1).and_then(|place| Plant::ALL.get(place).copied())
    });
    chosen == Some(plant)
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
        let found = Plant::ALL.iter().find(|plant| plant.name() == name);
        found.copied().ok_or_else(|| UnknownPlant(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_plants() {
        for plant in Plant::ALL {
            assert_eq!(plant.to_string().parse(), Ok(*plant));
        }
        let error = "lost-put".parse::<Plant>().expect_err("not a plant");
        assert!(error.to_string().contains("lost-delete"), "the message lists the names: {error}");
    }

    #[test]
    fn a_thread_has_its_bug_while_its_guard_lives() {
        assert!(!is(Plant::LostDelete));
        let chosen = choose_for_thread(Some(Plant::LostDelete));
        assert!(is(Plant::LostDelete) && !is(Plant::StaleRange));
        std::thread::spawn(|| assert!(!is(Plant::LostDelete))).join().expect("other threads have none");
        drop(chosen);
        assert!(!is(Plant::LostDelete));
    }
}
