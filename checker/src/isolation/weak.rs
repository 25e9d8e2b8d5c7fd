//! Read committed, read atomic and causal consistency by their own definition: is there an order of commits
//! that explains every read, without any order of versions being known?
//!
//! Each level says when a transaction that wrote a key must have committed before the one whose value was read
//! (Biswas and Enea, "On the Complexity of Checking Transactional Consistency", OOPSLA 2019). Those demands
//! together with the order of sessions and of reads of writes have no cycle if and only if the level holds. Only
//! demands that imply all others are made (Møldrup and Pavlogiannis, "AWDIT: An Optimal Weak Database Isolation
//! Tester", PLDI 2025): for `n` operations in `k` sessions, `n^1.5` of them for the first two levels and `n k` for
//! causal consistency, of which those that a known order implies are left out again.

use rustc_hash::{FxHashMap, FxHashSet};

use super::cycles::shortest_cycle;
use super::graph::{Builder, Graph, Mask, Node, PR, WR, WW};
use super::registers::{OnRegister, Registers, Versions};
use super::txns::{Key, Txn, number};
use crate::budget::{Budget, Pace, Stop};

/// A level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weak {
    /// What a transaction has seen of another stays seen: read committed as Biswas and Enea have it, which Bailis
    /// et al. call monotonic atomic view.
    ReadCommitted,
    /// A transaction sees all of another, or nothing.
    ReadAtomic,
    /// A transaction sees the causes of what it sees.
    Causal,
}

/// One transaction: its reads of others in order, and the keys that it wrote, in order of keys.
#[derive(Clone, Debug, Default)]
struct Access {
    reads: (u32, u32),
    writes: (u32, u32),
}

/// Transactions by session.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// Transactions of each session, in its order.
    pub sessions: Vec<Vec<Txn>>,
    txns: Vec<Access>,
    reads: Vec<(Key, Txn)>,
    writes: Vec<Key>,
    keys: usize,
}

/// For each key a writer whose value was read, and perhaps another.
type Reads = FxHashMap<Key, (Txn, Option<Txn>)>;

/// A demand that a level makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Who must have committed before.
    pub before: Txn,
    /// Whose value was read instead.
    pub after: Txn,
    /// Which key both wrote.
    pub key: Key,
    /// Who read it.
    pub reader: Txn,
}

/// What a level demands, and the cycle if it cannot be met.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The demands.
    pub demands: Vec<Demand>,
    /// Transactions, each with the reason why it comes before the next; empty if the level holds.
    pub cycle: Vec<(Node, Mask)>,
}

impl Sessions {
    /// For so many keys.
    pub fn new(keys: usize) -> Sessions {
        Sessions { keys, ..Sessions::default() }
    }

    /// Adds a transaction, the next of its session: what it read of others, with the writers, in order, and
    /// what it wrote. The writer of an absent value is the initial transaction, which writes every key.
    pub fn push(
        &mut self,
        session: usize,
        reads: impl IntoIterator<Item = (Key, Txn)>,
        writes: impl IntoIterator<Item = Key>,
    ) -> Txn {
        let txn = number(self.txns.len());
        let first = (number(self.reads.len()), number(self.writes.len()));
        self.reads.extend(reads);
        self.writes.extend(writes);
        self.writes[first.1 as usize..].sort_unstable();
        self.txns.push(Access {
            reads: (first.0, number(self.reads.len())),
            writes: (first.1, number(self.writes.len())),
        });
        if self.sessions.len() <= session {
            self.sessions.resize(session + 1, Vec::new());
        }
        self.sessions[session].push(txn);
        txn
    }

    /// Those of registers, with what is known of who wrote what; numbers of transactions stay the same. What
    /// never happened takes no part.
    pub fn of(registers: &Registers, versions: &Versions) -> Sessions {
        let process = |txn: Txn| registers.txns.span(txn).process;
        Sessions::by(registers, versions, process)
    }

    /// As [`Sessions::of`], with every transaction a session of its own.
    pub fn apart(registers: &Registers, versions: &Versions) -> Sessions {
        Sessions::by(registers, versions, u64::from)
    }

