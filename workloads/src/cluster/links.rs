//! Links between nodes, and what blocks them.

use super::NodeIndex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

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
    /// Packets to the port that clients use.
    ClientPort,
    /// Segments with payload. Acknowledgements pass, so that the other direction of a connection works on:
    /// dropping those too would starve it after ten segments.
    Payload,
    /// Every packet.
    Packets,
}

/// What happens to packets on a link that carries on. Nothing, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbance {
    /// How much later each packet arrives, in ms.
    pub delay_ms: u32,
    /// By how much the delay varies, up or down, in ms. Packets stay in order all the same.
    pub jitter_ms: u32,
    /// How many of a hundred packets are lost.
    pub loss_percent: u8,
    /// How many of a hundred packets overtake those before them, by skipping the delay.
    pub reorder_percent: u8,
    /// How many of a hundred packets arrive twice.
    pub duplicate_percent: u8,
    /// How many kilobits a second the link carries; 0 for as many as there are.
    pub rate_kbit: u32,
}

/// What became of the packets of a link since it was first disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbed {
    /// Packets that were looked at.
    pub packets: u64,
    /// Packets that were held back for a while.
    pub delayed: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// Packets that overtook others.
    pub reordered: u64,
    /// Packets that were sent a second time.
    pub duplicated: u64,
}

/// What faults do to the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hindrance {
    /// Blocked links between nodes.
    pub links: BTreeMap<Link, Block>,
    /// Nodes that no client reaches.
    pub unreachable: BTreeSet<NodeIndex>,
    /// Links whose packets are delayed, lost, doubled or held up.
    pub disturbed: BTreeMap<Link, Disturbance>,
}

/// All hindrances that are active, by the number of the fault that made each: overlapping faults may block the
/// same link, which is open again only when the last of them is undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    by_fault: BTreeMap<u64, Hindrance>,
}

impl Cuts {
    /// Adds what a fault does, in place of an earlier one of the same number.
    pub fn insert(&mut self, fault: u64, hindrance: Hindrance) {
        self.by_fault.insert(fault, hindrance);
    }

    /// Takes back the cut of a fault, if there is one.
    pub fn remove(&mut self, fault: u64) {
        self.by_fault.remove(&fault);
    }

    /// Takes back every cut.
    pub fn clear(&mut self) {
        self.by_fault.clear();
    }

    /// All in all: of two cuts of a link, the one that loses more counts; of two disturbances, the later.
    pub fn total(&self) -> Hindrance {
        let mut all = Hindrance::default();
        for hindrance in self.by_fault.values() {
            for (&link, &block) in &hindrance.links {
                let kept = all.links.entry(link).or_insert(block);
                *kept = block.max(*kept);
            }
            all.unreachable.extend(&hindrance.unreachable);
            all.disturbed.extend(&hindrance.disturbed);
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
        let links = |links: &[(Link, Block)]| Hindrance {
            links: links.iter().copied().collect(),
            ..Hindrance::default()
        };
        cuts.insert(1, links(&[(link(0, 1), Block::Payload)]));
        cuts.insert(2, links(&[(link(0, 1), Block::Packets), (link(1, 2), Block::Packets)]));
        assert_eq!(
            cuts.total().links,
            BTreeMap::from([(link(0, 1), Block::Packets), (link(1, 2), Block::Packets)]),
            "the stronger of two blocks counts"
        );
        cuts.remove(2);
        assert_eq!(cuts.total().links, BTreeMap::from([(link(0, 1), Block::Payload)]));
        cuts.remove(2);
        cuts.remove(1);
        assert_eq!(cuts.total().links, BTreeMap::new());
    }
}
