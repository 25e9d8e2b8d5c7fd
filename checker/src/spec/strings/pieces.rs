//! Which write each piece of a string that was read is of, so that strings become a register that holds the newest
//! piece, which tells all before it.
//!
//! The strings that were read form a tree: a node is a string that begins others, and its piece was written right
//! behind its parent's. A piece that only one operation wrote says which. One that several wrote, each after the one
//! before had returned, is told by time: its write began before anybody had read the node, does not come before what
//! stands in front of it nor after what stands behind it, and no later write of the piece may be missing from a read
//! that began after that one returned. Where more than one is left, each is an alternative; where none is, no order
//! explains the strings.

use rustc_hash::FxHashMap;

use super::{StringAction, StringOp, Strings};
use crate::history::OpId;
use crate::linearizability::Call;
use crate::linearizability::unique::{Access, Did};

/// What the strings tell.
pub(super) enum Told {
    /// Too little.
    Unclear,
    /// Operations that contradict each other.
    Contradiction(Vec<OpId>),
    /// The operations as ones on a register, a value being the index of the write of the newest piece: the
    /// alternatives, of which one must have an order.
    Registers {
        alternatives: Vec<Vec<Access>>,
        /// Whether what contradicts itself there does so without the other operations: nothing had to be told apart.
        alone: bool,
    },
}

/// The node of the empty string.
const ROOT: usize = 0;
const NEVER: u64 = u64::MAX;
/// More alternatives are not tried.
const ALTERNATIVES_MAX: usize = 32;

/// A string that begins others.
#[derive(Clone, Debug)]
struct Node {
    parent: usize,
    piece: i64,
    /// Who wrote the last piece, as far as is known.
    writer: Option<usize>,
    /// Who read it, or a string that it begins, first.
    reader: usize,
    /// When somebody had.
    read: u64,
}

struct Tree<'a> {
    spec: &'a Strings,
    calls: &'a [Call<StringOp>],
    /// The writes of each piece, in order of invocation.
    writes: FxHashMap<i64, Vec<usize>>,
    nodes: Vec<Node>,
    /// The node of a parent's string with a piece behind it; for a put that was written more than once, of a write.
    children: FxHashMap<(usize, i64, Option<usize>), usize>,
    /// The node of each read.
    found: FxHashMap<usize, usize>,
    /// The last string that was taken apart, and the ends of its pieces with their nodes: most begin another.
    text: &'a str,
    last: Vec<(usize, usize)>,
}

/// Reads the strings of these calls, which are all on one key.
pub(super) fn read(spec: &Strings, calls: &[Call<StringOp>]) -> Told {
    let Some(writes) = writes(spec, calls) else { return Told::Unclear };
    let root = Node { parent: ROOT, piece: 0, writer: None, reader: 0, read: NEVER };
    let mut tree = Tree {
        spec,
        calls,
        writes,
        nodes: vec![root],
        children: FxHashMap::default(),
        found: FxHashMap::default(),
        text: "",
        last: Vec::new(),
    };
    for (index, call) in calls.iter().enumerate() {
        if let (StringAction::Get(found), Some(returned)) = (&call.op.action, call.returned) {
            match tree.node_of(index, found, returned) {
                Ok(Some(node)) => tree.found.insert(index, node),
                Ok(None) => return Told::Unclear,
                Err(ids) => return Told::Contradiction(ids),
            };
        }
    }
    let Some(alternatives) = tree.tell_apart() else { return Told::Unclear };
    let alone = tree.writes.values().all(|writers| writers.len() == 1);
    let mut conflict: Vec<OpId> = calls.iter().map(|call| call.id).collect();
    let mut registers = Vec::with_capacity(alternatives.len());
    for writers in &alternatives {
        match tree.register(writers) {
            Ok(accesses) => registers.push(accesses),
            Err(ids) if alone => conflict = ids,
            Err(_) => {}
        }
    }
    if registers.is_empty() {
        Told::Contradiction(conflict)
    } else {
        Told::Registers { alternatives: registers, alone }
    }
}

/// The writes of each piece, where the strings can tell: `None` if a piece is empty, or several wrote it at a time.
fn writes(spec: &Strings, calls: &[Call<StringOp>]) -> Option<FxHashMap<i64, Vec<usize>>> {
    let mut writes: FxHashMap<i64, Vec<usize>> = FxHashMap::default();
    for (index, call) in calls.iter().enumerate() {
        if let StringAction::Put(piece) | StringAction::Append(piece) = &call.op.action {
            writes.entry(spec.number(piece)?).or_default().push(index);
        }
    }
    for of in writes.values_mut().filter(|of| of.len() > 1) {
        of.sort_by_key(|index| calls[*index].invoked);
        let put = is_put(calls, of[0]);
        let apart = of.windows(2).all(|pair| {
            calls[pair[0]].returned.is_some_and(|returned| returned < calls[pair[1]].invoked)
                && is_put(calls, pair[1]) == put
        });
        if !apart {
            return None;
        }
    }
    Some(writes)
}

