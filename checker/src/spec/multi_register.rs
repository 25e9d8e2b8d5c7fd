//! Registers that are read and written several at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SequentialSpec;

/// Registers under transactions of reads and writes: each transaction happens at once.
#[derive(Clone, Debug, Default)]
pub struct MultiRegister {
    /// What registers hold at first; others are absent.
    pub initial: BTreeMap<Arc<str>, i64>,
}

/// A transaction: its steps in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiRegisterOp(pub Vec<MultiRegisterStep>);

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MultiRegisterStep {
    /// Writes a register.
    Write {
        /// Which.
        key: Arc<str>,
        /// The value.
        value: i64,
    },
    /// Reads a register.
    Read {
        /// Which.
        key: Arc<str>,
        /// What was found, `None` in it for an absent register; `None` where there was no answer.
        found: Option<Option<i64>>,
    },
}

impl MultiRegisterStep {
    /// The register.
    pub fn key(&self) -> &Arc<str> {
        match self {
            MultiRegisterStep::Write { key, .. } | MultiRegisterStep::Read { key, .. } => key,
        }
    }
}

impl SequentialSpec for MultiRegister {
    /// What registers hold that were written.
    type State = BTreeMap<Arc<str>, i64>;
    type Op = MultiRegisterOp;

    fn init(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, op: &MultiRegisterOp) -> Option<Self::State> {
        let mut next = state.clone();
        for step in &op.0 {
            match step {
                MultiRegisterStep::Write { key, value } => {
                    next.insert(key.clone(), *value);
                }
                MultiRegisterStep::Read { key, found: Some(found) } => {
                    if next.get(key).or_else(|| self.initial.get(key)).copied() != *found {
                        return None;
                    }
                }
                MultiRegisterStep::Read { found: None, .. } => {}
            }
        }
        Some(next)
    }

    fn read_only(&self, op: &MultiRegisterOp) -> bool {
        op.0.iter().all(|step| matches!(step, MultiRegisterStep::Read { .. }))
    }

    fn touches<'a>(&self, op: &'a MultiRegisterOp, parts: &mut Vec<&'a str>) -> bool {
        parts.extend(op.0.iter().map(|step| &**step.key()));
        true
    }

    fn observes(&self, op: &MultiRegisterOp, write: &MultiRegisterOp) -> bool {
        op.0.iter().any(|step| {
            match step {
            MultiRegisterStep::Read { key, found: Some(Some(found)) } => write.0.iter().any(|other| {
                matches!(other, MultiRegisterStep::Write { key: k, value } if k == key && value == found)
            }),
            MultiRegisterStep::Read { .. } | MultiRegisterStep::Write { .. } => false,
        }
        })
    }

    fn describe(&self, state: &Self::State) -> String {
        let mut held = self.initial.clone();
        held.extend(state.clone());
        let all: Vec<String> = held.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if all.is_empty() { "all absent".to_owned() } else { all.join(" ") }
    }
}
