//! The network of a cluster, of whichever kind.

use super::{
    ClusterError, Disturbed, Hindrance, Kind, Link, Node, NodeIndex, Probe, Spec, System, compose::Fleet,
    handle::remove_data, local::Loopback, netns::Disk, netns::Lab, node_process::NodeProcess,
    process::Process,
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
};
use tokio::process::Child;

/// Where one node will listen.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) index: NodeIndex,
    pub(super) client_url: String,
    pub(super) peer_url: String,
    pub(super) peer_listen_url: String,
    /// Its data directory, where that is not among the files of the run.
    pub(super) data: Option<PathBuf>,
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
            data: self.data.unwrap_or_else(|| dir.join(format!("{name}.data"))),
            name,
        }
    }
}

/// The network of a cluster. It ends, and every process started in it, when it is dropped.
#[derive(Debug)]
pub(super) enum Network {
    Netns(Lab),
    Local(Loopback),
    Compose(Fleet),
}

impl Network {
    /// Makes the network of a cluster.
    pub(super) async fn build(spec: &Spec) -> Result<(Network, Vec<Address>), ClusterError> {
        let nodes = spec.nodes;
        match spec.kind {
            Kind::Netns => {
                let (lab, addresses) = Lab::build(nodes, spec.disks.then_some(&*spec.dir)).await?;
                Ok((Network::Netns(lab), addresses))
            }
            Kind::Local => {
                let (loopback, addresses) = Loopback::build(nodes, spec.direct).await?;
                Ok((Network::Local(loopback), addresses))
            }
            Kind::Compose => {
                let (fleet, addresses) = Fleet::muster(nodes).await?;
                Ok((Network::Compose(fleet), addresses))
            }
        }
    }

    /// The version that the system's program tells of itself.
    pub(super) async fn version(&self, system: &System) -> Result<String, ClusterError> {
        match self {
            Network::Netns(_) | Network::Local(_) => {
                let system = system.clone();
                let asked = tokio::task::spawn_blocking(move || system.version()).await;
                asked.map_err(io::Error::other).map_err(ClusterError::io("asking for the version"))?
            }
            Network::Compose(fleet) => fleet.version(system).await,
        }
    }

    /// What will run the server of each of `nodes` nodes.
    pub(super) fn processes(&self, nodes: usize, system: &System) -> Vec<NodeProcess> {
        match self {
            Network::Netns(_) | Network::Local(_) => {
                (0..nodes).map(|_| NodeProcess::Child(Process::default())).collect()
            }
            Network::Compose(fleet) => {
                fleet.servers(system).into_iter().map(NodeProcess::Container).collect()
            }
        }
    }

    /// Starts a process where node `index` lives.
    pub(super) async fn spawn(&self, index: NodeIndex, command: Command) -> io::Result<Child> {
        match self {
            Network::Netns(lab) => lab.spawn(index, command).await,
            Network::Local(loopback) => loopback.spawn(index, command).await,
            Network::Compose(_) => Err(io::Error::other("a node of this cluster is a container")),
        }
    }

    /// Makes `all` everything that is done to the traffic.
    pub(super) async fn apply(&self, all: &Hindrance) -> Result<(), ClusterError> {
        let refuse = |what: &str| Err(ClusterError::Spec(format!("such a cluster cannot {what}")));
        match self {
            Network::Netns(lab) => lab.apply(all).await,
            Network::Local(_) if !all.unreachable.is_empty() => refuse("keep clients from a node"),
            Network::Local(_) | Network::Compose(_) if !all.disturbed.is_empty() => {
                refuse("delay or lose packets")
            }
            Network::Local(loopback) => {
                loopback.apply(&all.links);
                Ok(())
            }
            Network::Compose(fleet) => fleet.apply(all).await,
        }
    }

    /// What became of the packets of disturbed links since the start.
    pub(super) fn disturbed(&self) -> BTreeMap<Link, Disturbed> {
        match self {
            Network::Netns(lab) => lab.disturbed(),
            Network::Local(_) | Network::Compose(_) => BTreeMap::new(),
        }
    }

    /// Removes a node's data.
    pub(super) async fn wipe(&self, node: &Node) -> Result<(), ClusterError> {
        match self {
            Network::Netns(_) | Network::Local(_) => remove_data(node),
            Network::Compose(fleet) => fleet.wipe(node.index).await,
        }
    }

    /// The disk of a node, where nodes have disks of their own.
    pub(super) fn disk(&self, index: NodeIndex) -> Option<&Disk> {
        match self {
            Network::Netns(lab) => lab.disk(index),
            Network::Local(_) | Network::Compose(_) => None,
        }
    }

    /// Sends a few bytes over a link.
    pub(super) async fn probe(&self, link: Link) -> Result<Probe, ClusterError> {
        match self {
            Network::Netns(lab) => lab.probe(link).await,
            Network::Local(loopback) => loopback.probe(link).await,
            Network::Compose(fleet) => fleet.probe(link).await,
        }
    }

    /// What was kept from each link since the start.
    pub(super) async fn dropped(&self) -> Result<BTreeMap<Link, u64>, ClusterError> {
        match self {
            Network::Netns(lab) => lab.dropped().await,
            Network::Local(loopback) => Ok(loopback.dropped()),
            Network::Compose(fleet) => fleet.dropped().await,
        }
    }
}
