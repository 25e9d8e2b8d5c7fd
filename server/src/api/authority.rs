//! Takes in what old etcd clients send for `:authority`.
//!
//! For maintenance calls the Go client of etcd 3.4 names the server by a URL, `http://127.0.0.1:2379`. That
//! is no authority by RFC 9110, and the HTTP/2 library resets the stream. Nothing here reads the authority,
//! so before the library sees the first request's headers, every character of a URL that an authority must
//! not have is replaced. The text keeps its length: both sides' header tables (RFC 7541, section 4.1) stay
//! equal, and later requests of the connection name the replaced text by its place in the table.
//!
//! Left out: a first request whose headers are padded, or continue in another frame, or spell the authority
//! with unusual characters. It stays as it is.

use bytes::{Buf, BytesMut};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client says first on an HTTP/2 connection. RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// The largest frame that a client may send before it is told otherwise.
const FRAME_BYTES_MAX: usize = 16_384;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// A socket whose first request has a valid authority.
#[derive(Debug)]
pub(super) struct Lenient<S> {
    socket: S,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    /// What was read and not yet passed on; its first `clear` bytes may go.
    Start { held: BytesMut, clear: usize, looking: Looking },
    /// Whatever comes is passed on.
    Rest,
}

/// What the bytes after the clear ones are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looking {
    /// So many bytes of the preface have been seen.
    Preface(usize),
    /// A frame's head.
    Head,
    /// The payload of a frame that is passed on, of which so many bytes are to come.
    Payload(usize),
    /// Nothing needs to be looked at any more.
    Done,
}

impl<S> Lenient<S> {
    pub(super) fn new(socket: S) -> Lenient<S> {
        let reading = Reading::Start { held: BytesMut::new(), clear: 0, looking: Looking::Preface(0) };
        Lenient { socket, reading }
    }
}

/// Finds out how much of `held` may go, beyond the first `clear` bytes, and amends the first HEADERS frame
/// once it is whole.
fn look(held: &mut BytesMut, clear: &mut usize, mut looking: Looking) -> Looking {
    loop {
        let fresh = &held[*clear..];
        looking = match looking {
            Looking::Preface(seen) => {
                let compared = fresh.len().min(PREFACE.len() - seen);
                if fresh[..compared] != PREFACE[seen..seen + compared] {
                    Looking::Done
                } else if seen + compared < PREFACE.len() {
                    *clear += compared;
                    return Looking::Preface(seen + compared);
                } else {
                    *clear += compared;
                    Looking::Head
                }
            }
            Looking::Payload(left) => {
                let passed = fresh.len().min(left);
                *clear += passed;
                if passed < left {
                    return Looking::Payload(left - passed);
                }
                Looking::Head
            }
            Looking::Head => {
                let Some(head) = fresh.first_chunk::<FRAME_HEAD_BYTES>() else { return Looking::Head };
                let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if head[3] != HEADERS {
                    Looking::Payload(FRAME_HEAD_BYTES + len)
                } else if len > FRAME_BYTES_MAX {
                    Looking::Done
                } else if fresh.len() < FRAME_HEAD_BYTES + len {
                    return Looking::Head;
                } else {
                    if let Some(amended) = amend_frame(&fresh[..FRAME_HEAD_BYTES + len]) {
                        let rest = held.split_off(*clear + FRAME_HEAD_BYTES + len);
                        held.truncate(*clear);
                        held.extend_from_slice(&amended);
                        held.unsplit(rest);
                    }
                    Looking::Done
                }
            }
            Looking::Done => {
                *clear = held.len();
                return Looking::Done;
            }
        };
    }
}

/// Looks at whatever bytes, as they come in pieces of any size; for fuzzing.
///
/// # Panics
/// If more may go than there is.
pub(crate) fn fuzz(bytes: &[u8]) {
    for piece in [1, 9, 4096] {
        let (mut held, mut clear, mut looking) = (BytesMut::new(), 0, Looking::Preface(0));
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            looking = look(&mut held, &mut clear, looking);
            assert!(clear <= held.len(), "{clear} of {} bytes", held.len());
        }
    }
}

/// A HEADERS frame with its authority amended; `None` if there is nothing to amend.
fn amend_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let flags = head[4];
    if flags & PADDED != 0 {
        return None;
    }
    let (priority, block) = payload.split_at_checked(if flags & PRIORITY == 0 { 0 } else { 5 })?;
    let block = amend_block(block)?;
    let len = priority.len() + block.len();
    if len > FRAME_BYTES_MAX {
        return None;
    }
    let len = u32::try_from(len).ok()?.to_be_bytes();
    Some([&len[1..], &head[3..], priority, &block].concat())
}

