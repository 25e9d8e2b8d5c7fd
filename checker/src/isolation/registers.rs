//! Registers: who wrote which value, what is known of the order of versions, and what is wrong with that.
//!
//! Every value is written once to a register. The order of versions is known from the store's revisions where
//! answers have them: a read gives the revision that its value was written at, a transaction its own. Without
//! them it is known in part: the absent value comes first, and a transaction that reads a value and writes
//! another puts its own after it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::components::{Components, Walks};
use super::graph::{Builder, WW};
use super::txns::{Key, Span, Txn, Txns, number};
use super::weak::Demand;
use super::wrong::Wrong;
use crate::budget::{Budget, Stop};
use crate::history::OpId;

/// A version of a register: a place in [`Versions::versions`].
pub type Version = u32;

/// A step on a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRegister {
    /// Writes a value.
    Write {
        /// Which register.
        key: Key,
        /// The value.
        value: i64,
    },
    /// Reads the register.
    Read {
        /// Which register.
        key: Key,
        /// What was found; `None` for absent.
        found: Option<i64>,
        /// The revision at which it was written; 0 where the answer does not say.
        rev: i64,
    },
}

/// Transactions of reads and writes on registers.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    /// Those that took effect or may have; reads without an answer are left out.
    pub txns: Txns<OnRegister>,
    /// What was written by transactions that failed for certain.
    pub aborted: Vec<(Key, i64, OpId)>,
    /// Whether only the order of each process is known, and real time is not.
    pub sessions_only: bool,
    revs: Vec<i64>,
}

impl Registers {
    /// No transactions yet; `sessions_only` says that real time is not known.
    pub fn new(sessions_only: bool) -> Registers {
        Registers { sessions_only, ..Registers::default() }
    }

    /// Adds a transaction; `rev` is the revision at which it wrote, 0 where that is not known.
    pub fn begin(&mut self, span: Span, rev: i64) -> Txn {
        self.revs.push(rev);
        self.txns.begin(span)
    }
}

/// One version.
#[derive(Clone, Debug)]
pub struct Written {
    /// Of which register.
    pub key: Key,
    /// The value; `None` for absent, the first version.
    pub value: Option<i64>,
    /// Who wrote it.
    pub writer: Option<Txn>,
    /// Whether it is the writer's last to the register.
    pub last: bool,
    /// At which revision; 0 where that is not known.
    pub rev: i64,
    /// Who read it, and did not write it.
    pub readers: Vec<Txn>,
    /// Versions that are known to come after it, the nearest at least.
    pub next: Vec<Version>,
}

/// The versions of all registers, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// By number; version `k` is the absent one of key `k`.
    pub versions: Vec<Written>,
    /// What is wrong.
    pub wrong: Vec<Wrong>,
    /// A value that is written twice to a register: nothing can be told of it then.
    pub ambiguous: Option<(Key, i64)>,
    /// Whether each transaction surely took effect.
    pub happened: Vec<bool>,
}