    fn by(registers: &Registers, versions: &Versions, process: impl Fn(Txn) -> u64) -> Sessions {
        let txns = &registers.txns;
        let mut reads: Vec<Vec<(Key, Txn)>> = vec![Vec::new(); txns.len()];
        let initial = number(txns.len());
        let mut writer: FxHashMap<(Key, i64), Txn> = FxHashMap::default();
        for version in &versions.versions {
            if let (Some(value), Some(by)) = (version.value, version.writer) {
                writer.insert((version.key, value), by);
            }
        }
        for txn in txns.all() {
            let mut own: FxHashSet<Key> = FxHashSet::default();
            for step in txns.steps(txn) {
                match *step {
                    OnRegister::Write { key, .. } => {
                        own.insert(key);
                    }
                    OnRegister::Read { key, found, .. } if !own.contains(&key) => {
                        let by = found.map_or(Some(initial), |value| writer.get(&(key, value)).copied());
                        reads[txn as usize].extend(by.filter(|by| *by != txn).map(|by| (key, by)));
                    }
                    OnRegister::Read { .. } => {}
                }
            }
        }
        let mut sessions = Sessions::new(txns.keys.len());
        // The session of each process, and when its last transaction returned.
        let mut sessions_of: FxHashMap<u64, (usize, u64)> = FxHashMap::default();
        for txn in txns.all() {
            let happened = versions.happened[txn as usize];
            let (fresh, span) = (sessions.sessions.len(), txns.span(txn));
            let of = sessions_of.entry(process(txn)).or_insert((fresh, 0));
            // A process that acts before its last answer is no session: nothing orders these two acts.
            if of.1 > span.invoked {
                of.0 = fresh;
            }
            of.1 = span.returned;
            let session = of.0;
            let written = txns.steps(txn).iter().filter_map(|step| match *step {
                OnRegister::Write { key, .. } => happened.then_some(key),
                OnRegister::Read { .. } => None,
            });
            let mut writes: Vec<Key> = written.collect();
            writes.sort_unstable();
            writes.dedup();
            sessions.push(session, std::mem::take(&mut reads[txn as usize]), writes);
        }
        sessions
    }

    /// The initial transaction's number.
    pub fn initial(&self) -> Txn {
        number(self.txns.len())
    }

    fn reads(&self, txn: Txn) -> &[(Key, Txn)] {
        let (from, to) = self.txns[txn as usize].reads;
        &self.reads[from as usize..to as usize]
    }

    fn writes(&self, txn: Txn) -> &[Key] {
        match self.txns.get(txn as usize) {
            Some(access) => &self.writes[access.writes.0 as usize..access.writes.1 as usize],
            None => &[],
        }
    }

