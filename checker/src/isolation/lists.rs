//! Lists: who appended which element, in which order, and what is wrong with that already.

use rustc_hash::{FxHashMap, FxHashSet};

use super::txns::{Key, Lists, OnList, Txn, number};
use super::wrong::Wrong;
use crate::budget::{Budget, Stop};
use crate::history::OpId;

/// No transaction.
pub const NOBODY: Txn = Txn::MAX;

/// A read of a list as it was before the reader's own appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalRead {
    /// The reader.
    pub txn: Txn,
    /// How many elements it saw that were not its own.
    pub before: u32,
    /// Whether the reader appends to the list, too.
    pub appends: bool,
    from: u32,
    len: u32,
}

/// The history of one list.
#[derive(Clone, Copy, Debug)]
pub struct ListVersions<'a> {
    /// Which list.
    pub key: Key,
    /// The longest list that was read: the order of the elements.
    pub order: &'a [i64],
    /// Who appended each element of the order, or [`NOBODY`].
    pub writers: &'a [Txn],
    /// Reads that fit the order.
    pub reads: &'a [ExternalRead],
    /// Transactions that took effect and appended what no read has, in order.
    pub unseen: &'a [Txn],
}

/// The histories of all lists, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// What is wrong.
    pub wrong: Vec<Wrong>,
    /// An element that is appended twice to a list: nothing can be told of it then.
    pub ambiguous: Option<(Key, i64)>,
    /// Whether each transaction surely took effect: it was acknowledged, or seen.
    pub happened: Vec<bool>,
    longest: Vec<(u32, u32)>,
    writers: Vec<Txn>,
    writers_of: Vec<u32>,
    reads: Vec<ExternalRead>,
    reads_of: Vec<(u32, u32)>,
    unseen: Vec<Txn>,
    unseen_of: Vec<u32>,
}

