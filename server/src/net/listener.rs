//! Connections from peers: a thread each, which reads and hands on.

use super::{
    Receiver, Settings,
    frame::{self, Frame, FrameError, FrameReader},
    handshake::{self, HandshakeError, Purpose},
    image,
    network::Port,
    question, socket,
    stream::PeerStream,
};
use crate::{metrics::Traffic, replica::peer::PeerMessage};
use parking_lot::Mutex;
use raft::{
    message::{Body, Message},
    types::NodeId,
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Connections at once, far more than a cluster makes.
const CONNECTIONS_MAX: usize = 256;

/// Accepts connections until dropped.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    stopped: AtomicBool,
    inbound: Mutex<Inbound>,
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Inbound {
    next: u64,
    streams: BTreeMap<u64, TcpStream>,
    /// The newest connection of each caller and purpose: an older one is closed, so that two never mix.
    newest: BTreeMap<(NodeId, Purpose), u64>,
}

impl Listener {
    /// Begins to accept connections.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(ports: Vec<Port>, settings: Settings, receiver: Arc<dyn Receiver>) -> io::Result<Listener> {
        let shared =
            Arc::new(Shared { settings, stopped: AtomicBool::new(false), inbound: Mutex::default() });
        let mut started = Listener { shared, addresses: Vec::new(), threads: Vec::new() };
        for port in ports {
            started.addresses.push(port.listener.local_addr()?);
            let (shared, receiver) = (started.shared.clone(), receiver.clone());
            let accept = move || shared.accept(&port, &receiver);
            started.threads.push(thread::Builder::new().name("peers".into()).spawn(accept)?);
        }
        Ok(started)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.inbound.lock().streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for address in &self.addresses {
            // Wakes the thread that waits for a connection.
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            let _ =
                TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), Duration::from_millis(500));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, port: &Port, receiver: &Arc<dyn Receiver>) {
        loop {
            let accepted = port.listener.accept();
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            match accepted {
                Ok((stream, from)) => {
                    if let Err(error) = self.admit(stream, port.tls, from, receiver) {
                        tracing::warn!(%from, %error, "cannot serve a connection");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    thread::sleep(Duration::from_millis(50)); // out of files, say: no busy loop
                }
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        tls: bool,
        from: SocketAddr,
        receiver: &Arc<dyn Receiver>,
    ) -> io::Result<()> {
        socket::prepare(&stream, &self.settings)?;
        let number = {
            let mut inbound = self.inbound.lock();
            if inbound.streams.len() >= CONNECTIONS_MAX {
                return Err(io::Error::other("too many connections"));
            }
            inbound.next += 1;
            let number = inbound.next;
            inbound.streams.insert(number, stream.try_clone()?);
            number
        };
        let (shared, receiver) = (self.clone(), receiver.clone());
        let serve = move || {
            match shared.begin(stream, tls) {
                Ok(stream) => shared.serve(stream, number, from, receiver.as_ref()),
                Err(error) => not_begun(from, error),
            }
            shared.forget(number);
        };
        let spawned = thread::Builder::new().name(format!("from-{from}")).spawn(serve);
        if spawned.is_err() {
            self.forget(number);
        }
        spawned.map(drop)
    }

    fn forget(&self, number: u64) {
        let mut inbound = self.inbound.lock();
        inbound.streams.remove(&number);
        inbound.newest.retain(|_, newest| *newest != number);
    }

    /// Agrees upon encryption, where the port asks for it.
    fn begin(&self, stream: TcpStream, tls: bool) -> Result<PeerStream, HandshakeError> {
        match &self.settings.tls {
            _ if !tls => Ok(PeerStream::plain(stream)),
            Some(tls) => PeerStream::encrypted(stream, tls.accept()),
            None => Err(HandshakeError::NoCertificate),
        }
    }

    fn serve(&self, mut stream: PeerStream, number: u64, from: SocketAddr, receiver: &dyn Receiver) {
        let own = self.settings.own;
        let (caller, purpose) = match handshake::answer(&mut stream, own, |id| receiver.is_removed(id)) {
            Ok(call) => call,
            Err(error) => return not_begun(from, error),
        };
        let Some(caller) = caller.filter(|_| purpose != Purpose::Question) else {
            let reader = FrameReader::new(stream, caller.unwrap_or(own.node), own.node);
            if let Err(error) = question::serve(reader, caller, receiver) {
                tracing::debug!(%from, %error, "a question was not answered");
            }
            return;
        };
        {
            let mut inbound = self.inbound.lock();
            // The threads of two connections may come here in any order: numbers tell which one is newer.
            if inbound.newest.get(&(caller, purpose)).is_some_and(|newest| *newest > number) {
                return tracing::debug!(peer = %caller, %from, "a newer connection is there already");
            }
            let older = inbound.newest.insert((caller, purpose), number);
            if let Some(older) = older.and_then(|older| inbound.streams.get(&older)) {
                let _ = older.shutdown(Shutdown::Both);
            }
        }
        // From here on a stop closes the stream, as it is among those that are open.
        if self.stopped.load(Ordering::SeqCst) {
            return;
        }
        tracing::debug!(peer = %caller, %from, ?purpose, "peer connected");
        let reader = FrameReader::new(stream, caller, own.node);
        let end = match purpose {
            Purpose::Messages => {
                let traffic = self.settings.metrics.peers.of(caller);
                serve_messages(reader, caller, receiver, &traffic)
            }
            Purpose::Image => image::receive(reader, caller, receiver),
            Purpose::Question => Ok(()),
        };
        match end {
            Ok(()) => {}
            Err(FrameError::Io(error)) => tracing::debug!(peer = %caller, %error, "peer disconnected"),
            Err(error) => tracing::warn!(peer = %caller, %error, "closed a connection"),
        }
    }
}

fn not_begun(from: SocketAddr, error: HandshakeError) {
    match error {
        HandshakeError::Io(error) => tracing::debug!(%from, %error, "a connection ended before it began"),
        error => tracing::warn!(%from, %error, "refused a connection"),
    }
}

fn serve_messages(
    mut reader: FrameReader<PeerStream>,
    caller: NodeId,
    receiver: &dyn Receiver,
    traffic: &Traffic,
) -> Result<(), FrameError> {
    let mut messages = Vec::new();
    let mut pong = Vec::new();
    loop {
        while let Some(frame) = reader.buffered()? {
            match frame {
                // It comes behind its image, on a connection of its own, or not at all.
                Frame::Message(PeerMessage::Raft(Message { body: Body::InstallSnapshot { .. }, .. })) => {
                    return Err(FrameError::OutOfPlace);
                }
                Frame::Message(message) => messages.push(message),
                Frame::Ping(number) => {
                    pong.clear();
                    frame::put(&mut pong, &Frame::Pong(number));
                }
                Frame::Pong(_)
                | Frame::ImageBegin(_)
                | Frame::ImageChunk(_)
                | Frame::ImageEnd
                | Frame::ImageStored(_)
                | Frame::Question(_)
                | Frame::Answer(_) => return Err(FrameError::OutOfPlace),
            }
        }
        // All that came at once is handed on at once, so that it becomes one turn.
        if !messages.is_empty() {
            receiver.messages(caller, &mut messages);
            messages.clear();
        }
        if !pong.is_empty() {
            reader.get_mut().write_all(&pong)?;
            pong.clear();
        }
        // The caller pings every heartbeat, so the read timeout is its silence.
        let read = reader.fill()?;
        if read == 0 {
            return Ok(());
        }
        traffic.received.add(read as u64);
    }
}
