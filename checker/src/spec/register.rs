//! Registers by key: read, write, and compare-and-set. A register is absent until it is first written.
//!
//! Where answers tell them, the number of writes (`version`) and the revision of the newest write must fit
//! too; they make most orders unique.

use std::sync::Arc;

use super::SequentialSpec;
use crate::budget::{Budget, Stop};
use crate::linearizability::Call;
use crate::linearizability::unique::{self, Access, Did};

/// A register of its own for each key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register {
    /// Whether states count writes. Leave it out where no answer tells a version: states would differ for
    /// nothing.
    pub versions: bool,
}

/// What one register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisterState {
    /// The value; `None` before the first write.
    pub value: Option<i64>,
    /// How many writes there were; stays 0 where versions are not counted.
    pub version: i64,
    /// Revision of the newest write, or a bound below it.
    pub revision: Revision,
}

/// What is known of the revision of a register's newest write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revision {
    /// It is this.
    Exactly(i64),
    /// It is larger than this.
    Above(i64),
}

impl Default for Revision {
    fn default() -> Revision {
        Revision::Above(0)
    }
}

impl Revision {
    fn fits(self, found: i64) -> bool {
        match self {
            Revision::Exactly(revision) => revision == found,
            Revision::Above(floor) => found > floor,
        }
    }

    fn floor(self) -> i64 {
        match self {
            Revision::Exactly(revision) | Revision::Above(revision) => revision,
        }
    }
}

/// One operation on one register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegisterOp {
    /// Which register.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: Action,
}

/// What is done with a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads it; what was found, `None` for an absent register.
    Read(Option<Found>),
    /// Writes it.
    Write {
        /// The value.
        value: i64,
        /// The write's revision, where it was answered.
        rev: Option<i64>,
    },
    /// Writes `new` if it holds `old`, where `None` means absent.
    Cas {
        /// What it must hold.
        old: Option<i64>,
        /// What it holds then.
        new: i64,
        /// Whether it did; `None` where nobody knows.
        swapped: Option<bool>,
        /// The swap's revision, where it was answered.
        rev: Option<i64>,
    },
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// The value.
    pub value: i64,
    /// Revision of the newest write, where it was answered.
    pub mod_revision: Option<i64>,
    /// How many writes there were, where it was answered.
    pub version: Option<i64>,
}

impl Register {
    fn written(self, state: &RegisterState, value: i64, rev: Option<i64>) -> Option<RegisterState> {
        let floor = state.revision.floor();
        let revision = match rev {
            Some(rev) if rev <= floor => return None,
            Some(rev) => Revision::Exactly(rev),
            // Floors would tell states apart that no answer can.
            None if self.versions => Revision::Above(floor),
            None => Revision::default(),
        };
        let version = if self.versions { state.version + 1 } else { 0 };
        Some(RegisterState { value: Some(value), version, revision })
    }
}

/// A call as one that only values tell of; `None` if it says more.
fn access(call: &Call<RegisterOp>) -> Option<Access> {
    let did = match call.op.action {
        Action::Read(Some(Found { mod_revision: Some(_), .. } | Found { version: Some(_), .. })) => {
            return None;
        }
        Action::Read(found) => Did::Read(found.map(|found| found.value)),
        Action::Write { rev: Some(_), .. } | Action::Cas { rev: Some(_), .. } => return None,
        Action::Write { value, rev: None } => Did::Wrote(value),
        Action::Cas { old, swapped: Some(false), rev: None, .. } => Did::Refused(old),
        Action::Cas { old, new, swapped: Some(true) | None, rev: None } => Did::Swapped(old, new),
    };
    Some(Access { id: call.id, did, invoked: call.invoked, returned: call.returned })
}

impl SequentialSpec for Register {
    type State = RegisterState;
    type Op = RegisterOp;

    fn init(&self) -> RegisterState {
        RegisterState::default()
    }

    fn step(&self, state: &RegisterState, op: &RegisterOp) -> Option<RegisterState> {
        match op.action {
            Action::Read(None) => state.value.is_none().then_some(*state),
            Action::Read(Some(found)) => {
                let fits = state.value == Some(found.value)
                    && found.version.is_none_or(|version| !self.versions || version == state.version)
                    && found.mod_revision.is_none_or(|revision| state.revision.fits(revision));
                fits.then_some(*state)
            }
            Action::Write { value, rev } => self.written(state, value, rev),
            Action::Cas { old, new, swapped, rev } => {
                let equal = state.value == old;
                if swapped.is_some_and(|swapped| swapped != equal) {
                    return None;
                }
                if equal { self.written(state, new, rev) } else { Some(*state) }
            }
        }
    }

    fn read_only(&self, op: &RegisterOp) -> bool {
        match op.action {
            Action::Read(_) | Action::Cas { swapped: Some(false), .. } => true,
            Action::Write { .. } | Action::Cas { swapped: Some(true) | None, .. } => false,
        }
    }

    fn touches<'a>(&self, op: &'a RegisterOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, op: &RegisterOp, write: &RegisterOp) -> bool {
        let written = match write.action {
            Action::Read(_) => return false,
            Action::Write { value, .. } => value,
            Action::Cas { new, .. } => new,
        };
        match &op.action {
            Action::Read(None) => false,
            // A version counts every write.
            Action::Read(Some(found)) => {
                found.value == written || found.version.is_some() || found.mod_revision.is_some()
            }
            Action::Write { rev, .. } => rev.is_some(),
            Action::Cas { old, swapped: Some(true), rev, .. } => *old == Some(written) || rev.is_some(),
            // It needed the register to hold something else, which may have been this.
            Action::Cas { swapped: Some(false), .. } => true,
            // Without this it could not have swapped, and others may have seen what it swapped in.
            Action::Cas { old, swapped: None, .. } => *old == Some(written),
        }
    }

    fn weaken(&self, op: &RegisterOp) -> RegisterOp {
        let action = match &op.action {
            Action::Read(found) => {
                let bare = |found: &Found| Found { value: found.value, mod_revision: None, version: None };
                Action::Read(found.as_ref().map(bare))
            }
            Action::Write { value, .. } => Action::Write { value: *value, rev: None },
            Action::Cas { old, new, swapped, .. } => {
                Action::Cas { old: *old, new: *new, swapped: *swapped, rev: None }
            }
        };
        RegisterOp { key: op.key.clone(), action }
    }

    fn shortcut(&self, calls: &[Call<RegisterOp>], budget: &Budget) -> Result<Option<unique::Answer>, Stop> {
        let accesses: Option<Vec<Access>> = calls.iter().map(access).collect();
        accesses.map_or(Ok(None), |accesses| unique::decide(&accesses, budget))
    }

    fn describe(&self, state: &RegisterState) -> String {
        let Some(value) = state.value else { return "absent".to_owned() };
        let mut text = format!("{value}");
        if self.versions {
            text.push_str(&format!(", version {}", state.version));
        }
        if let Revision::Exactly(revision) = state.revision {
            text.push_str(&format!(", mod revision {revision}"));
        }
        text
    }
}
