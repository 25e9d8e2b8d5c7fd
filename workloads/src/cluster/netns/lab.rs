//! The network: a hub that routes, and a namespace for every node.

use super::{
    Why,
    disk::Disk,
    enter::entered,
    rules::{self, Counters},
    shaper::Shaper,
};
use crate::cluster::{
    ClusterError, Disturbed, Hindrance, Link, NodeIndex, Probe, Spec,
    network::Address,
    place::Place,
    probe::Responder,
    tool::{run, run_in},
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};
use tokio::{
    net::TcpSocket,
    process::Child,
    sync::{Mutex, OnceCell},
};

/// The hub's address.
pub(super) const HUB: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// Port of the responder in every namespace: echo's.
const PROBE_PORT: u16 = 7;

/// A hub, and a namespace for every node.
#[derive(Debug)]
pub(in crate::cluster) struct Lab {
    places: Vec<Place>,
    responder: Responder,
    counters: Mutex<Counters>,
    /// Made when first needed.
    shaper: OnceCell<Shaper>,
    /// One for each node, or none at all.
    disks: Vec<Disk>,
}

/// The address of a node.
pub(super) fn address(node: NodeIndex) -> Ipv4Addr {
    let last = u8::try_from(10 + node.number()).expect("at most 99 nodes");
    Ipv4Addr::new(10, 99, 0, last)
}

/// The node that has this address.
pub(super) fn node_at(ip: Ipv4Addr) -> Option<NodeIndex> {
    let index = NodeIndex(usize::from(ip.octets()[3]).checked_sub(11)?);
    (index.number() <= Spec::NODES_MAX && address(index) == ip).then_some(index)
}

impl Lab {
    /// Makes the hub of this process's network namespace, which must be one that [`super::enter`] made, and
    /// a namespace for every node.
    ///
    /// Given a folder for them, every node has its data on a disk of its own.
    pub(in crate::cluster) async fn build(
        nodes: usize,
        disks_in: Option<&Path>,
    ) -> Result<(Lab, Vec<Address>), ClusterError> {
        if !entered() {
            return Err(ClusterError::Namespaces(Why::NotEntered));
        }
        let mut places = Vec::new();
        let mut hub = String::from("link set lo up\n");
        for node in (0..nodes).map(NodeIndex) {
            let place = Place::apart(&node.to_string())
                .map_err(ClusterError::io(format!("making the network namespace of {node}")))?;
            let (veth, address) = (format!("v{}", node.number()), address(node));
            let namespace = place.namespace().display();
            writeln!(hub, "link add {veth} type veth peer name eth0 netns {namespace}").expect("to a string");
            writeln!(hub, "addr add {HUB}/32 dev {veth}").expect("to a string");
            writeln!(hub, "link set {veth} up").expect("to a string");
            writeln!(hub, "route add {address}/32 dev {veth} src {HUB}").expect("to a string");
            places.push(place);
        }
        run(Command::new("ip").args(["-batch", "-"]), &hub).await?;
        let forwarding = "/proc/sys/net/ipv4/ip_forward";
        fs::write(forwarding, "1").map_err(ClusterError::io(format!("writing {forwarding}")))?;
        run(Command::new("iptables-restore").args(["-w", "-n"]), rules::INSTALL).await?;

        let mut responder = Responder::default();
        for (node, place) in places.iter().enumerate() {
            let address = address(NodeIndex(node));
            let inside = format!(
                "link set lo up\naddr add {address}/32 dev eth0\nlink set eth0 up\n\
                 route add {HUB}/32 dev eth0\nroute add 10.99.0.0/24 via {HUB} dev eth0\n"
            );
            run_in(place, Command::new("ip").args(["-batch", "-"]), &inside).await?;
            let listening = ClusterError::io("listening for probes");
            let listen = async {
                let socket = place.run(TcpSocket::new_v4).await?;
                socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PROBE_PORT))?;
                socket.listen(64)
            };
            responder.listen(listen.await.map_err(listening)?);
        }
        let mut disks = Vec::new();
        if let Some(folder) = disks_in {
            for node in (0..nodes).map(NodeIndex) {
                disks.push(Disk::make(folder, node).await?);
            }
        }
        let addresses = (0..nodes).map(NodeIndex).map(|index| {
            let ip = address(index);
            let peer_url = format!("http://{ip}:2380");
            Address {
                index,
                client_url: format!("http://{ip}:2379"),
                peer_listen_url: peer_url.clone(),
                peer_url,
                data: disks.get(index.0).map(Disk::data),
            }
        });
        let addresses = addresses.collect();
        let (counters, shaper) = (Mutex::default(), OnceCell::new());
        Ok((Lab { places, responder, counters, shaper, disks }, addresses))
    }

    /// Starts a process in a node's namespace.
    pub(in crate::cluster) async fn spawn(&self, node: NodeIndex, command: Command) -> io::Result<Child> {
        self.places[node.0].spawn(command).await
    }

    /// The disk of a node.
    pub(in crate::cluster) fn disk(&self, node: NodeIndex) -> Option<&Disk> {
        self.disks.get(node.0)
    }

    /// What became of the packets of disturbed links.
    pub(in crate::cluster) fn disturbed(&self) -> BTreeMap<Link, Disturbed> {
        self.shaper.get().map(Shaper::counts).unwrap_or_default()
    }

    /// Makes `all` everything that is done to the traffic, in one step.
    pub(in crate::cluster) async fn apply(&self, all: &Hindrance) -> Result<(), ClusterError> {
        if !all.disturbed.is_empty() {
            self.shaper.get_or_try_init(async || Shaper::start()).await?;
        }
        if let Some(shaper) = self.shaper.get() {
            shaper.shape(&all.disturbed);
        }
        let mut counters = self.counters.lock().await;
        // New rules count from zero.
        let seen = saved_rules().await?;
        run(Command::new("iptables-restore").args(["-w", "-n"]), &rules::render(all)).await?;
        counters.retire(&seen);
        Ok(())
    }

    /// Packets that were dropped on each link since the start.
    pub(in crate::cluster) async fn dropped(&self) -> Result<BTreeMap<Link, u64>, ClusterError> {
        let counters = self.counters.lock().await;
        Ok(counters.with_current(&saved_rules().await?))
    }

    /// Sends a few bytes from one node's namespace to another's.
    pub(in crate::cluster) async fn probe(&self, link: Link) -> Result<Probe, ClusterError> {
        let probe = async {
            let socket = self.places[link.from.0].run(TcpSocket::new_v4).await?;
            self.responder.probe(socket, SocketAddr::new(IpAddr::V4(address(link.to)), PROBE_PORT)).await
        };
        probe.await.map_err(ClusterError::io(format!("probing {link}")))
    }
}

async fn saved_rules() -> Result<BTreeMap<Link, u64>, ClusterError> {
    let text = run(Command::new("iptables-save").args(["-c", "-t", "filter"]), "").await?;
    Ok(rules::counters(&text))
}
