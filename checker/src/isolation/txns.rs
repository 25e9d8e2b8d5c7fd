//! Transactions as the isolation checks hold them: flat, with keys as numbers.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::history::OpId;
use crate::linearizability::Call;
use crate::spec::append::{ListStep, ListTxn};

/// A transaction's place among those that took effect or may have.
pub type Txn = u32;

/// A key's place in [`Txns::keys`].
pub type Key = u32;

/// A `returned` that is later than any event: the transaction may take effect at any time, or never.
pub const NEVER: u64 = u64::MAX;

/// Where a transaction stands in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its operation.
    pub id: OpId,
    /// Who asked for it: a process is a session.
    pub process: u64,
    /// Position of its invocation.
    pub invoked: u64,
    /// Position of its completion, or [`NEVER`].
    pub returned: u64,
}

impl Span {
    /// Whether it surely took effect.
    pub fn committed(&self) -> bool {
        self.returned != NEVER
    }
}

/// Transactions in order of invocation, with steps of the type `S`.
#[derive(Clone, Debug)]
pub struct Txns<S> {
    /// The names of the keys.
    pub keys: Vec<Arc<str>>,
    spans: Vec<Span>,
    starts: Vec<u32>,
    steps: Vec<S>,
    names: FxHashMap<Arc<str>, Key>,
}

impl<S> Default for Txns<S> {
    fn default() -> Txns<S> {
        Txns {
            keys: Vec::new(),
            spans: Vec::new(),
            starts: vec![0],
            steps: Vec::new(),
            names: FxHashMap::default(),
        }
    }
}

impl<S> Txns<S> {
    /// Adds a transaction, to be filled by [`Txns::step`]. They come in order of invocation.
    pub fn begin(&mut self, span: Span) -> Txn {
        self.spans.push(span);
        self.starts.push(number(self.steps.len()));
        number(self.spans.len() - 1)
    }

    /// Adds a step to the newest transaction.
    pub fn step(&mut self, step: S) {
        self.steps.push(step);
        *self.starts.last_mut().expect("it begins with one") += 1;
    }

    /// The number of a key.
    pub fn key(&mut self, name: &Arc<str>) -> Key {
        if let Some(key) = self.names.get(name) {
            return *key;
        }
        let key = number(self.keys.len());
        self.keys.push(name.clone());
        self.names.insert(name.clone(), key);
        key
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All, in order of invocation.
    pub fn all(&self) -> std::ops::Range<Txn> {
        0..number(self.spans.len())
    }

    /// Where a transaction stands.
    pub fn span(&self, txn: Txn) -> &Span {
        &self.spans[txn as usize]
    }

    /// A transaction's operation.
    pub fn id(&self, txn: Txn) -> OpId {
        self.span(txn).id
    }

    /// A transaction's steps.
    pub fn steps(&self, txn: Txn) -> &[S] {
        &self.steps[self.starts[txn as usize] as usize..self.starts[txn as usize + 1] as usize]
    }
}

/// A step on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnList {
    /// Appends an element.
    Append {
        /// Which list.
        key: Key,
        /// The element.
        element: i64,
    },
    /// Reads the list, and finds [`Lists::found`].
    Read {
        /// Which list.
        key: Key,
        /// Where its elements begin in the store of all elements.
        from: u32,
        /// How many there are.
        len: u32,
    },
}

/// Transactions of reads and appends on lists.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Those that took effect or may have; reads without an answer are left out.
    pub txns: Txns<OnList>,
    /// What was appended by transactions that failed for certain.
    pub aborted: Vec<(Key, i64, OpId)>,
    elements: Vec<i64>,
}

impl Lists {
    /// From typed operations; `process` tells whose an operation is.
    pub fn new(calls: &[Call<ListTxn>], failed: &[Call<ListTxn>], process: impl Fn(OpId) -> u64) -> Lists {
        let mut lists = Lists::default();
        for call in calls {
            lists.txns.begin(Span {
                id: call.id,
                process: process(call.id),
                invoked: call.invoked,
                returned: call.returned.unwrap_or(NEVER),
            });
            for step in &call.op.0 {
                match step {
                    ListStep::Append { key, element } => {
                        let key = lists.txns.key(key);
                        lists.append(key, *element);
                    }
                    ListStep::Read { key, found: Some(found) } => {
                        let key = lists.txns.key(key);
                        lists.read(key, found);
                    }
                    ListStep::Read { found: None, .. } => {}
                }
            }
        }
        for call in failed {
            for step in &call.op.0 {
                if let ListStep::Append { key, element } = step {
                    let key = lists.txns.key(key);
                    lists.aborted.push((key, *element, call.id));
                }
            }
        }
        lists
    }

    /// Adds an append to the newest transaction.
    pub fn append(&mut self, key: Key, element: i64) {
        self.txns.step(OnList::Append { key, element });
    }

    /// Adds an answered read to the newest transaction.
    pub fn read(&mut self, key: Key, found: &[i64]) {
        let from = number(self.elements.len());
        self.elements.extend_from_slice(found);
        self.txns.step(OnList::Read { key, from, len: number(found.len()) });
    }

    /// What a read found.
    pub fn found(&self, from: u32, len: u32) -> &[i64] {
        &self.elements[from as usize..from as usize + len as usize]
    }
}

/// Numbers are 32 bits wide: a history that needs more does not fit into memory anyway.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a history has less than 2^32 transactions, steps and elements")
}
