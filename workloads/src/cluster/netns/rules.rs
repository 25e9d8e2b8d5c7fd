//! What is blocked, as iptables rules in a chain of our own.

use super::lab::{HUB, address, node_at};
use crate::cluster::{Block, Hindrance, Link, NodeIndex};
use std::{collections::BTreeMap, fmt::Write};

/// Makes the chain, and sends every packet between nodes, and from the hub to nodes, through it.
pub(super) const INSTALL: &str = "*filter\n:ASSAY - [0:0]\n-A FORWARD -j ASSAY\n-A OUTPUT -j ASSAY\nCOMMIT\n";

/// Matches TCP segments that carry payload: total length minus the lengths of both headers is not zero.
/// The classic BPF program that
/// `tcpdump -y RAW -ddd 'tcp and ip[2:2]-((ip[0]&0xf)<<2)-((tcp[12]&0xf0)>>2)!=0'` makes.
pub(in crate::cluster) const PAYLOAD: &str = "23,48 0 0 0,84 0 0 240,21 0 19 64,48 0 0 9,21 0 17 6,40 0 0 2,2 0 0 1,48 0 0 0,\
     84 0 0 15,100 0 0 2,7 0 0 5,96 0 0 1,28 0 0 0,2 0 0 5,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,\
     7 0 0 9,96 0 0 5,29 1 0 0,6 0 0 262144,6 0 0 0";

/// The kernel's queue of packets that wait for the shaper.
pub(super) const QUEUE: u16 = 7;

/// The input of `iptables-restore -n` that makes `all` everything that the chain does: naming the chain
/// empties it, and the commit swaps old for new in one step.
pub(super) fn render(all: &Hindrance) -> String {
    let mut text = String::from("*filter\n:ASSAY - [0:0]\n");
    for &node in &all.unreachable {
        let to = address(node);
        writeln!(text, "-A ASSAY -s {HUB} -d {to} -p tcp --dport 2379 -j DROP").expect("to a string");
    }
    for (link, block) in &all.links {
        let (from, to) = (address(link.from), address(link.to));
        let what = match block {
            Block::ClientPort => " -p tcp --dport 2379".to_owned(),
            Block::Payload => format!(" -p tcp -m bpf --bytecode \"{PAYLOAD}\""),
            Block::Packets => String::new(),
        };
        writeln!(text, "-A ASSAY -s {from} -d {to}{what} -j DROP").expect("to a string");
    }
    for link in all.disturbed.keys() {
        let (from, to) = (address(link.from), address(link.to));
        // Without anybody who takes them out of the queue, packets pass.
        writeln!(text, "-A ASSAY -s {from} -d {to} -j NFQUEUE --queue-num {QUEUE} --queue-bypass")
            .expect("to a string");
    }
    text.push_str("COMMIT\n");
    text
}

/// Rules of each kind, installed from nothing: what a trial of this machine must accept.
pub(super) fn trial() -> String {
    let link = |from, to| Link::new(NodeIndex(from), NodeIndex(to));
    let links = BTreeMap::from([(link(0, 1), Block::Packets), (link(1, 0), Block::Payload)]);
    let rules = render(&Hindrance { links, ..Hindrance::default() });
    format!("{INSTALL}{rules}")
}

/// Reads how many packets each rule of the chain has dropped out of what `iptables-save -c` says:
/// `[41:2460] -A ASSAY -s 10.99.0.11/32 -d 10.99.0.12/32 -j DROP`.
pub(super) fn counters(saved: &str) -> BTreeMap<Link, u64> {
    let mut all = BTreeMap::new();
    for line in saved.lines() {
        let mut words = line.split_whitespace();
        let packets =
            words.next().and_then(|word| word.strip_prefix('[')?.split(':').next()?.parse::<u64>().ok());
        if packets.is_none() || words.next() != Some("-A") || words.next() != Some("ASSAY") {
            continue;
        }
        let rest: Vec<&str> = words.collect();
        if rest.last() != Some(&"DROP") {
            continue;
        }
        let value =
            |flag: &str| rest.iter().skip_while(|word| **word != flag).nth(1).and_then(|word| node(word));
        if let (Some(packets), Some(from), Some(to)) = (packets, value("-s"), value("-d")) {
            *all.entry(Link::new(from, to)).or_insert(0) += packets;
        }
    }
    all
}

/// The node whose address this is.
fn node(address_text: &str) -> Option<NodeIndex> {
    node_at(address_text.split('/').next()?.parse().ok()?)
}

/// Packets dropped on each link, over all changes of the rules.
#[derive(Debug, Default)]
pub(super) struct Counters {
    retired: BTreeMap<Link, u64>,
}

impl Counters {
    /// Adds what rules had counted that are no more.
    pub(super) fn retire(&mut self, seen: &BTreeMap<Link, u64>) {
        for (&link, packets) in seen {
            *self.retired.entry(link).or_insert(0) += packets;
        }
    }

    /// All in all, with what the present rules have counted.
    pub(super) fn with_current(&self, seen: &BTreeMap<Link, u64>) -> BTreeMap<Link, u64> {
        let mut all = Counters { retired: self.retired.clone() };
        all.retire(seen);
        all.retired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Disturbance;

    #[test]
    fn rules_name_one_link_each_and_counters_are_read_back() {
        let link = |from, to| Link::new(NodeIndex(from), NodeIndex(to));
        let text = render(&Hindrance {
            links: BTreeMap::from([(link(0, 1), Block::Packets), (link(1, 2), Block::Payload)]),
            unreachable: [NodeIndex(2)].into(),
            disturbed: BTreeMap::from([(link(2, 0), Disturbance::default())]),
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["*filter", ":ASSAY - [0:0]"]);
        assert_eq!(lines[2], "-A ASSAY -s 10.99.0.1 -d 10.99.0.13 -p tcp --dport 2379 -j DROP");
        assert_eq!(lines[3], "-A ASSAY -s 10.99.0.11 -d 10.99.0.12 -j DROP");
        assert!(lines[4].starts_with("-A ASSAY -s 10.99.0.12 -d 10.99.0.13 -p tcp -m bpf"), "{}", lines[4]);
        assert_eq!(
            lines[5..],
            ["-A ASSAY -s 10.99.0.13 -d 10.99.0.11 -j NFQUEUE --queue-num 7 --queue-bypass", "COMMIT"]
        );

        let saved = "# Generated by iptables-save\n*filter\n:FORWARD ACCEPT [9:9]\n:ASSAY - [0:0]\n\
            [7:70] -A FORWARD -j ASSAY\n[41:2460] -A ASSAY -s 10.99.0.11/32 -d 10.99.0.12/32 -j DROP\n\
            [0:0] -A ASSAY -s 10.99.0.12/32 -d 10.99.0.13/32 -p tcp -m bpf --bytecode \"1,6 0 0 0\" -j DROP\n\
            [5:5] -A ASSAY -s 10.99.0.1/32 -d 10.99.0.13/32 -j DROP\n\
            [8:8] -A ASSAY -s 10.99.0.13/32 -d 10.99.0.11/32 -j NFQUEUE --queue-num 7\nCOMMIT\n";
        assert_eq!(counters(saved), BTreeMap::from([(link(0, 1), 41), (link(1, 2), 0)]));

        let mut total = Counters::default();
        total.retire(&counters(saved));
        assert_eq!(total.with_current(&counters(saved))[&link(0, 1)], 82);
    }
}
