//! Registers: a part is decided whenever it is at rest.
//!
//! What it finds is an anomaly; what it does not find, the check of the whole history may: serializable reads, members
//! that differ, and registers that were too busy or had too many operations of unknown outcome are not judged here.

use std::collections::BTreeSet;

use super::pairing::{Paired, Pairing};
use super::{Check, Seen};
use crate::budget::Budget;
use crate::check::Options;
use crate::decode::register_op;
use crate::history::event::Event;
use crate::history::{Operation, Outcome};
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
    pairing: Pairing,
    given_up: BTreeSet<String>,
    held_max: usize,
}

impl Registers {
    /// Begins a check; `options` bound each window.
    pub fn new(options: &Options) -> Registers {
        Registers {
            online: Online::new(&SPEC, Budget::new(options), WINDOW_MAX),
            pairing: Pairing::default(),
            given_up: BTreeSet::new(),
            held_max: 0,
        }
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
}

impl Check for Registers {
    fn event(&mut self, event: &Event) -> Option<String> {
        match self.pairing.event(event)? {
            Paired::Invoked(operation) => {
                // A serializable read promises less, and what is no operation at all the check of the whole tells.
                if let (Ok(Some(op)), Some(_)) = (register_op(operation), &operation.key) {
                    self.online.invoked(&op.key, operation.id, event.i);
                    self.held_max = self.held_max.max(self.online.held());
                }
                None
            }
            Paired::Ended(operation) => self.ended(&operation, event.i),
        }
    }

    fn seen(&self) -> Seen {
        let (decided, given_up) = (self.online.decided(), self.given_up.clone());
        Seen { decided, held_max: self.held_max, given_up }
    }
}
