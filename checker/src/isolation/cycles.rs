//! Cycles, named as Adya does ("Weak Consistency", 1999) and Elle, by the weakest level that they break.
//!
//! Whether a cycle of a kind exists is decided by components, in linear time, in the graph of the edges that
//! the kind allows; for kinds without adjacent anti-dependencies in the graph of such walks, whose acyclicity
//! is snapshot isolation (Huang et al., "Efficient Black-box Checking of Snapshot Isolation in Databases",
//! VLDB 2023, theorem 1). A short cycle is then looked for with a budget of steps, so the answer is the same at
//! every run. Only G-single (one anti-dependency) needs more: which anti-dependencies close a way back is asked
//! for 64 at a time, up to the budget; what is beyond it is called G-nonadjacent.

use std::collections::VecDeque;

use super::components::{Components, Walks};
use super::graph::{Graph, LINK, Mask, Node, PR, RT, RW, WR, WW};
use crate::budget::{Budget, Pace, Stop};

/// Edges that all searches for short cycles may look at together, for each edge of the graph, and at least.
const STEPS_PER_EDGE: usize = 2;
const STEPS_MIN: usize = 2_000_000;

/// Cycles of one kind that are reported.
const REPORTED_MAX: usize = 3;

/// What a cycle is made of, from the weakest isolation that it breaks to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Writes over writes only.
    G0,
    /// Reads of writes, too.
    G1c,
    /// One anti-dependency.
    GSingle,
    /// Several anti-dependencies, none after another.
    GNonadjacent,
    /// Several anti-dependencies.
    G2Item,
}

/// Which order between transactions a cycle needs beside what they read and wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// None.
    Data,
    /// That of each process.
    Process,
    /// That of real time.
    Realtime,
}

/// A cycle of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// What it is made of.
    pub shape: Shape,
    /// What it needs.
    pub order: Order,
    /// Transactions, each with the reason why it comes before the next; the last comes before the first.
    pub edges: Vec<(Node, Mask)>,
}

/// What was found in a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Short cycles, a few of each kind, the weakest level first.
    pub cycles: Vec<Cycle>,
    /// Components that hold a cycle.
    pub components: usize,
    /// Whether the search for G-single was cut short somewhere.
    pub cut_short: bool,
}

/// An edge: from where, why, and to where.
type Edge = (Node, Mask, Node);

/// A cycle, if there is one: nodes, each with the reason why it comes before the next.
type Way = Option<Vec<(Node, Mask)>>;

const ORDERS: [Order; 3] = [Order::Data, Order::Process, Order::Realtime];

const SHAPES: [Shape; 5] = [Shape::G0, Shape::G1c, Shape::GSingle, Shape::GNonadjacent, Shape::G2Item];

impl Order {
    fn mask(self) -> Mask {
        match self {
            Order::Data => 0,
            Order::Process => PR,
            Order::Realtime => PR | RT,
        }
    }
}

impl Shape {
    fn mask(self) -> Mask {
        match self {
            Shape::G0 => WW,
            Shape::G1c => WW | WR,
            Shape::GSingle | Shape::GNonadjacent | Shape::G2Item => WW | WR | RW,
        }
    }
}

