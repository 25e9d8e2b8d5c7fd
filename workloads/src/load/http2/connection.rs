//! One connection to a server. Source of the rules: RFC 9113.

use super::{
    Method,
    answer::{Answer, Failure},
    frame::{self, HEAD_BYTES, Head, PAYLOAD_BYTES_MAX, WINDOW_BYTES_DEFAULT, flag, kind, setting},
    hpack::{Decoder, Encoder, Malformed},
};
use std::{collections::VecDeque, fmt};

/// What the server may send on one stream before it hears that more is welcome, in bytes.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// The same for the whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// A window is opened again once this part of it is used up.
const REOPEN_AT: u32 = 2;
/// A header block may have so many octets.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// So much of an answer that comes in pieces is kept, to read the header from it.
const MESSAGE_HEAD_BYTES: usize = 4 << 10;
/// Stream ids from here on are not used: the connection is given up before they run out.
const STREAM_ID_MAX: u32 = 0x7fff_0000;
/// Octets in front of a gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Error codes. Source: section 7.
const REFUSED_STREAM: u32 = 7;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// How many header blocks are remembered with their meaning.
const MEANINGS: usize = 8;

/// What requests say about whom they are for and from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port`.
    pub authority: String,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// etcd's auth token.
    pub token: Option<String>,
}

impl Peer {
    /// A server without TLS and auth.
    pub fn plain(authority: &str) -> Peer {
        Peer { authority: authority.to_owned(), tls: false, token: None }
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server breaks HTTP/2's rules: {}", self.0)
    }
}

impl std::error::Error for Broken {}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Broken {
        Broken("a header block that cannot be decoded")
    }
}

/// What a header block says that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meaning {
    http: Option<u16>,
    grpc: Option<u32>,
}

/// A call under way.
#[derive(Debug)]
struct Stream<T> {
    token: T,
    answer: Answer,
    /// Octets that the message has with its prefix; 0 until the prefix is there.
    expected: usize,
    received: usize,
    /// What of the stream's window is used up.
    unannounced: u32,
    meaning: Meaning,
    bad: bool,
    /// The beginning of an answer that comes in pieces.
    pieces: Option<Vec<u8>>,
}

/// A message that waits for room in a window.
#[derive(Debug)]
struct Waiting {
    stream: u32,
    window: i64,
    data: Vec<u8>,
    at: usize,
}

/// A header block that goes on in another frame.
#[derive(Debug)]
struct Unfinished {
    stream: u32,
    end_stream: bool,
    block: Vec<u8>,
}

/// A header block that was decoded before.
#[derive(Debug)]
struct Remembered {
    block: Vec<u8>,
    changes: u64,
    meaning: Meaning,
}

/// One connection; `T` is what the caller wants back with the outcome of a call.
#[derive(Debug)]
pub struct Connection<T> {
    peer: Peer,
    out: Vec<u8>,
    written: usize,
    tail: Vec<u8>,
    encoder: Encoder,
    blocks: [Vec<u8>; Method::ALL.len()],
    decoder: Decoder,
    remembered: VecDeque<Remembered>,
    unfinished: Option<Unfinished>,
    /// Calls by stream, from `first` on; those that are over are `None`.
    streams: VecDeque<Option<Stream<T>>>,
    first: u32,
    open: usize,
    waiting: VecDeque<Waiting>,
    window: i64,
    stream_window: i64,
    payload_max: usize,
    streams_max: usize,
    unannounced: u32,
    settled: bool,
    leaving: bool,
    last_error: Option<String>,
}

