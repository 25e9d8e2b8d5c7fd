//! Which links each shape of partition blocks. Pure.

use super::Shape;
use crate::cluster::{Block, Link, NodeIndex};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// What a partition blocks, and how it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The links.
    pub(super) links: BTreeMap<Link, Block>,
    /// The nodes that see each other: in parts for a split, one list a node otherwise.
    pub(super) groups: Vec<Vec<NodeIndex>>,
}

/// The largest number of nodes that leaves a majority.
pub(super) fn minority(nodes: usize) -> usize {
    nodes.saturating_sub(1) / 2
}

/// The smallest number of nodes that is more than half.
pub(super) fn majority(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// Draws a cut of a cluster of `nodes` nodes. `leader` is the leader where one is known; a shape that is
/// aimed at it takes any node instead where none is.
pub(super) fn draw(shape: Shape, nodes: usize, leader: Option<NodeIndex>, rng: &mut ChaCha8Rng) -> Cut {
    let mut order: Vec<NodeIndex> = (0..nodes).map(NodeIndex).collect();
    order.shuffle(rng);
    match shape {
        Shape::One | Shape::Flapping => split(&order[..1], &order[1..]),
        Shape::Leader => {
            bring_forward(&mut order, leader);
            split(&order[..1], &order[1..])
        }
        Shape::Minority => {
            let size = rng.random_range(1..=minority(nodes).max(1));
            split(&order[..size], &order[size..])
        }
        Shape::Ring => ring(&order),
        Shape::Bridge => bridge(&order),
        Shape::OneWay | Shape::OneWayPackets => {
            // Half of them hit the leader: a deaf or a mute one is what elections must get right.
            if rng.random() {
                bring_forward(&mut order, leader);
            }
            let block = if shape == Shape::OneWay { Block::Payload } else { Block::Packets };
            one_way(&order, rng.random(), block)
        }
    }
}

fn bring_forward(order: &mut [NodeIndex], node: Option<NodeIndex>) {
    if let Some(position) = order.iter().position(|&other| Some(other) == node) {
        order.swap(0, position);
    }
}

/// Both directions between two nodes.
fn both(a: NodeIndex, b: NodeIndex) -> [(Link, Block); 2] {
    [(Link::new(a, b), Block::Packets), (Link::new(b, a), Block::Packets)]
}

fn split(one: &[NodeIndex], other: &[NodeIndex]) -> Cut {
    let links = one.iter().flat_map(|&a| other.iter().flat_map(move |&b| both(a, b))).collect();
    let sorted = |nodes: &[NodeIndex]| {
        let mut nodes = nodes.to_vec();
        nodes.sort();
        nodes
    };
    Cut { links, groups: vec![sorted(one), sorted(other)] }
}

/// Every node keeps the nearest on both sides of a circle, as few as make a majority with itself.
fn ring(order: &[NodeIndex]) -> Cut {
    let nodes = order.len();
    let reach = majority(nodes) / 2;
    let distance = |a: usize, b: usize| a.abs_diff(b).min(nodes - a.abs_diff(b));
    let mut links = BTreeMap::new();
    let mut groups = Vec::new();
    for a in 0..nodes {
        links.extend((0..nodes).filter(|&b| distance(a, b) > reach).flat_map(|b| both(order[a], order[b])));
        let mut seen: Vec<NodeIndex> =
            (0..nodes).filter(|&b| distance(a, b) <= reach).map(|b| order[b]).collect();
        seen.sort();
        groups.push(seen);
    }
    Cut { links, groups }
}

fn bridge(order: &[NodeIndex]) -> Cut {
    let (bridge, rest) = order.split_first().expect("a bridge needs three nodes");
    let (one, other) = rest.split_at(rest.len() / 2);
    let mut cut = split(one, other);
    for group in &mut cut.groups {
        group.push(*bridge);
        group.sort();
    }
    cut
}

/// The first node and the others: what is blocked of its packets does not reach them (`mute`), or theirs does not reach it.
fn one_way(order: &[NodeIndex], mute: bool, block: Block) -> Cut {
    let (&victim, others) = order.split_first().expect("a partition needs two nodes");
    let link = |&other: &NodeIndex| if mute { Link::new(victim, other) } else { Link::new(other, victim) };
    let links = others.iter().map(|other| (link(other), block)).collect();
    let mut others = others.to_vec();
    others.sort();
    Cut { links, groups: vec![vec![victim], others] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    /// Everybody whom a node can exchange packets with, itself included.
    fn sees(cut: &Cut, nodes: usize, node: NodeIndex) -> BTreeSet<NodeIndex> {
        let open =
            |a, b| !cut.links.contains_key(&Link::new(a, b)) && !cut.links.contains_key(&Link::new(b, a));
        (0..nodes).map(NodeIndex).filter(|&other| other == node || open(node, other)).collect()
    }

    fn cuts(shape: Shape, nodes: usize) -> impl Iterator<Item = (u64, Cut)> {
        (0..50).map(move |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (seed, draw(shape, nodes, Some(NodeIndex(nodes - 1)), &mut rng))
        })
    }

    #[test]
    fn in_a_ring_every_node_sees_a_majority_and_no_two_the_same() {
        for nodes in 4..=9 {
            for (seed, cut) in cuts(Shape::Ring, nodes) {
                let views: BTreeSet<_> = (0..nodes).map(|node| sees(&cut, nodes, NodeIndex(node))).collect();
                assert_eq!(views.len(), nodes, "{nodes} nodes, seed {seed}: {views:?}");
                for view in &views {
                    assert!(view.len() >= majority(nodes) && view.len() < nodes, "{nodes} nodes: {view:?}");
                }
            }
        }
    }

    #[test]
    fn a_split_leaves_a_majority_on_one_side() {
        for nodes in 3..=7 {
            for (seed, cut) in cuts(Shape::Minority, nodes) {
                let [few, many] = &cut.groups[..] else { panic!("two groups, not {:?}", cut.groups) };
                assert!(few.len() <= minority(nodes), "{nodes} nodes, seed {seed}: {few:?} | {many:?}");
                for &node in few.iter().chain(many) {
                    let side = if few.contains(&node) { few } else { many };
                    assert_eq!(sees(&cut, nodes, node), side.iter().copied().collect(), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn the_leader_is_the_one_cut_off() {
        for (_, cut) in cuts(Shape::Leader, 5) {
            assert_eq!(cut.groups[0], [NodeIndex(4)]);
        }
    }

    #[test]
    fn a_bridge_sees_all_and_the_halves_see_only_it() {
        for nodes in [3, 4, 5] {
            for (seed, cut) in cuts(Shape::Bridge, nodes) {
                let views: Vec<_> = (0..nodes).map(|node| sees(&cut, nodes, NodeIndex(node)).len()).collect();
                assert_eq!(views.iter().filter(|&&seen| seen == nodes).count(), 1, "seed {seed}: {views:?}");
            }
        }
    }

    #[test]
    fn one_way_blocks_payload_all_to_or_all_from_one_node() {
        let mut directions = BTreeSet::new();
        for (seed, cut) in cuts(Shape::OneWay, 3) {
            assert!(cut.links.values().all(|&block| block == Block::Payload), "seed {seed}");
            let victim = cut.groups[0][0];
            let mute = cut.links.keys().all(|link| link.from == victim);
            assert!(mute || cut.links.keys().all(|link| link.to == victim), "seed {seed}: {:?}", cut.links);
            assert_eq!(cut.links.len(), 2);
            directions.insert(mute);
        }
        assert_eq!(directions.len(), 2, "both directions come up");
    }
}
