//! Frames from the client.

use super::{
    code,
    connection::{
        Broken, CONNECTION_WINDOW_BYTES, Connection, Event, HEADER_BYTES_MAX, Known, STREAM_WINDOW_BYTES,
        STREAMS_MAX, Stream, Unfinished, WAITING_BYTES_MAX, breach,
    },
    frame::{self, HEAD_BYTES, Head, PAYLOAD_BYTES_MAX, flag, kind, setting},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::sync::Arc;

/// How many header blocks are remembered with their meaning.
const KNOWN_MAX: usize = 8;

impl<T> Connection<T> {
    /// Takes octets from the client, however they are cut, and appends what it did to `events`.
    ///
    /// # Errors
    /// When the client breaks the rules: [`Connection::close`] says so, and nothing more is to be taken in.
    pub fn receive(&mut self, octets: &[u8], events: &mut Vec<Event<T>>) -> Result<(), Broken> {
        if self.tail.is_empty() {
            let used = self.receive_frames(octets, events)?;
            self.tail.extend_from_slice(&octets[used..]);
        } else {
            let mut tail = std::mem::take(&mut self.tail);
            tail.extend_from_slice(octets);
            let used = self.receive_frames(&tail, events)?;
            tail.drain(..used);
            self.tail = tail;
        }
        self.announce();
        Ok(())
    }

    /// Takes all whole frames; gives how many octets they have.
    fn receive_frames(&mut self, octets: &[u8], events: &mut Vec<Event<T>>) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(head) = octets[used..].first_chunk::<HEAD_BYTES>() {
            let head = Head::read(head);
            if head.length > PAYLOAD_BYTES_MAX {
                return Err(Broken { code: code::FRAME_SIZE_ERROR, why: "a frame larger than allowed" });
            }
            let start = used + HEAD_BYTES;
            let Some(payload) = octets.get(start..start + head.length) else { break };
            self.receive_frame(head, payload, events)?;
            used = start + head.length;
        }
        Ok(used)
    }

    fn receive_frame(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        if self.unfinished.is_some() && head.kind != kind::CONTINUATION {
            return Err(breach("a header block that does not go on"));
        }
        if !self.settled && head.kind != kind::SETTINGS {
            return Err(breach("it does not begin with its settings"));
        }
        match head.kind {
            kind::DATA => self.receive_data(head, payload, events),
            kind::HEADERS => self.receive_headers(head, payload, events),
            kind::CONTINUATION => self.receive_continuation(head, payload, events),
            kind::RST_STREAM => self.receive_reset(head, payload, events),
            kind::SETTINGS => self.receive_settings(head, payload),
            kind::PUSH_PROMISE => Err(breach("a push by a client")),
            kind::PING => self.receive_ping(head, payload),
            kind::WINDOW_UPDATE => self.receive_window_update(head, payload, events),
            // A client that goes away closes the connection when it has its answers.
            _ => Ok(()),
        }
    }

    fn receive_data(&mut self, head: Head, payload: &[u8], events: &mut Vec<Event<T>>) -> Result<(), Broken> {
        let octets = payload.len() as u32;
        self.room -= i64::from(octets);
        if self.room < 0 {
            return Err(overrun());
        }
        self.known_stream(head.stream)?;
        let data = frame::without_padding(head, payload).ok_or(breach("more padding than payload"))?;
        let Some(at) = self.streams.get_mut(&head.stream) else {
            // It was answered or reset before the client knew.
            self.unannounced += octets;
            return Ok(());
        };
        if at.whole {
            return self.broken_stream(head.stream, code::STREAM_CLOSED, events);
        }
        at.room -= i64::from(octets);
        if at.room < 0 {
            return Err(overrun());
        }
        at.unread += octets;
        at.whole = head.has(flag::END_STREAM);
        let end = at.whole;
        // Padding is read by nobody else.
        self.consumed(head.stream, payload.len() - data.len());
        events.push(Event::Data { stream: head.stream, data: Bytes::copy_from_slice(data), end });
        Ok(())
    }

    /// An error of a stream that is or was, not of one that the client never opened.
    fn known_stream(&self, stream: u32) -> Result<(), Broken> {
        if stream.is_multiple_of(2) || stream > self.newest {
            return Err(breach("a frame on a stream that was never opened"));
        }
        Ok(())
    }

    fn broken_stream(&mut self, stream: u32, code: u32, events: &mut Vec<Event<T>>) -> Result<(), Broken> {
        self.reset(stream, code);
        events.push(Event::Reset { stream });
        Ok(())
    }

    fn receive_headers(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        let block = frame::header_block(head, payload).ok_or(breach("a header block that is cut off"))?;
        let end = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.receive_block(head.stream, end, block, events);
        }
        self.unfinished = Some(Unfinished { stream: head.stream, end, block: block.to_vec() });
        Ok(())
    }

    fn receive_continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        let Some(mut unfinished) = self.unfinished.take().filter(|begun| begun.stream == head.stream) else {
            return Err(breach("a header block goes on that was not begun"));
        };
        unfinished.block.extend_from_slice(payload);
        if unfinished.block.len() > HEADER_BYTES_MAX {
            return Err(Broken { code: code::ENHANCE_YOUR_CALM, why: "a header block of more than 64 KiB" });
        }
        if head.has(flag::END_HEADERS) {
            return self.receive_block(unfinished.stream, unfinished.end, &unfinished.block, events);
        }
        self.unfinished = Some(unfinished);
        Ok(())
    }

    fn receive_block(
        &mut self,
        stream: u32,
        end: bool,
        block: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        if stream.is_multiple_of(2) {
            return Err(breach("a request on a stream of the server's"));
        }
        if stream <= self.newest {
            return self.receive_trailers(stream, end, block, events);
        }
        if self.streams.len() >= STREAMS_MAX {
            // A client whose windows are closed can ask for more and more, and all answers would wait here.
            return Err(Broken { code: code::ENHANCE_YOUR_CALM, why: "too many requests under way" });
        }
        self.newest = stream;
        let Some(head) = self.meaning(block)? else {
            frame::write(&mut self.out, kind::RST_STREAM, 0, stream, &code::PROTOCOL_ERROR.to_be_bytes());
            return Ok(());
        };
        let (window, room) = (self.stream_window, i64::from(STREAM_WINDOW_BYTES));
        if self.waiting > WAITING_BYTES_MAX {
            // The client may ask again once it has taken what it asked for.
            frame::write(&mut self.out, kind::RST_STREAM, 0, stream, &code::REFUSED_STREAM.to_be_bytes());
            return Ok(());
        }
        self.streams.insert(stream, Stream { window, room, whole: end, ..Stream::default() });
        events.push(Event::Head { stream, head, end });
        Ok(())
    }

    /// Nothing here reads trailers; they end the request.
    fn receive_trailers(
        &mut self,
        stream: u32,
        end: bool,
        block: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        self.decoder.decode(block, |_, _| {}).map_err(|_| incompressible())?;
        let Some(at) = self.streams.get_mut(&stream) else { return Ok(()) };
        if at.whole || !end {
            return self.broken_stream(stream, code::PROTOCOL_ERROR, events);
        }
        at.whole = true;
        events.push(Event::Data { stream, data: Bytes::new(), end: true });
        Ok(())
    }

    /// What a block says; `None` if it is no request. One that was seen before, while the table was the same, needs
    /// no decoding.
    fn meaning(&mut self, block: &[u8]) -> Result<Option<Arc<T>>, Broken> {
        let before = self.decoder.changes();
        let known = self.known.iter().find(|known| known.changes == before && known.block == block);
        if let Some(known) = known {
            return Ok(Some(known.head.clone()));
        }
        let mut reading = Reading::default();
        self.decoder
            .decode(block, |name, value| reading.header(name, value))
            .map_err(|_| incompressible())?;
        let Some(request) = reading.request() else { return Ok(None) };
        let head = Arc::new((self.read_head)(request));
        if self.decoder.changes() == before {
            self.known.truncate(KNOWN_MAX - 1);
            self.known.push_front(Known { block: block.to_vec(), changes: before, head: head.clone() });
        }
        Ok(Some(head))
    }

    fn receive_reset(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        size(payload.len() == 4)?;
        self.known_stream(head.stream)?;
        if self.forget(head.stream) {
            events.push(Event::Reset { stream: head.stream });
        }
        Ok(())
    }

    fn receive_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if head.stream != 0 {
            return Err(breach("settings of a stream"));
        }
        if head.has(flag::ACK) {
            return size(payload.is_empty());
        }
        let (settings, rest) = payload.as_chunks::<6>();
        size(rest.is_empty())?;
        self.settled = true;
        for &[n0, n1, v0, v1, v2, v3] in settings {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                setting::HEADER_TABLE_SIZE => self.encoder.table_size(value),
                setting::ENABLE_PUSH if value > 1 => return Err(breach("a setting that is neither 0 nor 1")),
                setting::INITIAL_WINDOW_SIZE => self.resize_windows(value)?,
                setting::MAX_FRAME_SIZE => {
                    let value = value as usize;
                    if !(PAYLOAD_BYTES_MAX..1 << 24).contains(&value) {
                        return Err(breach("a frame size that is not allowed"));
                    }
                    // Turns of streams are of one frame, so none is larger than it need be.
                    self.payload_max = value.min(4 * PAYLOAD_BYTES_MAX);
                }
                _ => {}
            }
        }
        frame::write(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    fn resize_windows(&mut self, bytes: u32) -> Result<(), Broken> {
        if bytes > i32::MAX as u32 {
            return Err(overrun());
        }
        let change = i64::from(bytes) - self.stream_window;
        self.stream_window += change;
        let mut grown = Vec::new();
        for (&stream, at) in &mut self.streams {
            at.window += change;
            if at.window > i64::from(i32::MAX) {
                return Err(overrun());
            }
            if at.window > 0 {
                grown.push(stream);
            }
        }
        grown.into_iter().for_each(|stream| self.queue(stream));
        Ok(())
    }

    fn receive_ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        size(payload.len() == 8)?;
        if head.stream != 0 {
            return Err(breach("a ping of a stream"));
        }
        if !head.has(flag::ACK) {
            frame::write(&mut self.out, kind::PING, flag::ACK, 0, payload);
        }
        Ok(())
    }

    fn receive_window_update(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut Vec<Event<T>>,
    ) -> Result<(), Broken> {
        let octets: [u8; 4] = payload
            .try_into()
            .map_err(|_| Broken { code: code::FRAME_SIZE_ERROR, why: "a window update of a wrong length" })?;
        let more = i64::from(u32::from_be_bytes(octets) & 0x7fff_ffff);
        if head.stream == 0 {
            self.window += more;
            if more == 0 || self.window > i64::from(i32::MAX) {
                return Err(overrun());
            }
            return Ok(());
        }
        self.known_stream(head.stream)?;
        let Some(at) = self.streams.get_mut(&head.stream) else { return Ok(()) };
        at.window += more;
        if more == 0 || at.window > i64::from(i32::MAX) {
            return self.broken_stream(head.stream, code::FLOW_CONTROL_ERROR, events);
        }
        self.queue(head.stream);
        Ok(())
    }
}

