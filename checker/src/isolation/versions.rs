//! Who wrote which element, in which order, and what is wrong with that already.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::history::OpId;
use crate::linearizability::Call;
use crate::spec::append::{ListStep, ListTxn};

/// A transaction's index among the calls.
pub type Txn = usize;

/// What lists show by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A transaction's read contradicts its own appends or its earlier read.
    Internal {
        /// The transaction.
        txn: OpId,
        /// The list.
        key: Arc<str>,
        /// What it had to read, as far as it is known: its end.
        expected: Vec<i64>,
        /// What it read.
        found: Vec<i64>,
    },
    /// A list holds an element twice.
    Duplicate {
        /// The transaction that read it.
        reader: OpId,
        /// The list.
        key: Arc<str>,
        /// The element.
        element: i64,
    },
    /// A list holds an element of a transaction that failed for certain (G1a), or of none.
    Unwritten {
        /// The transaction that read it.
        reader: OpId,
        /// The list.
        key: Arc<str>,
        /// The element.
        element: i64,
        /// The transaction that failed.
        failed: Option<OpId>,
    },
    /// A read ends in the middle of another transaction's appends (G1b).
    Intermediate {
        /// The transaction that read it.
        reader: OpId,
        /// The list.
        key: Arc<str>,
        /// The element it ends with.
        element: i64,
        /// The transaction that appended more.
        writer: OpId,
    },
    /// Neither of two reads is the beginning of the other.
    Incompatible {
        /// The list.
        key: Arc<str>,
        /// A reader of the longer list, and what it read.
        one: (OpId, Vec<i64>),
        /// Another reader, and what it read.
        other: (OpId, Vec<i64>),
    },
    /// An acknowledged append is missing from a read that began afterwards, and from every other.
    Lost {
        /// The transaction that appended.
        writer: OpId,
        /// The list.
        key: Arc<str>,
        /// The element.
        element: i64,
        /// A transaction that began after it and read without it.
        reader: OpId,
    },
}

/// A read of a list as it was before the reader's own appends.
#[derive(Clone, Debug)]
pub struct ExternalRead {
    /// The reader.
    pub txn: Txn,
    /// How many elements it saw.
    pub len: usize,
}

/// The history of one list.
#[derive(Clone, Debug, Default)]
pub struct ListHistory {
    /// The longest list that was read: the order of the elements.
    pub order: Vec<i64>,
    /// Who appended each element of the order, where it is known.
    pub writers: Vec<Option<Txn>>,
    /// Reads that fit the order.
    pub reads: Vec<ExternalRead>,
    /// Transactions that took effect and appended what no read has.
    pub unseen: Vec<Txn>,
}

/// The histories of all lists, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// By key.
    pub lists: BTreeMap<Arc<str>, ListHistory>,
    /// What is wrong.
    pub wrong: Vec<Wrong>,
    /// Elements that are appended twice: nothing can be told from their lists.
    pub ambiguous: Option<(Arc<str>, i64)>,
}

type Element = (Arc<str>, i64);

/// Who appended an element, and whether it is that transaction's last to the list.
#[derive(Clone, Copy, Debug)]
struct Written {
    txn: Txn,
    last: bool,
}

/// A read: the reader, what it read, and how much of that was there before itself.
type Read<'a> = (Txn, &'a [i64], usize);

struct Gather<'a> {
    calls: &'a [Call<ListTxn>],
    written: FxHashMap<Element, Written>,
    failed: FxHashMap<Element, OpId>,
    /// All reads of each list.
    reads: BTreeMap<Arc<str>, Vec<Read<'a>>>,
    versions: Versions,
}

/// Reads the histories of all lists from transactions that took effect or may have, and from those that
/// failed for certain.
pub fn versions(calls: &[Call<ListTxn>], failed: &[Call<ListTxn>]) -> Versions {
    let mut gather = Gather {
        calls,
        written: FxHashMap::default(),
        failed: FxHashMap::default(),
        reads: BTreeMap::new(),
        versions: Versions::default(),
    };
    gather.writers(failed);
    for txn in 0..calls.len() {
        gather.read_txn(txn);
    }
    let reads = std::mem::take(&mut gather.reads);
    for (key, reads) in &reads {
        gather.list(key, reads);
    }
    gather.unseen(&reads);
    gather.versions
}

impl<'a> Gather<'a> {
    fn writers(&mut self, failed: &[Call<ListTxn>]) {
        for (txn, call) in self.calls.iter().enumerate() {
            let mut last: FxHashMap<&Arc<str>, i64> = FxHashMap::default();
            for step in &call.op.0 {
                let ListStep::Append { key, element } = step else { continue };
                let written = Written { txn, last: true };
                if self.written.insert((key.clone(), *element), written).is_some() {
                    self.versions.ambiguous.get_or_insert((key.clone(), *element));
                }
                if let Some(before) = last.insert(key, *element)
                    && let Some(written) = self.written.get_mut(&(key.clone(), before))
                {
                    written.last = false;
                }
            }
        }
        for call in failed {
            for step in &call.op.0 {
                if let ListStep::Append { key, element } = step {
                    self.failed.insert((key.clone(), *element), call.id);
                }
            }
        }
    }

