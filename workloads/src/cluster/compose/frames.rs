//! What a container writes, as the engine sends it: in frames of standard output and standard error.

/// Takes frames apart. A frame is a byte for the stream, three zeros, a length as a big-endian 32-bit number,
/// and so many bytes; where one frame ends and the next begins has nothing to do with how the bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    left: usize,
}

impl Frames {
    /// The text in `bytes`, of both streams in the order in which they came.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        const HEADER: usize = 8;
        let mut text = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                text.extend_from_slice(now);
                self.left -= now.len();
                bytes = later;
                continue;
            }
            let (now, later) = bytes.split_at((HEADER - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(now);
            bytes = later;
            if let [_, _, _, _, length @ ..] = self.header.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.left = u32::from_be_bytes(length) as usize;
                self.header.clear();
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_however_they_arrive() {
        let mut sent = vec![1, 0, 0, 0, 0, 0, 0, 6];
        sent.extend(b"hello\n");
        sent.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        sent.extend([2, 0, 0, 0, 0, 0, 1, 0]);
        sent.extend([b'x'; 256]);
        let wanted = [b"hello\n".to_vec(), vec![b'x'; 256]].concat();
        for size in [1, 3, 7, 8, 9, 100, sent.len()] {
            let mut frames = Frames::default();
            let text: Vec<u8> = sent.chunks(size).flat_map(|chunk| frames.take(chunk)).collect();
            assert_eq!(text, wanted, "in chunks of {size}");
        }
    }
}
