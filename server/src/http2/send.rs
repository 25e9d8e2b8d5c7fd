//! Answers.

use super::{
    code,
    connection::Connection,
    frame::{self, Head, flag, kind},
};
use bytes::Bytes;
use http::{HeaderMap, header};

/// Headers that mean something to a connection of HTTP/1 only. RFC 9113, section 8.2.2.
const OF_HTTP1: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

impl<T> Connection<T> {
    /// A whole answer of gRPC: a message with its prefix, and the status that all is well.
    pub fn answer(&mut self, stream: u32, message: &[u8]) {
        let Some(at) = self.streams.get_mut(&stream) else { return };
        let fits = at.pending.is_empty()
            && message.len() <= self.payload_max
            && message.len() as i64 <= at.window.min(self.window);
        self.block(stream, false, |encoder, out| {
            encoder.header(out, b":status", b"200", true);
            encoder.header(out, b"content-type", b"application/grpc", true);
        });
        if fits {
            self.window -= message.len() as i64;
            frame::write(&mut self.out, kind::DATA, 0, stream, message);
            self.trailers_of_success(stream);
            self.finished(stream);
        } else {
            self.data(stream, Bytes::copy_from_slice(message));
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", header::HeaderValue::from_static("0"));
            self.end(stream, Some(trailers));
        }
    }

    fn trailers_of_success(&mut self, stream: u32) {
        self.block(stream, true, |encoder, out| {
            encoder.header(out, b"grpc-status", b"0", true);
        });
    }

    /// The head of an answer; with `end` it is all of it.
    pub fn head(&mut self, stream: u32, status: u16, headers: &HeaderMap, end: bool) {
        if !self.streams.contains_key(&stream) {
            return;
        }
        self.block(stream, end, |encoder, out| {
            encoder.header(out, b":status", status.to_string().as_bytes(), false);
            for (name, value) in headers.iter().filter(|(name, _)| !OF_HTTP1.contains(&name.as_str())) {
                let keep = name == header::CONTENT_TYPE;
                encoder.header(out, name.as_str().as_bytes(), value.as_bytes(), keep);
            }
        });
        if end {
            self.finished(stream);
        }
    }

    /// A part of an answer's body, after its head. It is sent when there is room for it.
    pub fn data(&mut self, stream: u32, data: Bytes) {
        let Some(at) = self.streams.get_mut(&stream) else { return };
        // Nothing to send, but somebody waits for it to be sent.
        self.waiting += data.len();
        at.pending.push_back(data);
        self.queue(stream);
    }

    /// The end of an answer, after what is to be sent before it.
    pub fn end(&mut self, stream: u32, trailers: Option<HeaderMap>) {
        let Some(at) = self.streams.get_mut(&stream) else { return };
        at.end = Some(trailers);
        self.queue(stream);
    }

    pub(super) fn queue(&mut self, stream: u32) {
        let Some(at) = self.streams.get_mut(&stream) else { return };
        if !at.queued && (at.end.is_some() || !at.pending.is_empty()) {
            at.queued = true;
            self.sendable.push_back(stream);
        }
    }

    /// Writes what the windows have room for, in turns, until `out_max` octets are to be written; tells of each part
    /// of a body that went.
    pub fn send_pending(&mut self, out_max: usize, mut sent: impl FnMut(u32)) {
        // Streams that have to wait for the connection's window keep their places.
        let mut blocked = 0;
        while self.to_write().len() < out_max && blocked < self.sendable.len() {
            let Some(stream) = self.sendable.pop_front() else { return };
            let Some(at) = self.streams.get_mut(&stream) else { continue };
            at.queued = false;
            if let Some(data) = at.pending.front_mut() {
                let room = at.window.min(self.window).clamp(0, self.payload_max as i64) as usize;
                let octets = data.len().min(room);
                if octets == 0 && !data.is_empty() {
                    // Room in its own window queues it again.
                    if at.window > 0 {
                        at.queued = true;
                        self.sendable.push_back(stream);
                        blocked += 1;
                    }
                    continue;
                }
                let part = data.split_to(octets);
                if data.is_empty() {
                    at.pending.pop_front();
                    sent(stream);
                }
                self.waiting -= octets;
                (at.window, self.window) = (at.window - octets as i64, self.window - octets as i64);
                let last = at.pending.is_empty() && matches!(at.end, Some(None));
                if octets > 0 || last {
                    let flags = if last { flag::END_STREAM } else { 0 };
                    frame::write(&mut self.out, kind::DATA, flags, stream, &part);
                }
                if last {
                    self.finished(stream);
                } else {
                    self.queue(stream);
                }
            } else if let Some(end) = at.end.take() {
                match end {
                    None => frame::write(&mut self.out, kind::DATA, flag::END_STREAM, stream, &[]),
                    Some(trailers) => self.block(stream, true, |encoder, out| {
                        for (name, value) in &trailers {
                            let keep = value == "0";
                            encoder.header(out, name.as_str().as_bytes(), value.as_bytes(), keep);
                        }
                    }),
                }
                self.finished(stream);
            }
            blocked = 0;
        }
    }

    /// The answer is whole. A client that is still sending is told that nobody listens.
    fn finished(&mut self, stream: u32) {
        let whole = self.streams.get(&stream).is_none_or(|at| at.whole);
        if whole { _ = self.forget(stream) } else { self.reset(stream, code::NO_ERROR) }
    }

    /// Writes a header block, in as many frames as it takes.
    fn block(
        &mut self,
        stream: u32,
        end: bool,
        headers: impl FnOnce(&mut super::hpack::Encoder, &mut Vec<u8>),
    ) {
        let end = if end { flag::END_STREAM } else { 0 };
        let start = self.out.len();
        let head = Head { length: 0, kind: kind::HEADERS, flags: flag::END_HEADERS | end, stream };
        head.write(&mut self.out);
        let block = self.out.len();
        self.encoder.begin(&mut self.out);
        headers(&mut self.encoder, &mut self.out);
        let length = self.out.len() - block;
        if length <= self.payload_max {
            self.out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
            return;
        }
        // A status with a very long text.
        let whole = self.out.split_off(block);
        self.out.truncate(start);
        let mut parts = whole.chunks(self.payload_max).peekable();
        let mut first = true;
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
            let (kind, flags) = if first { (kind::HEADERS, end | last) } else { (kind::CONTINUATION, last) };
            frame::write(&mut self.out, kind, flags, stream, part);
            first = false;
        }
    }
}