impl Versions {
    /// Reads the histories of all lists.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn new(lists: &Lists, budget: &Budget) -> Result<Versions, Stop> {
        let table = Table::new(lists, budget)?;
        let mut versions = Versions { ambiguous: table.ambiguous, ..Versions::default() };
        versions.happened = lists.txns.all().map(|txn| lists.txns.span(txn).committed()).collect();
        versions.gather(lists, budget)?;
        let seen = versions.orders(lists, &table, budget)?;
        versions.unseen(lists, &table, &seen, budget)?;
        Ok(versions)
    }

    /// The history of a list.
    pub fn list<'a>(&'a self, lists: &'a Lists, key: Key) -> ListVersions<'a> {
        let at = key as usize;
        let (from, len) = self.longest[at];
        let (first, last) = self.reads_of[at];
        ListVersions {
            key,
            order: lists.found(from, len),
            writers: &self.writers[self.writers_of[at] as usize..self.writers_of[at + 1] as usize],
            reads: &self.reads[first as usize..last as usize],
            unseen: &self.unseen[self.unseen_of[at] as usize..self.unseen_of[at + 1] as usize],
        }
    }

    /// Compares each transaction's reads with its own appends, and groups what they saw of others by key.
    fn gather(&mut self, lists: &Lists, budget: &Budget) -> Result<(), Stop> {
        let mut pace = budget.pace();
        let keys = lists.txns.keys.len();
        let mut rows: Vec<(Key, ExternalRead)> = Vec::new();
        let mut known = Known::new(keys);
        for txn in lists.txns.all() {
            known.next(rows.len());
            for step in lists.txns.steps(txn) {
                pace.step()?;
                match *step {
                    OnList::Append { key, element } => known.append(key, element, &mut rows),
                    OnList::Read { key, from, len } => {
                        known.read(lists, txn, key, (from, len), &mut rows, &mut self.wrong);
                    }
                }
            }
        }
        // By key: a counting sort, so each list's reads stay in order of invocation.
        let mut starts = vec![0_u32; keys + 1];
        for (key, _) in &rows {
            starts[*key as usize + 1] += 1;
        }
        for at in 0..keys {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        if let Some((_, any)) = rows.first().copied() {
            self.reads = vec![any; rows.len()];
        }
        for (key, read) in rows {
            let at = &mut next[key as usize];
            self.reads[*at as usize] = read;
            *at += 1;
        }
        self.reads_of = starts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(())
    }

    /// The order of each list, and the reads that fit it. Gives which appends any read has.
    fn orders(&mut self, lists: &Lists, table: &Table, budget: &Budget) -> Result<Vec<bool>, Stop> {
        let mut pace = budget.pace();
        let mut seen = vec![false; table.rows.len()];
        self.writers_of.push(0);
        for key in 0..number(lists.txns.keys.len()) {
            let (first, last) = self.reads_of[key as usize];
            let reads = first as usize..last as usize;
            let longest = self.reads[reads.clone()].iter().max_by_key(|read| read.len).copied();
            let Some(longest) = longest else {
                self.longest.push((0, 0));
                self.writers_of.push(number(self.writers.len()));
                continue;
            };
            self.longest.push((longest.from, longest.len));
            let order = lists.found(longest.from, longest.len);
            let mut inspect = Inspect { lists, table, key, reported: FxHashSet::default() };
            self.writers.extend(order.iter().map(|element| table.see(key, *element, &mut seen)));
            self.writers_of.push(number(self.writers.len()));
            inspect.order(longest.txn, order, &mut self.wrong);
            let mut kept = first as usize;
            for at in reads {
                let read = self.reads[at];
                let found = lists.found(read.from, read.len);
                pace.steps(1 + found.len() / 16)?;
                if !order.starts_with(found) {
                    inspect.elements(read.txn, found, &mut self.wrong);
                    for element in found {
                        table.see(key, *element, &mut seen);
                    }
                    let one = (lists.txns.id(longest.txn), order.to_vec());
                    let other = (lists.txns.id(read.txn), found.to_vec());
                    self.wrong.push(Wrong::IncompatibleOrder { key, one, other });
                    continue;
                }
                inspect.intermediate(&read, found, &mut self.wrong);
                self.reads[kept] = read;
                kept += 1;
            }
            self.reads_of[key as usize].1 = number(kept);
            inspect.lost_updates(&self.reads[first as usize..kept], &mut self.wrong);
        }
        for writer in &self.writers {
            if let Some(happened) = self.happened.get_mut(*writer as usize) {
                *happened = true;
            }
        }
        Ok(seen)
    }

    /// Appends that happened and that no read has. A read that began afterwards shows them lost.
    fn unseen(&mut self, lists: &Lists, table: &Table, seen: &[bool], budget: &Budget) -> Result<(), Stop> {
        let mut pace = budget.pace();
        self.unseen_of.push(0);
        for key in 0..number(lists.txns.keys.len()) {
            let at = key as usize;
            let (first, last) = self.reads_of[at];
            pace.steps(1 + (last - first) as usize + table.range(key).len())?;
            let latest = self.reads[first as usize..last as usize].iter().map(|read| read.txn).max();
            let mut rows: Vec<&Appended> = table
                .range(key)
                .filter(|row| !seen[*row])
                .map(|row| &table.rows[row])
                .filter(|row| self.happened[row.txn as usize])
                .collect();
            rows.sort_unstable_by_key(|row| (row.txn, row.element));
            for row in rows {
                if self.unseen.len() == self.unseen_of[at] as usize || self.unseen.last() != Some(&row.txn) {
                    self.unseen.push(row.txn);
                }
                let writer = lists.txns.span(row.txn);
                if let Some(reader) = latest
                    && lists.txns.span(reader).invoked > writer.returned
                {
                    let (writer, reader) = (writer.id, lists.txns.id(reader));
                    self.wrong.push(Wrong::Lost { writer, key, element: row.element, reader });
                }
            }
            self.unseen_of.push(number(self.unseen.len()));
        }
        Ok(())
    }
}

/// What a transaction knows of the lists that it has touched so far.
struct Known {
    /// Which transaction touched a key last, and where in `touched`.
    stamps: Vec<(u32, u32)>,
    stamp: u32,
    touched: Vec<Touched>,
    first_row: usize,
}

#[derive(Debug, Default)]
struct Touched {
    /// What was read, if it was.
    read: Option<(u32, u32)>,
    /// What was appended since.
    own: Vec<i64>,
    /// The row of the external read.
    row: Option<usize>,
}

impl Known {
    fn new(keys: usize) -> Known {
        Known { stamps: vec![(0, 0); keys], stamp: 0, touched: Vec::new(), first_row: 0 }
    }

    fn next(&mut self, first_row: usize) {
        self.stamp += 1;
        self.touched.clear();
        self.first_row = first_row;
    }

    fn of(&mut self, key: Key) -> &mut Touched {
        let stamp = &mut self.stamps[key as usize];
        if stamp.0 != self.stamp {
            *stamp = (self.stamp, number(self.touched.len()));
            self.touched.push(Touched::default());
        }
        &mut self.touched[stamp.1 as usize]
    }

    fn append(&mut self, key: Key, element: i64, rows: &mut [(Key, ExternalRead)]) {
        let touched = self.of(key);
        touched.own.push(element);
        if let Some(row) = touched.row {
            rows[row].1.appends = true;
        }
    }