fn is_put(calls: &[Call<StringOp>], index: usize) -> bool {
    matches!(calls[index].op.action, StringAction::Put(_))
}

impl<'a> Tree<'a> {
    /// The node of what a call found; `None` if it begins with a put that several wrote, and does not say which.
    ///
    /// # Errors
    /// Calls that contradict each other.
    fn node_of(&mut self, index: usize, found: &'a str, read: u64) -> Result<Option<usize>, Vec<OpId>> {
        if found.is_empty() {
            return Ok(Some(ROOT));
        }
        // The write of a put that is written again may differ from string to string, however alike they are.
        if self.last.first().is_some_and(|(_, node)| self.is_put_again(*node)) {
            (self.text, self.last) = ("", Vec::new());
        }
        if self.text.starts_with(found)
            && let Ok(at) = self.last.binary_search_by_key(&found.len(), |(end, _)| *end)
        {
            let node = self.last[at].1;
            self.seen(node, index, read);
            return Ok(Some(node));
        }
        if !found.starts_with(self.text) {
            (self.text, self.last) = ("", Vec::new());
        }
        let from = self.text.len();
        // What is not made of pieces was never there.
        let pieces = self.spec.taken_apart(&found[from..]).ok_or_else(|| vec![self.calls[index].id])?;
        let (mut end, mut node) = (from, self.last.last().map_or(ROOT, |(_, node)| *node));
        for (text, piece) in &pieces {
            let Some(writers) = self.writes.get(piece) else { return Err(vec![self.calls[index].id]) };
            // A put leaves nothing before it.
            if is_put(self.calls, writers[0]) && node != ROOT {
                let all = writers.iter().chain([&index]);
                return Err(all.map(|index| self.calls[*index].id).collect());
            }
            let mut writer = None;
            if writers.len() > 1 && node == ROOT && is_put(self.calls, writers[0]) {
                match self.puts_of(index, read, &pieces).as_slice() {
                    // Shown by all that wrote it and what stands behind it.
                    [] => return Err(self.calls.iter().map(|call| call.id).collect()),
                    [only] => writer = Some(*only),
                    _ => return Ok(None),
                }
            }
            node = self.child(node, *piece, writer, index);
            end += text.len();
            self.last.push((end, node));
        }
        self.text = found;
        self.seen(node, index, read);
        Ok(Some(node))
    }

    fn is_put_again(&self, node: usize) -> bool {
        let writers = &self.writes[&self.nodes[node].piece];
        writers.len() > 1 && is_put(self.calls, writers[0])
    }

    /// Notes who saw a node's string; what it begins with was seen too, which [`Tree::tell_apart`] adds.
    fn seen(&mut self, node: usize, index: usize, read: u64) {
        let node = &mut self.nodes[node];
        if read < node.read {
            (node.reader, node.read) = (index, read);
        }
    }

    fn child(&mut self, parent: usize, piece: i64, writer: Option<usize>, reader: usize) -> usize {
        let fresh = self.nodes.len();
        let node = *self.children.entry((parent, piece, writer)).or_insert(fresh);
        if node == fresh {
            let writers = &self.writes[&piece];
            let only = (writers.len() == 1).then(|| writers[0]);
            self.nodes.push(Node { parent, piece, writer: writer.or(only), reader, read: NEVER });
        }
        node
    }

    /// The writes that the put can be of which a read's string begins with, as far as time tells.
    fn puts_of(&self, index: usize, read: u64, pieces: &[(&str, i64)]) -> Vec<usize> {
        let writers = &self.writes[&pieces[0].1];
        let single = |(_, piece): &(&str, i64)| {
            let writers = self.writes.get(piece).filter(|writers| writers.len() == 1)?;
            self.calls[writers[0]].returned
        };
        // What stands behind it had returned by then.
        let behind = pieces[1..].iter().filter_map(single).min().unwrap_or(NEVER);
        let began = self.calls[index].invoked;
        let fits = |at: &usize| {
            let next = writers.get(at + 1).and_then(|next| self.calls[*next].returned);
            let invoked = self.calls[writers[*at]].invoked;
            invoked < read && invoked < behind && next.is_none_or(|next| next > began)
        };
        (0..writers.len()).filter(fits).map(|at| writers[at]).collect()
    }

    /// The writes of all nodes: the alternatives, none where there cannot be any. `None` if they are too many.
    fn tell_apart(&mut self) -> Option<Vec<Vec<Option<usize>>>> {
        for node in (1..self.nodes.len()).rev() {
            let Node { parent, reader, read, .. } = self.nodes[node];
            self.seen(parent, reader, read);
        }
        let writers: Vec<Option<usize>> = self.nodes.iter().map(|node| node.writer).collect();
        let unknown: Vec<usize> = (1..writers.len()).filter(|node| writers[*node].is_none()).collect();
        if unknown.is_empty() {
            return Some(vec![writers]);
        }
        let mut left: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let (before, behind) = self.neighbours();
        for node in &unknown {
            let Node { piece, read, .. } = self.nodes[*node];
            let fits = |writer: &usize| {
                let call = &self.calls[*writer];
                let after = call.returned.is_none_or(|returned| returned >= before[*node]);
                call.invoked < read && after && behind[*node] >= call.invoked
            };
            left[*node] = self.writes[&piece].iter().copied().filter(fits).collect();
        }
        self.missing(&mut left);
        let mut all = Vec::new();
        choose(&unknown, writers, left, &mut all).then_some(all)
    }