/// A header block with the first literal `:authority` amended. RFC 7541, section 6.
fn amend_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut rest = block;
    while let Some(&first) = rest.first() {
        // Indexed field, size of the table, or a literal with so many bits for the index of its name.
        let (literal, prefix_bits) = match first {
            0x80.. => (false, 7),
            0x40.. => (true, 6),
            0x20.. => (false, 5),
            _ => (true, 4),
        };
        let index = take_integer(&mut rest, prefix_bits)?;
        if !literal {
            continue;
        }
        if index == 0 {
            take_string(&mut rest)?;
        }
        let value_at = block.len() - rest.len();
        let (huffman, value) = take_string(&mut rest)?;
        // Its place in the table that both sides know from the start.
        if index == 1 {
            let text = if huffman { decode_huffman(value)? } else { value.to_vec() };
            let amended = amend(text)?;
            let mut len = Vec::new();
            put_integer(&mut len, 7, amended.len());
            return Some([&block[..value_at], &len, &amended, rest].concat());
        }
    }
    None
}

/// The text without what only a URL may have; `None` if it is no URL.
fn amend(mut text: Vec<u8>) -> Option<Vec<u8>> {
    if !text.windows(3).any(|three| three == b"://") {
        return None;
    }
    for byte in &mut text {
        if !byte.is_ascii_alphanumeric() && *byte != b'.' {
            *byte = b'-';
        }
    }
    Some(text)
}

