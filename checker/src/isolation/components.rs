//! Strongly connected components, by Tarjan's algorithm without recursion.

use super::graph::{Graph, LINK, Mask, Node, RW};
use crate::budget::{Pace, Stop};

const UNSEEN: u32 = u32::MAX;

/// Which walks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walks {
    /// All.
    All,
    /// Those in which no anti-dependency follows another: the graph is walked twice as large, with a node
    /// `2 n` for arriving at `n` by anything else, and `2 n + 1` for arriving by an anti-dependency.
    NoAdjacent,
}

impl Walks {
    /// Where an edge leads from a place, if it may be taken.
    pub fn step(self, place: u32, (to, why): (Node, Mask)) -> Option<u32> {
        match self {
            Walks::All => Some(to),
            Walks::NoAdjacent => match (why, place & 1) {
                (LINK, arrived) => Some(2 * to + arrived),
                (RW, 0) => Some(2 * to + 1),
                (RW, _) => None,
                _ => Some(2 * to),
            },
        }
    }

    /// The node of a place.
    pub fn node(self, place: u32) -> Node {
        match self {
            Walks::All => place,
            Walks::NoAdjacent => place / 2,
        }
    }

    /// The place of a node that nothing led to yet.
    pub fn start(self, node: Node) -> u32 {
        match self {
            Walks::All => node,
            Walks::NoAdjacent => 2 * node,
        }
    }

    /// How many places there are.
    pub fn places(self, graph: &Graph) -> usize {
        match self {
            Walks::All => graph.nodes(),
            Walks::NoAdjacent => 2 * graph.nodes(),
        }
    }
}

/// Finds components of some nodes of a graph again and again, in memory that is allocated once.
#[derive(Debug)]
pub struct Components<'a> {
    graph: &'a Graph,
    walks: Walks,
    /// Order of the first visit.
    index: Vec<u32>,
    /// The least index on the stack that is known to be reached; nothing once the component is known.
    low: Vec<u32>,
    stack: Vec<u32>,
    /// The recursion's frames: a place and its next edge.
    frames: Vec<(u32, u32)>,
}

impl<'a> Components<'a> {
    /// For one graph, and one kind of walks.
    pub fn new(graph: &'a Graph, walks: Walks) -> Components<'a> {
        let places = walks.places(graph);
        Components {
            graph,
            walks,
            index: vec![UNSEEN; places],
            low: vec![0; places],
            stack: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Components of more than one place over edges of `mask`, each in ascending order, the smallest first.
    /// Only nodes of `among` are looked at, all of which `inside` accepts and nothing else.
    ///
    /// # Errors
    /// [`Stop`] if the budget of `pace` ends before.
    pub fn find(
        &mut self,
        among: impl Iterator<Item = Node> + Clone,
        mask: Mask,
        inside: impl Fn(Node) -> bool,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Vec<u32>>, Stop> {
        let mut found = Vec::new();
        let mut counter = 0;
        let walks = self.walks;
        for root in among.clone().map(|node| walks.start(node)) {
            if self.index[root as usize] == UNSEEN {
                self.visit(root, mask | LINK, &inside, (&mut counter, &mut found), pace)?;
            }
        }
        for place in among.map(|node| self.walks.start(node) as usize) {
            let last = if self.walks == Walks::All { place } else { place + 1 };
            self.index[place..=last].fill(UNSEEN);
        }
        found.sort_by_key(|component: &Vec<u32>| (component.len(), component[0]));
        Ok(found)
    }

    fn visit(
        &mut self,
        root: u32,
        mask: Mask,
        inside: &impl Fn(Node) -> bool,
        (counter, found): (&mut u32, &mut Vec<Vec<u32>>),
        pace: &mut Pace<'_>,
    ) -> Result<(), Stop> {
        self.enter(root, counter);
        while let Some((place, next)) = self.frames.last_mut() {
            pace.step()?;
            let (place, number) = (*place, *next as usize);
            if number < self.graph.range(self.walks.node(place)).end {
                *next += 1;
                let edge = self.graph.edge(number);
                if edge.1 & mask == 0 || !inside(edge.0) {
                    continue;
                }
                let Some(to) = self.walks.step(place, edge) else { continue };
                if self.index[to as usize] == UNSEEN {
                    self.enter(to, counter);
                } else {
                    self.low[place as usize] = self.low[place as usize].min(self.low[to as usize]);
                }
                continue;
            }
            self.frames.pop();
            let low = self.low[place as usize];
            if let Some((parent, _)) = self.frames.last() {
                self.low[*parent as usize] = self.low[*parent as usize].min(low);
            }
            if low == self.index[place as usize] {
                self.leave(place, found);
            }
        }
        Ok(())
    }

    fn enter(&mut self, place: u32, counter: &mut u32) {
        (self.index[place as usize], self.low[place as usize]) = (*counter, *counter);
        *counter += 1;
        self.stack.push(place);
        let first = self.graph.range(self.walks.node(place)).start;
        self.frames.push((place, first as u32));
    }

    /// The component whose first place is left for the last time.
    fn leave(&mut self, first: u32, found: &mut Vec<Vec<u32>>) {
        let from = self.stack.iter().rposition(|place| *place == first).expect("it is on the stack");
        for place in &self.stack[from..] {
            self.low[*place as usize] = UNSEEN;
        }
        if self.stack.len() - from == 1 {
            self.stack.pop();
            return;
        }
        let mut component = self.stack.split_off(from);
        component.sort_unstable();
        found.push(component);
    }
}
