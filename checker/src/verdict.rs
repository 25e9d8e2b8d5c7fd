//! What a check concludes, and with which evidence.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::history::lint::Problem;
use crate::history::{Fault, OpId, Operation};
use crate::isolation::levels::Levels;

/// The conclusion of a check, or of all checks of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "verdict", content = "because", rename_all = "snake_case")]
pub enum Verdict {
    /// Every promise that was checked was kept.
    #[default]
    Valid,
    /// It could not be decided. Never a weaker form of valid.
    Unknown(Vec<Why>),
    /// A promise was broken.
    Anomaly(Vec<Anomaly>),
}

impl Verdict {
    /// The worse of the two: an anomaly outweighs doubt, doubt outweighs valid.
    #[must_use]
    pub fn merge(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Anomaly(mut left), Verdict::Anomaly(right)) => {
                left.extend(right);
                Verdict::Anomaly(left)
            }
            (worse @ Verdict::Anomaly(_), Verdict::Unknown(_) | Verdict::Valid)
            | (Verdict::Unknown(_) | Verdict::Valid, worse @ Verdict::Anomaly(_)) => worse,
            (Verdict::Unknown(mut left), Verdict::Unknown(right)) => {
                left.extend(right);
                Verdict::Unknown(left)
            }
            (unsure @ Verdict::Unknown(_), Verdict::Valid)
            | (Verdict::Valid, unsure @ Verdict::Unknown(_)) => unsure,
            (Verdict::Valid, Verdict::Valid) => Verdict::Valid,
        }
    }

    /// Anomaly if there is one, else valid.
    pub fn of(anomalies: Vec<Anomaly>) -> Verdict {
        if anomalies.is_empty() { Verdict::Valid } else { Verdict::Anomaly(anomalies) }
    }

    /// Unknown, for one reason.
    pub fn unknown(why: Why) -> Verdict {
        Verdict::Unknown(vec![why])
    }

    /// `valid`, `unknown` or `anomaly`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Unknown(_) => "unknown",
            Verdict::Anomaly(_) => "anomaly",
        }
    }

    /// Whether it is [`Verdict::Valid`].
    pub fn is_valid(&self) -> bool {
        matches!(self, Verdict::Valid)
    }

    /// The anomalies, if there are any.
    pub fn anomalies(&self) -> &[Anomaly] {
        match self {
            Verdict::Anomaly(anomalies) => anomalies,
            Verdict::Valid | Verdict::Unknown(_) => &[],
        }
    }
}

/// Why a check could not decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// The history breaks an assumption of the check.
    Assumption(Problem),
    /// Time ran out.
    TimeLimit {
        /// The limit, ms.
        limit_ms: u64,
        /// How far it got.
        reached: Progress,
    },
    /// The search needed more states than it may hold.
    StateLimit {
        /// The limit.
        limit: u64,
        /// How far it got.
        reached: Progress,
    },
    /// The check took more memory than it may.
    MemoryLimit {
        /// The limit, bytes beyond what was held at first.
        limit_bytes: u64,
        /// How far it got.
        reached: Progress,
    },
    /// Somebody asked it to stop.
    Cancelled {
        /// How far it got.
        reached: Progress,
    },
    /// There are too many ways in which operations of unknown outcome may have taken effect.
    Ambiguous {
        /// How far it got.
        reached: Progress,
    },
    /// What the check needs was not observed.
    NotObserved {
        /// What is missing.
        what: String,
    },
    /// The engine asked for cannot judge this workload.
    EngineCannot {
        /// Why not.
        what: String,
    },
}

