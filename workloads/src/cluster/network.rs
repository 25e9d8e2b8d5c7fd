//! The network of a cluster, of whichever kind.

use super::{Block, ClusterError, Kind, Link, Node, NodeIndex, Probe, local::Loopback, netns::Lab};
use std::{collections::BTreeMap, io, path::Path, process::Command};
use tokio::process::Child;

/// Where one node will listen.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) index: NodeIndex,
    pub(super) client_url: String,
    pub(super) peer_url: String,
    pub(super) peer_listen_url: String,
}

impl Address {
    /// The node at this address, with its files in `dir`.
    pub(super) fn into_node(self, dir: &Path) -> Node {
        let name = self.index.to_string();
        Node {
            index: self.index,
            client_url: self.client_url,
            peer_url: self.peer_url,
            peer_listen_url: self.peer_listen_url,
            log: dir.join(format!("{name}.log")),
            data: dir.join(format!("{name}.data")),
            name,
        }
    }
}

/// The network of a cluster. It ends, and every process started in it, when it is dropped.
#[derive(Debug)]
pub(super) enum Network {
    Netns(Lab),
    Local(Loopback),
}

impl Network {
    /// Makes a network for `nodes` nodes.
    pub(super) async fn build(kind: Kind, nodes: usize) -> Result<(Network, Vec<Address>), ClusterError> {
        match kind {
            Kind::Netns => {
                let (lab, addresses) = Lab::build(nodes).await?;
                Ok((Network::Netns(lab), addresses))
            }
            Kind::Local => {
                let (loopback, addresses) = Loopback::build(nodes).await?;
                Ok((Network::Local(loopback), addresses))
            }
        }
    }

    /// Starts a process where node `index` lives.
    pub(super) async fn spawn(&self, index: NodeIndex, command: Command) -> io::Result<Child> {
        match self {
            Network::Netns(lab) => lab.spawn(index, command).await,
            Network::Local(loopback) => loopback.spawn(index, command).await,
        }
    }

    /// Makes `blocked` all that is blocked.
    pub(super) async fn apply(&self, blocked: &BTreeMap<Link, Block>) -> Result<(), ClusterError> {
        match self {
            Network::Netns(lab) => lab.apply(blocked).await,
            Network::Local(loopback) => {
                loopback.apply(blocked);
                Ok(())
            }
        }
    }

    /// Sends a few bytes over a link.
    pub(super) async fn probe(&self, link: Link) -> Result<Probe, ClusterError> {
        match self {
            Network::Netns(lab) => lab.probe(link).await,
            Network::Local(loopback) => loopback.probe(link).await,
        }
    }

    /// What was kept from each link since the start.
    pub(super) async fn dropped(&self) -> Result<BTreeMap<Link, u64>, ClusterError> {
        match self {
            Network::Netns(lab) => lab.dropped().await,
            Network::Local(loopback) => Ok(loopback.dropped()),
        }
    }
}
