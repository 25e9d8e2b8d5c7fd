//! The connection to one peer, for the messages that go there.
//!
//! Whoever sends writes to the socket itself as far as it takes bytes at once, so that a message costs no
//! thread switch; the link's thread connects, writes what was left over, and watches whether the peer
//! answers. Nothing waits for a peer: while there is no connection, or too much waits for it, messages are
//! refused, which raft is told and survives.

use super::{
    Address, Settings,
    frame::{self, Frame, FrameBuffer, FrameError},
    handshake::{self, HandshakeError, Purpose},
    socket,
    stream::{self, PeerStream},
};
use crate::{metrics::Traffic, net::Receiver, replica::peer::PeerMessage};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, poll},
    sys::socket::{MsgFlags, recv, send},
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use raft::types::NodeId;
use rustls::Connection;
use std::{
    io::{self, Read as _, Write},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd as _, AsRawFd},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Bytes that may wait for a connected peer.
const PENDING_BYTES_MAX: usize = 32 << 20;
/// A buffer that a burst has grown is given back above this.
const PENDING_BYTES_KEPT: usize = 1 << 20;
/// How often it is measured how long the peer takes to answer. As etcd.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Who waits for an answer looks so often whether there is something to write.
const MEASURE_SLICE_MS: u8 = 5;
/// Pause before the next try to connect.
const BACKOFF: Duration = Duration::from_millis(100);
/// Pause after the peer refused: that needs somebody to change something.
const BACKOFF_REFUSED: Duration = Duration::from_secs(1);

/// The sending half of a link. Dropping it ends the link.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: NodeId,
    traffic: Arc<Traffic>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while there is no connection.
    stream: Option<Arc<TcpStream>>,
    /// What encrypts on it, if anything does.
    session: Option<Box<Connection>>,
    /// Whole frames.
    pending: Vec<u8>,
    /// What goes over the socket: frames, encrypted where they are to be. The first may have gone out in part.
    sealed: Vec<u8>,
    /// The link's thread has taken the bytes before `pending`, and writes them.
    writing: bool,
    broken: bool,
    stopped: bool,
}