/// Sending.
impl<T> Connection<T> {
    /// A connection on which nothing was sent yet; its preface is the first of its output.
    pub fn new(peer: &Peer) -> Connection<T> {
        let mut out = frame::PREFACE.to_vec();
        frame::write_settings(
            &mut out,
            &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES)],
        );
        frame::write_window_update(&mut out, 0, CONNECTION_WINDOW_BYTES - 65_535);
        Connection {
            peer: peer.clone(),
            out,
            written: 0,
            tail: Vec::new(),
            encoder: Encoder::new(),
            blocks: std::array::from_fn(|_| Vec::new()),
            decoder: Decoder::new(),
            remembered: VecDeque::new(),
            unfinished: None,
            streams: VecDeque::new(),
            first: 1,
            open: 0,
            waiting: VecDeque::new(),
            window: WINDOW_BYTES_DEFAULT,
            stream_window: WINDOW_BYTES_DEFAULT,
            payload_max: PAYLOAD_BYTES_MAX,
            // Until its settings tell, a server takes what section 6.5.2 recommends as the least.
            streams_max: 100,
            unannounced: 0,
            settled: false,
            leaving: false,
            last_error: None,
        }
    }

    /// Whether another call may be sent now.
    pub fn has_room(&self) -> bool {
        self.open < self.streams_max && !self.leaving
    }

    /// Calls under way.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Whether the server's settings have come: the connection is made.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether no call may be sent any more: the server goes away, or stream ids run out.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The text of the last error that the server told, with a gRPC status or when it went away.
    pub fn take_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Sends a call.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn send(&mut self, token: T, method: Method, message: &[u8]) {
        assert!(self.has_room(), "{} calls are under way, {} may be", self.open, self.streams_max);
        let stream = self.next_id();
        self.streams.push_back(Some(Stream {
            token,
            answer: Answer::default(),
            expected: 0,
            received: 0,
            unannounced: 0,
            meaning: Meaning::default(),
            bad: false,
            pieces: None,
        }));
        self.open += 1;
        self.leaving |= self.next_id() >= STREAM_ID_MAX;
        self.write_headers(stream, method);
        let length = message.len() + PREFIX_BYTES;
        let room = self.window.min(self.stream_window);
        if self.waiting.is_empty()
            && length <= self.payload_max
            && i64::try_from(length).is_ok_and(|n| n <= room)
        {
            self.window -= length as i64;
            Head { length, kind: kind::DATA, flags: flag::END_STREAM, stream }.write(&mut self.out);
            write_prefix(&mut self.out, message.len());
            self.out.extend_from_slice(message);
        } else {
            let mut data = Vec::with_capacity(length);
            write_prefix(&mut data, message.len());
            data.extend_from_slice(message);
            self.waiting.push_back(Waiting { stream, window: self.stream_window, data, at: 0 });
            self.send_waiting();
        }
    }

    fn next_id(&self) -> u32 {
        self.first + 2 * u32::try_from(self.streams.len()).unwrap_or(u32::MAX / 4)
    }

    fn write_headers(&mut self, stream: u32, method: Method) {
        let at = method as usize;
        if self.blocks[at].is_empty() {
            let mut block = Vec::new();
            let scheme = if self.peer.tls { "https" } else { "http" };
            let mut headers = vec![
                (":method", "POST"),
                (":scheme", scheme),
                (":path", method.path()),
                (":authority", &*self.peer.authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", concat!("assay/", env!("CARGO_PKG_VERSION"))),
            ];
            headers.extend(self.peer.token.as_deref().map(|token| ("token", token)));
            if self.encoder.encode(&mut block, &headers) {
                // What went into the table changed the numbers of what was there.
                self.blocks.iter_mut().for_each(Vec::clear);
            } else {
                self.blocks[at].clone_from(&block);
            }
            self.write_block(stream, &block);
        } else {
            let block = &self.blocks[at];
            Head { length: block.len(), kind: kind::HEADERS, flags: flag::END_HEADERS, stream }
                .write(&mut self.out);
            self.out.extend_from_slice(block);
        }
    }

    /// A block that may be longer than a frame, as auth tokens are long.
    fn write_block(&mut self, stream: u32, block: &[u8]) {
        let pieces = block.len().div_ceil(self.payload_max);
        for (at, piece) in block.chunks(self.payload_max).enumerate() {
            let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
            let flags = if at + 1 == pieces { flag::END_HEADERS } else { 0 };
            frame::write(&mut self.out, kind, flags, stream, piece);
        }
    }

    /// Sends what the windows have room for, oldest first.
    fn send_waiting(&mut self) {
        let (out, window, payload_max) = (&mut self.out, &mut self.window, self.payload_max);
        self.waiting.retain_mut(|waiting| {
            while waiting.at < waiting.data.len() {
                let room = (*window).min(waiting.window).max(0);
                let length = (waiting.data.len() - waiting.at)
                    .min(payload_max)
                    .min(usize::try_from(room).unwrap_or(usize::MAX));
                if length == 0 {
                    return true;
                }
                let end = waiting.at + length;
                let flags = if end == waiting.data.len() { flag::END_STREAM } else { 0 };
                frame::write(out, kind::DATA, flags, waiting.stream, &waiting.data[waiting.at..end]);
                *window -= length as i64;
                waiting.window -= length as i64;
                waiting.at = end;
            }
            false
        });
    }

    /// What is to be written to the server.
    pub fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Takes note that so much of the output was written.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > 1 << 20 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Gives up calls for which `late` holds, oldest first up to the first that is not late.
    pub fn expire(&mut self, late: impl Fn(&T) -> bool, mut each: impl FnMut(T)) {
        while let Some(oldest) = self.streams.front() {
            if oldest.as_ref().is_some_and(|stream| !late(&stream.token)) {
                return;
            }
            let id = self.first;
            self.first += 2;
            if let Some(stream) = self.streams.pop_front().flatten() {
                self.open -= 1;
                self.waiting.retain(|waiting| waiting.stream != id);
                frame::write(&mut self.out, kind::RST_STREAM, 0, id, &CANCEL);
                each(stream.token);
            }
        }
    }

    /// Ends every call: the connection is gone.
    pub fn fail_all(&mut self, mut each: impl FnMut(T)) {
        self.leaving = true;
        self.waiting.clear();
        self.first = self.next_id();
        for stream in self.streams.drain(..).flatten() {
            each(stream.token);
        }
        self.open = 0;
    }
}

