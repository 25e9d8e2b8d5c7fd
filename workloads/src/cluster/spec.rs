//! What a cluster is to be made of.

use super::System;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

/// Position of a node in its cluster, from 0; the node's name counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeIndex(pub usize);

impl NodeIndex {
    /// The number in the node's name and address, from 1.
    pub fn number(self) -> usize {
        self.0 + 1
    }
}

impl fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.number())
    }
}

/// What carries the traffic between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A network namespace for every node, and iptables between them.
    Netns,
    /// Processes on 127.0.0.1, and a proxy in front of every node.
    Local,
    /// Containers on a docker network.
    Compose,
}

impl Kind {
    /// Every kind, in order of preference.
    pub const ALL: [Kind; 3] = [Kind::Netns, Kind::Local, Kind::Compose];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Netns => "netns",
            Kind::Local => "local",
            Kind::Compose => "compose",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| format!("unknown cluster {name:?}; known are netns, local and compose"))
    }
}

/// Settings that every node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Time between a leader's heartbeats.
    pub heartbeat: Duration,
    /// Silence after which a follower asks for votes.
    pub election: Duration,
    /// Applied entries between two snapshots; `None` leaves it to the system.
    pub snapshot_count: Option<u64>,
    /// How long etcd's back end may wait before it writes what was applied; `None` leaves it to etcd, and
    /// our own server has no such thing.
    pub batch_interval: Option<Duration>,
    /// After how many changes it writes at the latest; as above.
    pub batch_limit: Option<u64>,
    /// Whether our own server writes what its raft core takes and gives out into a file beside its log.
    pub trace: bool,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
            snapshot_count: None,
            batch_interval: None,
            batch_limit: None,
            trace: false,
        }
    }
}

/// What a cluster is to be made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What carries the traffic.
    pub kind: Kind,
    /// What the nodes run.
    pub system: System,
    /// How many nodes: 1 to [`Spec::NODES_MAX`].
    pub nodes: usize,
    /// Folder for logs (`n1.log`) and data (`n1.data`). Data found there is removed at the start, logs are
    /// appended to.
    pub dir: PathBuf,
    /// Name of this cluster: nodes of another name cannot join it.
    pub token: String,
    /// Settings of every node.
    pub tuning: Tuning,
    /// How long the start may take until every node answers a linearizable read.
    pub start_timeout: Duration,
    /// Whether the nodes of a `local` cluster reach each other without the proxies: for measuring. Links cannot
    /// be cut then.
    pub direct: bool,
    /// Whether each node has its data on a disk of its own, which a fault can fill or cut the power of.
    pub disks: bool,
    /// Whether each node takes the time of day from a file, so that a fault can change it.
    pub clocks: bool,
}

impl Spec {
    /// The largest cluster: what `netns` has addresses for.
    pub const NODES_MAX: usize = 99;

    /// A cluster of `nodes` nodes that keeps its files in `dir`, with default settings.
    pub fn new(kind: Kind, system: System, nodes: usize, dir: PathBuf) -> Spec {
        Spec {
            kind,
            system,
            nodes,
            dir,
            token: "assay".to_owned(),
            tuning: Tuning::default(),
            start_timeout: Duration::from_secs(30),
            direct: false,
            disks: false,
            clocks: false,
        }
    }
}

/// A node, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Position in the cluster.
    pub index: NodeIndex,
    /// Its name: `n1`, `n2`, ...
    pub name: String,
    /// Where clients reach it, such as `http://10.99.0.11:2379`. In a `netns` cluster only this process's own
    /// network namespace reaches it.
    pub client_url: String,
    /// What it tells its peers to be its address.
    pub peer_url: String,
    /// Where it listens for peers: `peer_url`, unless a proxy stands between.
    pub peer_listen_url: String,
    /// Its output, of all its starts.
    pub log: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
}