/// How far a check got in what it was to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Which part, where the check has parts: a key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// Operations decided.
    pub done: u64,
    /// Operations in all.
    pub of: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} of {} operations", self.done, self.of)?;
        if self.part.is_empty() { Ok(()) } else { write!(f, " of {}", self.part) }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Assumption(problem) => problem.fmt(f),
            Why::TimeLimit { limit_ms, reached } => {
                write!(f, "the time limit of {limit_ms} ms was reached {reached}")
            }
            Why::StateLimit { limit, reached } => {
                write!(f, "the limit of {limit} states was reached {reached}")
            }
            Why::MemoryLimit { limit_bytes, reached } => {
                write!(f, "the limit of {} MiB of memory was reached {reached}", limit_bytes >> 20)
            }
            Why::Cancelled { reached } => write!(f, "cancelled {reached}"),
            Why::Ambiguous { reached } => {
                write!(f, "too many ways to explain the operations of unknown outcome, {reached}")
            }
            Why::NotObserved { what } => write!(f, "not observed: {what}"),
            Why::EngineCannot { what } => f.write_str(what),
        }
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anomaly {
    /// What kind of promise.
    pub kind: AnomalyKind,
    /// One sentence: what was promised, what was seen, by whom, when, under which fault.
    pub sentence: String,
    /// The evidence.
    pub witness: Witness,
}

