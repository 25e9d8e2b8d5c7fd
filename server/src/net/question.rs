//! Questions between members, and of those who want to join: a connection each, one question, one answer.
//!
//! What questions and answers say is a matter of the layers above.

use super::{
    Party, Receiver, Settings,
    frame::{self, Frame, FrameError, FrameReader},
    handshake::{self, Purpose},
    socket::{self, Address},
    stream::PeerStream,
};
use bytes::Bytes;
use raft::types::NodeId;
use std::{
    io::{self, Write},
    time::Duration,
};

/// Hashing a large store takes a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks whoever listens at `address`: member `to`, or, as one who belongs to no cluster yet,
/// anybody. Waits for the answer, for at most 30 seconds.
///
/// # Errors
/// The connection's, and what the other side says against it.
pub fn ask(address: &Address, settings: &Settings, to: Option<NodeId>, question: Bytes) -> io::Result<Bytes> {
    let mut stream = socket::connect(address, settings).map_err(io::Error::other)?;
    let called = match to {
        Some(to) => handshake::call(&mut stream, settings.own, to, Purpose::Question),
        None => handshake::call_as_stranger(&mut stream),
    };
    called.map_err(io::Error::other)?;
    stream.socket().set_read_timeout(Some(PATIENCE))?;
    let mut out = Vec::new();
    frame::put(&mut out, &Frame::Question(question));
    stream.write_all(&out)?;
    let Party { node: own, .. } = settings.own;
    match FrameReader::new(stream, to.unwrap_or(own), own).frame().map_err(io::Error::other)? {
        Frame::Answer(answer) => Ok(answer),
        _ => Err(io::Error::other(FrameError::OutOfPlace)),
    }
}

/// Serves a connection on which `from`, or a stranger, asks.
pub fn serve(
    mut reader: FrameReader<PeerStream>,
    from: Option<NodeId>,
    receiver: &dyn Receiver,
) -> Result<(), FrameError> {
    let Frame::Question(question) = reader.frame()? else { return Err(FrameError::OutOfPlace) };
    let mut out = Vec::new();
    frame::put(&mut out, &Frame::Answer(receiver.question(from, question)));
    reader.get_mut().write_all(&out)?;
    Ok(())
}