    /// For each node the last invocation of what stands before it, and the first return of what stands behind it, as
    /// far as it is known who wrote that.
    fn neighbours(&self) -> (Vec<u64>, Vec<u64>) {
        let mut before = vec![0; self.nodes.len()];
        let mut behind = vec![NEVER; self.nodes.len()];
        let writer = |node: usize| self.nodes[node].writer.map(|writer| &self.calls[writer]);
        for node in 1..self.nodes.len() {
            let parent = self.nodes[node].parent;
            before[node] = before[parent].max(writer(parent).map_or(0, |call| call.invoked));
        }
        for node in (1..self.nodes.len()).rev() {
            let parent = self.nodes[node].parent;
            let own = writer(node).and_then(|call| call.returned).unwrap_or(NEVER);
            behind[parent] = behind[parent].min(behind[node]).min(own);
        }
        (before, behind)
    }

    /// Takes out writes of a piece after which another of the same had returned before a read began that does not
    /// have it.
    fn missing(&self, left: &mut [Vec<usize>]) {
        for (index, node) in &self.found {
            let began = self.calls[*index].invoked;
            let mut later: FxHashMap<i64, usize> = FxHashMap::default();
            let mut node = *node;
            while node != ROOT {
                let Node { parent, piece, .. } = self.nodes[node];
                let writers = &self.writes[&piece];
                if writers.len() > 1 {
                    let more = later.entry(piece).or_default();
                    left[node].retain(|writer| {
                        let after = writers.iter().skip_while(|other| *other != writer).skip(1);
                        let done = |other: &&usize| {
                            self.calls[**other].returned.is_some_and(|returned| returned < began)
                        };
                        after.filter(done).count() <= *more
                    });
                    *more += 1;
                }
                node = parent;
            }
        }
    }

    /// The calls as ones on the register. An append that was seen behind a piece is a swap of that piece for its own.
    /// One that was never seen stands at the end of what was, like a write: a put came next, or nothing.
    ///
    /// # Errors
    /// Calls that contradict each other.
    fn register(&self, writers: &[Option<usize>]) -> Result<Vec<Access>, Vec<OpId>> {
        let mut place: FxHashMap<usize, usize> = FxHashMap::default();
        for (node, Node { reader, .. }) in self.nodes.iter().enumerate().skip(1) {
            let Some(writer) = writers[node] else { continue };
            // A piece stands in one place.
            if let Some(other) = place.insert(writer, node) {
                let three = [*reader, self.nodes[other].reader, writer];
                return Err(three.map(|index| self.calls[index].id).to_vec());
            }
        }
        let value = |node: usize| writers[node].map(|writer| writer as i64);
        let did = |(index, call): (usize, &Call<StringOp>)| match &call.op.action {
            StringAction::Get(_) => Did::Read(self.found.get(&index).and_then(|node| value(*node))),
            StringAction::Append(_) if place.contains_key(&index) => {
                Did::Swapped(value(self.nodes[place[&index]].parent), index as i64)
            }
            StringAction::Put(_) | StringAction::Append(_) => Did::Wrote(index as i64),
        };
        let access = |(index, call): (usize, &Call<StringOp>)| Access {
            id: call.id,
            did: did((index, call)),
            invoked: call.invoked,
            returned: call.returned,
        };
        Ok(self.calls.iter().enumerate().map(access).collect())
    }
}

/// Adds all ways to give each unknown node a write that is left for it, no two of them the same; false if they are too
/// many.
fn choose(
    unknown: &[usize],
    mut writers: Vec<Option<usize>>,
    mut left: Vec<Vec<usize>>,
    all: &mut Vec<Vec<Option<usize>>>,
) -> bool {
    loop {
        let open = unknown.iter().copied().filter(|node| writers[*node].is_none());
        let Some(node) = open.min_by_key(|node| left[*node].len()) else {
            all.push(writers);
            return all.len() <= ALTERNATIVES_MAX;
        };
        match left[node].as_slice() {
            [] => return true,
            [writer] => {
                let writer = *writer;
                writers[node] = Some(writer);
                for other in unknown.iter().filter(|other| **other != node) {
                    left[*other].retain(|candidate| *candidate != writer);
                }
            }
            several => {
                return several.iter().all(|writer| {
                    let mut next = left.clone();
                    next[node] = vec![*writer];
                    choose(unknown, writers.clone(), next, all)
                });
            }
        }
    }
}
