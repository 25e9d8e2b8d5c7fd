//! Links between nodes, and what blocks them.

use super::NodeIndex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The way from one node to another. The way back is a link of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Who sends.
    pub from: NodeIndex,
    /// Who would receive.
    pub to: NodeIndex,
}

impl Link {
    /// The link between two nodes.
    pub fn new(from: NodeIndex, to: NodeIndex) -> Link {
        Link { from, to }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

/// What is lost on a blocked link. The later variant loses more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Segments with payload. Acknowledgements pass, so that the other direction of a connection works on:
    /// dropping those too would starve it after ten segments.
    Payload,
    /// Every packet.
    Packets,
}

/// All cuts that are active, by the number of the fault that made each: overlapping faults may block the same
/// link, which is open again only when the last of them is undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    by_fault: BTreeMap<u64, BTreeMap<Link, Block>>,
}

impl Cuts {
    /// Adds the cut of a fault, in place of an earlier one of the same number.
    pub fn insert(&mut self, fault: u64, links: BTreeMap<Link, Block>) {
        self.by_fault.insert(fault, links);
    }

    /// Takes back the cut of a fault, if there is one.
    pub fn remove(&mut self, fault: u64) {
        self.by_fault.remove(&fault);
    }

    /// Takes back every cut.
    pub fn clear(&mut self) {
        self.by_fault.clear();
    }

    /// What is blocked in all: of two cuts of a link, the one that loses more counts.
    pub fn blocked(&self) -> BTreeMap<Link, Block> {
        let mut all = BTreeMap::new();
        for (&link, &block) in self.by_fault.values().flatten() {
            let kept = all.entry(link).or_insert(block);
            *kept = block.max(*kept);
        }
        all
    }
}

/// What became of a few bytes that were sent over a link on a connection of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// They arrived.
    Arrived,
    /// No connection came about in time.
    NotConnected,
    /// The connection came about, the bytes did not arrive in time.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize) -> Link {
        Link::new(NodeIndex(from), NodeIndex(to))
    }

    #[test]
    fn a_link_opens_when_the_last_cut_of_it_is_undone() {
        let mut cuts = Cuts::default();
        cuts.insert(1, BTreeMap::from([(link(0, 1), Block::Payload)]));
        cuts.insert(2, BTreeMap::from([(link(0, 1), Block::Packets), (link(1, 2), Block::Packets)]));
        assert_eq!(
            cuts.blocked(),
            BTreeMap::from([(link(0, 1), Block::Packets), (link(1, 2), Block::Packets)]),
            "the stronger of two blocks counts"
        );
        cuts.remove(2);
        assert_eq!(cuts.blocked(), BTreeMap::from([(link(0, 1), Block::Payload)]));
        cuts.remove(2);
        cuts.remove(1);
        assert_eq!(cuts.blocked(), BTreeMap::new());
    }
}
