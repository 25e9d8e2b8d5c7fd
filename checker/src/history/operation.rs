//! Operations: an invocation with its completion, if it has one. Faults: a start with its end.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::event::{OpError, ProcessId};

/// Number of an operation in its history, in order of invocation, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct OpId(pub u32);

impl OpId {
    /// The operation's place in [`History::operations`](super::History::operations).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// When an event was written: its place in the history decides what came first, its time is for people.
///
/// An invocation is written before its request is sent and a completion after its answer arrived, so a
/// completion with a smaller `i` than an invocation surely came before it in real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment {
    /// Position of the event in the history.
    pub i: u64,
    /// Nanoseconds from the start of the run.
    pub t: u64,
}

/// One logical call: what was asked, by whom, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operation {
    /// Its number.
    pub id: OpId,
    /// Who asked.
    pub process: ProcessId,
    /// The member that the process was connected to, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The function.
    pub f: String,
    /// The key, where the function has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The argument.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// When it was invoked.
    pub invoked: Moment,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// It surely took effect.
    Ok {
        /// When the answer was there.
        at: Moment,
        /// The answer.
        #[serde(skip_serializing_if = "Value::is_null")]
        value: Value,
        /// The store's revision, where the answer gave it.
        #[serde(skip_serializing_if = "Option::is_none")]
        rev: Option<i64>,
    },
    /// It surely took no effect.
    Fail {
        /// When the error was there.
        at: Moment,
        /// The error.
        error: OpError,
    },
    /// Nobody knows; the effect may come at any time after the invocation.
    Info {
        /// When the error was there; `None` where the history ends before the operation does.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Moment>,
        /// The error.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<OpError>,
    },
}

impl Operation {
    /// When it surely was over: `None` for one that may still take effect.
    pub fn returned(&self) -> Option<Moment> {
        match &self.outcome {
            Outcome::Ok { at, .. } | Outcome::Fail { at, .. } => Some(*at),
            Outcome::Info { .. } => None,
        }
    }

    /// When its process heard of it last, whatever it heard.
    pub fn ended(&self) -> Option<Moment> {
        match &self.outcome {
            Outcome::Ok { at, .. } | Outcome::Fail { at, .. } => Some(*at),
            Outcome::Info { at, .. } => *at,
        }
    }

    /// The answer, where there is one.
    pub fn answer(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Ok { value, .. } => Some(value),
            Outcome::Fail { .. } | Outcome::Info { .. } => None,
        }
    }

    /// The revision that the answer gave.
    pub fn rev(&self) -> Option<i64> {
        match &self.outcome {
            Outcome::Ok { rev, .. } => *rev,
            Outcome::Fail { .. } | Outcome::Info { .. } => None,
        }
    }

    /// Whether it surely took effect.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }

    /// Whether it surely took no effect.
    pub fn is_fail(&self) -> bool {
        matches!(self.outcome, Outcome::Fail { .. })
    }

    /// Whether nobody knows.
    pub fn is_info(&self) -> bool {
        matches!(self.outcome, Outcome::Info { .. })
    }
}

/// A fault, from its effect to its undoing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Its number in the run's plan.
    pub number: u64,
    /// Its name.
    pub f: String,
    /// Whom it hit and how.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// When it had taken effect.
    pub start: Moment,
    /// When it was undone; `None` if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Moment>,
    /// What showed that it took effect.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub proof: Value,
    /// What went wrong with it, where something did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Fault {
    /// Whether it was active at any time between the two moments (nanoseconds, both included).
    pub fn overlaps(&self, from_t: u64, to_t: u64) -> bool {
        self.start.t <= to_t && self.end.is_none_or(|end| end.t >= from_t)
    }
}
