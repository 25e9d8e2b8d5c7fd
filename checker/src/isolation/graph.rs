//! Which transaction must come before which, and why.

use std::sync::Arc;

use super::versions::{ListHistory, Txn, Versions};
use crate::linearizability::Call;
use crate::spec::append::ListTxn;

/// Why one transaction comes before another: a set of bits in [`Graph::edges_of`].
pub type Mask = u8;

/// The second wrote over the first's version.
pub const WW: Mask = 1;
/// The second read the first's version.
pub const WR: Mask = 2;
/// The second wrote over the version that the first read.
pub const RW: Mask = 4;
/// The first had returned before the second began.
pub const RT: Mask = 8;

/// A directed graph over transactions, then barriers of real time.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Nodes that are transactions come first.
    pub txns: usize,
    starts: Vec<u32>,
    targets: Vec<u32>,
    masks: Vec<Mask>,
}

/// What connects two transactions, for a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which list.
    pub key: Arc<str>,
    /// The element that the first wrote or read up to; `None` for the empty list.
    pub before: Option<i64>,
    /// The element that the second wrote.
    pub after: Option<i64>,
}

impl Graph {
    /// The graph of transactions with the given histories of lists.
    pub fn new(calls: &[Call<ListTxn>], versions: &Versions) -> Graph {
        let mut edges: Vec<(u32, u32, Mask)> = Vec::new();
        let mut seen = vec![false; calls.len()];
        for list in versions.lists.values() {
            list_edges(list, |from, to, mask| {
                seen[from] = true;
                seen[to] = true;
                if from != to {
                    edges.push((node(from), node(to), mask));
                }
            });
        }
        let nodes = calls.len() + real_time(calls, &seen, &mut edges);
        edges.sort_unstable_by_key(|(from, to, _)| (*from, *to));
        Graph::from_edges(calls.len(), nodes, &edges)
    }

    fn from_edges(txns: usize, nodes: usize, edges: &[(u32, u32, Mask)]) -> Graph {
        let mut graph = Graph { txns, starts: vec![0; nodes + 1], targets: Vec::new(), masks: Vec::new() };
        let mut last = None;
        for &(from, to, mask) in edges {
            if last == Some((from, to)) {
                let newest = graph.masks.len() - 1;
                graph.masks[newest] |= mask;
                continue;
            }
            last = Some((from, to));
            graph.starts[from as usize + 1] += 1;
            graph.targets.push(to);
            graph.masks.push(mask);
        }
        for at in 1..graph.starts.len() {
            graph.starts[at] += graph.starts[at - 1];
        }
        graph
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many edges there are.
    pub fn edges(&self) -> usize {
        self.targets.len()
    }

    /// The edges out of a node.
    pub fn edges_of(&self, from: u32) -> impl Iterator<Item = (u32, Mask)> + '_ {
        let range = self.starts[from as usize] as usize..self.starts[from as usize + 1] as usize;
        self.targets[range.clone()].iter().copied().zip(self.masks[range].iter().copied())
    }
}

/// The dependencies that one list shows.
fn list_edges(list: &ListHistory, mut edge: impl FnMut(Txn, Txn, Mask)) {
    let writers = &list.writers;
    for pair in writers.windows(2) {
        if let [Some(before), Some(after)] = *pair {
            edge(before, after, WW);
        }
    }
    for read in &list.reads {
        if let Some(Some(writer)) = read.len.checked_sub(1).map(|last| writers[last]) {
            edge(writer, read.txn, WR);
        }
        if let Some(writer) = next_writer(writers, read.len, read.txn) {
            edge(read.txn, writer, RW);
        }
    }
    // What no read has comes after all that was read.
    for &unseen in &list.unseen {
        if let Some(Some(last)) = writers.last() {
            edge(*last, unseen, WW);
        }
        for read in list.reads.iter().filter(|read| read.len == writers.len()) {
            edge(read.txn, unseen, RW);
        }
    }
}

/// Who wrote over the version of that length, apart from the reader itself.
fn next_writer(writers: &[Option<Txn>], len: usize, reader: Txn) -> Option<Txn> {
    writers.get(len).copied().flatten().filter(|writer| *writer != reader)
}

/// Adds barriers between returns and what begins after them; gives their number.
fn real_time(calls: &[Call<ListTxn>], seen: &[bool], edges: &mut Vec<(u32, u32, Mask)>) -> usize {
    let mut events: Vec<(u64, bool, Txn)> = Vec::new();
    for (txn, call) in calls.iter().enumerate() {
        // Of unknown outcome, and nobody saw anything of it: it may never have happened.
        if call.returned.is_none() && !seen[txn] {
            continue;
        }
        events.push((call.invoked, true, txn));
        events.extend(call.returned.map(|returned| (returned, false, txn)));
    }
    events.sort_unstable();
    let mut barriers = 0;
    let mut returned_since: Vec<Txn> = Vec::new();
    for (_, begins, txn) in events {
        if !begins {
            returned_since.push(txn);
            continue;
        }
        if !returned_since.is_empty() {
            let barrier = node(calls.len() + barriers);
            edges.extend(returned_since.drain(..).map(|returned| (node(returned), barrier, RT)));
            if barriers > 0 {
                edges.push((barrier - 1, barrier, RT));
            }
            barriers += 1;
        }
        if barriers > 0 {
            edges.push((node(calls.len() + barriers - 1), node(txn), RT));
        }
    }
    barriers
}

/// Why one transaction comes before another, if a list shows it in the way asked for.
pub fn reason(versions: &Versions, from: Txn, to: Txn, mask: Mask) -> Option<Reason> {
    versions.lists.iter().find_map(|(key, list)| {
        let reason = |before: Option<usize>, after: Option<usize>| Reason {
            key: key.clone(),
            before: before.map(|at| list.order[at]),
            after: after.map(|at| list.order[at]),
        };
        let end = list.order.len();
        let unseen = list.unseen.contains(&to);
        match mask {
            WW => (1..end)
                .find(|at| list.writers[at - 1] == Some(from) && list.writers[*at] == Some(to))
                .map(|at| reason(Some(at - 1), Some(at)))
                .or_else(|| {
                    let last = list.writers.last().copied().flatten();
                    (unseen && last == Some(from)).then(|| reason(end.checked_sub(1), None))
                }),
            WR => list
                .reads
                .iter()
                .find(|read| read.txn == to && read.len > 0 && list.writers[read.len - 1] == Some(from))
                .map(|read| reason(Some(read.len - 1), None)),
            RW => list.reads.iter().filter(|read| read.txn == from).find_map(|read| {
                let before = read.len.checked_sub(1);
                if next_writer(&list.writers, read.len, from) == Some(to) {
                    return Some(reason(before, Some(read.len)));
                }
                (unseen && read.len == end).then(|| reason(before, None))
            }),
            _ => None,
        }
    })
}

fn node(index: usize) -> u32 {
    u32::try_from(index).expect("a history has less than 2^31 transactions")
}