/// The cycles of a graph. In each component, for each [`Order`], those of the weakest level that is broken,
/// unless a weaker order shows that level already.
///
/// # Errors
/// [`Stop`] if the budget ends before.
pub fn cycles(graph: &Graph, budget: &Budget) -> Result<Found, Stop> {
    let nodes = 0..graph.nodes() as Node;
    let mask = WW | WR | RW | PR | RT;
    let top = Components::new(graph, Walks::All).find(nodes, mask, |_| true, &mut budget.pace())?;
    let mut found = Found { components: top.len(), ..Found::default() };
    if top.is_empty() {
        return Ok(found);
    }
    let mut search = Search::new(graph, budget);
    for component in &top {
        search.mark(component, 1);
        let mut weakest: Option<Shape> = None;
        for order in ORDERS {
            let below = SHAPES.into_iter().take_while(|shape| weakest.is_none_or(|weakest| *shape < weakest));
            for shape in below {
                if search.of(component, shape, order, &mut found)? {
                    weakest = Some(shape);
                    break;
                }
            }
        }
        search.mark(component, 0);
    }
    // What a cycle without real time, or without processes, shows already needs no other proof.
    let mut weakest = [None; ORDERS.len()];
    for cycle in &found.cycles {
        let known: &mut Option<Shape> = &mut weakest[cycle.order as usize];
        *known = Some(known.map_or(cycle.shape, |shape| shape.min(cycle.shape)));
    }
    found.cycles.retain(|cycle| {
        let mut below = weakest[..cycle.order as usize].iter().flatten();
        below.all(|shape| *shape > cycle.shape)
    });
    found.cycles.sort_by_key(|cycle| (cycle.order, cycle.shape, cycle.edges.len(), cycle.edges[0].0));
    let mut same = (None, 0);
    found.cycles.retain(|cycle| {
        let kind = Some((cycle.order, cycle.shape));
        same = if same.0 == kind { (kind, same.1 + 1) } else { (kind, 1) };
        same.1 <= REPORTED_MAX
    });
    found.cut_short = search.cut_short;
    Ok(found)
}

/// A short cycle over edges of `mask`, whatever its shape; empty if there is none.
///
/// # Errors
/// [`Stop`] if the budget ends before.
pub fn shortest_cycle(graph: &Graph, mask: Mask, budget: &Budget) -> Result<Vec<(Node, Mask)>, Stop> {
    let nodes = 0..graph.nodes() as Node;
    let found = Components::new(graph, Walks::All).find(nodes, mask, |_| true, &mut budget.pace())?;
    let Some(component) = found.into_iter().next() else { return Ok(Vec::new()) };
    let mut search = Search::new(graph, budget);
    search.inner = 1;
    search.mark(&component, 1);
    let cycle = search.shortest(&component, mask, mask)?;
    Ok(cycle.expect("a component holds a cycle"))
}

