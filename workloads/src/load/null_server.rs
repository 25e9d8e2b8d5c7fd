//! A server that does nothing, for measuring the generator and for testing what is measured.
//!
//! It speaks just enough HTTP/2 to answer any unary call with an empty answer of etcd's, by a model of time that
//! is known: so what the generator says can be compared with what is true.

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};
use server::http2::frame::{self, HEAD_BYTES, Head, flag, kind, setting};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long the server waits at most before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);

/// What the server does with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// Answers at once.
    Echo,
    /// Answers one call after the other, so many per second, from one queue for all connections.
    Queue {
        /// Calls per second.
        per_s: f64,
        /// What it could have done while nothing came it does later at once, up to so much time of it: then a pause
        /// of the machine, in which nobody sends, leaves no queue behind.
        saved: Duration,
    },
    /// Answers at once, but for a while in which it does not.
    Stall {
        /// When that begins, after the first call.
        after: Duration,
        /// How long it lasts.
        lasts: Duration,
    },
    /// Answers with this gRPC status.
    Status(u8),
    /// Takes connections and says nothing.
    Silent,
    /// Answers with octets that are not HTTP/2.
    Garbage,
    /// Says goodbye after so many calls on a connection, and does not answer those that come after.
    Leaves {
        /// Calls that are answered.
        after: u32,
    },
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct NullServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Behaviour,
    end: AtomicBool,
    calls: AtomicU64,
    /// When the first call came, and when the queue is empty.
    clock: Mutex<Option<(Instant, Instant)>>,
}

impl NullServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub fn start(behaviour: Behaviour) -> io::Result<NullServer> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behaviour,
            end: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            clock: Mutex::new(None),
        });
        let server = NullServer { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.end.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A connection that breaks is the client's affair.
                thread::spawn(move || drop(Link::serve(stream, &shared)));
            }
        });
        Ok(server)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls that came.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// When a call that came now is answered.
    fn answer_at(&self, now: Instant) -> Instant {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, free) = clock.get_or_insert((now, now));
        match self.behaviour {
            Behaviour::Queue { per_s, saved } => {
                // Never from before the first call.
                let earliest = now.checked_sub(saved).map_or(now, |earliest| earliest.max(*first));
                *free = earliest.max(*free) + Duration::from_secs_f64(1.0 / per_s);
                now.max(*free)
            }
            Behaviour::Stall { after, lasts } => {
                let (from, to) = (*first + after, *first + after + lasts);
                if (from..to).contains(&now) { to } else { now }
            }
            Behaviour::Echo
            | Behaviour::Status(_)
            | Behaviour::Silent
            | Behaviour::Garbage
            | Behaviour::Leaves { .. } => now,
        }
    }
}

/// One connection.
struct Link<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    input: Vec<u8>,
    out: Vec<u8>,
    waiting: VecDeque<(u32, Instant)>,
    window: i64,
    calls: u32,
}

