//! What a connection of a client is.

use super::{
    code,
    frame::{self, PAYLOAD_BYTES_MAX, WINDOW_BYTES_DEFAULT, kind, setting},
    hpack::{Decoder, Encoder},
};
use bytes::Bytes;
use http::{HeaderMap, Request};
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, fmt, sync::Arc};

/// What a client may send on one stream before it hears that more is welcome, in bytes.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for the whole connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The headers of one request may have so many octets, and so many when they are decoded.
pub(super) const HEADER_BYTES_MAX: usize = 64 << 10;
/// So many requests of a client may be under way at once.
pub(super) const STREAMS_MAX: usize = 1 << 17;
/// While so many bytes of answers wait for a client's windows, it gets no more answers to wait for.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;
/// A buffer that a burst has grown is given back above this.
const OUT_BYTES_KEPT: usize = 256 << 10;

/// Why a connection cannot go on: one of [`code`], and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// One of [`code`].
    pub code: u32,
    /// What the client did.
    pub why: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client breaks HTTP/2's rules: {}", self.why)
    }
}

impl std::error::Error for Broken {}

/// A breach of the rules that has no code of its own.
pub(super) fn breach(why: &'static str) -> Broken {
    Broken { code: code::PROTOCOL_ERROR, why }
}

/// What a client did. `T` is what the owner makes of a request's headers.
#[derive(Debug)]
pub enum Event<T> {
    /// A request began.
    Head {
        /// Its stream.
        stream: u32,
        /// Its headers.
        head: Arc<T>,
        /// Whether it has no body.
        end: bool,
    },
    /// A part of a body, maybe empty. Room for more is given by [`Connection::consumed`].
    Data {
        /// Its stream.
        stream: u32,
        /// The part.
        data: Bytes,
        /// Whether it is the last.
        end: bool,
    },
    /// The client gave a request up, or broke a rule within it: the stream is over.
    Reset {
        /// Its stream.
        stream: u32,
    },
}

/// A request that is not wholly answered.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What may be sent, in bytes; below 0 after the client made its windows smaller.
    pub(super) window: i64,
    /// What the client may send, in bytes.
    pub(super) room: i64,
    /// Bytes that came and were not consumed.
    pub(super) unread: u32,
    /// Bytes that were consumed and that the client has not been told of.
    pub(super) unannounced: u32,
    /// Whether the request is whole.
    pub(super) whole: bool,
    /// What is to be sent when there is room.
    pub(super) pending: VecDeque<Bytes>,
    /// What comes after that, once it is known.
    pub(super) end: Option<Option<HeaderMap>>,
    /// Whether it stands in [`Connection::sendable`].
    pub(super) queued: bool,
}

/// A header block, what the table was when it was decoded, and what it means.
#[derive(Debug)]
pub(super) struct Known<T> {
    pub(super) block: Vec<u8>,
    pub(super) changes: u64,
    pub(super) head: Arc<T>,
}

/// A header block that goes on in another frame.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) stream: u32,
    pub(super) end: bool,
    pub(super) block: Vec<u8>,
}

/// What makes sense of a request's headers.
type Reader<T> = Box<dyn Fn(Request<()>) -> T + Send>;

/// The server's side of one connection.
pub struct Connection<T> {
    pub(super) read_head: Reader<T>,
    /// Octets of a frame that is not whole yet.
    pub(super) tail: Vec<u8>,
    /// Octets to be written; those before `written` are.
    pub(super) out: Vec<u8>,
    written: usize,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) known: VecDeque<Known<T>>,
    pub(super) streams: FxHashMap<u32, Stream>,
    /// Streams with something to send and room in their window.
    pub(super) sendable: VecDeque<u32>,
    /// Bytes of answers that wait for room.
    pub(super) waiting: usize,
    /// The newest stream of the client; 0 before the first.
    pub(super) newest: u32,
    /// Whether the client has sent its settings.
    pub(super) settled: bool,
    pub(super) unfinished: Option<Unfinished>,
    /// What may be sent on all streams together, in bytes.
    pub(super) window: i64,
    /// What may be sent on a new stream, in bytes.
    pub(super) stream_window: i64,
    /// The largest payload of a frame that the client takes.
    pub(super) payload_max: usize,
    /// What the client may send on all streams together, in bytes.
    pub(super) room: i64,
    /// Bytes that were consumed and that the client has not been told of.
    pub(super) unannounced: u32,
}