/// RFC 7541, section 5.1.
fn take_integer(bytes: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let mask = (1_u8 << prefix_bits) - 1;
    let mut value = usize::from(bytes.first()? & mask);
    bytes.advance(1);
    if value < usize::from(mask) {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *bytes.first()?;
        bytes.advance(1);
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541, section 5.1; the bits before the prefix are 0.
fn put_integer(bytes: &mut Vec<u8>, prefix_bits: u32, value: usize) {
    let mask = (1 << prefix_bits) - 1;
    if value < mask {
        bytes.push(value as u8);
        return;
    }
    bytes.push(mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

/// A string, and whether it is Huffman-coded. RFC 7541, section 5.2.
fn take_string<'a>(bytes: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let huffman = bytes.first()? & 0x80 != 0;
    let len = take_integer(bytes, 7)?;
    let (string, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some((huffman, string))
}

/// The characters whose codes have so many bits, in the order of their codes, which count up. RFC 7541,
/// appendix B; longer codes do not occur in URLs.
const CODES: [(u32, &[u8]); 10] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
];

/// Decodes a string of common characters. RFC 7541, section 5.2.
fn decode_huffman(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    loop {
        let (mut code, mut taken, mut first) = (0, 0, 0);
        let symbol = CODES.iter().find_map(|&(length, symbols)| {
            first <<= length - taken;
            while taken < length {
                // Past the end comes the padding, which is ones.
                code = code << 1 | bits.next().unwrap_or(1);
                taken += 1;
            }
            let place = code - first;
            first += symbols.len() as u32;
            symbols.get(place as usize)
        });
        match symbol {
            Some(&symbol) => text.push(symbol),
            // No symbol has ones only: the end was reached within the padding.
            None if code == (1 << taken) - 1 && bits.next().is_none() => return Some(text),
            None => return None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let Reading::Start { held, clear, looking } = &mut this.reading else {
                return Pin::new(&mut this.socket).poll_read(cx, buf);
            };
            if *clear > 0 {
                let passed = buf.remaining().min(*clear);
                buf.put_slice(&held[..passed]);
                held.advance(passed);
                *clear -= passed;
                return Poll::Ready(Ok(()));
            }
            if *looking == Looking::Done && held.is_empty() {
                this.reading = Reading::Rest;
                continue;
            }
            let mut space = [0; 4096];
            let mut space = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut space))?;
            if space.filled().is_empty() {
                // The end, maybe within a frame: that is for the library to judge.
                *looking = Looking::Done;
            }
            held.extend_from_slice(space.filled());
            *looking = look(held, clear, *looking);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// `:authority` as a literal that is to be remembered, with its value in plain or Huffman code.
    fn block(value: &[u8], huffman: bool) -> Vec<u8> {
        let flag = if huffman { 0x80 } else { 0 };
        [&[0x83, 0x86, 0x41, value.len() as u8 | flag], value, &[0x0f, 0x0d, 0x01, b'7']].concat()
    }

    #[test]
    fn huffman_codes_are_those_of_the_standard() {
        // RFC 7541, appendix C.4 and C.6.
        for (coded, want) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], &b"www.example.com"[..]),
            (b"\xa8\xeb\x10\x64\x9c\xbf", b"no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", b"custom-key"),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
                b"Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                b"https://www.example.com",
            ),
            (b"", b""),
        ] {
            assert_eq!(decode_huffman(coded).as_deref(), Some(want));
        }
        assert_eq!(decode_huffman(b"\xff\xff\xff\xff"), None, "padding longer than a code");
    }

    #[test]
    fn only_an_authority_that_is_a_url_is_amended() {
        // As etcdctl 3.4.23 sends it for http://127.0.0.1:20669.
        let url = b"\x9d\x29\xae\xe3\x0c\x04\x4e\xae\x05\xc0\xb8\x6e\x34\xe3\x8f\x3f";
        let decoded = decode_huffman(url).expect("common characters");
        assert!(decoded.starts_with(b"http://127.0.0.1:"), "{decoded:?}");
        let amended = amend_block(&block(url, true)).expect("a URL");
        let text = [b"http---127.0.0.1-", &decoded[17..]].concat();
        assert_eq!(amended, block(&text, false));
        assert_eq!(text.len(), decoded.len(), "tables stay equal");
        assert_eq!(amend_block(&block(b"unix://a", false)), Some(block(b"unix---a", false)));
        for good in [&b"127.0.0.1:2379"[..], b"localhost", b"", b"[::1]:2379"] {
            assert_eq!(amend_block(&block(good, false)), None, "{good:?}");
        }
        for cut in 0..block(url, true).len() - 4 {
            assert_eq!(amend_block(&block(url, true)[..cut]), None, "cut off at {cut}");
        }
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Everything that comes out of a socket which yields at most `piece` bytes at a time.
    async fn read_all(input: &[u8], piece: usize) -> Vec<u8> {
        let (mut client, socket) = tokio::io::duplex(piece);
        let mut socket = Lenient::new(socket);
        let mut output = Vec::new();
        let write = async {
            client.write_all(input).await.expect("memory takes it");
            client.shutdown().await.expect("memory ends");
        };
        let (read, ()) = tokio::join!(socket.read_to_end(&mut output), write);
        read.expect("memory can be read");
        output
    }

    #[tokio::test]
    async fn all_else_passes_as_it_came_however_it_is_cut() {
        let url = block(b"http://127.0.0.1:2379", false);
        let valid = block(b"http---127.0.0.1-2379", false);
        let settings = frame(4, 0, &[0; 12]);
        let data = frame(0, 1, b"\0\0\0\0\x02ab");
        let start = [PREFACE, &settings].concat();
        let priority = [&[0, 0, 0, 0, 16][..], &url].concat();
        let priority_valid = [&[0, 0, 0, 0, 16][..], &valid].concat();
        for (why, input, want) in [
            ("HTTP/1.1", b"POST /v3/kv/put HTTP/1.1\r\n\r\n{}".to_vec(), None),
            ("almost HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSX".to_vec(), None),
            ("an empty stream", vec![], None),
            ("a preface that ends", b"PRI * HT".to_vec(), None),
            ("a frame that ends", [&start[..], &frame(HEADERS, 4, &url)[..20]].concat(), None),
            ("no headers", [&start[..], &data].concat(), None),
            ("a padded frame", [&start[..], &frame(HEADERS, 4 | PADDED, &url)].concat(), None),
            (
                "a URL",
                [&start[..], &frame(HEADERS, 4, &url), &data, &frame(HEADERS, 4, &url)].concat(),
                Some([&start[..], &frame(HEADERS, 4, &valid), &data, &frame(HEADERS, 4, &url)].concat()),
            ),
            (
                "a URL behind a priority",
                [&start[..], &frame(HEADERS, 4 | PRIORITY, &priority), &data].concat(),
                Some([&start[..], &frame(HEADERS, 4 | PRIORITY, &priority_valid), &data].concat()),
            ),
        ] {
            let want = want.unwrap_or_else(|| input.clone());
            for piece in [1, 2, 7, 24, 33, 40, 64, 10_000] {
                assert_eq!(read_all(&input, piece).await, want, "{why}, in pieces of {piece}");
            }
        }
    }
}
