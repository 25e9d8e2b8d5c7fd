//! Calls on their way out.

use super::{
    state::{Connection, Waiting},
    stream::{PREFIX_BYTES, Stream},
};
use crate::load::http2::{
    Method,
    frame::{self, Head, flag, kind},
};

/// Stream ids from here on are not used: the connection is given up before they run out.
const STREAM_ID_MAX: u32 = 0x7fff_0000;

impl<T> Connection<T> {
    /// Sends a call.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn send(&mut self, token: T, method: Method, message: &[u8]) {
        assert!(self.has_room(), "{} calls are under way, {} may be", self.open, self.streams_max);
        let stream = self.next_id();
        self.streams.push_back(Some(Stream::new(token)));
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
    pub(super) fn send_waiting(&mut self) {
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
}

fn write_prefix(out: &mut Vec<u8>, length: usize) {
    out.push(0);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}
