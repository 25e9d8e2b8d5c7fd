//! Cycles: strongly connected components by Tarjan's algorithm, and a shortest cycle of the weakest kind in
//! each.

use super::graph::{Graph, Mask, RT, RW, WR, WW};
use crate::verdict::AnomalyKind;

/// Starts of a search in one component, so that a large one does not take all time. Whatever they miss, a
/// cycle is found in every component, only perhaps not the shortest one of the weakest kind.
const STARTS_MAX: usize = 400;

/// A cycle, and what Adya calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its kind.
    pub kind: AnomalyKind,
    /// Nodes, each with the reason why it comes before the next; the last comes before the first.
    pub edges: Vec<(u32, Mask)>,
}

/// A kind of cycle: one edge of `first`, and a way back of edges of `rest`.
struct Kind {
    name: AnomalyKind,
    first: Mask,
    rest: Mask,
}

/// From the weakest isolation that is broken to the strongest.
const KINDS: [Kind; 8] = [
    Kind { name: AnomalyKind::G0, first: WW, rest: WW },
    Kind { name: AnomalyKind::G1c, first: WR, rest: WW | WR },
    Kind { name: AnomalyKind::GSingle, first: RW, rest: WW | WR },
    Kind { name: AnomalyKind::G2, first: RW, rest: WW | WR | RW },
    Kind { name: AnomalyKind::G0Realtime, first: WW, rest: WW | RT },
    Kind { name: AnomalyKind::G1cRealtime, first: WR, rest: WW | WR | RT },
    Kind { name: AnomalyKind::GSingleRealtime, first: RW, rest: WW | WR | RT },
    Kind { name: AnomalyKind::G2Realtime, first: RW, rest: WW | WR | RW | RT },
];

/// One cycle for each strongly connected component, at most `most`, the weakest kinds first.
pub fn cycles(graph: &Graph, most: usize) -> Vec<Cycle> {
    let mut components = components(graph, WW | WR | RW | RT);
    components.truncate(most.max(1));
    let mut search = Search::new(graph);
    let mut found: Vec<Cycle> = components.iter().filter_map(|component| search.weakest(component)).collect();
    found.sort_by_key(|cycle| KINDS.iter().position(|kind| kind.name == cycle.kind));
    found
}

/// Strongly connected components of more than one node over edges of `mask`, each in ascending order.
pub fn components(graph: &Graph, mask: Mask) -> Vec<Vec<u32>> {
    const UNSEEN: u32 = u32::MAX;
    let nodes = graph.nodes();
    let mut index = vec![UNSEEN; nodes];
    let mut low = vec![0; nodes];
    let mut on_stack = vec![false; nodes];
    let (mut stack, mut found, mut counter) = (Vec::new(), Vec::new(), 0);
    for root in 0..nodes as u32 {
        if index[root as usize] != UNSEEN {
            continue;
        }
        // The recursion's frames: a node and its remaining edges.
        let mut frames: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut next = Some(root);
        loop {
            if let Some(node) = next.take() {
                let at = node as usize;
                (index[at], low[at], on_stack[at]) = (counter, counter, true);
                counter += 1;
                stack.push(node);
                let targets = graph.edges_of(node).filter(|(_, edge)| edge & mask != 0);
                frames.push((node, targets.map(|(to, _)| to).collect()));
            }
            let Some((node, targets)) = frames.last_mut() else { break };
            let at = *node as usize;
            if let Some(to) = targets.pop() {
                if index[to as usize] == UNSEEN {
                    next = Some(to);
                } else if on_stack[to as usize] {
                    low[at] = low[at].min(index[to as usize]);
                }
                continue;
            }
            let node = *node;
            frames.pop();
            if let Some((parent, _)) = frames.last() {
                low[*parent as usize] = low[*parent as usize].min(low[at]);
            }
            if low[at] == index[at] {
                let from = stack.iter().rposition(|other| *other == node).unwrap_or(0);
                let mut component = stack.split_off(from);
                for member in &component {
                    on_stack[*member as usize] = false;
                }
                if component.len() > 1 {
                    component.sort_unstable();
                    found.push(component);
                }
            }
        }
    }
    found.sort_by_key(|component| component[0]);
    found
}