fn write_prefix(out: &mut Vec<u8>, length: usize) {
    out.push(0);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// Receiving.
impl<T> Connection<T> {
    /// Takes bytes from the server, however they are cut, and tells the outcome of each call that ended.
    ///
    /// # Errors
    /// When the server breaks the rules: the connection is of no use any more, and [`Connection::fail_all`] ends
    /// its calls.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        if self.tail.is_empty() {
            let used = self.receive_frames(bytes, &mut each)?;
            self.tail.extend_from_slice(&bytes[used..]);
        } else {
            let mut tail = std::mem::take(&mut self.tail);
            tail.extend_from_slice(bytes);
            let used = self.receive_frames(&tail, &mut each)?;
            tail.drain(..used);
            self.tail = tail;
        }
        if self.unannounced > CONNECTION_WINDOW_BYTES / REOPEN_AT {
            frame::write_window_update(&mut self.out, 0, std::mem::take(&mut self.unannounced));
        }
        Ok(())
    }

    /// Takes all whole frames; gives how many octets they have.
    fn receive_frames(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(octets) = bytes[used..].first_chunk::<HEAD_BYTES>() {
            let head = Head::read(octets);
            if head.length > PAYLOAD_BYTES_MAX {
                return Err(Broken("a frame larger than allowed"));
            }
            let start = used + HEAD_BYTES;
            let Some(payload) = bytes.get(start..start + head.length) else { break };
            self.receive_frame(head, payload, each)?;
            used = start + head.length;
        }
        Ok(used)
    }

    fn receive_frame(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        if self.unfinished.is_some() && head.kind != kind::CONTINUATION {
            return Err(Broken("a header block that does not go on"));
        }
        if !self.settled && head.kind != kind::SETTINGS {
            return Err(Broken("it does not begin with its settings: is this an HTTP/2 server without TLS?"));
        }
        match head.kind {
            kind::DATA => self.receive_data(head, payload, each),
            kind::HEADERS => self.receive_headers(head, payload, each),
            kind::CONTINUATION => self.receive_continuation(head, payload, each),
            kind::RST_STREAM => self.receive_reset(head, payload, each),
            kind::SETTINGS => self.receive_settings(head, payload),
            kind::PUSH_PROMISE => Err(Broken("a push, which was forbidden")),
            kind::PING => self.receive_ping(head, payload),
            kind::GOAWAY => self.receive_goaway(payload, each),
            kind::WINDOW_UPDATE => self.receive_window_update(head, payload),
            _ => Ok(()),
        }
    }

    /// Where a stream is; `None` for one that is over.
    fn place(&self, stream: u32) -> Result<Option<usize>, Broken> {
        if stream.is_multiple_of(2) || stream >= self.next_id() {
            return Err(Broken("a frame on a stream that was never opened"));
        }
        Ok(stream.checked_sub(self.first).map(|ahead| (ahead / 2) as usize))
    }

    fn receive_data(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let octets = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.unannounced = self.unannounced.saturating_add(octets);
        let Some(at) = self.place(head.stream)? else { return Ok(()) };
        let Some(stream) = &mut self.streams[at] else { return Ok(()) };
        let data = frame::without_padding(head, payload).ok_or(Broken("more padding than payload"))?;
        stream.take_data(data);
        stream.unannounced = stream.unannounced.saturating_add(octets);
        if head.has(flag::END_STREAM) {
            // A gRPC answer ends with trailers.
            stream.bad = true;
            self.finish(at, each);
        } else if stream.unannounced > STREAM_WINDOW_BYTES / REOPEN_AT {
            frame::write_window_update(&mut self.out, head.stream, std::mem::take(&mut stream.unannounced));
        }
        Ok(())
    }

    fn receive_headers(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let block = frame::without_padding(head, payload).ok_or(Broken("more padding than payload"))?;
        let priority = if head.has(flag::PRIORITY) { 5 } else { 0 };
        let block = block.get(priority..).ok_or(Broken("a priority that is cut off"))?;
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.receive_block(head.stream, end_stream, block, each);
        }
        self.unfinished = Some(Unfinished { stream: head.stream, end_stream, block: block.to_vec() });
        Ok(())
    }

    fn receive_continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let Some(mut unfinished) = self.unfinished.take().filter(|begun| begun.stream == head.stream) else {
            return Err(Broken("a header block goes on that was not begun"));
        };
        unfinished.block.extend_from_slice(payload);
        if unfinished.block.len() > BLOCK_BYTES_MAX {
            return Err(Broken("a header block of more than 64 KiB"));
        }
        if head.has(flag::END_HEADERS) {
            return self.receive_block(unfinished.stream, unfinished.end_stream, &unfinished.block, each);
        }
        self.unfinished = Some(unfinished);
        Ok(())
    }

    fn receive_block(
        &mut self,
        stream: u32,
        end_stream: bool,
        block: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let meaning = self.meaning(block)?;
        let Some(at) = self.place(stream)? else { return Ok(()) };
        let Some(call) = &mut self.streams[at] else { return Ok(()) };
        call.meaning.http = meaning.http.or(call.meaning.http);
        call.meaning.grpc = meaning.grpc.or(call.meaning.grpc);
        if end_stream {
            self.finish(at, each);
        }
        Ok(())
    }

    /// What a block says. One that was seen before, while the table was the same, needs no decoding.
    fn meaning(&mut self, block: &[u8]) -> Result<Meaning, Broken> {
        let before = self.decoder.changes();
        let known = self.remembered.iter().find(|known| known.changes == before && known.block == block);
        if let Some(known) = known {
            return Ok(known.meaning);
        }
        let mut meaning = Meaning::default();
        let mut text = None;
        self.decoder.decode(block, |name, value| {
            let number = || std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            match name {
                b":status" => meaning.http = number().map(|status| u16::try_from(status).unwrap_or(0)),
                // 2 is gRPC's "unknown", for a status that is no number.
                b"grpc-status" => meaning.grpc = Some(number().unwrap_or(2)),
                b"grpc-message" if !value.is_empty() => text = Some(percent_decoded(value)),
                _ => {}
            }
        })?;
        if text.is_some() {
            self.last_error = text;
        } else if self.decoder.changes() == before {
            self.remembered.truncate(MEANINGS - 1);
            self.remembered.push_front(Remembered { block: block.to_vec(), changes: before, meaning });
        }
        Ok(meaning)
    }

    /// Ends a call and tells its outcome.
    fn finish(&mut self, at: usize, each: &mut impl FnMut(T, Result<Answer, Failure>)) {
        let outcome = |stream: &Stream<T>| match stream.meaning {
            Meaning { grpc: Some(0), http: Some(200) } if stream.is_whole() => Ok(stream.answer()),
            Meaning { grpc: Some(0), .. } => Err(Failure::Malformed),
            Meaning { grpc: Some(code), .. } => Err(Failure::Status(code)),
            Meaning { grpc: None, http: Some(200) | None } => Err(Failure::Malformed),
            Meaning { grpc: None, http: Some(status) } => Err(Failure::Http(status)),
        };
        self.end(at, outcome, each);
    }

    fn end(
        &mut self,
        at: usize,
        outcome: impl FnOnce(&Stream<T>) -> Result<Answer, Failure>,
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) {
        let Some(stream) = self.streams[at].take() else { return };
        self.open -= 1;
        if !self.waiting.is_empty() {
            // It answered before it had the whole request: what is left of that is not wanted.
            let id = self.first + 2 * u32::try_from(at).unwrap_or(0);
            if self.waiting.iter().any(|waiting| waiting.stream == id) {
                self.waiting.retain(|waiting| waiting.stream != id);
                frame::write(&mut self.out, kind::RST_STREAM, 0, id, &CANCEL);
            }
        }
        while matches!(self.streams.front(), Some(None)) {
            self.streams.pop_front();
            self.first += 2;
        }
        let outcome = outcome(&stream);
        each(stream.token, outcome);
    }

    fn receive_reset(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let code = u32::from_be_bytes(payload.try_into().map_err(|_| Broken("a reset of a wrong length"))?);
        let Some(at) = self.place(head.stream)? else { return Ok(()) };
        let failure = if code == REFUSED_STREAM { Failure::Unprocessed } else { Failure::Reset(code) };
        self.end(at, |_| Err(failure), each);
        Ok(())
    }

    fn receive_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if head.has(flag::ACK) {
            return Ok(());
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() || head.stream != 0 {
            return Err(Broken("settings of a wrong length, or on a stream"));
        }
        if !self.settled {
            // Without a word about it there is no limit.
            (self.settled, self.streams_max) = (true, usize::MAX);
        }
        for &[n0, n1, v0, v1, v2, v3] in settings {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                setting::HEADER_TABLE_SIZE => {
                    self.encoder.table_size(value);
                    self.blocks.iter_mut().for_each(Vec::clear);
                }
                setting::MAX_CONCURRENT_STREAMS => self.streams_max = value as usize,
                setting::INITIAL_WINDOW_SIZE => {
                    if value > i32::MAX as u32 {
                        return Err(Broken("a window larger than allowed"));
                    }
                    let change = i64::from(value) - self.stream_window;
                    self.stream_window += change;
                    self.waiting.iter_mut().for_each(|waiting| waiting.window += change);
                }
                setting::MAX_FRAME_SIZE => {
                    let value = value as usize;
                    if !(PAYLOAD_BYTES_MAX..1 << 24).contains(&value) {
                        return Err(Broken("a frame size that is not allowed"));
                    }
                    self.payload_max = value;
                }
                _ => {}
            }
        }
        frame::write(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        self.send_waiting();
        Ok(())
    }

    fn receive_ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if payload.len() != 8 || head.stream != 0 {
            return Err(Broken("a ping of a wrong length, or on a stream"));
        }
        if !head.has(flag::ACK) {
            frame::write(&mut self.out, kind::PING, flag::ACK, 0, payload);
        }
        Ok(())
    }

    /// The server takes no more calls; those after the last that it names it has not processed.
    fn receive_goaway(
        &mut self,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let Some((&[l0, l1, l2, l3, c0, c1, c2, c3], debug)) = payload.split_first_chunk::<8>() else {
            return Err(Broken("a goodbye that is cut off"));
        };
        let last = u32::from_be_bytes([l0 & 0x7f, l1, l2, l3]);
        let code = u32::from_be_bytes([c0, c1, c2, c3]);
        if code != 0 {
            self.last_error =
                Some(format!("the server went away with code {code}: {}", String::from_utf8_lossy(debug)));
        }
        self.leaving = true;
        // From the newest to the oldest, so that the places of the others stay.
        for at in (0..self.streams.len()).rev() {
            if self.first + 2 * u32::try_from(at).unwrap_or(0) > last && self.streams[at].is_some() {
                self.end(at, |_| Err(Failure::Unprocessed), each);
            }
        }
        Ok(())
    }

    fn receive_window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        let octets: [u8; 4] = payload.try_into().map_err(|_| Broken("a window update of a wrong length"))?;
        let more = i64::from(u32::from_be_bytes(octets) & 0x7fff_ffff);
        if head.stream == 0 {
            self.window += more;
            if more == 0 || self.window > i64::from(i32::MAX) {
                return Err(Broken("a window that does not grow, or grows too large"));
            }
        } else {
            self.place(head.stream)?;
            if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.stream == head.stream) {
                waiting.window += more;
            }
        }
        self.send_waiting();
        Ok(())
    }
}

