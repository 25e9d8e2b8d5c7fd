//! The events of a history, and their form in a file: one JSON object a line.
//!
//! The first line is the [`Header`], every other line an [`Event`]. Events stand in the order in which the
//! recorder wrote them: an invocation is written before its request is sent, a completion after its answer
//! arrived. `i` counts from 0 without gaps.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Version of the format, written in the header.
pub const VERSION: u32 = 1;

/// The clock of a history that only knows what each process did in which order: events of different processes
/// stand in no order, whatever their positions.
pub const CLOCK_SESSIONS: &str = "sessions";

/// What the run was: the first line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format: [`VERSION`].
    pub v: u32,
    /// Seed of the run; all of the generator's and the nemesis's choices follow from it.
    pub seed: u64,
    /// Which workload made the operations; tells the checker how to read them.
    pub scenario: String,
    /// The faults that were scheduled.
    #[serde(default)]
    pub faults: Vec<String>,
    /// The system under test, with its version where known.
    pub system: String,
    /// Members at the start.
    pub nodes: usize,
    /// What `t` counts: `monotonic_ns`, nanoseconds from the start of the run. Histories of others may have
    /// `position`, where only the order of events is known, or [`CLOCK_SESSIONS`].
    pub clock: String,
}

/// Number of a logically single-threaded caller. A process whose operation ended in `info` never acts
/// again; whoever takes its place has a new number.
pub type ProcessId = u64;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Position in the history, from 0, without gaps.
    pub i: u64,
    /// Nanoseconds from the start of the run, by one monotonic clock; never goes back.
    pub t: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// An operation begins: written before its request is sent.
    Invoke {
        /// Who acts.
        p: ProcessId,
        /// The member that the process is connected to, for the reader of a report.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// Function: what is asked for.
        f: String,
        /// Key, where the function has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Argument of the function.
        #[serde(skip_serializing_if = "Value::is_null")]
        value: Value,
    },
    /// The operation surely took effect, and this is what it answered.
    Ok {
        /// Who acted.
        p: ProcessId,
        /// The function, as in the invocation.
        f: String,
        /// The key, as in the invocation.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The function's result.
        #[serde(skip_serializing_if = "Value::is_null")]
        value: Value,
        /// The store's newest revision as the answer gave it, where it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        rev: Option<i64>,
    },
    /// The operation surely took no effect, now or later.
    Fail {
        /// Who acted.
        p: ProcessId,
        /// The function, as in the invocation.
        f: String,
        /// The key, as in the invocation.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Why.
        error: OpError,
    },
    /// Nobody knows whether the operation took, or will take, effect.
    Info {
        /// Who acted, for the last time.
        p: ProcessId,
        /// The function, as in the invocation.
        f: String,
        /// The key, as in the invocation.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Why.
        error: OpError,
    },
    /// A fault has taken effect.
    NemesisStart {
        /// The fault's name.
        f: String,
        /// Number of this fault in the run's plan; the end carries the same.
        fault: u64,
        /// Whom it hit and how, as the fault describes it.
        #[serde(skip_serializing_if = "Value::is_null")]
        value: Value,
        /// What showed that it took effect.
        #[serde(skip_serializing_if = "Value::is_null")]
        proof: Value,
    },
    /// A fault has been undone.
    NemesisEnd {
        /// The fault's name.
        f: String,
        /// Number of this fault in the run's plan.
        fault: u64,
        /// What showed that it is gone.
        #[serde(skip_serializing_if = "Value::is_null")]
        proof: Value,
    },
    /// A fault could not be brought about or undone: the run proves less than was asked.
    NemesisError {
        /// The fault's name.
        f: String,
        /// Number of this fault in the run's plan.
        fault: u64,
        /// What went wrong.
        error: String,
    },
    /// What a member said of itself, in the runner's own observation (not an operation).
    Observe {
        /// The member.
        node: String,
        /// What was observed: `status`, `hash`, ...
        f: String,
        /// What it said.
        #[serde(skip_serializing_if = "Value::is_null")]
        value: Value,
    },
    /// A phase of the run begins: `load`, `heal`, `final`.
    Phase {
        /// Its name.
        f: String,
    },
}

/// All fields that a line may have. An event is read by way of this, since a tagged union within a flattened field
/// would be read twice, and histories are long.
#[derive(Deserialize)]
struct Line {
    i: u64,
    t: u64,
    #[serde(rename = "type")]
    kind: Kind,
    p: Option<ProcessId>,
    node: Option<String>,
    f: Option<String>,
    key: Option<String>,
    #[serde(default)]
    value: Value,
    rev: Option<i64>,
    #[serde(default)]
    error: Value,
    fault: Option<u64>,
    #[serde(default)]
    proof: Value,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
    NemesisStart,
    NemesisEnd,
    NemesisError,
    Observe,
    Phase,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        let line = Line::deserialize(deserializer)?;
        let (i, t) = (line.i, line.t);
        Ok(Event { i, t, what: line.what()? })
    }
}

impl Line {
    fn what<E: Error>(self) -> Result<What, E> {
        let Line { kind, p, node, f, key, value, rev, error, fault, proof, .. } = self;
        let f = f.ok_or_else(|| E::missing_field("f"))?;
        let process = || p.ok_or_else(|| E::missing_field("p"));
        let number = || fault.ok_or_else(|| E::missing_field("fault"));
        let why = |error: Value| match error {
            Value::Null => Err(E::missing_field("error")),
            error => OpError::deserialize(error).map_err(E::custom),
        };
        Ok(match kind {
            Kind::Invoke => What::Invoke { p: process()?, node, f, key, value },
            Kind::Ok => What::Ok { p: process()?, f, key, value, rev },
            Kind::Fail => What::Fail { p: process()?, f, key, error: why(error)? },
            Kind::Info => What::Info { p: process()?, f, key, error: why(error)? },
            Kind::NemesisStart => What::NemesisStart { f, fault: number()?, value, proof },
            Kind::NemesisEnd => What::NemesisEnd { f, fault: number()?, proof },
            Kind::NemesisError => {
                let Value::String(error) = error else { return Err(E::missing_field("error")) };
                What::NemesisError { f, fault: number()?, error }
            }
            Kind::Observe => {
                let node = node.ok_or_else(|| E::missing_field("node"))?;
                What::Observe { node, f, value }
            }
            Kind::Phase => What::Phase { f },
        })
    }
}

/// Why an operation did not end in `ok`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpError {
    /// Short machine-readable kind: `deadline`, `unavailable`, `too_many_requests`, ...
    pub kind: String,
    /// The system's own text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}