    /// Judges a level.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn judge(&self, level: Weak, budget: &Budget) -> Result<Judged, Stop> {
        let known = self.graph(&[], budget)?;
        let cycle = shortest_cycle(&known, PR | WR, budget)?;
        if !cycle.is_empty() {
            return Ok(Judged { demands: Vec::new(), cycle });
        }
        drop(known);
        let mut pace = budget.pace();
        let mut demands = match level {
            Weak::ReadCommitted => self.read_committed(&mut pace)?,
            Weak::ReadAtomic => self.read_atomic(&mut pace)?,
            Weak::Causal => self.causal(&mut pace)?,
        };
        demands.sort_unstable();
        demands.dedup_by_key(|demand| (demand.before, demand.after));
        let cycle = shortest_cycle(&self.graph(&demands, budget)?, PR | WR | WW, budget)?;
        Ok(Judged { demands, cycle })
    }

    /// The order of sessions, of reads of writes, and of demands.
    fn graph(&self, demands: &[Demand], budget: &Budget) -> Result<Graph, Stop> {
        let mut pace = budget.pace();
        let mut builder = Builder::new(self.txns.len() + 1);
        for session in &self.sessions {
            session.first().iter().for_each(|first| builder.edge(self.initial(), **first, PR));
            session.windows(2).for_each(|pair| builder.edge(pair[0], pair[1], PR));
        }
        for txn in 0..self.initial() {
            let mut last = None;
            pace.steps(1 + self.reads(txn).len())?;
            for (_, writer) in self.reads(txn) {
                if last != Some(*writer) {
                    builder.edge(*writer, txn, WR);
                }
                last = Some(*writer);
            }
        }
        demands.iter().for_each(|demand| builder.edge(demand.before, demand.after, WW));
        builder.build(budget)
    }

    /// What was read first of a transaction comes before what was read of its keys later.
    fn read_committed(&self, pace: &mut Pace<'_>) -> Result<Vec<Demand>, Stop> {
        let mut demands = Vec::new();
        // The next read of each key, from behind, and the next of another writer than that.
        let mut next: Reads = Reads::default();
        let mut first: FxHashMap<Txn, usize> = FxHashMap::default();
        for reader in 0..self.initial() {
            let reads = self.reads(reader);
            pace.steps(1 + reads.len())?;
            next.clear();
            first.clear();
            for (at, (_, writer)) in reads.iter().enumerate() {
                first.entry(*writer).or_insert(at);
            }
            for (at, (key, writer)) in reads.iter().enumerate().rev() {
                if first[writer] == at {
                    self.common(*writer, &next, reader, &mut demands);
                }
                let nearest = next.entry(*key).or_insert((*writer, None));
                if nearest.0 != *writer {
                    *nearest = (*writer, Some(nearest.0));
                }
            }
        }
        Ok(demands)
    }

    /// Demands for the keys that a writer wrote and that others' values were read of.
    fn common(&self, before: Txn, read: &Reads, reader: Txn, demands: &mut Vec<Demand>) {
        let writes = self.writes(before);
        let mut demand = |key: Key, (nearest, other): (Txn, Option<Txn>)| {
            let after = if nearest == before { other } else { Some(nearest) };
            demands.extend(after.map(|after| Demand { before, after, key, reader }));
        };
        if writes.len() <= read.len() {
            writes.iter().filter_map(|key| Some((*key, *read.get(key)?))).for_each(|(k, a)| demand(k, a));
        } else {
            let both = read.iter().filter(|(key, _)| writes.binary_search(key).is_ok());
            both.for_each(|(key, after)| demand(*key, *after));
        }
    }

    /// Whatever a transaction read of, or follows in its session, comes before what it read instead.
    fn read_atomic(&self, pace: &mut Pace<'_>) -> Result<Vec<Demand>, Stop> {
        let mut demands = Vec::new();
        let mut last_write: FxHashMap<Key, Txn> = FxHashMap::default();
        let mut read: Reads = Reads::default();
        for session in &self.sessions {
            last_write.clear();
            for &reader in session {
                pace.steps(1 + self.reads(reader).len())?;
                read.clear();
                for &(key, writer) in self.reads(reader) {
                    // A key read of two writers: each comes before the other.
                    if let Some((other, _)) = read.insert(key, (writer, None))
                        && other != writer
                    {
                        for (before, after) in [(other, writer), (writer, other)] {
                            if before != self.initial() {
                                demands.push(Demand { before, after, key, reader });
                            }
                        }
                    }
                    if let Some(&before) = last_write.get(&key)
                        && before != writer
                    {
                        demands.push(Demand { before, after: writer, key, reader });
                    }
                }
                let mut writers: Vec<Txn> = self.reads(reader).iter().map(|(_, writer)| *writer).collect();
                writers.sort_unstable();
                writers.dedup();
                writers.iter().for_each(|before| self.common(*before, &read, reader, &mut demands));
                last_write.extend(self.writes(reader).iter().map(|key| (*key, reader)));
            }
        }
        Ok(demands)
    }

    /// Whatever happened before a transaction comes before what it read instead. Clocks count, for each
    /// session, how many of its transactions happened before; they are dropped once nobody follows.
    fn causal(&self, pace: &mut Pace<'_>) -> Result<Vec<Demand>, Stop> {
        let places = self.places();
        let by_key = self.writers_by_key();
        let (order, mut waiting) = self.in_order(&places);
        let mut clocks: Vec<Option<Box<[u32]>>> = vec![None; self.txns.len()];
        let mut demands = Vec::new();
        for reader in order {
            let before = self.before(reader, &places);
            // A step for each eight numbers of a clock.
            pace.steps(1 + (1 + before.len()) * self.sessions.len() / 8)?;
            let mut clock: Box<[u32]> = vec![0; self.sessions.len()].into();
            for known in &before {
                let theirs =
                    clocks[*known as usize].as_ref().expect("it is kept until all that follow had it");
                clock.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
                let (session, place) = places[*known as usize];
                clock[session as usize] = clock[session as usize].max(place + 1);
            }
            for &(key, after) in self.reads(reader) {
                let implied = clocks.get(after as usize).and_then(Option::as_ref);
                pace.steps(by_key[key as usize].len())?;
                for (session, writers) in &by_key[key as usize] {
                    let seen = clock[*session as usize];
                    let newest = writers.partition_point(|place| *place < seen);
                    let Some(place) = newest.checked_sub(1).map(|last| writers[last]) else { continue };
                    let before = self.sessions[*session as usize][place as usize];
                    // What happened before the value that was read is in order.
                    if before != after && implied.is_none_or(|clock| clock[*session as usize] <= place) {
                        demands.push(Demand { before, after, key, reader });
                    }
                }
            }
            clocks[reader as usize] = Some(clock);
            for known in before {
                waiting[known as usize] -= 1;
                if waiting[known as usize] == 0 {
                    clocks[known as usize] = None;
                }
            }
            if waiting[reader as usize] == 0 {
                clocks[reader as usize] = None;
            }
        }
        Ok(demands)
    }

    /// The session and the place in it of each transaction.
    fn places(&self) -> Vec<(u32, u32)> {
        let mut places = vec![(0, 0); self.txns.len()];
        for (session, txns) in self.sessions.iter().enumerate() {
            for (place, txn) in txns.iter().enumerate() {
                places[*txn as usize] = (number(session), number(place));
            }
        }
        places
    }

    /// For each key, the sessions that wrote it, with the places of the writers.
    fn writers_by_key(&self) -> Vec<Vec<(u32, Vec<u32>)>> {
        let mut by_key: Vec<Vec<(u32, Vec<u32>)>> = vec![Vec::new(); self.keys];
        for (session, txns) in self.sessions.iter().enumerate() {
            for (place, txn) in txns.iter().enumerate() {
                for key in self.writes(*txn) {
                    let writers = &mut by_key[*key as usize];
                    match writers.last_mut() {
                        Some((last, places)) if *last as usize == session => places.push(number(place)),
                        Some(_) | None => writers.push((number(session), vec![number(place)])),
                    }
                }
            }
        }
        by_key
    }

    /// What a transaction follows directly: the one before it in its session, and those it read of.
    fn before(&self, txn: Txn, places: &[(u32, u32)]) -> Vec<Txn> {
        let (session, place) = places[txn as usize];
        let previous = place.checked_sub(1).map(|place| self.sessions[session as usize][place as usize]);
        let writers = self.reads(txn).iter().map(|(_, writer)| *writer);
        let mut before: Vec<Txn> =
            writers.filter(|writer| *writer != self.initial()).chain(previous).collect();
        before.sort_unstable();
        before.dedup();
        before
    }

    /// All in an order in which causes come first, which exists; and how many follow each directly.
    fn in_order(&self, places: &[(u32, u32)]) -> (Vec<Txn>, Vec<u32>) {
        let mut follow: Vec<Vec<Txn>> = vec![Vec::new(); self.txns.len()];
        let mut waits: Vec<u32> = vec![0; self.txns.len()];
        for txn in 0..self.initial() {
            let before = self.before(txn, places);
            waits[txn as usize] = number(before.len());
            before.iter().for_each(|known| follow[*known as usize].push(txn));
        }
        let mut order: Vec<Txn> = (0..self.initial()).filter(|txn| waits[*txn as usize] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for after in &follow[order[next] as usize] {
                waits[*after as usize] -= 1;
                if waits[*after as usize] == 0 {
                    order.push(*after);
                }
            }
            next += 1;
        }
        let followed = follow.iter().map(|follow| number(follow.len())).collect();
        (order, followed)
    }
}
