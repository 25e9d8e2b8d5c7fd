//! From versions to dependencies between transactions, and back to the reason of one.

use super::graph::{Builder, Graph, Mask, RW, WR, WW};
use super::lists::{self, ListVersions, NOBODY};
use super::registers::{self, Registers, Written};
use super::txns::{Key, Lists, OnList, Txn, number};
use crate::budget::{Budget, Stop};

/// What connects two transactions, for a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which list or register.
    pub key: Key,
    /// What the first wrote, or read up to; `None` for nothing.
    pub before: Option<i64>,
    /// What the second wrote; `None` where no read shows it.
    pub after: Option<i64>,
}

/// The graph of transactions on lists.
///
/// # Errors
/// [`Stop`] if the budget ends before.
pub fn of_lists(lists: &Lists, versions: &lists::Versions, budget: &Budget) -> Result<Graph, Stop> {
    let mut pace = budget.pace();
    let mut builder = Builder::new(lists.txns.len());
    for key in 0..number(lists.txns.keys.len()) {
        let one = versions.list(lists, key);
        pace.steps(1 + one.writers.len() + one.reads.len())?;
        list(&one, &mut builder);
    }
    builder.time(&lists.txns, &versions.happened, budget)?;
    builder.build(budget)
}

/// The dependencies that one list shows.
fn list(list: &ListVersions<'_>, builder: &mut Builder) {
    let mut before = NOBODY;
    // The next known writer at or after each place.
    for writer in list.writers.iter().copied().filter(|writer| *writer != NOBODY) {
        if before != NOBODY {
            builder.edge(before, writer, WW);
        }
        before = writer;
    }
    if before != NOBODY {
        list.unseen.iter().for_each(|unseen| builder.edge(before, *unseen, WW));
    }
    let mut whole: Vec<Txn> = Vec::new();
    for read in list.reads {
        let at = read.before as usize;
        if let Some(writer) = at.checked_sub(1).map(|last| list.writers[last]).filter(|w| *w != NOBODY) {
            builder.edge(writer, read.txn, WR);
        }
        match next_writer(list, at) {
            Some(writer) => builder.edge(read.txn, writer, RW),
            // What no read has comes after all that was read.
            None => whole.push(read.txn),
        }
    }
    builder.all_before(&whole, list.unseen, RW);
}

/// Who wrote over the version of that length, as far as reads show.
fn next_writer(list: &ListVersions<'_>, len: usize) -> Option<Txn> {
    list.writers[len..].iter().copied().find(|writer| *writer != NOBODY)
}

/// Why one transaction comes before another, if a list shows it in the way asked for.
pub fn list_reason(
    lists: &Lists,
    versions: &lists::Versions,
    from: Txn,
    to: Txn,
    why: Mask,
) -> Option<Reason> {
    let keys = lists.txns.steps(from).iter().map(|step| match step {
        OnList::Append { key, .. } | OnList::Read { key, .. } => *key,
    });
    keys.into_iter().find_map(|key| {
        let list = versions.list(lists, key);
        let reason = |before: Option<usize>, after: Option<usize>| Reason {
            key,
            before: before.map(|at| list.order[at]),
            after: after.map(|at| list.order[at]),
        };
        let known = |at: &usize| list.writers[*at] != NOBODY;
        let next_known = |from: usize| (from..list.order.len()).find(known);
        let unseen = list.unseen.contains(&to);
        match why {
            WW => {
                (0..list.order.len()).filter(|at| list.writers[*at] == from).find_map(|at| {
                    match next_known(at + 1) {
                        Some(next) => (list.writers[next] == to).then(|| reason(Some(at), Some(next))),
                        None => unseen.then(|| reason(Some(at), None)),
                    }
                })
            }
            WR => {
                let mut reads = list.reads.iter().filter(|read| read.txn == to && read.before > 0);
                reads.find_map(|read| {
                    let at = read.before as usize - 1;
                    (list.writers[at] == from).then(|| reason(Some(at), None))
                })
            }
            RW => list.reads.iter().filter(|read| read.txn == from).find_map(|read| {
                let before = (read.before as usize).checked_sub(1);
                match next_known(read.before as usize) {
                    Some(next) => (list.writers[next] == to).then(|| reason(before, Some(next))),
                    None => unseen.then(|| reason(before, None)),
                }
            }),
            _ => None,
        }
    })
}

/// The graph of transactions on registers.
///
/// # Errors
/// [`Stop`] if the budget ends before.
pub fn of_registers(
    registers: &Registers,
    versions: &registers::Versions,
    budget: &Budget,
) -> Result<Graph, Stop> {
    let mut pace = budget.pace();
    let mut builder = Builder::new(registers.txns.len());
    for version in &versions.versions {
        pace.steps(1 + version.readers.len() + version.next.len())?;
        let next: Vec<Txn> = next_writers(versions, version);
        if let Some(writer) = version.writer {
            version.readers.iter().for_each(|reader| builder.edge(writer, *reader, WR));
            next.iter().for_each(|after| builder.edge(writer, *after, WW));
        }
        builder.all_before(&version.readers, &next, RW);
    }
    if registers.sessions_only {
        builder.sessions(&registers.txns, &versions.happened, budget)?;
    } else {
        builder.time(&registers.txns, &versions.happened, budget)?;
    }
    builder.build(budget)
}

/// Who wrote the versions that are known to come next.
fn next_writers(versions: &registers::Versions, version: &Written) -> Vec<Txn> {
    let mut writers: Vec<Txn> =
        version.next.iter().filter_map(|next| versions.versions[*next as usize].writer).collect();
    writers.sort_unstable();
    writers.dedup();
    writers
}

/// Why one transaction comes before another, if a register shows it in the way asked for.
pub fn register_reason(versions: &registers::Versions, from: Txn, to: Txn, why: Mask) -> Option<Reason> {
    versions.versions.iter().find_map(|version| {
        let first = match why {
            WW | WR => version.writer == Some(from),
            RW => version.readers.contains(&from),
            _ => false,
        };
        let read = why == WR && version.readers.contains(&to);
        let next = version
            .next
            .iter()
            .map(|next| &versions.versions[*next as usize])
            .find(|next| why != WR && next.writer == Some(to));
        let after = next.map(|next| next.value);
        (first && (read || after.is_some())).then(|| Reason {
            key: version.key,
            before: version.value,
            after: after.flatten(),
        })
    })
}