impl Versions {
    /// Reads the versions of all registers.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn new(registers: &Registers, budget: &Budget) -> Result<Versions, Stop> {
        let mut pace = budget.pace();
        let mut gather = Gather::new(registers);
        for txn in registers.txns.all() {
            pace.steps(1 + registers.txns.steps(txn).len())?;
            gather.writes(txn);
        }
        for txn in registers.txns.all() {
            pace.steps(1 + registers.txns.steps(txn).len())?;
            gather.read_txn(txn);
        }
        gather.by_revision();
        gather.first();
        gather.lost_updates();
        let mut versions = gather.versions;
        versions.cyclic(registers, budget)?;
        Ok(versions)
    }

    /// Whether the order of all versions that were read or acknowledged is known.
    pub fn in_order(&self) -> bool {
        let happened = |version: &Written| version.writer.is_none_or(|writer| self.happened[writer as usize]);
        let mut before = vec![0; self.versions.len()];
        for version in self.versions.iter().filter(|version| happened(version)) {
            if version.next.len() > 1 {
                return false;
            }
            version.next.iter().for_each(|next| before[*next as usize] += 1);
        }
        // A chain has one beginning.
        let places = 0..number(self.versions.len());
        places.filter(|at| happened(&self.versions[*at as usize])).all(|at| {
            let absent = self.versions[at as usize].writer.is_none();
            before[at as usize] == u32::from(!absent)
        })
    }

    /// Adds what a level demands of the order of versions: who wrote a key before whom.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn learn(&mut self, registers: &Registers, demands: &[Demand], budget: &Budget) -> Result<(), Stop> {
        let mut pace = budget.pace();
        let mut last: FxHashMap<(Key, Txn), Version> = FxHashMap::default();
        for (version, written) in self.versions.iter().enumerate().filter(|(_, written)| written.last) {
            last.extend(written.writer.map(|writer| ((written.key, writer), number(version))));
        }
        for demand in demands {
            pace.step()?;
            let of = |txn| last.get(&(demand.key, txn));
            if let (Some(before), Some(after)) = (of(demand.before), of(demand.after)) {
                self.versions[*before as usize].next.push(*after);
            }
        }
        self.cyclic(registers, budget)
    }

    /// Whether more is known of the order of versions here than there.
    pub fn learnt(&self, other: &Versions) -> bool {
        self.versions.iter().zip(&other.versions).any(|(here, there)| here.next != there.next)
    }

    /// A circle of versions is an anomaly, and orders nothing.
    fn cyclic(&mut self, registers: &Registers, budget: &Budget) -> Result<(), Stop> {
        let mut builder = Builder::new(self.versions.len());
        for (from, version) in self.versions.iter_mut().enumerate() {
            version.next.sort_unstable();
            version.next.dedup();
            version.next.iter().for_each(|to| builder.edge(number(from), *to, WW));
        }
        let graph = builder.build(budget)?;
        let all = 0..number(self.versions.len());
        let circles = Components::new(&graph, Walks::All).find(all, WW, |_| true, &mut budget.pace())?;
        let mut inside = vec![0; self.versions.len()];
        for (circle, versions) in circles.iter().enumerate() {
            let of = |version: &Version| &self.versions[*version as usize];
            let writers = versions.iter().filter_map(|version| of(version).writer);
            self.wrong.push(Wrong::CyclicVersions {
                key: of(&versions[0]).key,
                values: versions.iter().map(|version| of(version).value).collect(),
                txns: writers.map(|txn| registers.txns.id(txn)).collect(),
            });
            versions.iter().for_each(|version| inside[*version as usize] = circle + 1);
        }
        for (from, version) in self.versions.iter_mut().enumerate() {
            version.next.retain(|to| inside[from] == 0 || inside[from] != inside[*to as usize]);
        }
        Ok(())
    }
}

struct Gather<'a> {
    registers: &'a Registers,
    versions: Versions,
    by_value: FxHashMap<(Key, i64), Version>,
    aborted: FxHashMap<(Key, i64), OpId>,
    /// Transactions that read a version and wrote the register.
    updates: Vec<(Version, Txn)>,
}

