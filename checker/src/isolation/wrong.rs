//! What is wrong with single versions and reads, before any cycle is looked for.

use super::txns::Key;
use crate::history::OpId;
use crate::verdict::AnomalyKind;

/// An anomaly that shows without a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A transaction's read contradicts its own writes or its earlier read.
    Internal {
        /// The transaction.
        txn: OpId,
        /// The key.
        key: Key,
        /// What it had to read: of a list that it had not read before, the end.
        expected: Vec<i64>,
        /// What it read.
        found: Vec<i64>,
    },
    /// A list holds an element twice.
    Duplicate {
        /// The transaction that read it.
        reader: OpId,
        /// The list.
        key: Key,
        /// The element.
        element: i64,
    },
    /// A read of what a transaction wrote that failed for certain (G1a), or of what nobody wrote.
    Unwritten {
        /// The transaction that read it.
        reader: OpId,
        /// The key.
        key: Key,
        /// The value or element.
        value: i64,
        /// The transaction that failed.
        failed: Option<OpId>,
    },
    /// A read of a state in the middle of another transaction (G1b).
    Intermediate {
        /// The transaction that read it.
        reader: OpId,
        /// The key.
        key: Key,
        /// The value, or the element that a list ends with.
        value: i64,
        /// The transaction that wrote more.
        writer: OpId,
    },
    /// A read shows a value as of another revision than that of its write, or than another read.
    OtherRevision {
        /// The transaction that read it.
        reader: OpId,
        /// The key.
        key: Key,
        /// The value.
        value: i64,
        /// The revision that it read.
        rev: i64,
        /// The transaction that wrote it.
        writer: OpId,
        /// The revision at which it is known to have been written.
        known: i64,
    },
    /// A transaction read what it wrote itself only later.
    FutureRead {
        /// The transaction.
        txn: OpId,
        /// The key.
        key: Key,
        /// The value.
        value: i64,
    },
    /// A committed write is built on one of a transaction that failed.
    DirtyUpdate {
        /// The transaction that failed.
        failed: OpId,
        /// What it wrote.
        dirty: i64,
        /// The transaction whose write comes after it.
        writer: OpId,
        /// The key.
        key: Key,
        /// What that wrote.
        element: i64,
    },
    /// Two transactions read one version, and both wrote over it.
    LostUpdate {
        /// The key.
        key: Key,
        /// One of them.
        one: OpId,
        /// The other.
        other: OpId,
    },
    /// Neither of two reads of a list is the beginning of the other.
    IncompatibleOrder {
        /// The list.
        key: Key,
        /// A reader of the longer list, and what it read.
        one: (OpId, Vec<i64>),
        /// Another reader, and what it read.
        other: (OpId, Vec<i64>),
    },
    /// The versions of a register must each come before the next, in a circle.
    CyclicVersions {
        /// The register.
        key: Key,
        /// The values of the circle; `None` for absent.
        values: Vec<Option<i64>>,
        /// The transactions that order them.
        txns: Vec<OpId>,
    },
    /// A list holds what a transaction appended later, and before it lacks what the same one appended first: a circle of
    /// two versions.
    OwnOrder {
        /// The transaction.
        writer: OpId,
        /// The list.
        key: Key,
        /// What it appended first.
        before: i64,
        /// What it appended later.
        element: i64,
        /// A transaction that read it.
        reader: OpId,
    },
    /// An acknowledged append is missing from a read that began afterwards, and from every other.
    Lost {
        /// The transaction that appended.
        writer: OpId,
        /// The list.
        key: Key,
        /// The element.
        element: i64,
        /// A transaction that began after it and read without it.
        reader: OpId,
    },
}

impl Wrong {
    /// What the field calls it.
    pub fn kind(&self) -> AnomalyKind {
        match self {
            Wrong::Internal { .. } => AnomalyKind::Internal,
            Wrong::Duplicate { .. } => AnomalyKind::DuplicateElement,
            Wrong::Unwritten { failed: Some(_), .. } => AnomalyKind::G1a,
            Wrong::Unwritten { failed: None, .. } => AnomalyKind::PhantomElement,
            Wrong::Intermediate { .. } => AnomalyKind::G1b,
            Wrong::OtherRevision { .. } => AnomalyKind::WrongAnswer,
            Wrong::FutureRead { .. } => AnomalyKind::FutureRead,
            Wrong::DirtyUpdate { .. } => AnomalyKind::DirtyUpdate,
            Wrong::LostUpdate { .. } => AnomalyKind::LostUpdate,
            Wrong::IncompatibleOrder { .. } => AnomalyKind::IncompatibleOrder,
            Wrong::CyclicVersions { .. } | Wrong::OwnOrder { .. } => AnomalyKind::CyclicVersions,
            Wrong::Lost { .. } => AnomalyKind::LostAppend,
        }
    }
}
