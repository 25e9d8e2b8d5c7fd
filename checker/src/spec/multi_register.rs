//! Registers that are read and written several at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SequentialSpec;

/// Registers under transactions of reads and writes: each transaction happens at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiRegister {
    /// Whether nobody knows what registers hold at first: then the first that is read of one was there. Else they
    /// are absent.
    pub unknown_start: bool,
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
    /// What is known of registers.
    type State = BTreeMap<Arc<str>, Option<i64>>;
    type Op = MultiRegisterOp;

    fn init(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, op: &MultiRegisterOp) -> Option<Self::State> {
        let mut next = state.clone();
        for step in &op.0 {
            match step {
                MultiRegisterStep::Write { key, value } => {
                    next.insert(key.clone(), Some(*value));
                }
                MultiRegisterStep::Read { key, found: Some(found) } => match next.get(key) {
                    Some(held) if held != found => return None,
                    Some(_) => {}
                    None if self.unknown_start => {
                        next.insert(key.clone(), *found);
                    }
                    None if found.is_some() => return None,
                    None => {}
                },
                MultiRegisterStep::Read { found: None, .. } => {}
            }
        }
        Some(next)
    }

    fn read_only(&self, op: &MultiRegisterOp) -> bool {
        !self.unknown_start && op.0.iter().all(|step| matches!(step, MultiRegisterStep::Read { .. }))
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
        let value = |value: &Option<i64>| value.map_or("absent".to_owned(), |value| value.to_string());
        let all: Vec<String> = state.iter().map(|(key, held)| format!("{key}={}", value(held))).collect();
        if all.is_empty() { "nothing written".to_owned() } else { all.join(" ") }
    }
}
