//! Lists by key under transactions of reads and appends: each transaction happens at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SequentialSpec;

/// A list for each key, empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists;

/// A transaction: its steps in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListTxn(pub Vec<ListStep>);

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListStep {
    /// Appends an element to a list.
    Append {
        /// Which list.
        key: Arc<str>,
        /// The element.
        element: i64,
    },
    /// Reads a list.
    Read {
        /// Which list.
        key: Arc<str>,
        /// What was found; `None` where there was no answer.
        found: Option<Vec<i64>>,
    },
}

impl SequentialSpec for Lists {
    type State = BTreeMap<Arc<str>, Vec<i64>>;
    type Op = ListTxn;

    fn init(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, op: &ListTxn) -> Option<Self::State> {
        let mut next = state.clone();
        for step in &op.0 {
            match step {
                ListStep::Append { key, element } => next.entry(key.clone()).or_default().push(*element),
                ListStep::Read { key, found: Some(found) } => {
                    let list = next.get(key).map_or(&[][..], Vec::as_slice);
                    if list != found.as_slice() {
                        return None;
                    }
                }
                ListStep::Read { found: None, .. } => {}
            }
        }
        Some(next)
    }

    fn read_only(&self, op: &ListTxn) -> bool {
        op.0.iter().all(|step| matches!(step, ListStep::Read { .. }))
    }

    fn touches<'a>(&self, op: &'a ListTxn, parts: &mut Vec<&'a str>) -> bool {
        parts.extend(op.0.iter().map(|step| match step {
            ListStep::Append { key, .. } | ListStep::Read { key, .. } => &**key,
        }));
        true
    }

    fn observes(&self, op: &ListTxn, write: &ListTxn) -> bool {
        op.0.iter().any(|step| match step {
            ListStep::Read { key, found: Some(found) } => write.0.iter().any(|other| match other {
                ListStep::Append { key: other, element } => other == key && found.contains(element),
                ListStep::Read { .. } => false,
            }),
            ListStep::Append { .. } | ListStep::Read { found: None, .. } => false,
        })
    }

    fn describe(&self, state: &Self::State) -> String {
        let lists: Vec<String> = state.iter().map(|(key, list)| format!("{key}={list:?}")).collect();
        if lists.is_empty() { "all lists empty".to_owned() } else { lists.join(" ") }
    }
}
