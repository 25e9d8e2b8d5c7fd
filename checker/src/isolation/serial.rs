//! Registers whose order of versions is not known: is there any order in which the transactions are serializable?
//!
//! Of two writes of a register one comes first, and whoever read it comes before the other: two sets of edges, of
//! which one must be in an acyclic graph (a polygraph: Papadimitriou, "The Serializability of Concurrent Database
//! Updates", JACM 1979). What the other set would close a circle with is forced, as in Cobra (Tan et al., OSDI
//! 2020); what is left is tried, up to a budget. Reachability is held whole, so this is for thousands of transactions.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::registers::{Registers, Versions};
use super::txns::{Key, Txn};
use crate::budget::{Budget, Stop};

/// Histories of more transactions are not judged.
pub const TXNS_MAX: usize = 4_000;

/// Pairs of writes between two looks at the budget.
const PAIRS_PER_LOOK: usize = 256;

/// States that may be tried.
const TRIES_MAX: usize = 200;

/// Pairs of writes whose order may be open where states are tried: each state has a list of its own.
const OPEN_MAX: usize = 1 << 16;

/// Whether there is an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// There is.
    Yes,
    /// There is none: neither of two writers of a key can be first, whatever else is chosen.
    No {
        /// Which key.
        key: Key,
        /// One of the writers.
        one: Txn,
        /// The other.
        other: Txn,
    },
    /// There are too many orders to try, or too many transactions; or the budget ended first.
    Unknown(Option<Stop>),
}

/// The last version that a transaction wrote of a key.
#[derive(Clone, Debug)]
struct Final {
    writer: Txn,
    readers: Vec<Txn>,
}

#[derive(Clone)]
struct State {
    /// A row for each transaction: what it comes before.
    reach: Vec<u64>,
    words: usize,
    /// Pairs of writes whose order is open.
    open: Vec<(Key, u32, u32)>,
}

/// Looks for an order of all transactions that surely happened, in which each of `order` has its first before its
/// second, whatever their sessions and times else.
pub fn serial(registers: &Registers, versions: &Versions, order: &[(Txn, Txn)], budget: &Budget) -> Serial {
    let txns = registers.txns.len();
    if txns > TXNS_MAX {
        return Serial::Unknown(None);
    }
    let mut keys: BTreeMap<Key, Vec<Final>> = BTreeMap::new();
    let words = txns.div_ceil(64);
    let mut state = State { reach: vec![0; txns * words], words, open: Vec::new() };
    let happened = |txn: Txn| versions.happened[txn as usize];
    for (before, after) in order {
        let acyclic = state.edge(*before, *after);
        debug_assert!(acyclic, "the order of processes is that of their calls");
    }
    for version in &versions.versions {
        let Some(writer) = version.writer.filter(|writer| happened(*writer)) else { continue };
        for reader in version.readers.iter().filter(|reader| **reader != writer) {
            if !state.edge(writer, *reader) {
                return Serial::No { key: version.key, one: writer, other: *reader };
            }
        }
        if version.last {
            let readers = version.readers.clone();
            keys.entry(version.key).or_default().push(Final { writer, readers });
        }
    }
    // Whoever read nothing comes before all writers.
    for absent in versions.versions.iter().filter(|version| version.writer.is_none()) {
        for written in keys.get(&absent.key).into_iter().flatten() {
            for reader in absent.readers.iter().filter(|reader| **reader != written.writer) {
                if !state.edge(*reader, written.writer) {
                    return Serial::No { key: absent.key, one: *reader, other: written.writer };
                }
            }
        }
    }
    // Most often it is not needed to look for one, and there are many pairs.
    if state.explains(&keys) {
        return Serial::Yes;
    }
    for (key, finals) in &keys {
        let pairs = (0..finals.len()).flat_map(|one| (one + 1..finals.len()).map(move |other| (one, other)));
        state.open.extend(pairs.map(|(one, other)| (*key, one as u32, other as u32)));
    }
    let mut tries = TRIES_MAX;
    search(state, &keys, &mut tries, budget)
}

type Finals = BTreeMap<Key, Vec<Final>>;

