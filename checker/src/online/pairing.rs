//! Completions find their invocations.

use rustc_hash::FxHashMap;

use crate::history::event::{Event, ProcessId, What};
use crate::history::{Moment, OpId, Operation, Outcome};

/// Operations that are open.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    open: FxHashMap<ProcessId, Operation>,
    /// The number of the next operation, as in the history.
    next: u32,
}

/// What became of an operation.
pub(super) enum Paired<'a> {
    /// It has begun.
    Invoked(&'a Operation),
    /// It has ended.
    Ended(Operation),
}

impl Pairing {
    /// Takes the next event; `None` for one that neither begins nor ends an operation.
    pub(super) fn event(&mut self, event: &Event) -> Option<Paired<'_>> {
        let at = Moment { i: event.i, t: event.t };
        let (process, outcome) = match &event.what {
            What::Invoke { p, node, f, key, value } => {
                let id = OpId(self.next);
                self.next = self.next.wrapping_add(1);
                let operation = Operation {
                    id,
                    process: *p,
                    node: node.clone(),
                    f: f.clone(),
                    key: key.clone(),
                    value: value.clone(),
                    invoked: at,
                    outcome: Outcome::Info { at: None, error: None },
                };
                // A process that acts twice at once is for the check of the whole history to tell.
                self.open.insert(*p, operation);
                return self.open.get(p).map(Paired::Invoked);
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
        let operation = self.open.remove(process)?;
        Some(Paired::Ended(Operation { outcome, ..operation }))
    }
}
