//! A raw HTTP/2 client for unary gRPC calls, sans-IO: bytes in, bytes out.
//!
//! An ordinary client costs 10 to 120 µs of CPU for every call, which on a shared machine is a good part of what
//! the server has. This one appends a request to the bytes to be written (six octets of headers and the message)
//! and reads an answer without allocating. What is not the common case takes the slow path: every header block
//! that was not seen just so before is decoded in full, a message that a window has no room for waits, answers
//! that come in pieces are put together.
//!
//! Left out: server push, which is refused, and streams of messages.
mod answer;
mod connection;
#[cfg(test)]
mod tests;

use server::http2::{frame, hpack};

pub use answer::{Answer, Failure};
pub use connection::{Broken, Connection, Peer};

/// The calls that the engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Writes a key.
    Put,
    /// Reads keys.
    Range,
    /// Compares, then reads and writes.
    Txn,
    /// Deletes keys.
    DeleteRange,
    /// Makes a lease.
    LeaseGrant,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 5] =
        [Method::Put, Method::Range, Method::Txn, Method::DeleteRange, Method::LeaseGrant];

    /// Its path in a request.
    pub fn path(self) -> &'static str {
        match self {
            Method::Put => "/etcdserverpb.KV/Put",
            Method::Range => "/etcdserverpb.KV/Range",
            Method::Txn => "/etcdserverpb.KV/Txn",
            Method::DeleteRange => "/etcdserverpb.KV/DeleteRange",
            Method::LeaseGrant => "/etcdserverpb.Lease/LeaseGrant",
        }
    }
}

/// Feeds a connection whatever bytes; for fuzzing. What they mean is of no concern, only that nothing panics.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    // The first octet tells how many requests are under way, the second how the rest is cut.
    let (&requests, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let (&cut, rest) = rest.split_first().unwrap_or((&0, &[]));
    let mut connection = Connection::new(&Peer::plain("localhost:2379"));
    for token in 0..u32::from(requests % 8) {
        connection.send(
            token,
            Method::ALL[token as usize % Method::ALL.len()],
            &[0; 20_000][..usize::from(cut) * 70],
        );
    }
    let mut answered = 0;
    for piece in rest.chunks(usize::from(cut).max(1)) {
        if connection.receive(piece, |_, _| answered += 1).is_err() {
            break;
        }
    }
    connection.fail_all(|_| answered += 1);
    assert_eq!(answered, u32::from(requests % 8), "every request has one outcome");
}