fn overrun() -> Broken {
    Broken { code: code::FLOW_CONTROL_ERROR, why: "a window was overrun, or grows in a wrong way" }
}

fn incompressible() -> Broken {
    Broken { code: code::COMPRESSION_ERROR, why: "a header block that cannot be decoded" }
}

fn size(is_right: bool) -> Result<(), Broken> {
    let wrong = Broken { code: code::FRAME_SIZE_ERROR, why: "a frame of a wrong length" };
    if is_right { Ok(()) } else { Err(wrong) }
}

/// A request, header by header. RFC 9113, section 8.3.
#[derive(Default)]
struct Reading {
    method: Option<Method>,
    path: Option<Uri>,
    scheme: bool,
    headers: http::HeaderMap,
    bytes: usize,
    malformed: bool,
}

impl Reading {
    fn header(&mut self, name: &[u8], value: &[u8]) {
        self.bytes += name.len() + value.len() + 32;
        if self.malformed || self.bytes > HEADER_BYTES_MAX {
            self.malformed = true;
            return;
        }
        let read = match name {
            b":method" => set(&mut self.method, Method::from_bytes(value).ok()),
            b":path" => set(&mut self.path, Uri::try_from(value).ok()),
            b":scheme" => !std::mem::replace(&mut self.scheme, true),
            // Nothing here reads it. The Go client of etcd 3.4 names the server by a URL there.
            b":authority" => true,
            [b':', ..] => false,
            b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection" => false,
            _ => match (HeaderName::from_lowercase(name), HeaderValue::from_bytes(value)) {
                (Ok(name), Ok(value)) => self.headers.try_append(name, value).is_ok(),
                _ => false,
            },
        };
        // Those with a colon come first.
        let late = name.starts_with(b":") && !self.headers.is_empty();
        self.malformed |= !read || late;
    }

    fn request(self) -> Option<Request<()>> {
        if self.malformed || !self.scheme {
            return None;
        }
        let mut request = Request::new(());
        *request.method_mut() = self.method?;
        *request.uri_mut() = self.path?;
        *request.headers_mut() = self.headers;
        *request.version_mut() = Version::HTTP_2;
        Some(request)
    }
}

/// Sets what must be there once.
fn set<V>(place: &mut Option<V>, value: Option<V>) -> bool {
    let first = place.is_none();
    *place = value;
    first && place.is_some()
}

const _: () = assert!(CONNECTION_WINDOW_BYTES < i32::MAX as u32);