    /// Compares a transaction's reads with its own appends, and notes what they saw of others.
    fn read_txn(&mut self, txn: Txn) {
        let call = &self.calls[txn];
        // What the transaction knows of each list: all of it after a read, before that its own appends.
        let mut known: FxHashMap<&Arc<str>, (bool, Vec<i64>)> = FxHashMap::default();
        for step in &call.op.0 {
            match step {
                ListStep::Append { key, element } => known.entry(key).or_default().1.push(*element),
                ListStep::Read { found: None, .. } => {}
                ListStep::Read { key, found: Some(found) } => {
                    let (whole, own) = known.entry(key).or_default();
                    let fits = if *whole { found == own } else { found.ends_with(own) };
                    if !fits {
                        let (expected, found) = (own.clone(), found.clone());
                        self.versions.wrong.push(Wrong::Internal {
                            txn: call.id,
                            key: key.clone(),
                            expected,
                            found,
                        });
                    } else if !*whole {
                        let before = found.len() - own.len();
                        self.reads.entry(key.clone()).or_default().push((txn, found, before));
                    }
                    (*whole, *own) = (true, found.clone());
                }
            }
        }
    }

    fn list(&mut self, key: &Arc<str>, reads: &[Read<'a>]) {
        let Some((longest_reader, longest, _)) = reads.iter().max_by_key(|(_, found, _)| found.len()) else {
            return;
        };
        let longest_reader = self.calls[*longest_reader].id;
        let mut list = ListHistory { order: longest.to_vec(), ..ListHistory::default() };
        list.writers = longest.iter().map(|element| self.writer(key, *element)).collect();
        let mut reported = FxHashSet::default();
        self.elements(key, longest_reader, longest, &mut reported);
        for (txn, found, before) in reads {
            let reader = self.calls[*txn].id;
            if !longest.starts_with(found) {
                self.elements(key, reader, found, &mut reported);
                let (one, other) = ((longest_reader, longest.to_vec()), (reader, found.to_vec()));
                self.versions.wrong.push(Wrong::Incompatible { key: key.clone(), one, other });
                continue;
            }
            if let Some(element) = before.checked_sub(1).map(|last| found[last])
                && let Some(written) = self.written.get(&(key.clone(), element))
                && !written.last
                && written.txn != *txn
            {
                let writer = self.calls[written.txn].id;
                self.versions.wrong.push(Wrong::Intermediate { reader, key: key.clone(), element, writer });
            }
            list.reads.push(ExternalRead { txn: *txn, len: *before });
        }
        self.versions.lists.insert(key.clone(), list);
    }

    /// Looks at the elements of a list, each of which is reported once.
    fn elements(&mut self, key: &Arc<str>, reader: OpId, found: &[i64], reported: &mut FxHashSet<i64>) {
        let mut seen = FxHashSet::default();
        for element in found {
            let twice = !seen.insert(*element);
            let name = (key.clone(), *element);
            let written = self.written.contains_key(&name);
            if (written && !twice) || !reported.insert(*element) {
                continue;
            }
            let wrong = if written {
                Wrong::Duplicate { reader, key: key.clone(), element: *element }
            } else {
                let failed = self.failed.get(&name).copied();
                Wrong::Unwritten { reader, key: key.clone(), element: *element, failed }
            };
            self.versions.wrong.push(wrong);
        }
    }

    fn writer(&self, key: &Arc<str>, element: i64) -> Option<Txn> {
        self.written.get(&(key.clone(), element)).map(|written| written.txn)
    }

    /// Appends that happened and that no read has. A read that began afterwards shows them lost.
    fn unseen(&mut self, reads: &BTreeMap<Arc<str>, Vec<Read<'a>>>) {
        let mut elements: Vec<(&Element, &Written)> = self.written.iter().collect();
        elements.sort_unstable_by_key(|((key, element), written)| (written.txn, key.clone(), *element));
        let sets: FxHashMap<&Arc<str>, FxHashSet<i64>> = reads
            .iter()
            .map(|(key, reads)| (key, reads.iter().flat_map(|(_, found, _)| found.iter().copied()).collect()))
            .collect();
        // The reader of each list that began last.
        let latest: FxHashMap<&Arc<str>, Txn> = reads
            .iter()
            .filter_map(|(key, reads)| {
                let latest = reads.iter().max_by_key(|(txn, _, _)| self.calls[*txn].invoked);
                latest.map(|(txn, _, _)| (key, *txn))
            })
            .collect();
        let happened: FxHashSet<Txn> =
            self.versions.lists.values().flat_map(|list| list.writers.iter().copied().flatten()).collect();
        for ((key, element), written) in elements {
            let writer = &self.calls[written.txn];
            // Of unknown outcome: it happened if anything of it was seen.
            if writer.returned.is_none() && !happened.contains(&written.txn) {
                continue;
            }
            if sets.get(key).is_some_and(|seen| seen.contains(element)) {
                continue;
            }
            let Some(list) = self.versions.lists.get_mut(key) else { continue };
            if list.unseen.last() != Some(&written.txn) {
                list.unseen.push(written.txn);
            }
            let began_later = |reader: &&Txn| {
                writer.returned.is_some_and(|returned| self.calls[**reader].invoked > returned)
            };
            if let Some(reader) = latest.get(key).filter(began_later) {
                let (writer, reader) = (writer.id, self.calls[*reader].id);
                self.versions.wrong.push(Wrong::Lost { writer, key: key.clone(), element: *element, reader });
            }
        }
    }
}