/// Searches inside components.
struct Search<'a> {
    graph: &'a Graph,
    all: Components<'a>,
    apart: Option<Components<'a>>,
    /// Which component a node is in, of those at hand: 1 is the outer one, higher ones the inner ones.
    inside: Vec<u32>,
    inner: u32,
    /// In which walk a place was reached last, and from where.
    reached: Vec<u32>,
    from: Vec<(u32, Mask)>,
    lengths: Vec<u32>,
    walks: u32,
    steps: usize,
    cut_short: bool,
    pace: Pace<'a>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, budget: &'a Budget) -> Search<'a> {
        let nodes = graph.nodes();
        Search {
            graph,
            all: Components::new(graph, Walks::All),
            apart: None,
            inside: vec![0; nodes],
            inner: 1,
            reached: vec![0; 2 * nodes],
            from: vec![(0, 0); 2 * nodes],
            lengths: vec![0; 2 * nodes],
            walks: 0,
            steps: (STEPS_PER_EDGE * graph.edges()).max(STEPS_MIN),
            cut_short: false,
            pace: budget.pace(),
        }
    }

    fn mark(&mut self, nodes: &[Node], inside: u32) {
        for node in nodes {
            self.inside[*node as usize] = inside;
        }
    }

    /// Reports cycles of a kind in a component; whether there are any.
    fn of(
        &mut self,
        component: &[Node],
        shape: Shape,
        order: Order,
        found: &mut Found,
    ) -> Result<bool, Stop> {
        let mask = shape.mask() | order.mask();
        let walks = match shape {
            Shape::G0 | Shape::G1c | Shape::G2Item => Walks::All,
            Shape::GSingle | Shape::GNonadjacent => Walks::NoAdjacent,
        };
        let components = match walks {
            Walks::All => &mut self.all,
            Walks::NoAdjacent => {
                self.apart.get_or_insert_with(|| Components::new(self.graph, Walks::NoAdjacent))
            }
        };
        let inside = &self.inside;
        let among = component.iter().copied();
        let inner = components.find(among, mask, |node| inside[node as usize] == 1, &mut self.pace)?;
        let mut any = false;
        for places in inner.iter().take(REPORTED_MAX) {
            let mut nodes: Vec<Node> = places.iter().map(|place| walks.node(*place)).collect();
            nodes.dedup();
            self.inner += 1;
            self.mark(&nodes, self.inner);
            let edges = match shape {
                Shape::G0 => self.shortest(&nodes, WW, mask)?,
                Shape::G1c => self.shortest(&nodes, WR, mask)?,
                Shape::GSingle => self.single(&nodes, mask)?,
                Shape::GNonadjacent => self.nonadjacent(&nodes, places, mask)?,
                Shape::G2Item => self.shortest(&nodes, RW, mask)?,
            };
            self.mark(&nodes, 1);
            if let Some(edges) = edges {
                any = true;
                found.cycles.push(Cycle { shape, order, edges });
            }
        }
        Ok(any)
    }

    fn is_inner(&self, node: Node) -> bool {
        self.inside[node as usize] == self.inner
    }

    /// Edges of a kind between nodes of the inner component.
    fn edges(&self, nodes: &[Node], first: Mask) -> Vec<Edge> {
        let of = |from: Node| self.graph.edges_of(from).map(move |(to, why)| (from, why, to));
        let inner = nodes.iter().flat_map(|from| of(*from));
        inner.filter(|(_, why, to)| why & first != 0 && self.is_inner(*to)).collect()
    }

    /// A short cycle that begins with an edge of `first`: the shortest, if the budget suffices to try all. Any edge of a
    /// component is on a cycle, so there is one if there is an edge.
    fn shortest(&mut self, nodes: &[Node], first: Mask, mask: Mask) -> Result<Way, Stop> {
        let firsts = self.edges(nodes, first);
        self.best(&firsts, mask, Walks::All)
    }

    /// The same without adjacent anti-dependencies, in a component of such walks. An edge between its nodes need not be
    /// one between its places: what is tried first must be on a cycle, since the budget may not suffice for another.
    fn nonadjacent(&mut self, nodes: &[Node], places: &[u32], mask: Mask) -> Result<Way, Stop> {
        let walks = Walks::NoAdjacent;
        let is_inner = |place: u32| places.binary_search(&place).is_ok();
        let mut firsts = self.edges(nodes, RW);
        firsts.retain(|(from, why, to)| {
            let start = walks.start(*from);
            is_inner(start) && walks.step(start, (*to, *why)).is_some_and(is_inner)
        });
        self.best(&firsts, mask, walks)
    }

    fn best(&mut self, firsts: &[Edge], mask: Mask, walks: Walks) -> Result<Way, Stop> {
        let mut best: Option<Vec<(Node, Mask)>> = None;
        for first in firsts {
            let most = best.as_ref().map_or(usize::MAX, |edges| edges.len() - 1);
            self.pace.step()?;
            if let Some(back) = self.way(*first, mask, walks, most)? {
                best = Some(back);
            }
            if best.as_ref().is_some_and(|edges| edges.len() <= 2 || self.steps == 0) {
                break;
            }
        }
        Ok(best)
    }

    /// A shortest cycle of at most `most` edges through a first edge. Links cost nothing.
    fn way(&mut self, (start, first, to): Edge, mask: Mask, walks: Walks, most: usize) -> Result<Way, Stop> {
        self.walks += 1;
        let goal = walks.start(start);
        let Some(origin) = walks.step(goal, (to, first)) else { return Ok(None) };
        (self.reached[origin as usize], self.lengths[origin as usize]) = (self.walks, 1);
        let mut queue = VecDeque::from([(origin, 1)]);
        while let Some((place, length)) = queue.pop_front() {
            if place == goal {
                return Ok(Some(self.walk_back(origin, goal, (start, first), walks)));
            }
            if length > self.lengths[place as usize] {
                continue;
            }
            for number in self.graph.range(walks.node(place)) {
                let (to, why) = self.graph.edge(number);
                self.pace.step()?;
                self.steps = self.steps.saturating_sub(1);
                if why & (mask | LINK) == 0 || !self.is_inner(to) {
                    continue;
                }
                let Some(next) = walks.step(place, (to, why)) else { continue };
                let (longer, at) = (length + u32::from(why != LINK), next as usize);
                let known = self.reached[at] == self.walks && self.lengths[at] <= longer;
                if known || longer as usize > most {
                    continue;
                }
                (self.reached[at], self.lengths[at], self.from[at]) = (self.walks, longer, (place, why));
                if why == LINK { queue.push_front((next, longer)) } else { queue.push_back((next, longer)) }
            }
        }
        Ok(None)
    }

    /// The cycle of the last walk, without joints: what leads into a joint is the reason.
    fn walk_back(&self, origin: u32, goal: u32, first: (Node, Mask), walks: Walks) -> Vec<(Node, Mask)> {
        let mut edges = Vec::new();
        let mut at = goal;
        while at != origin {
            let (before, why) = self.from[at as usize];
            edges.push((walks.node(before), why));
            at = before;
        }
        edges.push(first);
        edges.reverse();
        edges.retain(|(node, _)| (*node as usize) < self.graph.txns());
        edges
    }

    /// A short cycle with one anti-dependency.
    fn single(&mut self, nodes: &[Node], mask: Mask) -> Result<Way, Stop> {
        let rest = mask & !RW;
        let candidates = self.edges(nodes, RW);
        let closing = self.closing(nodes, &candidates, rest)?;
        self.best(&closing, rest, Walks::All)
    }

    /// Those edges whose end reaches their beginning over `rest`, among which there is no cycle.
    fn closing(&mut self, nodes: &[Node], edges: &[Edge], rest: Mask) -> Result<Vec<Edge>, Stop> {
        let order = self.topological(nodes, rest);
        let mut closing = Vec::new();
        let mut bits: Vec<u64> = vec![0; nodes.len()];
        let local = |node: Node| nodes.binary_search(&node).expect("an inner node");
        // The inner graph, with places in `nodes`.
        let rows: Vec<Vec<u32>> = order
            .iter()
            .map(|at| {
                let targets = self
                    .graph
                    .edges_of(nodes[*at as usize])
                    .filter(|(to, why)| why & (rest | LINK) != 0 && self.is_inner(*to));
                targets.map(|(to, _)| local(to) as u32).collect()
            })
            .collect();
        let cost: usize = nodes.len() + rows.iter().map(Vec::len).sum::<usize>();
        for chunk in edges.chunks(64) {
            if self.steps < cost && !closing.is_empty() {
                break;
            }
            if self.steps < cost {
                self.cut_short = true;
                break;
            }
            self.steps -= cost;
            self.pace.steps(cost)?;
            bits.fill(0);
            for (bit, (_, _, to)) in chunk.iter().enumerate() {
                bits[local(*to)] |= 1 << bit;
            }
            for (at, targets) in order.iter().zip(&rows) {
                let here = bits[*at as usize];
                targets.iter().for_each(|to| bits[*to as usize] |= here);
            }
            let closed =
                chunk.iter().enumerate().filter(|(bit, (from, _, _))| bits[local(*from)] >> bit & 1 == 1);
            closing.extend(closed.map(|(_, edge)| *edge));
        }
        Ok(closing)
    }

    /// The places of the inner nodes in an order that all edges over `rest` follow.
    fn topological(&mut self, nodes: &[Node], rest: Mask) -> Vec<u32> {
        let local = |node: Node| nodes.binary_search(&node).expect("an inner node");
        let inner = |from: Node| {
            self.graph
                .edges_of(from)
                .filter(|(to, why)| why & (rest | LINK) != 0 && self.is_inner(*to))
                .map(|(to, _)| to)
        };
        let mut waits = vec![0_u32; nodes.len()];
        for to in nodes.iter().flat_map(|from| inner(*from)) {
            waits[local(to)] += 1;
        }
        let mut order: Vec<u32> = (0..nodes.len() as u32).filter(|at| waits[*at as usize] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for to in inner(nodes[order[next] as usize]) {
                let wait = &mut waits[local(to)];
                *wait -= 1;
                if *wait == 0 {
                    order.push(local(to) as u32);
                }
            }
            next += 1;
        }
        order
    }
}