    fn read(
        &mut self,
        lists: &Lists,
        txn: Txn,
        key: Key,
        (from, len): (u32, u32),
        rows: &mut Vec<(Key, ExternalRead)>,
        wrong: &mut Vec<Wrong>,
    ) {
        let row = rows.len();
        let found = lists.found(from, len);
        let touched = self.of(key);
        let fits = match touched.read {
            Some((from, len)) => {
                let before = lists.found(from, len);
                found.strip_prefix(before) == Some(touched.own.as_slice())
            }
            None => found.ends_with(&touched.own),
        };
        if !fits {
            let before = touched.read.map(|(from, len)| lists.found(from, len)).unwrap_or_default();
            let expected = [before, touched.own.as_slice()].concat();
            let txn = lists.txns.id(txn);
            wrong.push(Wrong::Internal { txn, key, expected, found: found.to_vec() });
        } else if touched.read.is_none() {
            let (before, appends) = (len - number(touched.own.len()), !touched.own.is_empty());
            rows.push((key, ExternalRead { txn, before, appends, from, len }));
            touched.row = Some(row);
        }
        touched.read = Some((from, len));
        touched.own.clear();
    }
}

/// Who appended what.
#[derive(Clone, Copy, Debug)]
struct Appended {
    element: i64,
    txn: Txn,
    /// How many that transaction had appended to the list before.
    turn: u32,
    /// Whether it is that transaction's last to the list.
    last: bool,
}

/// All appends by key, each key's in order of elements.
struct Table {
    starts: Vec<u32>,
    rows: Vec<Appended>,
    aborted: Vec<(Key, i64, OpId)>,
    ambiguous: Option<(Key, i64)>,
}

impl Table {
    fn new(lists: &Lists, budget: &Budget) -> Result<Table, Stop> {
        let mut pace = budget.pace();
        let keys = lists.txns.keys.len();
        let mut starts = vec![0_u32; keys + 1];
        let appends = |txn| {
            lists.txns.steps(txn).iter().filter_map(|step| match *step {
                OnList::Append { key, element } => Some((key, element)),
                OnList::Read { .. } => None,
            })
        };
        for (key, _) in lists.txns.all().flat_map(appends) {
            starts[key as usize + 1] += 1;
        }
        for at in 0..keys {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let blank = Appended { element: 0, txn: NOBODY, turn: 0, last: false };
        let mut rows = vec![blank; starts[keys] as usize];
        for txn in lists.txns.all() {
            for (key, element) in appends(txn) {
                pace.step()?;
                let at = next[key as usize] as usize;
                next[key as usize] += 1;
                let first = starts[key as usize] as usize;
                let before = rows[first..at].last_mut().filter(|before| before.txn == txn);
                let turn = before.map_or(0, |before| {
                    before.last = false;
                    before.turn + 1
                });
                rows[at] = Appended { element, txn, turn, last: true };
            }
        }
        let mut ambiguous = None;
        for key in 0..keys {
            let rows = &mut rows[starts[key] as usize..starts[key + 1] as usize];
            pace.steps(1 + rows.len())?;
            if !rows.is_sorted_by_key(|row| row.element) {
                rows.sort_unstable_by_key(|row| (row.element, row.txn));
            }
            let twice = rows.windows(2).find(|pair| pair[0].element == pair[1].element);
            if let Some(pair) = twice {
                ambiguous = ambiguous.or(Some((number(key), pair[0].element)));
            }
        }
        let mut aborted = lists.aborted.clone();
        aborted.sort_unstable();
        Ok(Table { starts, rows, aborted, ambiguous })
    }

    fn range(&self, key: Key) -> std::ops::Range<usize> {
        self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize
    }

    fn place(&self, key: Key, element: i64) -> Option<usize> {
        let range = self.range(key);
        let rows = &self.rows[range.clone()];
        let first = rows.first()?;
        // Elements that count up, as generators make them, are where one expects them.
        let guess = element.checked_sub(first.element).and_then(|offset| usize::try_from(offset).ok());
        let at = match guess.filter(|guess| rows.get(*guess).is_some_and(|row| row.element == element)) {
            Some(guess) => guess,
            None => rows.binary_search_by_key(&element, |row| row.element).ok()?,
        };
        Some(range.start + at)
    }

    fn find(&self, key: Key, element: i64) -> Option<&Appended> {
        self.place(key, element).map(|at| &self.rows[at])
    }

    /// Who appended an element that a read has.
    fn see(&self, key: Key, element: i64, seen: &mut [bool]) -> Txn {
        self.place(key, element).map_or(NOBODY, |at| {
            seen[at] = true;
            self.rows[at].txn
        })
    }

    fn aborted(&self, key: Key, element: i64) -> Option<OpId> {
        let at = self.aborted.partition_point(|(k, e, _)| (*k, *e) < (key, element));
        self.aborted.get(at).filter(|(k, e, _)| (*k, *e) == (key, element)).map(|(_, _, id)| *id)
    }
}

/// Looks for what is wrong with one list.
struct Inspect<'a> {
    lists: &'a Lists,
    table: &'a Table,
    key: Key,
    /// Each element is reported once.
    reported: FxHashSet<i64>,
}

