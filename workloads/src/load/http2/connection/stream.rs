//! One call: what came of its answer so far.

use crate::load::http2::answer::Answer;

/// So much of an answer that comes in pieces is kept, to read the header from it.
const MESSAGE_HEAD_BYTES: usize = 4 << 10;
/// Octets in front of a gRPC message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// What a header block says that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) http: Option<u16>,
    pub(super) grpc: Option<u32>,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Stream<T> {
    pub(super) token: T,
    answer: Answer,
    /// Octets that the message has with its prefix; 0 until the prefix is there.
    expected: usize,
    received: usize,
    /// What of the stream's window is used up.
    pub(super) unannounced: u32,
    pub(super) meaning: Meaning,
    pub(super) bad: bool,
    /// The beginning of an answer that comes in pieces.
    pieces: Option<Vec<u8>>,
}

impl<T> Stream<T> {
    /// A call that was just sent.
    pub(super) fn new(token: T) -> Stream<T> {
        Stream {
            token,
            answer: Answer::default(),
            expected: 0,
            received: 0,
            unannounced: 0,
            meaning: Meaning::default(),
            bad: false,
            pieces: None,
        }
    }

    /// Takes a piece of the answer, which mostly is all of it.
    pub(super) fn take_data(&mut self, data: &[u8]) {
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
    pub(super) fn answer(&self) -> Answer {
        match &self.pieces {
            None => self.answer,
            Some(pieces) => {
                let message = pieces.get(PREFIX_BYTES..).unwrap_or_default();
                Answer { bytes: self.expected - PREFIX_BYTES, ..Answer::read(message) }
            }
        }
    }

    /// Whether there was exactly one message.
    pub(super) fn is_whole(&self) -> bool {
        self.expected > 0 && self.received == self.expected && !self.bad
    }
}

/// Octets of the message with its prefix, and whether it is compressed, which nobody asked for.
fn read_prefix(&[compressed, l0, l1, l2, l3]: &[u8; PREFIX_BYTES]) -> (usize, bool) {
    (u32::from_be_bytes([l0, l1, l2, l3]) as usize + PREFIX_BYTES, compressed != 0)
}
