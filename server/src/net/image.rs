//! State images between members: a connection of its own each, so that they never delay a heartbeat.
//!
//! The sender streams the chunks, framed by the raft message that names the image and an end; the receiver
//! stores the image durably, hands the message to its raft, and says that it has.

use super::{
    Receiver, Settings,
    frame::{self, Frame, FrameError, FrameReader},
    handshake::{self, Purpose},
    socket::{self, Address},
    stream::PeerStream,
};
use crate::replica::peer::PeerMessage;
use raft::{
    message::{Body, Message},
    types::NodeId,
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// A pause within a transfer, and the time a receiver may take to flush an image, at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads an image, chunk by chunk.
pub trait ImageSource: Send + 'static {
    /// The next chunk; `None` after the last one.
    ///
    /// # Errors
    /// The image cannot be read: the transfer is given up.
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>>;
}

/// Stores an image, chunk by chunk. Dropped before `finish`, it leaves nothing.
pub trait ImageSink {
    /// Takes a chunk.
    ///
    /// # Errors
    /// The image cannot be stored: the transfer is given up.
    fn chunk(&mut self, chunk: &[u8]) -> io::Result<()>;

    /// Makes the image durable.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Sends an image to the receiver of `message`, an `InstallSnapshot`, then the message. `Ok` once the
/// receiver has stored it.
pub fn send(
    address: &Address,
    settings: &Settings,
    message: &Message,
    source: &mut dyn ImageSource,
) -> io::Result<()> {
    let mut stream = socket::connect(address, settings).map_err(io::Error::other)?;
    let own = settings.own;
    handshake::call(&mut stream, own, message.to, Purpose::Image).map_err(io::Error::other)?;
    stream.socket().set_read_timeout(Some(PATIENCE))?;
    let mut out = Vec::new();
    frame::put(&mut out, &Frame::ImageBegin(message.clone()));
    while let Some(chunk) = source.chunk()? {
        frame::put(&mut out, &Frame::ImageChunk(chunk.into()));
        stream.write_all(&out)?;
        out.clear();
    }
    frame::put(&mut out, &Frame::ImageEnd);
    stream.write_all(&out)?;
    let mut reader = FrameReader::new(stream, message.to, own.node);
    match reader.frame().map_err(io::Error::other)? {
        Frame::ImageStored(true) => Ok(()),
        Frame::ImageStored(false) => Err(io::Error::other("the receiver could not store it")),
        _ => Err(io::Error::other(FrameError::OutOfPlace)),
    }
}

/// Serves a connection on which `caller` sends an image.
pub fn receive(
    mut reader: FrameReader<PeerStream>,
    caller: NodeId,
    receiver: &dyn Receiver,
) -> Result<(), FrameError> {
    reader.get_ref().socket().set_read_timeout(Some(PATIENCE))?;
    let Frame::ImageBegin(message) = reader.frame()? else { return Err(FrameError::OutOfPlace) };
    let Body::InstallSnapshot { meta } = &message.body else { return Err(FrameError::OutOfPlace) };
    let index = meta.index;
    tracing::info!(peer = %caller, index = index.0, "receiving a snapshot image");
    let mut bytes = 0;
    let mut sink = receiver.image(caller, meta.clone());
    let stored = loop {
        match (reader.frame()?, &mut sink) {
            (Frame::ImageChunk(chunk), Ok(open)) => {
                bytes += chunk.len();
                if let Err(error) = open.chunk(&chunk) {
                    sink = Err(error);
                }
            }
            (Frame::ImageChunk(_), Err(_)) => {}
            (Frame::ImageEnd, _) => break sink.and_then(ImageSink::finish),
            _ => return Err(FrameError::OutOfPlace),
        }
    };
    match &stored {
        Ok(()) => {
            tracing::info!(peer = %caller, index = index.0, bytes, "stored a snapshot image");
            receiver.messages(caller, &mut vec![PeerMessage::Raft(message)]);
        }
        Err(error) => tracing::error!(peer = %caller, %error, "cannot store a snapshot image"),
    }
    let mut out = Vec::new();
    frame::put(&mut out, &Frame::ImageStored(stored.is_ok()));
    reader.get_mut().write_all(&out)?;
    Ok(())
}