/// The kinds of broken promises, named as the field names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// No order of the operations explains the answers.
    NotLinearizable,
    /// An answer is not what the store held at the answer's revision.
    WrongAnswer,
    /// An operation began after another returned and was answered from an older revision.
    StaleRead,
    /// A revision was used twice.
    DuplicateRevision,
    /// A revision that no operation can have made.
    UnexplainedRevision,
    /// A revision went back.
    RevisionWentBack,
    /// An acknowledged revision is missing at the end.
    LostRevision,
    /// An operation that failed for certain took effect.
    FailedOpObserved,
    /// One operation took effect twice.
    AppliedTwice,
    /// A value that nobody wrote.
    PhantomValue,
    /// History below a compaction was read after it.
    ReadBelowCompaction,
    /// Members differ at equal applied index.
    Divergence,
    /// An acknowledged element is in no later read.
    LostElement,
    /// An acknowledged element is missing from a later read, and seen by another.
    StaleElement,
    /// An element that nobody added.
    PhantomElement,
    /// An element stands twice where it was added once.
    DuplicateElement,
    /// Two reads each lack what the other has.
    ForkedReads,
    /// A transaction contradicts its own writes.
    Internal,
    /// A read of a transaction that was aborted.
    #[serde(rename = "G1a")]
    G1a,
    /// A read of a transaction's intermediate state.
    #[serde(rename = "G1b")]
    G1b,
    /// Two reads of one list disagree on its order.
    IncompatibleOrder,
    /// An acknowledged append is in no later read.
    LostAppend,
    /// A cycle of writes.
    #[serde(rename = "G0")]
    G0,
    /// A cycle of writes and reads of them.
    #[serde(rename = "G1c")]
    G1c,
    /// A cycle with one anti-dependency.
    #[serde(rename = "G-single")]
    GSingle,
    /// A cycle with several anti-dependencies, none of which follows another: no snapshot explains it.
    #[serde(rename = "G-nonadjacent")]
    GNonadjacent,
    /// A cycle with several anti-dependencies.
    #[serde(rename = "G2-item")]
    G2Item,
    /// [`AnomalyKind::G0`] with the order of each process.
    #[serde(rename = "G0-process")]
    G0Process,
    /// [`AnomalyKind::G1c`] with the order of each process.
    #[serde(rename = "G1c-process")]
    G1cProcess,
    /// [`AnomalyKind::GSingle`] with the order of each process.
    #[serde(rename = "G-single-process")]
    GSingleProcess,
    /// [`AnomalyKind::GNonadjacent`] with the order of each process.
    #[serde(rename = "G-nonadjacent-process")]
    GNonadjacentProcess,
    /// [`AnomalyKind::G2Item`] with the order of each process.
    #[serde(rename = "G2-item-process")]
    G2ItemProcess,
    /// [`AnomalyKind::G0`] with the order of real time.
    #[serde(rename = "G0-realtime")]
    G0Realtime,
    /// [`AnomalyKind::G1c`] with the order of real time.
    #[serde(rename = "G1c-realtime")]
    G1cRealtime,
    /// [`AnomalyKind::GSingle`] with the order of real time.
    #[serde(rename = "G-single-realtime")]
    GSingleRealtime,
    /// [`AnomalyKind::GNonadjacent`] with the order of real time.
    #[serde(rename = "G-nonadjacent-realtime")]
    GNonadjacentRealtime,
    /// [`AnomalyKind::G2Item`] with the order of real time.
    #[serde(rename = "G2-item-realtime")]
    G2ItemRealtime,
    /// A transaction read what it wrote itself only later.
    FutureRead,
    /// A committed write is built on one of a transaction that was aborted.
    DirtyUpdate,
    /// Two transactions read one version, and both wrote over it.
    LostUpdate,
    /// The versions of a register must each come before the next, in a circle.
    CyclicVersions,
    /// A transaction saw something of another, and later missed what that wrote.
    NonMonotonicRead,
    /// [`AnomalyKind::NonMonotonicRead`], given what its process did before.
    NonMonotonicReadProcess,
    /// A transaction saw one write of another, and missed another one.
    FracturedRead,
    /// [`AnomalyKind::FracturedRead`], given what its process did before.
    FracturedReadProcess,
    /// A transaction saw an effect without its cause.
    CausalViolation,
    /// [`AnomalyKind::CausalViolation`], given what its process did before.
    CausalViolationProcess,
    /// No order of the writes explains the reads.
    NotSerializable,
    /// No order of the writes that keeps the order of each process explains the reads.
    NotSerializableProcess,
    /// No order of the writes that keeps real time explains the reads.
    NotSerializableRealtime,
    /// Two reads each saw one of two writes and missed the other.
    LongFork,
    /// A watch's events do not come in the order of revisions.
    WatchNotOrdered,
    /// An event came twice on one watch.
    WatchDuplicate,
    /// The events of one revision came in several responses.
    WatchSplit,
    /// A progress notification told more than had come.
    WatchBookmarkBroken,
    /// An event that the watch did not ask for.
    WatchNotAskedFor,
    /// An event that is not what was written, or not the same for all.
    WatchWrongEvent,
    /// An event in the middle did not come.
    WatchMissed,
    /// A watch did not begin where it was asked to.
    WatchGap,
    /// Creation or version of an event contradict the events before it.
    WatchWrongCreation,
    /// The state before an event is not what it was.
    WatchWrongPrevKv,
    /// The balances do not add up to what was there at first.
    WrongTotal,
    /// An account was overdrawn.
    NegativeBalance,
    /// An id was given twice.
    DuplicateId,
    /// Two held one lock at a time.
    TwoHolders,
    /// A holder whose lock was another's already took effect all the same.
    StaleHolder,
    /// Two won one term of an election.
    TwoLeaders,
    /// A lease ended although it was kept alive.
    LeaseExpiredEarly,
    /// A lease's keys outlived it.
    LeaseOutlived,
    /// A lease's keys did not go at one revision.
    LeaseSplit,
    /// The store did not come back after faults were over.
    NoRecovery,
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name in JSON is the name everywhere.
        self.serialize(f)
    }
}

/// Evidence of an anomaly: as few operations as were found to show it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Witness {
    /// The operations, in order of invocation.
    pub operations: Vec<Operation>,
    /// Those of them that cannot be reconciled.
    pub culprits: Vec<OpId>,
    /// The argument, a step a line.
    pub because: Vec<String>,
    /// A longest order of operations that is legal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub legal_prefix: Vec<OpId>,
    /// The states that were possible where the order cannot go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// The faults that were active meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// What one check concluded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckResult {
    /// The check's name: `linearizable`, `convergence`, ...
    pub check: &'static str,
    /// What it concluded.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What decided: a layer or an engine.
    pub decided_by: &'static str,
    /// How long it took.
    #[serde(rename = "elapsed_us", serialize_with = "as_micros")]
    pub elapsed: Duration,
    /// How much it looked at.
    pub counts: BTreeMap<&'static str, u64>,
    /// What is left of the consistency levels, where the check tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
}

pub(crate) fn as_micros<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}
