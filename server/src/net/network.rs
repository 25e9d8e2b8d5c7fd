//! All connections of a member together.

use super::{Address, ImageSink, ImageSource, Party, image, link::Link, listener::Listener};
use crate::{metrics::Metrics, replica::peer::PeerMessage, tls::PeerTls};
use bytes::Bytes;
use raft::{
    message::Message,
    types::{NodeId, SnapshotMeta},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::TcpListener,
    sync::Arc,
    thread,
    time::Duration,
};

/// What all connections share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This member.
    pub own: Party,
    /// How often a connection is pinged.
    pub heartbeat: Duration,
    /// A connection on which nothing is heard for this long is given up.
    pub election: Duration,
    /// Certificates, for https URLs.
    pub tls: Option<Arc<PeerTls>>,
    /// Where bytes are counted.
    pub metrics: Arc<Metrics>,
}

/// A place at which peers are listened to.
#[derive(Debug)]
pub struct Port {
    /// Where.
    pub listener: TcpListener,
    /// Whether connections are encrypted.
    pub tls: bool,
}

impl From<TcpListener> for Port {
    fn from(listener: TcpListener) -> Port {
        Port { listener, tls: false }
    }
}

/// Takes what peers send. Called from the connections' threads: must not wait long.
pub trait Receiver: Send + Sync + 'static {
    /// Messages came from a peer, in this order. What is taken is removed from `messages`; the rest is lost.
    fn messages(&self, from: NodeId, messages: &mut Vec<PeerMessage>);

    /// A connection to this peer came about.
    fn reachable(&self, peer: NodeId);

    /// The connection to this peer was lost, and with it what was under way.
    fn unreachable(&self, peer: NodeId);

    /// A peer begins to send an image.
    ///
    /// # Errors
    /// It cannot be stored here.
    fn image(&self, from: NodeId, meta: SnapshotMeta) -> io::Result<Box<dyn ImageSink>>;

    /// Whether the member was removed from the cluster, and is to be turned away.
    fn is_removed(&self, id: NodeId) -> bool;

    /// A peer turns this member away because it was removed from the cluster.
    fn removed(&self, by: NodeId);

    /// Answers a question of a member, or of a stranger. May take as long as it needs.
    fn question(&self, from: Option<NodeId>, question: Bytes) -> Bytes;

    /// What came of [`Network::send_image`].
    fn image_sent(&self, to: NodeId, ok: bool);
}

/// The connections of a member. Dropping it closes them all.
pub struct Network {
    settings: Settings,
    receiver: Arc<dyn Receiver>,
    peers: BTreeMap<NodeId, Peer>,
    /// Who has something queued since the last flush.
    queued: BTreeSet<NodeId>,
    _listener: Listener,
}

struct Peer {
    addresses: Vec<Address>,
    link: Link,
}

impl Network {
    /// Begins to accept connections at `ports`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(settings: Settings, ports: Vec<Port>, receiver: Arc<dyn Receiver>) -> io::Result<Network> {
        let listener = Listener::start(ports, settings.clone(), receiver.clone())?;
        let (peers, queued) = (BTreeMap::new(), BTreeSet::new());
        Ok(Network { settings, receiver, peers, queued, _listener: listener })
    }

    /// Connects to these members, each at one of its addresses, and to no others.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_peers(&mut self, peers: &BTreeMap<NodeId, Vec<Address>>) -> io::Result<()> {
        let gone: Vec<NodeId> = (self.peers.iter())
            .filter(|(id, peer)| peers.get(id) != Some(&peer.addresses))
            .map(|(id, _)| *id)
            .collect();
        let gone: Vec<Peer> = gone.iter().filter_map(|id| self.peers.remove(id)).collect();
        if !gone.is_empty() {
            // A link that just tries to connect ends only after that: nobody should wait for it here.
            thread::Builder::new().name("unlink".into()).spawn(move || drop(gone))?;
        }
        for (id, addresses) in peers {
            if *id == self.settings.own.node || addresses.is_empty() || self.peers.contains_key(id) {
                continue;
            }
            let link = Link::start(*id, addresses.clone(), self.settings.clone(), self.receiver.clone())?;
            self.peers.insert(*id, Peer { addresses: addresses.clone(), link });
        }
        Ok(())
    }

    /// Queues a message until [`flush`](Self::flush). `false`: it surely does not go out.
    pub fn queue(&mut self, to: NodeId, message: &PeerMessage) -> bool {
        let queued = self.peers.get(&to).is_some_and(|peer| peer.link.queue(message));
        if queued {
            self.queued.insert(to);
        }
        queued
    }

    /// Sends what was queued.
    pub fn flush(&mut self) {
        while let Some(id) = self.queued.pop_first() {
            if let Some(peer) = self.peers.get(&id) {
                peer.link.flush();
            }
        }
    }

    /// Sends an image, then the `InstallSnapshot` message that names it, in the background; the receiver is
    /// told what came of it.
    pub fn send_image(&self, message: Message, mut source: Box<dyn ImageSource>) {
        let to = message.to;
        let Some(peer) = self.peers.get(&to) else { return self.receiver.image_sent(to, false) };
        let (addresses, receiver) = (peer.addresses.clone(), self.receiver.clone());
        let settings = self.settings.clone();
        let run = move || {
            let address = addresses.first().expect("a peer has an address");
            let result = image::send(address, &settings, &message, source.as_mut());
            if let Err(error) = &result {
                tracing::warn!(peer = %to, %error, "cannot send a snapshot image");
            }
            receiver.image_sent(to, result.is_ok());
        };
        if let Err(error) = thread::Builder::new().name(format!("image-{to}")).spawn(run) {
            tracing::warn!(peer = %to, %error, "cannot start a thread");
            self.receiver.image_sent(to, false);
        }
    }
}