/// Shortest ways inside one component.
struct Search<'a> {
    graph: &'a Graph,
    inside: Vec<bool>,
    from: Vec<(u32, Mask)>,
    /// In which search a node was reached last.
    reached: Vec<u32>,
    searches: u32,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph) -> Search<'a> {
        let nodes = graph.nodes();
        Search {
            graph,
            inside: vec![false; nodes],
            from: vec![(0, 0); nodes],
            reached: vec![0; nodes],
            searches: 0,
        }
    }

    fn weakest(&mut self, component: &[u32]) -> Option<Cycle> {
        self.mark(component, true);
        let found =
            KINDS.iter().find_map(|kind| self.shortest(component, kind)).or_else(|| self.any(component));
        self.mark(component, false);
        found
    }

    fn mark(&mut self, component: &[u32], inside: bool) {
        for node in component {
            self.inside[*node as usize] = inside;
        }
    }

    /// A shortest cycle of a kind.
    fn shortest(&mut self, component: &[u32], kind: &Kind) -> Option<Cycle> {
        let mut best: Option<Vec<(u32, Mask)>> = None;
        let mut starts = 0;
        for &node in component {
            let firsts: Vec<u32> = self
                .graph
                .edges_of(node)
                .filter(|(to, mask)| mask & kind.first != 0 && self.inside[*to as usize])
                .map(|(to, _)| to)
                .collect();
            for first in firsts {
                starts += 1;
                let most = best.as_ref().map_or(usize::MAX, Vec::len);
                if let Some(back) = self.way(first, node, kind.rest, most.saturating_sub(1)) {
                    let mut edges = vec![(node, kind.first)];
                    edges.extend(back);
                    best = Some(edges);
                }
            }
            if starts >= STARTS_MAX || best.as_ref().is_some_and(|edges| edges.len() <= 2) {
                break;
            }
        }
        best.map(|edges| Cycle { kind: kind.name, edges })
    }

    /// Any cycle, named by what it is made of.
    fn any(&mut self, component: &[u32]) -> Option<Cycle> {
        let node = *component.first()?;
        let (first, mask) = self.graph.edges_of(node).find(|(to, _)| self.inside[*to as usize])?;
        let mut edges = vec![(node, lightest(mask))];
        edges.extend(self.way(first, node, WW | WR | RW | RT, usize::MAX)?);
        let count = |mask: Mask| edges.iter().filter(|(_, edge)| *edge == mask).count();
        let kind = match (count(RT) > 0, count(RW), count(WR)) {
            (false, 0, 0) => AnomalyKind::G0,
            (false, 0, _) => AnomalyKind::G1c,
            (false, 1, _) => AnomalyKind::GSingle,
            (false, _, _) => AnomalyKind::G2,
            (true, 0, 0) => AnomalyKind::G0Realtime,
            (true, 0, _) => AnomalyKind::G1cRealtime,
            (true, 1, _) => AnomalyKind::GSingleRealtime,
            (true, _, _) => AnomalyKind::G2Realtime,
        };
        Some(Cycle { kind, edges })
    }

    /// A shortest way from one node to another over edges of `mask`, of less than `most` edges.
    fn way(&mut self, from: u32, to: u32, mask: Mask, most: usize) -> Option<Vec<(u32, Mask)>> {
        self.searches += 1;
        let search = self.searches;
        self.reached[from as usize] = search;
        let (mut layer, mut length) = (vec![from], 0);
        while !layer.is_empty() && length < most {
            if self.reached[to as usize] == search {
                return Some(self.walk_back(from, to));
            }
            let mut next = Vec::new();
            for node in layer {
                for (target, edge) in self.graph.edges_of(node) {
                    let at = target as usize;
                    if edge & mask == 0 || !self.inside[at] || self.reached[at] == search {
                        continue;
                    }
                    self.reached[at] = search;
                    self.from[at] = (node, lightest(edge & mask));
                    next.push(target);
                }
            }
            layer = next;
            length += 1;
        }
        None
    }

    fn walk_back(&self, from: u32, to: u32) -> Vec<(u32, Mask)> {
        let mut edges = Vec::new();
        let mut at = to;
        while at != from {
            let (before, mask) = self.from[at as usize];
            edges.push((before, mask));
            at = before;
        }
        edges.reverse();
        edges
    }
}

/// The reason that is easiest to follow, of several.
fn lightest(mask: Mask) -> Mask {
    [WW, WR, RT, RW].into_iter().find(|bit| mask & bit != 0).unwrap_or(mask)
}