impl<T> Stream<T> {
    /// Takes a piece of the answer, which mostly is all of it.
    fn take_data(&mut self, data: &[u8]) {
        self.received += data.len();
        if let Some(pieces) = &mut self.pieces {
            let room = MESSAGE_HEAD_BYTES.saturating_sub(pieces.len());
            pieces.extend_from_slice(&data[..data.len().min(room)]);
            if self.expected == 0
                && let Some(prefix) = pieces.first_chunk::<PREFIX_BYTES>()
            {
                (self.expected, self.bad) = read_prefix(prefix);
            }
            return;
        }
        match data.split_first_chunk::<PREFIX_BYTES>() {
            Some((prefix, message)) if self.expected == 0 => {
                (self.expected, self.bad) = read_prefix(prefix);
                if message.len() + PREFIX_BYTES == self.expected {
                    self.answer = Answer::read(message);
                    return;
                }
            }
            _ if data.is_empty() => return,
            // Octets behind a whole message.
            _ if self.expected > 0 => return,
            _ => {}
        }
        self.pieces = Some(data[..data.len().min(MESSAGE_HEAD_BYTES)].to_vec());
    }

    /// What the answer says; one that came in pieces is read only now.
    fn answer(&self) -> Answer {
        match &self.pieces {
            None => self.answer,
            Some(pieces) => {
                let message = pieces.get(PREFIX_BYTES..).unwrap_or_default();
                Answer { bytes: self.expected - PREFIX_BYTES, ..Answer::read(message) }
            }
        }
    }

    /// Whether there was exactly one message.
    fn is_whole(&self) -> bool {
        self.expected > 0 && self.received == self.expected && !self.bad
    }
}

/// Octets of the message with its prefix, and whether it is compressed, which nobody asked for.
fn read_prefix(&[compressed, l0, l1, l2, l3]: &[u8; PREFIX_BYTES]) -> (usize, bool) {
    (u32::from_be_bytes([l0, l1, l2, l3]) as usize + PREFIX_BYTES, compressed != 0)
}

/// A text as gRPC sends it: octets outside of printable ASCII are `%` and two hexadecimal digits.
fn percent_decoded(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) if first == b'%' => {
                out.push(octet);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
