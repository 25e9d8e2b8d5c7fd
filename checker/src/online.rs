//! Judges a run on registers while it goes on: event by event, in memory that depends on what is open and not on how
//! long the run is, up to the first anomaly.
//!
//! What it finds is one; what it does not find, the check of the whole history may: serializable reads, members that
//! differ, and registers that were too busy or had too many operations of unknown outcome are not judged here.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::budget::Budget;
use crate::check::Options;
use crate::decode::register_op;
use crate::history::event::{Event, ProcessId, What};
use crate::history::{Moment, OpId, Operation, Outcome};
use crate::linearizability::{Found, Online};
use crate::render::{answer, invocation, moment, who};
use crate::spec::register::Register;

/// Operations of a register between two moments of rest, beyond which it is given up.
const WINDOW_MAX: usize = 2_000;

/// The spec of the `register` workload, whose answers tell versions.
static SPEC: Register = Register { versions: true };

/// A check of registers that goes on while a history is made.
pub struct Registers {
    online: Online<'static, Register>,
    open: FxHashMap<ProcessId, Operation>,
    /// The number of the next operation, as in the history.
    next: u32,
    given_up: BTreeSet<String>,
    held_max: usize,
}

/// What a check that went on while a history was made has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Operations that were decided.
    pub decided: u64,
    /// The most operations that were held in memory at once.
    pub held_max: usize,
    /// Registers that were left to the check of the whole history.
    pub given_up: BTreeSet<String>,
}

impl Registers {
    /// Begins a check; `options` bound each window.
    pub fn new(options: &Options) -> Registers {
        Registers {
            online: Online::new(&SPEC, Budget::new(options), WINDOW_MAX),
            open: FxHashMap::default(),
            next: 0,
            given_up: BTreeSet::new(),
            held_max: 0,
        }
    }

    /// Takes the next event of the history. A sentence, if it shows an anomaly.
    pub fn event(&mut self, event: &Event) -> Option<String> {
        let at = Moment { i: event.i, t: event.t };
        let (process, outcome) = match &event.what {
            What::Invoke { p, node, f, key, value } => {
                let id = OpId(self.next);
                self.next = self.next.wrapping_add(1);
                let outcome = Outcome::Info { at: None, error: None };
                let operation = Operation {
                    id,
                    process: *p,
                    node: node.clone(),
                    f: f.clone(),
                    key: key.clone(),
                    value: value.clone(),
                    invoked: at,
                    outcome,
                };
                // A serializable read promises less, and what is no operation at all the check of the whole tells.
                if let (Ok(Some(op)), Some(_)) = (register_op(&operation), key) {
                    self.online.invoked(&op.key, id, event.i);
                    self.open.insert(*p, operation);
                    self.held_max = self.held_max.max(self.online.held());
                }
                return None;
            }
            What::Ok { p, value, rev, .. } => (p, Outcome::Ok { at, value: value.clone(), rev: *rev }),
            What::Fail { p, error, .. } => (p, Outcome::Fail { at, error: error.clone() }),
            What::Info { p, error, .. } => (p, Outcome::Info { at: Some(at), error: Some(error.clone()) }),
            What::NemesisStart { .. }
            | What::NemesisEnd { .. }
            | What::NemesisError { .. }
            | What::Observe { .. }
            | What::Phase { .. } => return None,
        };
        let operation = Operation { outcome, ..self.open.remove(process)? };
        self.ended(&operation, event.i)
    }

    fn ended(&mut self, operation: &Operation, at: u64) -> Option<String> {
        let key = operation.key.as_deref()?;
        let found = match register_op(operation) {
            Ok(Some(op)) => match &operation.outcome {
                Outcome::Ok { .. } => self.online.returned(key, operation.id, op, at),
                Outcome::Fail { .. } => self.online.failed(key, operation.id),
                Outcome::Info { .. } => self.online.lost(key, operation.id, op),
            },
            // An answer that cannot be read leaves the register open for good.
            Ok(None) | Err(_) => None,
        };
        match found? {
            Found::Anomaly { part, stuck, calls, .. } => {
                let failing = if stuck.id == operation.id {
                    format!(
                        "`{}` of {} was answered `{}`",
                        invocation(operation),
                        who(operation),
                        answer(operation)
                    )
                } else {
                    format!("{} was answered", stuck.id)
                };
                let ended = operation.ended().unwrap_or(operation.invoked);
                Some(format!(
                    "operations on {part} must appear to happen one at a time, but when {failing}, no order of the {} \
                     since the register was at rest explains all answers; seen at {}",
                    calls.len(),
                    moment(ended.t),
                ))
            }
            Found::Undecided { part, .. } => {
                self.given_up.insert(part);
                None
            }
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        let (decided, given_up) = (self.online.decided(), self.given_up.clone());
        Seen { decided, held_max: self.held_max, given_up }
    }
}
