//! Frames from the server: answers, and what they come to.

use super::{
    Broken,
    state::{CANCEL, CONNECTION_WINDOW_BYTES, Connection, Remembered, STREAM_WINDOW_BYTES, Unfinished},
    stream::{Meaning, Stream},
};
use crate::load::http2::{
    answer::{Answer, Failure},
    frame::{self, HEAD_BYTES, Head, PAYLOAD_BYTES_MAX, flag, kind},
};

/// A window is opened again once this part of it is used up.
const REOPEN_AT: u32 = 2;
/// A header block may have so many octets.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// How many header blocks are remembered with their meaning.
const MEANINGS: usize = 8;

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
    pub(super) fn place(&self, stream: u32) -> Result<Option<usize>, Broken> {
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
        let block = frame::header_block(head, payload).ok_or(Broken("a header block that is cut off"))?;
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

    pub(super) fn end(
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