impl Inspect<'_> {
    /// The longest list: its elements, and whether committed elements follow aborted ones.
    fn order(&mut self, reader: Txn, order: &[i64], wrong: &mut Vec<Wrong>) {
        if self.plain(order) {
            self.own_order(reader, order, wrong);
        } else {
            self.elements(reader, order, wrong);
        }
        let mut aborted = None;
        if self.table.aborted.is_empty() {
            return;
        }
        for element in order {
            match (self.table.find(self.key, *element), aborted) {
                (None, _) => aborted = self.table.aborted(self.key, *element).map(|id| (id, *element)),
                (Some(row), Some((failed, dirty))) => {
                    let writer = self.lists.txns.id(row.txn);
                    let (key, element) = (self.key, *element);
                    wrong.push(Wrong::DirtyUpdate { failed, dirty, writer, key, element });
                    return;
                }
                (Some(_), None) => {}
            }
        }
    }

    /// Whether the elements are all written, and different: the quick look that nearly always suffices.
    fn plain(&self, found: &[i64]) -> bool {
        let written = found.iter().all(|element| self.table.find(self.key, *element).is_some());
        written
            && (found.is_sorted_by(|one, other| one < other) || {
                let mut seen = FxHashSet::default();
                found.iter().all(|element| seen.insert(*element))
            })
    }

    fn elements(&mut self, reader: Txn, found: &[i64], wrong: &mut Vec<Wrong>) {
        let reader = self.lists.txns.id(reader);
        let mut seen = FxHashSet::default();
        for &element in found {
            let twice = !seen.insert(element);
            let written = self.table.find(self.key, element).is_some();
            if (written && !twice) || !self.reported.insert(element) {
                continue;
            }
            let key = self.key;
            wrong.push(if written {
                Wrong::Duplicate { reader, key, element }
            } else {
                let failed = self.table.aborted(key, element);
                Wrong::Unwritten { reader, key, value: element, failed }
            });
        }
    }

    /// Whether what each transaction appended stands in its order, from its first on.
    fn own_order(&self, reader: Txn, order: &[i64], wrong: &mut Vec<Wrong>) {
        let mut next: FxHashMap<Txn, u32> = FxHashMap::default();
        for &element in order {
            let row = self.table.find(self.key, element).filter(|row| row.turn > 0 || !row.last);
            let Some(row) = row else { continue };
            let turn = next.entry(row.txn).or_default();
            if row.turn > *turn
                && let Some(before) = self.appended(row.txn, *turn)
            {
                let (writer, reader) = (self.lists.txns.id(row.txn), self.lists.txns.id(reader));
                wrong.push(Wrong::OwnOrder { writer, key: self.key, before, element, reader });
            }
            *turn = (row.turn + 1).max(*turn);
        }
    }

    /// What a transaction appended after so many others to the list.
    fn appended(&self, txn: Txn, turn: u32) -> Option<i64> {
        let mut own = self.lists.txns.steps(txn).iter().filter_map(|step| match *step {
            OnList::Append { key, element } => (key == self.key).then_some(element),
            OnList::Read { .. } => None,
        });
        own.nth(turn as usize)
    }

    fn intermediate(&self, read: &ExternalRead, found: &[i64], wrong: &mut Vec<Wrong>) {
        let Some(last) = read.before.checked_sub(1) else { return };
        let element = found[last as usize];
        if let Some(row) = self.table.find(self.key, element)
            && !row.last
            && row.txn != read.txn
        {
            let (reader, writer) = (self.lists.txns.id(read.txn), self.lists.txns.id(row.txn));
            wrong.push(Wrong::Intermediate { reader, key: self.key, value: element, writer });
        }
    }

    /// Two transactions that read one version and both appended to it.
    fn lost_updates(&self, reads: &[ExternalRead], wrong: &mut Vec<Wrong>) {
        let mut updates: Vec<(u32, Txn)> =
            reads.iter().filter(|read| read.appends).map(|read| (read.before, read.txn)).collect();
        updates.sort_unstable();
        for pair in updates.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (one, other) = (self.lists.txns.id(pair[0].1), self.lists.txns.id(pair[1].1));
            wrong.push(Wrong::LostUpdate { key: self.key, one, other });
        }
    }
}