impl<'a> Gather<'a> {
    fn new(registers: &'a Registers) -> Gather<'a> {
        let happened = registers.txns.all().map(|txn| registers.txns.span(txn).committed()).collect();
        let blank = |key| Written {
            key,
            value: None,
            writer: None,
            last: true,
            rev: 0,
            readers: Vec::new(),
            next: Vec::new(),
        };
        let absent = (0..number(registers.txns.keys.len())).map(blank).collect();
        let versions = Versions { versions: absent, happened, ..Versions::default() };
        let aborted = registers.aborted.iter().map(|(key, value, id)| ((*key, *value), *id)).collect();
        Gather { registers, versions, by_value: FxHashMap::default(), aborted, updates: Vec::new() }
    }

    fn writes(&mut self, txn: Txn) {
        let mut last: FxHashMap<Key, Version> = FxHashMap::default();
        for step in self.registers.txns.steps(txn) {
            let OnRegister::Write { key, value } = *step else { continue };
            let version = number(self.versions.versions.len());
            if self.by_value.insert((key, value), version).is_some() {
                self.versions.ambiguous.get_or_insert((key, value));
            }
            if let Some(before) = last.insert(key, version) {
                let before = &mut self.versions.versions[before as usize];
                before.last = false;
                before.next.push(version);
            }
            self.versions.versions.push(Written {
                key,
                value: Some(value),
                writer: Some(txn),
                last: true,
                rev: self.registers.revs[txn as usize],
                readers: Vec::new(),
                next: Vec::new(),
            });
        }
    }

    /// Compares a transaction's reads with what it did before, and notes what they saw of others.
    fn read_txn(&mut self, txn: Txn) {
        let mut known: BTreeMap<Key, Option<i64>> = BTreeMap::new();
        let mut base: BTreeMap<Key, Version> = BTreeMap::new();
        for step in self.registers.txns.steps(txn) {
            match *step {
                OnRegister::Write { key, value } => {
                    self.update(txn, key, value, base.remove(&key));
                    known.insert(key, Some(value));
                }
                OnRegister::Read { key, found, rev } => {
                    let before = known.insert(key, found);
                    match before {
                        Some(expected) if expected != found => {
                            self.versions.wrong.push(Wrong::Internal {
                                txn: self.registers.txns.id(txn),
                                key,
                                expected: expected.into_iter().collect(),
                                found: found.into_iter().collect(),
                            });
                        }
                        Some(_) => {}
                        None => {
                            if let Some(version) = self.external(txn, key, found, rev) {
                                base.insert(key, version);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The first write of a transaction to a register comes after what it read of it.
    fn update(&mut self, txn: Txn, key: Key, value: i64, read: Option<Version>) {
        let Some(read) = read else { return };
        let written = self.by_value[&(key, value)];
        if written != read {
            self.versions.versions[read as usize].next.push(written);
            self.updates.push((read, txn));
        }
    }

    fn external(&mut self, txn: Txn, key: Key, found: Option<i64>, rev: i64) -> Option<Version> {
        let Some(value) = found else {
            self.versions.versions[key as usize].readers.push(txn);
            return Some(key);
        };
        let reader = self.registers.txns.id(txn);
        let Some(&version) = self.by_value.get(&(key, value)) else {
            let failed = self.aborted.get(&(key, value)).copied();
            self.versions.wrong.push(Wrong::Unwritten { reader, key, value, failed });
            return None;
        };
        let written = &mut self.versions.versions[version as usize];
        let writer = written.writer.expect("a value has a writer");
        if writer == txn {
            self.versions.wrong.push(Wrong::FutureRead { txn: reader, key, value });
            return None;
        }
        written.readers.push(txn);
        if written.rev == 0 {
            written.rev = rev;
        }
        let (known, last, by) = (written.rev, written.last, self.registers.txns.id(writer));
        if rev > 0 && rev != known {
            self.versions.wrong.push(Wrong::OtherRevision { reader, key, value, rev, writer: by, known });
        }
        if !last {
            self.versions.wrong.push(Wrong::Intermediate { reader, key, value, writer: by });
        }
        self.versions.happened[writer as usize] = true;
        Some(version)
    }

    /// A transaction without an answer wrote all that it wrote at the revision that some read shows.
    fn revisions_of_writers(&mut self) {
        let mut revs: FxHashMap<Txn, i64> = FxHashMap::default();
        for version in &self.versions.versions {
            if let Some(writer) = version.writer.filter(|_| version.rev > 0) {
                revs.insert(writer, version.rev);
            }
        }
        for version in self.versions.versions.iter_mut().filter(|version| version.rev == 0) {
            version.rev = version.writer.and_then(|writer| revs.get(&writer).copied()).unwrap_or(0);
        }
    }

    /// Versions whose revisions are known follow each other.
    fn by_revision(&mut self) {
        self.revisions_of_writers();
        let versions = &mut self.versions;
        let mut known: Vec<(Key, i64, Version)> = (0..number(versions.versions.len()))
            .filter_map(|version| {
                let Written { key, last, rev, writer, .. } = versions.versions[version as usize];
                let happened = writer.is_some_and(|writer| versions.happened[writer as usize]);
                (rev > 0 && last && happened).then_some((key, rev, version))
            })
            .collect();
        known.sort_unstable();
        for pair in known.windows(2) {
            let ((key, rev, before), (other, later, after)) = (pair[0], pair[1]);
            // Equal revisions of one register are no order.
            if key == other && rev < later {
                // What the writer wrote first comes right after it, too: its last is reached from there.
                versions.versions[before as usize].next.push(after);
            }
        }
    }

    /// The absent version comes before whatever nothing is known to come before.
    fn first(&mut self) {
        let versions = &mut self.versions;
        let mut later = vec![false; versions.versions.len()];
        for version in versions.versions.iter().flat_map(|version| &version.next) {
            later[*version as usize] = true;
        }
        for version in versions.happened_versions() {
            if !later[version as usize] {
                let key = versions.versions[version as usize].key;
                versions.versions[key as usize].next.push(version);
            }
        }
        let happened: Vec<bool> = versions
            .versions
            .iter()
            .map(|version| version.writer.is_none_or(|writer| versions.happened[writer as usize]))
            .collect();
        for version in &mut versions.versions {
            version.next.retain(|next| happened[*next as usize]);
        }
    }

    fn lost_updates(&mut self) {
        self.updates.sort_unstable();
        let committed = |txn: Txn| self.registers.txns.span(txn).committed();
        self.updates.retain(|(_, txn)| committed(*txn));
        for pair in self.updates.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1) {
            let key = self.versions.versions[pair[0].0 as usize].key;
            let (one, other) = (self.registers.txns.id(pair[0].1), self.registers.txns.id(pair[1].1));
            self.versions.wrong.push(Wrong::LostUpdate { key, one, other });
        }
    }
}

impl Versions {
    fn happened_versions(&self) -> Vec<Version> {
        let happened = |version: &Version| {
            let writer = self.versions[*version as usize].writer;
            writer.is_some_and(|writer| self.happened[writer as usize])
        };
        (0..number(self.versions.len())).filter(happened).collect()
    }
}
