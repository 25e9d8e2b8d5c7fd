//! HTTP/2, sans-IO: octets in, octets out. RFC 9113 and RFC 7541.
//!
//! An ordinary library gives each request a task, a map of headers and a dozen allocations, which costs several times
//! what a read of one key does. Here a header block that was seen just so before is not decoded again, and an answer
//! that fits into the windows is three frames appended to what is to be written. What is not the common case takes the
//! slow path: answers wait for windows, in turns of a frame a stream; requests come in pieces.
//!
//! [`Connection`] is the server's side. The codecs beneath it, [`frame`] and [`hpack`], serve clients as well.
//!
//! Left out: priorities, which RFC 9113 has given up, and server push.

mod connection;
pub mod frame;
pub mod hpack;
mod huffman;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use connection::{Broken, Connection, Event};

/// Codes of errors. RFC 9113, section 7.
pub mod code {
    /// None.
    pub const NO_ERROR: u32 = 0;
    /// The rules were broken.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// This side failed.
    pub const INTERNAL_ERROR: u32 = 2;
    /// More was sent than there was room for.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// A frame on a stream that is over.
    pub const STREAM_CLOSED: u32 = 5;
    /// A frame of a size that is not allowed.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// Nothing was done for a request: it may be sent again.
    pub const REFUSED_STREAM: u32 = 7;
    /// A header block that cannot be decoded.
    pub const COMPRESSION_ERROR: u32 = 9;
    /// Too much of something.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Feeds a connection whatever bytes, and answers whatever it asks; for fuzzing. What the bytes mean is of no
/// concern, only that nothing panics and that nothing grows without bound.
///
/// # Panics
/// If more is held than a client may have under way.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let (&cut, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut connection = Connection::new(|request: http::Request<()>| request.uri().path().len());
    let mut events = Vec::new();
    for piece in rest.chunks(usize::from(cut).max(1)) {
        if connection.receive(piece, &mut events).is_err() {
            break;
        }
        for event in events.drain(..) {
            match event {
                Event::Head { stream, head, end } if end => connection.answer(stream, &vec![0; *head * 900]),
                Event::Head { stream, head, .. } if *head == 1 => {
                    connection.reset(stream, code::INTERNAL_ERROR)
                }
                Event::Head { .. } | Event::Reset { .. } => {}
                Event::Data { stream, data, end } => {
                    connection.consumed(stream, data.len());
                    if end {
                        connection.head(stream, 200, &http::HeaderMap::new(), false);
                        connection.data(stream, data);
                        connection.end(stream, None);
                    }
                }
            }
        }
        connection.send_pending(1 << 16, |_| {});
        assert!(connection.to_write().len() <= 8 << 20, "much is to be written");
        connection.written(connection.to_write().len());
    }
}