impl State {
    /// Makes of the frames what goes over the socket.
    fn seal(&mut self) -> io::Result<()> {
        match &mut self.session {
            None if self.sealed.is_empty() => std::mem::swap(&mut self.sealed, &mut self.pending),
            None => self.sealed.append(&mut self.pending),
            Some(session) => {
                stream::seal(session, &self.pending, &mut self.sealed)?;
                // What the library says by itself, such as that it takes other keys.
                while session.wants_write() {
                    session.write_tls(&mut self.sealed)?;
                }
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Sends as much as the socket takes without waiting.
    fn send_at_once(&mut self, stream: &TcpStream, traffic: &Traffic) -> io::Result<()> {
        self.seal()?;
        let sent = send_at_once(stream, &self.sealed)?;
        traffic.sent.add(sent as u64);
        if sent == self.sealed.len() {
            self.sealed.clear();
            self.sealed.shrink_to(PENDING_BYTES_KEPT);
            self.pending.shrink_to(PENDING_BYTES_KEPT);
        } else {
            self.sealed.drain(..sent);
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || !self.sealed.is_empty()
    }

    /// Whatever was of a connection is gone.
    fn clear(&mut self) {
        self.stream = None;
        self.session = None;
        self.pending.clear();
        self.sealed.clear();
        self.writing = false;
    }
}

impl Link {
    /// Begins to connect to member `to` at one of `addresses`, and to keep the connection.
    pub fn start(
        to: NodeId,
        addresses: Vec<Address>,
        settings: Settings,
        receiver: Arc<dyn Receiver>,
    ) -> io::Result<Link> {
        let traffic = settings.metrics.peers.of(to);
        let shared = Arc::new(Shared { to, traffic, state: Mutex::default(), wake: Condvar::new() });
        let keeper = Keeper { shared: shared.clone(), addresses, settings, receiver };
        let thread = thread::Builder::new().name(format!("to-{to}")).spawn(move || keeper.run())?;
        Ok(Link { shared, thread: Some(thread) })
    }

    /// Queues a message; [`flush`](Self::flush) sends. `false`: it surely does not go out.
    pub fn queue(&self, message: &PeerMessage) -> bool {
        let mut state = self.shared.state.lock();
        if state.stream.is_none()
            || state.broken
            || state.pending.len() + state.sealed.len() > PENDING_BYTES_MAX
        {
            return false;
        }
        frame::put_peer_message(&mut state.pending, message);
        true
    }

    /// Sends what was queued, as far as the socket takes it without waiting; the link's thread does the rest.
    pub fn flush(&self) {
        let mut state = self.shared.state.lock();
        let Some(stream) = state.stream.clone() else { return };
        if state.pending.is_empty() {
            return;
        }
        if !state.writing && !state.broken {
            match state.send_at_once(&stream, &self.shared.traffic) {
                Ok(()) if !state.is_waiting() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(peer = %self.shared.to, %error, "cannot send");
                    state.broken = true;
                }
            }
        }
        self.shared.wake.notify_one();
    }

    fn stop(&self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        if let Some(stream) = &state.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.wake.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes as much as the socket takes without waiting.
fn send_at_once(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match send(stream.as_raw_fd(), &bytes[sent..], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => sent += count,
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(sent)
}

/// What the link's thread runs.
struct Keeper {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    settings: Settings,
    receiver: Arc<dyn Receiver>,
}

impl Keeper {
    fn run(self) {
        let peer = self.shared.to;
        let mut said = String::new();
        for address in self.addresses.iter().cycle() {
            let pause = match self.connect(address) {
                Ok(stream) => {
                    tracing::info!(%peer, %address, "connected to peer");
                    said.clear();
                    let why = self.keep(stream);
                    if self.stopped() {
                        return;
                    }
                    tracing::warn!(%peer, %address, why, "lost the connection to peer");
                    self.receiver.unreachable(peer);
                    Duration::ZERO
                }
                Err(error) => {
                    // Said once until something else is wrong.
                    let text = error.to_string();
                    if said != text {
                        tracing::warn!(%peer, %address, error = text, "cannot connect to peer");
                        said = text;
                    }
                    match error {
                        HandshakeError::Io(_) => BACKOFF,
                        HandshakeError::Removed => {
                            self.receiver.removed(peer);
                            BACKOFF_REFUSED
                        }
                        HandshakeError::Alien
                        | HandshakeError::Tls(_)
                        | HandshakeError::Encrypted
                        | HandshakeError::NoCertificate
                        | HandshakeError::Version { .. }
                        | HandshakeError::Cluster { .. }
                        | HandshakeError::Node { .. }
                        | HandshakeError::Refused => BACKOFF_REFUSED,
                    }
                }
            };
            let mut state = self.shared.state.lock();
            if !state.stopped && !pause.is_zero() {
                self.shared.wake.wait_for(&mut state, pause);
            }
            if state.stopped {
                return;
            }
        }
    }

    fn stopped(&self) -> bool {
        self.shared.state.lock().stopped
    }

    fn connect(&self, address: &Address) -> Result<PeerStream, HandshakeError> {
        let mut stream = socket::connect(address, &self.settings)?;
        handshake::call(&mut stream, self.settings.own, self.shared.to, Purpose::Messages)?;
        Ok(stream)
    }

    /// Serves a connection until it ends, and says why it did.
    fn keep(&self, stream: PeerStream) -> String {
        let (stream, session) = stream.into_parts();
        let stream = Arc::new(stream);
        let mut state = self.shared.state.lock();
        state.clear();
        state.broken = false;
        (state.stream, state.session) = (Some(stream.clone()), session);
        drop(state);
        self.receiver.reachable(self.shared.to);
        let why = self.serve(&stream);
        let mut state = self.shared.state.lock();
        state.clear();
        let _ = stream.shutdown(Shutdown::Both);
        why
    }

    fn serve(&self, stream: &TcpStream) -> String {
        let (from, to) = (self.shared.to, self.settings.own.node);
        let mut replies = Replies { buffer: FrameBuffer::default(), from, to };
        let mut last_heard = Instant::now();
        let mut next_ping = last_heard;
        let mut next_measure = last_heard;
        let mut pings = 0;
        loop {
            let mut state = self.shared.state.lock();
            if !state.stopped && !state.broken && !state.is_waiting() {
                self.shared.wake.wait_until(&mut state, next_ping);
            }
            if state.stopped {
                return "stopping".into();
            }
            if state.broken {
                return "cannot send".into();
            }
            let now = Instant::now();
            let pinged = now >= next_ping;
            if pinged {
                pings += 1;
                frame::put(&mut state.pending, &Frame::Ping(pings));
                next_ping = now + self.settings.heartbeat;
            }
            let measures = pinged && now >= next_measure;
            if let Err(error) = self.write(stream, state) {
                return error.to_string();
            }
            let heard = if measures {
                next_measure = now + MEASURE_EVERY;
                self.measure(stream, &mut replies, pings)
            } else {
                replies.read(stream, &self.shared.state)
            };
            match heard {
                Ok(Some(_)) => last_heard = now,
                Ok(None) if last_heard.elapsed() > self.settings.election => {
                    return "nothing was heard for an election timeout".into();
                }
                Ok(None) => {}
                Err(why) => return why,
            }
        }
    }

    /// Waits for the answer to a ping that has just gone out, and notes how long it took; gives up where there is
    /// something to write. What was heard meanwhile.
    fn measure(&self, stream: &TcpStream, replies: &mut Replies, ping: u64) -> Result<Option<u64>, String> {
        let sent = Instant::now();
        let mut heard = None;
        while sent.elapsed() < self.settings.election / 2 {
            let mut sockets = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            match poll(&mut sockets, MEASURE_SLICE_MS) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.to_string()),
            }
            heard = heard.max(replies.read(stream, &self.shared.state)?);
            if heard >= Some(ping) {
                self.shared.traffic.round_trips.observe(sent.elapsed());
                break;
            }
            let state = self.shared.state.lock();
            if state.stopped || state.broken || state.is_waiting() {
                break;
            }
        }
        Ok(heard)
    }

    /// Writes all that waits, without keeping senders from queueing more.
    fn write(&self, mut stream: &TcpStream, mut state: MutexGuard<'_, State>) -> io::Result<()> {
        state.seal()?;
        if state.sealed.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut state.sealed);
        state.writing = true;
        drop(state);
        let result = stream.write_all(&bytes);
        self.shared.traffic.sent.add(bytes.len() as u64);
        self.shared.state.lock().writing = false;
        result
    }
}

/// What the peer says on this connection: pongs.
struct Replies {
    buffer: FrameBuffer,
    from: NodeId,
    to: NodeId,
}

impl Replies {
    /// Reads what is there: the last ping that was answered, or `None` if nothing came.
    fn read(&mut self, stream: &TcpStream, state: &Mutex<State>) -> Result<Option<u64>, String> {
        let mut scratch = [0; 1024];
        let mut heard = None;
        loop {
            match recv(stream.as_raw_fd(), &mut scratch, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err("the peer closed it".into()),
                Ok(count) => {
                    let mut state = state.lock();
                    self.take(&scratch[..count], state.session.as_deref_mut())
                        .map_err(|error| error.to_string())?;
                }
                Err(Errno::EAGAIN) => return Ok(heard),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.to_string()),
            }
            while let Some(content) = self.buffer.next().map_err(|error| error.to_string())? {
                let frame = frame::decode(content, self.from, self.to).map_err(|error| error.to_string())?;
                let Frame::Pong(number) = frame else { return Err(FrameError::OutOfPlace.to_string()) };
                heard = heard.max(Some(number));
            }
        }
    }

    /// Takes in bytes of the socket.
    fn take(&mut self, bytes: &[u8], session: Option<&mut Connection>) -> io::Result<()> {
        let Some(session) = session else {
            self.buffer.push(bytes);
            return Ok(());
        };
        let mut from = io::Cursor::new(bytes.to_vec());
        let mut plain = Vec::new();
        while from.position() < bytes.len() as u64 {
            stream::receive(session, &mut from)?;
            match session.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => drop(done?),
            }
        }
        self.buffer.push(&plain);
        Ok(())
    }
}
