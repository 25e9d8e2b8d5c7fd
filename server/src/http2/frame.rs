//! HTTP/2 frames: the nine octets in front of each, and the frames that either side writes.
//! Source: RFC 9113, sections 4.1 and 6.

/// Octets of a frame's header.
pub const HEAD_BYTES: usize = 9;
/// The largest payload that either side may send unless told otherwise.
pub const PAYLOAD_BYTES_MAX: usize = 16_384;
/// What a client sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The window that every stream and connection begins with, in bytes.
pub const WINDOW_BYTES_DEFAULT: i64 = 65_535;

/// Types of frames.
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Names of settings.
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// What stands in front of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Octets of the payload.
    pub length: usize,
    /// One of [`kind`], or one that is to be ignored.
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// Reads one; the reserved bit is ignored.
    pub fn read(octets: &[u8; HEAD_BYTES]) -> Head {
        Head {
            length: usize::from(octets[0]) << 16 | usize::from(octets[1]) << 8 | usize::from(octets[2]),
            kind: octets[3],
            flags: octets[4],
            stream: u32::from_be_bytes([octets[5] & 0x7f, octets[6], octets[7], octets[8]]),
        }
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        let stream = self.stream.to_be_bytes();
        out.extend_from_slice(&[
            length[1], length[2], length[3], self.kind, self.flags, stream[0], stream[1], stream[2],
            stream[3],
        ]);
    }

    /// Whether it bears a flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame whose payload is at hand.
pub fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    Head { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// Appends a SETTINGS frame.
pub fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    Head { length: 6 * settings.len(), kind: kind::SETTINGS, flags: 0, stream: 0 }.write(out);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends a WINDOW_UPDATE frame; nothing for 0, which would be an error.
pub fn write_window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    if bytes > 0 {
        write(out, kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }
}

/// The payload of a padded frame without its padding; `None` when there is more padding than payload.
pub fn without_padding(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(flag::PADDED) {
        return Some(payload);
    }
    let (&padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(padding))?)
}

/// The header block in a HEADERS frame, without padding and the priority before it; `None` when it is cut off.
pub fn header_block(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let priority = if head.has(flag::PRIORITY) { 5 } else { 0 };
    without_padding(head, payload)?.get(priority..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head { length: 70_000, kind: kind::DATA, flags: flag::END_STREAM, stream: 0x7fff_ffff };
        let mut out = Vec::new();
        head.write(&mut out);
        let octets: [u8; HEAD_BYTES] = out.try_into().expect("nine octets");
        assert_eq!(Head::read(&octets), head);
    }

    #[test]
    fn padding_is_taken_off_and_too_much_of_it_is_an_error() {
        let head = Head { length: 5, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(without_padding(head, &[2, 7, 8, 0, 0]), Some(&[7, 8][..]));
        assert_eq!(without_padding(head, &[5, 7, 8, 0, 0]), None);
        assert_eq!(without_padding(head, &[]), None);
        assert_eq!(without_padding(Head { flags: 0, ..head }, &[2, 7]), Some(&[2, 7][..]));
    }
}
