//! Which transaction must come before which, and why: a directed graph in compressed rows.
//!
//! Beside transactions there are *joints*: a joint stands for "each of these before each of those", with
//! edges in the sum of the two numbers instead of their product. What leads into a joint says why; what
//! leads out of it is a [`LINK`], which costs nothing. The order of real time is a chain of joints, one after
//! each group of returns.

use rustc_hash::FxHashMap;

use super::txns::{NEVER, Txn, Txns, number};
use crate::budget::{Budget, Stop};

/// Why one node comes before another: a set of bits.
pub type Mask = u8;

/// The second wrote over the first's version.
pub const WW: Mask = 1;
/// The second read the first's version.
pub const WR: Mask = 2;
/// One process did the first and then the second.
pub const PR: Mask = 4;
/// The first had returned before the second began.
pub const RT: Mask = 8;
/// The second wrote over the version that the first read: an anti-dependency.
pub const RW: Mask = 16;
/// Out of a joint.
pub const LINK: Mask = 32;

/// All of them, from the reason that is easiest to follow.
const ALL: [Mask; 6] = [WW, WR, PR, RT, RW, LINK];

/// A node: a transaction, or a joint.
pub type Node = u32;

/// A directed graph over transactions and joints.
#[derive(Clone, Debug)]
pub struct Graph {
    txns: usize,
    starts: Vec<u32>,
    targets: Vec<Node>,
    masks: Vec<Mask>,
}

impl Graph {
    /// How many nodes are transactions: they come first.
    pub fn txns(&self) -> usize {
        self.txns
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many edges there are.
    pub fn edges(&self) -> usize {
        self.targets.len()
    }

    /// The edges out of a node, the easiest reasons first.
    pub fn edges_of(&self, from: Node) -> impl Iterator<Item = (Node, Mask)> + '_ {
        let range = self.range(from);
        self.targets[range.clone()].iter().copied().zip(self.masks[range].iter().copied())
    }

    /// The numbers of the edges out of a node, for [`Graph::edge`].
    pub fn range(&self, from: Node) -> std::ops::Range<usize> {
        self.starts[from as usize] as usize..self.starts[from as usize + 1] as usize
    }

    /// An edge by its number: where it leads, and why.
    pub fn edge(&self, number: usize) -> (Node, Mask) {
        (self.targets[number], self.masks[number])
    }
}

/// Gathers edges.
#[derive(Clone, Debug)]
pub struct Builder {
    txns: usize,
    nodes: u32,
    edges: [Vec<(Node, Node)>; ALL.len()],
}

impl Builder {
    /// No edges yet between so many transactions.
    pub fn new(txns: usize) -> Builder {
        Builder { txns, nodes: number(txns), edges: Default::default() }
    }

    /// One comes before the other; a node never comes before itself.
    pub fn edge(&mut self, from: Node, to: Node, why: Mask) {
        if from != to {
            self.edges[why.trailing_zeros() as usize].push((from, to));
        }
    }

    fn joint(&mut self) -> Node {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Every one of `before` comes before every one of `after`, but for itself. Edges in the sum of the two.
    pub fn all_before(&mut self, before: &[Txn], after: &[Txn], why: Mask) {
        if before.len() <= 1 || after.len() <= 1 {
            for from in before {
                after.iter().for_each(|to| self.edge(*from, *to, why));
            }
            return;
        }
        // One that is on both sides may not reach itself: it gets all of `after` before its own place there,
        // and all behind it.
        let mut places: Vec<(Txn, usize)> = after.iter().copied().zip(0..).collect();
        places.sort_unstable();
        let place = |txn: &Txn| places.binary_search_by_key(txn, |(after, _)| *after).ok();
        let both = before.iter().any(|txn| place(txn).is_some());
        let heads = self.chain(after.iter());
        let tails = if both { self.chain(after.iter().rev()) } else { Vec::new() };
        for txn in before {
            let Some(at) = place(txn).map(|at| places[at].1) else {
                self.edge(*txn, heads[after.len() - 1], why);
                continue;
            };
            if at > 0 {
                self.edge(*txn, heads[at - 1], why);
            }
            if at + 1 < after.len() {
                self.edge(*txn, tails[after.len() - at - 2], why);
            }
        }
    }

    /// A joint for each beginning of the nodes, which leads to all of it.
    fn chain<'a>(&mut self, nodes: impl Iterator<Item = &'a Txn>) -> Vec<Node> {
        let mut joints: Vec<Node> = Vec::new();
        for node in nodes {
            let joint = self.joint();
            self.edge(joint, *node, LINK);
            if let Some(before) = joints.last() {
                self.edge(joint, *before, LINK);
            }
            joints.push(joint);
        }
        joints
    }