impl Link<'_> {
    fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut link = Link {
            stream,
            shared,
            input: Vec::new(),
            out: Vec::new(),
            waiting: VecDeque::new(),
            window: frame::WINDOW_BYTES_DEFAULT,
            calls: 0,
        };
        match shared.behaviour {
            Behaviour::Silent => {}
            Behaviour::Garbage => link.out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            _ => frame::write_settings(
                &mut link.out,
                &[(setting::MAX_CONCURRENT_STREAMS, 1 << 20), (setting::INITIAL_WINDOW_SIZE, 1 << 24)],
            ),
        }
        let mut buffer = vec![0; 256 << 10];
        let mut preface = frame::PREFACE.len();
        while !shared.end.load(Ordering::Relaxed) {
            link.answer();
            link.flush()?;
            let wake =
                link.waiting.front().map_or(LOOK, |(_, at)| at.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(link.stream.as_fd(), PollFlags::POLLIN)];
            ppoll(&mut fds, Some(TimeSpec::from(wake.min(LOOK))), None)?;
            let length = match link.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let skipped = preface.min(length);
            preface -= skipped;
            if !matches!(shared.behaviour, Behaviour::Silent | Behaviour::Garbage) {
                link.input.extend_from_slice(&buffer[skipped..length]);
                link.take_frames();
            }
        }
        Ok(())
    }

    fn take_frames(&mut self) {
        let now = Instant::now();
        let (mut used, mut data) = (0, 0);
        while let Some(octets) = self.input[used..].first_chunk::<HEAD_BYTES>() {
            let head = Head::read(octets);
            let Some(payload) = self.input.get(used + HEAD_BYTES..used + HEAD_BYTES + head.length) else {
                break;
            };
            match head.kind {
                kind::SETTINGS if !head.has(flag::ACK) => {
                    frame::write(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
                }
                kind::PING if !head.has(flag::ACK) => {
                    frame::write(&mut self.out, kind::PING, flag::ACK, 0, payload);
                }
                kind::WINDOW_UPDATE if head.stream == 0 => {
                    let more = payload.first_chunk::<4>().map_or(0, |octets| u32::from_be_bytes(*octets));
                    self.window += i64::from(more);
                }
                kind::RST_STREAM => self.waiting.retain(|(stream, _)| *stream != head.stream),
                kind::DATA => data += u32::try_from(head.length).unwrap_or(0),
                _ => {}
            }
            if matches!(head.kind, kind::DATA | kind::HEADERS) && head.has(flag::END_STREAM) {
                self.calls += 1;
                self.shared.calls.fetch_add(1, Ordering::Relaxed);
                match self.shared.behaviour {
                    Behaviour::Leaves { after } if self.calls > after => {}
                    _ => self.waiting.push_back((head.stream, self.shared.answer_at(now))),
                }
                if self.shared.behaviour == (Behaviour::Leaves { after: self.calls }) {
                    let goodbye = [head.stream.to_be_bytes(), [0; 4]].concat();
                    frame::write(&mut self.out, kind::GOAWAY, 0, 0, &goodbye);
                }
            }
            used += HEAD_BYTES + head.length;
        }
        self.input.drain(..used);
        frame::write_window_update(&mut self.out, 0, data);
    }

    /// Writes the answers whose time has come and for which the client has room.
    fn answer(&mut self) {
        // The header of etcd's answers, with revision 7; before it gRPC's prefix.
        const MESSAGE: [u8; 9] = [0, 0, 0, 0, 4, 0x0a, 2, 0x18, 7];
        // Indexed, and literals that do not go into the table: the octets are the same for every answer.
        const HEADERS: &[u8] = b"\x88\x0f\x10\x10application/grpc";
        let mut trailers = b"\x00\x0bgrpc-status".to_vec();
        let status = match self.shared.behaviour {
            Behaviour::Status(code) => code,
            _ => 0,
        };
        let digits = status.to_string();
        trailers.push(u8::try_from(digits.len()).unwrap_or(0));
        trailers.extend_from_slice(digits.as_bytes());
        let now = Instant::now();
        while let Some(&(stream, at)) = self.waiting.front() {
            if at > now || self.window < MESSAGE.len() as i64 {
                return;
            }
            self.waiting.pop_front();
            frame::write(&mut self.out, kind::HEADERS, flag::END_HEADERS, stream, HEADERS);
            if status == 0 {
                self.window -= MESSAGE.len() as i64;
                frame::write(&mut self.out, kind::DATA, 0, stream, &MESSAGE);
            }
            frame::write(
                &mut self.out,
                kind::HEADERS,
                flag::END_HEADERS | flag::END_STREAM,
                stream,
                &trailers,
            );
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut at = 0;
        while at < self.out.len() {
            match self.stream.write(&self.out[at..]) {
                Ok(length) => at += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
                    ppoll(&mut fds, Some(TimeSpec::from(LOOK)), None)?;
                    if self.shared.end.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        Ok(())
    }
}
