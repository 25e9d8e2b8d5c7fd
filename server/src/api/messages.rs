//! The messages in the body of a call that streams.

/// Finds where messages end: before each stand a flag and, in four bytes, its length. Source: gRPC over HTTP/2.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The bytes before a message, as far as they have come.
    head: [u8; 5],
    head_len: usize,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Messages {
    /// Takes note of the next bytes: how many messages end in them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.head_len < self.head.len() {
                let taken = bytes.len().min(self.head.len() - self.head_len);
                self.head[self.head_len..][..taken].copy_from_slice(&bytes[..taken]);
                self.head_len += taken;
                bytes = &bytes[taken..];
                let [_, a, b, c, d] = self.head;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            } else {
                let taken = bytes.len().min(self.left);
                self.left -= taken;
                bytes = &bytes[taken..];
            }
            if self.head_len == self.head.len() && self.left == 0 {
                self.head_len = 0;
                ended += 1;
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let stream =
            [&b"\0\0\0\0\x03abc"[..], b"\0\0\0\0\0", b"\x01\0\0\x01\0", &[7; 256], b"\0\0\0\0\x02a"].concat();
        for piece in [1, 2, 3, 5, 8, 13, 100, 1000] {
            let mut messages = Messages::default();
            let ended: u64 = stream.chunks(piece).map(|bytes| messages.pass(bytes)).sum();
            assert_eq!(ended, 3, "in pieces of {piece}");
            assert_eq!(messages.pass(b"b"), 1, "the last byte of the last one");
        }
    }
}