    /// The order of each process, among transactions that surely took effect.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn sessions<S>(&mut self, txns: &Txns<S>, happened: &[bool], budget: &Budget) -> Result<(), Stop> {
        self.processes(txns, &begins(txns, happened), budget)
    }

    /// The order of real time and of processes, among transactions that surely took effect. A return points to
    /// the next joint, a joint to the next one and to what begins after it.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn time<S>(&mut self, txns: &Txns<S>, happened: &[bool], budget: &Budget) -> Result<(), Stop> {
        let begins = begins(txns, happened);
        self.processes(txns, &begins, budget)?;
        let mut pace = budget.pace();
        let mut returns: Vec<(u64, Txn)> =
            begins.iter().map(|txn| (txns.span(*txn).returned, *txn)).collect();
        returns.retain(|(returned, _)| *returned != NEVER);
        returns.sort_unstable();
        let mut returned = 0;
        let mut newest: Option<Node> = None;
        for txn in begins {
            pace.step()?;
            let invoked = txns.span(txn).invoked;
            let first = returned;
            while returned < returns.len() && returns[returned].0 < invoked {
                returned += 1;
            }
            if returned > first {
                let joint = self.joint();
                for (_, before) in &returns[first..returned] {
                    self.edge(*before, joint, RT);
                }
                if let Some(older) = newest {
                    self.edge(older, joint, LINK);
                }
                newest = Some(joint);
            }
            if let Some(joint) = newest {
                self.edge(joint, txn, LINK);
            }
        }
        Ok(())
    }

    fn processes<S>(&mut self, txns: &Txns<S>, begins: &[Txn], budget: &Budget) -> Result<(), Stop> {
        let mut pace = budget.pace();
        let mut last_of: FxHashMap<u64, Txn> = FxHashMap::default();
        for txn in begins {
            pace.step()?;
            let span = txns.span(*txn);
            // A process that acts before its last answer is no process; only real time orders its acts.
            if let Some(before) = last_of.insert(span.process, *txn)
                && txns.span(before).returned < span.invoked
            {
                self.edge(before, *txn, PR);
            }
        }
        Ok(())
    }

    /// The graph of what was gathered.
    ///
    /// # Errors
    /// [`Stop`] if the budget ends before.
    pub fn build(self, budget: &Budget) -> Result<Graph, Stop> {
        let mut pace = budget.pace();
        let nodes = self.nodes as usize;
        let mut starts = vec![0_u32; nodes + 1];
        for (from, _) in self.edges.iter().flatten() {
            pace.step()?;
            starts[*from as usize + 1] += 1;
        }
        for at in 0..nodes {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let edges = starts[nodes] as usize;
        let (mut targets, mut masks) = (vec![0; edges], vec![0; edges]);
        for (why, edges) in ALL.into_iter().zip(self.edges) {
            for (from, to) in edges {
                pace.step()?;
                let at = &mut next[from as usize];
                (targets[*at as usize], masks[*at as usize]) = (to, why);
                *at += 1;
            }
        }
        Ok(Graph { txns: self.txns, starts, targets, masks })
    }
}

/// The transactions that surely took effect, in order of invocation.
fn begins<S>(txns: &Txns<S>, happened: &[bool]) -> Vec<Txn> {
    let mut begins: Vec<Txn> = txns.all().filter(|txn| happened[*txn as usize]).collect();
    if !begins.is_sorted_by_key(|txn| txns.span(*txn).invoked) {
        begins.sort_by_key(|txn| txns.span(*txn).invoked);
    }
    begins
}