fn search(mut state: State, keys: &Finals, tries: &mut usize, budget: &Budget) -> Serial {
    if let Err(no) = state.force(keys, budget) {
        return no;
    }
    if state.explains(keys) {
        return Serial::Yes;
    }
    if state.open.len() > OPEN_MAX {
        return Serial::Unknown(None);
    }
    let Some((key, one, other)) = state.open.pop() else { return Serial::Yes };
    let mut no = Serial::Yes;
    for (first, second) in [(one, other), (other, one)] {
        if *tries == 0 {
            return Serial::Unknown(None);
        }
        *tries -= 1;
        let mut next = state.clone();
        let finals = &keys[&key];
        if !next.put(&finals[first as usize], &finals[second as usize]) {
            continue;
        }
        match search(next, keys, tries, budget) {
            Serial::No { .. } => {
                let (one, other) = (finals[one as usize].writer, finals[other as usize].writer);
                no = Serial::No { key, one, other };
            }
            found => return found,
        }
    }
    match no {
        Serial::Yes => {
            let finals = &keys[&key];
            Serial::No { key, one: finals[one as usize].writer, other: finals[other as usize].writer }
        }
        no => no,
    }
}

impl State {
    fn reaches(&self, from: Txn, to: Txn) -> bool {
        self.reach[from as usize * self.words + to as usize / 64] >> (to % 64) & 1 == 1
    }

    /// Puts one before another; false if that closes a circle.
    fn edge(&mut self, from: Txn, to: Txn) -> bool {
        if from == to || self.reaches(to, from) {
            return false;
        }
        if self.reaches(from, to) {
            return true;
        }
        let mut behind: Vec<u64> = self.reach[to as usize * self.words..][..self.words].to_vec();
        behind[to as usize / 64] |= 1 << (to % 64);
        for before in 0..self.reach.len() / self.words {
            if before == from as usize || self.reaches(before as Txn, from) {
                let row = &mut self.reach[before * self.words..][..self.words];
                row.iter_mut().zip(&behind).for_each(|(row, behind)| *row |= behind);
            }
        }
        true
    }

    /// Whether one write may come before another.
    fn may_put(&self, first: &Final, second: &Final) -> bool {
        let before = std::iter::once(&first.writer).chain(&first.readers);
        before.filter(|txn| **txn != second.writer).all(|txn| !self.reaches(second.writer, *txn))
    }

    /// Puts one write, with its readers, before another.
    fn put(&mut self, first: &Final, second: &Final) -> bool {
        let before: Vec<Txn> = std::iter::once(first.writer).chain(first.readers.iter().copied()).collect();
        before.into_iter().filter(|txn| *txn != second.writer).all(|txn| self.edge(txn, second.writer))
    }

    /// Whether all is explained by the order in which those come first that most must follow, and of equals who began
    /// first: one of the orders that are left, which often does where nobody read much.
    fn explains(&self, keys: &Finals) -> bool {
        let follow = |row: &[u64]| row.iter().map(|word| word.count_ones()).sum::<u32>();
        let followed: Vec<u32> = self.reach.chunks(self.words.max(1)).map(follow).collect();
        let place = |txn: Txn| (Reverse(followed[txn as usize]), txn);
        keys.values().all(|finals| {
            let mut finals: Vec<&Final> = finals.iter().collect();
            finals.sort_unstable_by_key(|written| place(written.writer));
            finals.windows(2).all(|pair| {
                let next = pair[1].writer;
                pair[0].readers.iter().all(|reader| *reader == next || place(*reader) < place(next))
            })
        })
    }

    /// Orders what can only be in one order, until nothing is left of that.
    fn force(&mut self, keys: &Finals, budget: &Budget) -> Result<(), Serial> {
        loop {
            let before = self.open.len();
            for (at, (key, one, other)) in std::mem::take(&mut self.open).into_iter().enumerate() {
                if at % PAIRS_PER_LOOK == 0 {
                    budget.go_on().map_err(|stop| Serial::Unknown(Some(stop)))?;
                }
                let (first, second) = (&keys[&key][one as usize], &keys[&key][other as usize]);
                let done = match (self.may_put(first, second), self.may_put(second, first)) {
                    (true, true) => {
                        self.open.push((key, one, other));
                        continue;
                    }
                    (true, false) => self.put(first, second),
                    (false, true) => self.put(second, first),
                    (false, false) => false,
                };
                if !done {
                    return Err(Serial::No { key, one: first.writer, other: second.writer });
                }
            }
            if self.open.len() == before {
                return Ok(());
            }
        }
    }
}