impl<T> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = self.streams.len();
        f.debug_struct("Connection").field("streams", &streams).field("newest", &self.newest).finish()
    }
}

impl<T> Connection<T> {
    /// A connection whose client has sent its preface ([`frame::PREFACE`]). `read_head` is asked once for every block
    /// of headers that differs from those before.
    pub fn new(read_head: impl Fn(Request<()>) -> T + Send + 'static) -> Connection<T> {
        let mut out = Vec::new();
        let header_bytes = HEADER_BYTES_MAX as u32;
        frame::write_settings(
            &mut out,
            &[
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
                (setting::MAX_HEADER_LIST_SIZE, header_bytes),
            ],
        );
        let more = CONNECTION_WINDOW_BYTES - WINDOW_BYTES_DEFAULT as u32;
        frame::write_window_update(&mut out, 0, more);
        Connection {
            read_head: Box::new(read_head),
            tail: Vec::new(),
            out,
            written: 0,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            known: VecDeque::new(),
            streams: FxHashMap::default(),
            sendable: VecDeque::new(),
            waiting: 0,
            newest: 0,
            settled: false,
            unfinished: None,
            window: WINDOW_BYTES_DEFAULT,
            stream_window: WINDOW_BYTES_DEFAULT,
            payload_max: PAYLOAD_BYTES_MAX,
            room: i64::from(CONNECTION_WINDOW_BYTES),
            unannounced: 0,
        }
    }

    /// Octets for the client.
    pub fn to_write(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// So many of [`to_write`](Self::to_write) are written.
    pub fn written(&mut self, octets: usize) {
        self.written += octets;
        if self.written >= self.out.len() {
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(OUT_BYTES_KEPT);
        }
    }

    /// Requests that are not wholly answered.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Asks the client for a sign of life.
    pub fn ping(&mut self) {
        frame::write(&mut self.out, kind::PING, 0, 0, b"liveness");
    }

    /// Tells the client to begin no more requests here. Those that it has begun until it hears of it are served.
    pub fn wind_up(&mut self) {
        self.goodbye(i32::MAX as u32, code::NO_ERROR, "");
    }

    /// The last that is said: requests after the newest that came were not looked at.
    pub fn close(&mut self, code: u32, why: &str) {
        self.goodbye(self.newest, code, why);
    }

    fn goodbye(&mut self, last: u32, code: u32, why: &str) {
        let payload = [&last.to_be_bytes()[..], &code.to_be_bytes(), why.as_bytes()].concat();
        frame::write(&mut self.out, kind::GOAWAY, 0, 0, &payload);
    }

    /// Ends a stream at once, if it is not over.
    pub fn reset(&mut self, stream: u32, code: u32) {
        if self.forget(stream) {
            frame::write(&mut self.out, kind::RST_STREAM, 0, stream, &code.to_be_bytes());
        }
    }

    /// Takes a stream out; what of it nobody has read and nobody will is room for others.
    pub(super) fn forget(&mut self, stream: u32) -> bool {
        let Some(gone) = self.streams.remove(&stream) else { return false };
        self.unannounced += gone.unread;
        self.waiting -= gone.pending.iter().map(Bytes::len).sum::<usize>();
        true
    }

    /// So many bytes of a request were taken in: the client may send as many again.
    pub fn consumed(&mut self, stream: u32, bytes: usize) {
        let Some(at) = self.streams.get_mut(&stream) else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(at.unread);
        at.unread -= bytes;
        self.unannounced += bytes;
        if !at.whole {
            at.unannounced += bytes;
            if at.unannounced > STREAM_WINDOW_BYTES / 2 {
                let more = std::mem::take(&mut at.unannounced);
                at.room += i64::from(more);
                frame::write_window_update(&mut self.out, stream, more);
            }
        }
        self.announce();
    }

    pub(super) fn announce(&mut self) {
        if self.unannounced > CONNECTION_WINDOW_BYTES / 2 {
            let more = std::mem::take(&mut self.unannounced);
            self.room += i64::from(more);
            frame::write_window_update(&mut self.out, 0, more);
        }
    }
}
