//! What a connection is, and what is asked of it beside sending and receiving.

use super::{
    Peer,
    stream::{Meaning, Stream},
};
use crate::load::http2::{
    Method,
    frame::{self, PAYLOAD_BYTES_MAX, WINDOW_BYTES_DEFAULT, kind, setting},
    hpack::{Decoder, Encoder},
};
use std::collections::VecDeque;

/// What the server may send on one stream before it hears that more is welcome, in bytes.
pub(super) const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// The same for the whole connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// Payload of a reset of a call that is not wanted any more. Source: section 7.
pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A message that waits for room in a window.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: u32,
    pub(super) window: i64,
    pub(super) data: Vec<u8>,
    pub(super) at: usize,
}

/// A header block that goes on in another frame.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) block: Vec<u8>,
}

/// A header block that was decoded before.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) block: Vec<u8>,
    pub(super) changes: u64,
    pub(super) meaning: Meaning,
}

/// One connection; `T` is what the caller wants back with the outcome of a call.
#[derive(Debug)]
pub struct Connection<T> {
    pub(super) peer: Peer,
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    pub(super) tail: Vec<u8>,
    pub(super) encoder: Encoder,
    pub(super) blocks: [Vec<u8>; Method::ALL.len()],
    pub(super) decoder: Decoder,
    pub(super) remembered: VecDeque<Remembered>,
    pub(super) unfinished: Option<Unfinished>,
    /// Calls by stream, from `first` on; those that are over are `None`.
    pub(super) streams: VecDeque<Option<Stream<T>>>,
    pub(super) first: u32,
    pub(super) open: usize,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) window: i64,
    pub(super) stream_window: i64,
    pub(super) payload_max: usize,
    pub(super) streams_max: usize,
    pub(super) unannounced: u32,
    pub(super) settled: bool,
    pub(super) leaving: bool,
    pub(super) last_error: Option<String>,
}

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

    pub(super) fn next_id(&self) -> u32 {
        self.first + 2 * u32::try_from(self.streams.len()).unwrap_or(u32::MAX / 4)
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
