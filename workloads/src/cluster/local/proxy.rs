//! The proxies.

use super::{owner::owner, ports::HeldPort};
use crate::cluster::{
    Block, ClusterError, Link, NodeIndex, Probe, network::Address, place::Place, probe::Responder,
};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Child,
    sync::watch,
    task::JoinSet,
};

const ANY_PORT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// How much a proxy takes from one side before the other has it.
const CHUNK_BYTES: usize = 64 * 1024;

/// The loopback network of a cluster.
#[derive(Debug)]
pub(in crate::cluster) struct Loopback {
    place: Place,
    responder: Responder,
    proxies: Vec<SocketAddrV4>,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
    _ports: Vec<HeldPort>,
}

/// What the proxies share.
#[derive(Debug)]
struct Shared {
    blocked: watch::Sender<BTreeMap<Link, Block>>,
    /// Running processes, to tell who connects.
    processes: Mutex<BTreeMap<NodeIndex, u32>>,
    /// Local ports of probes under way, and the node that each stands for.
    probes: Mutex<BTreeMap<u16, NodeIndex>>,
    /// Bytes that were held back.
    held: Mutex<BTreeMap<Link, u64>>,
    /// Where probes go.
    responder: SocketAddr,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loopback {
    /// Holds ports for `nodes` nodes, and starts their proxies; with `direct` the nodes are not told of these.
    pub(in crate::cluster) async fn build(
        nodes: usize,
        direct: bool,
    ) -> Result<(Loopback, Vec<Address>), ClusterError> {
        Loopback::try_build(nodes, direct).await.map_err(ClusterError::io("making the loopback network"))
    }

    async fn try_build(nodes: usize, direct: bool) -> io::Result<(Loopback, Vec<Address>)> {
        let mut responder = Responder::default();
        let listener = TcpListener::bind(ANY_PORT).await?;
        let shared = Arc::new(Shared {
            blocked: watch::Sender::default(),
            processes: Mutex::default(),
            probes: Mutex::default(),
            held: Mutex::default(),
            responder: listener.local_addr()?,
        });
        responder.listen(listener);
        let (mut proxies, mut ports, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        let mut tasks = JoinSet::new();
        for node in (0..nodes).map(NodeIndex) {
            let (client, peer) = (HeldPort::any()?, HeldPort::any()?);
            let listener = TcpListener::bind(ANY_PORT).await?;
            let proxy = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
            tasks.spawn(serve(Arc::clone(&shared), listener, proxy, node, peer.address()));
            addresses.push(Address {
                index: node,
                client_url: format!("http://{}", client.address()),
                peer_url: format!("http://{}", if direct { peer.address() } else { proxy }),
                peer_listen_url: format!("http://{}", peer.address()),
                data: None,
            });
            proxies.push(proxy);
            ports.extend([client, peer]);
        }
        let place = Place::here("nodes")?;
        Ok((Loopback { place, responder, proxies, shared, _tasks: tasks, _ports: ports }, addresses))
    }

    /// Starts a process, and knows from now on that it is `node`.
    pub(in crate::cluster) async fn spawn(&self, node: NodeIndex, command: Command) -> io::Result<Child> {
        let child = self.place.spawn(command).await?;
        if let Some(pid) = child.id() {
            lock(&self.shared.processes).insert(node, pid);
        }
        Ok(child)
    }

    /// Makes `blocked` all that is blocked.
    pub(in crate::cluster) fn apply(&self, blocked: &BTreeMap<Link, Block>) {
        self.shared.blocked.send_replace(blocked.clone());
    }

    /// Bytes that were held back on each link since the start; a connection that was not made counts as one.
    pub(in crate::cluster) fn dropped(&self) -> BTreeMap<Link, u64> {
        lock(&self.shared.held).clone()
    }

    /// Sends a few bytes through the proxy of one node, as if another had sent them.
    pub(in crate::cluster) async fn probe(&self, link: Link) -> Result<Probe, ClusterError> {
        let probe = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::V4(ANY_PORT))?;
            let port = socket.local_addr()?.port();
            lock(&self.shared.probes).insert(port, link.from);
            let outcome = self.responder.probe(socket, SocketAddr::V4(self.proxies[link.to.0])).await;
            lock(&self.shared.probes).remove(&port);
            outcome
        };
        probe.await.map_err(ClusterError::io(format!("probing {link}")))
    }
}

/// Takes connections for `node`, for as long as the cluster lives.
async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    proxy: SocketAddrV4,
    node: NodeIndex,
    target: SocketAddrV4,
) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that is gone before it is taken is no loss.
        let Ok((stream, from)) = listener.accept().await else { continue };
        let SocketAddr::V4(from) = from else { continue };
        let probing = lock(&shared.probes).remove(&from.port());
        let source = match probing {
            Some(source) => Some((source, shared.responder)),
            None => {
                let processes = lock(&shared.processes).clone();
                owner(from, proxy, &processes).map(|source| (source, SocketAddr::V4(target)))
            }
        };
        // Nobody knows whose links a stranger's bytes would pass.
        let Some((source, target)) = source else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // Broken connections are everyday here, and both ends see them.
            let _ = carry(&shared, Link::new(source, node), stream, target).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection until both sides have closed it or one breaks it.
async fn carry(shared: &Shared, link: Link, stream: TcpStream, target: SocketAddr) -> io::Result<()> {
    let back = Link::new(link.to, link.from);
    // A handshake takes packets both ways, none with payload.
    let shakes = |blocked: &BTreeMap<Link, Block>| {
        [link, back].iter().all(|way| blocked.get(way) != Some(&Block::Packets))
    };
    shared.pass(link, 1, shakes).await?;
    let onward = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    onward.set_nodelay(true)?;
    let (from_source, to_source) = stream.into_split();
    let (from_target, to_target) = onward.into_split();
    tokio::try_join!(pump(shared, link, from_source, to_target), pump(shared, back, from_target, to_source))?;
    Ok(())
}

/// Carries one direction of a connection.
async fn pump(
    shared: &Shared,
    link: Link,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        shared.pass(link, length, |blocked| !blocked.contains_key(&link)).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}

impl Shared {
    /// Waits until `length` bytes may pass; notes them if they had to wait.
    async fn pass(
        &self,
        link: Link,
        length: usize,
        mut open: impl FnMut(&BTreeMap<Link, Block>) -> bool,
    ) -> io::Result<()> {
        if open(&self.blocked.borrow()) {
            return Ok(());
        }
        *lock(&self.held).entry(link).or_insert(0) += length as u64;
        let mut blocked = self.blocked.subscribe();
        blocked.wait_for(|blocked| open(blocked)).await.map_err(io::Error::other)?;
        Ok(())
    }
}
