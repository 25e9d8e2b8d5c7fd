//! A machine's rules: what is dropped of what comes in, in a chain of our own in the machine's own network.
//!
//! Docker's tables on the host are never touched. Rules there would need root or a container on the host's
//! network, and depend on whether the host's iptables see what passes a bridge at all; and they would have to
//! be found and removed after a crash. These go with the machine.

use crate::cluster::{Block, ClusterError, netns::PAYLOAD, tool::run};
use std::{collections::BTreeMap, fmt::Write, net::Ipv4Addr, process::Command};

/// Makes the chain, and sends everything that comes in through it.
const INSTALL: &str = "*filter\n:ASSAY - [0:0]\n-A INPUT -j ASSAY\nCOMMIT\n";

/// The two ways that iptables talks to a kernel, of which a kernel may know only one.
const FLAVOURS: [&str; 2] = ["iptables-nft", "iptables-legacy"];

/// What keeps packets from coming in.
pub(super) trait Firewall: Send + 'static {
    /// Makes `blocked` all that is dropped, in one step.
    fn block(
        &mut self,
        blocked: &BTreeMap<Ipv4Addr, Block>,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// How many packets were dropped since the start, by sender.
    fn dropped(&self) -> impl Future<Output = Result<BTreeMap<Ipv4Addr, u64>, ClusterError>> + Send;
}

/// iptables, in the network that this process is in.
#[derive(Debug)]
pub(super) struct Iptables {
    flavour: &'static str,
    /// What rules had counted that are no more.
    retired: BTreeMap<Ipv4Addr, u64>,
}

impl Iptables {
    /// Installs the chain, and tries a rule of each kind.
    ///
    /// # Errors
    /// What iptables said, when neither of its flavours works here.
    pub(super) async fn install() -> Result<Iptables, ClusterError> {
        let trial = BTreeMap::from([
            (Ipv4Addr::new(192, 0, 2, 1), Block::Packets),
            (Ipv4Addr::new(192, 0, 2, 2), Block::Payload),
        ]);
        // What the first one says counts: the second is an old friend.
        let mut first_error = None;
        for flavour in FLAVOURS {
            let firewall = Iptables { flavour, retired: BTreeMap::new() };
            let installed = async {
                firewall.restore(INSTALL).await?;
                firewall.restore(&render(&trial)).await?;
                firewall.restore(&render(&BTreeMap::new())).await
            };
            match installed.await {
                Ok(()) => return Ok(firewall),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.expect("iptables has flavours"))
    }

    async fn restore(&self, rules: &str) -> Result<(), ClusterError> {
        run(Command::new(format!("{}-restore", self.flavour)).args(["-w", "-n"]), rules).await.map(drop)
    }

    async fn counted(&self) -> Result<BTreeMap<Ipv4Addr, u64>, ClusterError> {
        let saved =
            run(Command::new(format!("{}-save", self.flavour)).args(["-c", "-t", "filter"]), "").await?;
        Ok(counters(&saved))
    }
}

impl Firewall for Iptables {
    async fn block(&mut self, blocked: &BTreeMap<Ipv4Addr, Block>) -> Result<(), ClusterError> {
        // New rules count from zero.
        let seen = self.counted().await?;
        self.restore(&render(blocked)).await?;
        add(&mut self.retired, &seen);
        Ok(())
    }

    async fn dropped(&self) -> Result<BTreeMap<Ipv4Addr, u64>, ClusterError> {
        let mut all = self.retired.clone();
        add(&mut all, &self.counted().await?);
        Ok(all)
    }
}

fn add(total: &mut BTreeMap<Ipv4Addr, u64>, more: &BTreeMap<Ipv4Addr, u64>) {
    for (&from, packets) in more {
        *total.entry(from).or_insert(0) += packets;
    }
}

/// The input of `iptables-restore -n` that makes `blocked` all that the chain drops: naming the chain empties
/// it, and the commit swaps old for new in one step.
fn render(blocked: &BTreeMap<Ipv4Addr, Block>) -> String {
    let mut text = String::from("*filter\n:ASSAY - [0:0]\n");
    for (from, block) in blocked {
        let what = match block {
            Block::ClientPort => " -p tcp --dport 2379".to_owned(),
            Block::Payload => format!(" -p tcp -m bpf --bytecode \"{PAYLOAD}\""),
            Block::Packets => String::new(),
        };
        writeln!(text, "-A ASSAY -s {from}{what} -j DROP").expect("to a string");
    }
    text.push_str("COMMIT\n");
    text
}

/// Reads how many packets each rule of the chain has dropped out of what `iptables-save -c` says:
/// `[41:2460] -A ASSAY -s 10.213.0.11/32 -j DROP`.
fn counters(saved: &str) -> BTreeMap<Ipv4Addr, u64> {
    let counter = |line: &str| {
        let (count, rule) = line.strip_prefix('[')?.split_once("] -A ASSAY -s ")?;
        let packets: u64 = count.split(':').next()?.parse().ok()?;
        let from: Ipv4Addr = rule.split(['/', ' ']).next()?.parse().ok()?;
        Some((from, packets))
    };
    let mut all = BTreeMap::new();
    for (from, packets) in saved.lines().filter_map(counter) {
        *all.entry(from).or_insert(0) += packets;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_sender_and_counters_are_read_back() {
        let sender = |last| Ipv4Addr::new(10, 213, 0, last);
        let text = render(&BTreeMap::from([(sender(11), Block::Packets), (sender(12), Block::Payload)]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["*filter", ":ASSAY - [0:0]", "-A ASSAY -s 10.213.0.11 -j DROP"]);
        assert!(lines[3].starts_with("-A ASSAY -s 10.213.0.12 -p tcp -m bpf --bytecode"), "{}", lines[3]);
        assert_eq!(lines[4..], ["COMMIT"]);

        let saved = "*filter\n:INPUT ACCEPT [9:9]\n:ASSAY - [0:0]\n[7:70] -A INPUT -j ASSAY\n\
            [41:2460] -A ASSAY -s 10.213.0.11/32 -j DROP\n\
            [3:9] -A ASSAY -s 10.213.0.12/32 -p tcp -m bpf --bytecode \"1,6 0 0 0\" -j DROP\nCOMMIT\n";
        let counted = counters(saved);
        assert_eq!(counted, BTreeMap::from([(sender(11), 41), (sender(12), 3)]));
        let mut total = counted.clone();
        add(&mut total, &counted);
        assert_eq!(total[&sender(11)], 82);
    }
}
