//! Frames: what goes over a peer connection after the handshake.
//!
//! ```text
//! length u32 | crc u32 | kind u8 | payload          length and crc (CRC32C) cover kind and payload
//! ```
//! Sender and receiver of a message are those of the connection, so frames do not repeat them. Hostile
//! bytes give an error; nothing is allocated for bytes that have not come.

use crate::{
    codec::{self, DecodeError, Decoder},
    replica::peer::{PeerMessage, Refusal, Tag},
};
use bytes::{BufMut, Bytes, BytesMut};
use raft::{
    message::{Body, Message},
    types::{NodeId, SnapshotMeta},
};
use std::{
    fmt,
    io::{self, Read},
};

/// Largest frame: an append of `max_append_bytes`, or of one entry of any allowed size, is far below.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Bytes before the kind.
const HEADER_BYTES: usize = 8;
/// Read from a socket at once.
const READ_BYTES: usize = 64 << 10;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// From member to member.
    Message(PeerMessage),
    /// Are you there?
    Ping(u64),
    /// I am: the number of the ping.
    Pong(u64),
    /// An image follows; the message that it belongs to.
    ImageBegin(Message),
    /// A part of the image.
    ImageChunk(Bytes),
    /// The image is complete.
    ImageEnd,
    /// Whether the receiver has stored the image.
    ImageStored(bool),
    /// A question; what it says is a matter of the layers above.
    Question(Bytes),
    /// Its answer.
    Answer(Bytes),
}

/// Why a connection cannot go on.
#[derive(Debug)]
pub enum FrameError {
    /// The connection failed or ended.
    Io(io::Error),
    /// The other side sent what no member sends.
    Malformed(DecodeError),
    /// The checksum of a frame does not match.
    Checksum,
    /// A frame longer than allowed, or empty.
    Length(usize),
    /// A frame that has no place on this connection.
    OutOfPlace,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(error) => write!(f, "malformed frame: {error}"),
            Self::Checksum => write!(f, "the checksum of a frame does not match"),
            Self::Length(len) => write!(f, "a frame cannot have {len} bytes"),
            Self::OutOfPlace => write!(f, "a frame has no place on this connection"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        FrameError::Io(error)
    }
}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> FrameError {
        FrameError::Malformed(error)
    }
}

mod kind {
    pub const RAFT: u8 = 1;
    pub const PROPOSE: u8 = 2;
    pub const PROPOSE_REFUSED: u8 = 3;
    pub const READ_INDEX: u8 = 4;
    pub const READ_INDEXED: u8 = 5;
    pub const PING: u8 = 6;
    pub const PONG: u8 = 7;
    pub const LEASE_QUERY: u8 = 8;
    pub const LEASE_ANSWER: u8 = 9;
    pub const IMAGE_BEGIN: u8 = 16;
    pub const IMAGE_CHUNK: u8 = 17;
    pub const IMAGE_END: u8 = 18;
    pub const IMAGE_STORED: u8 = 19;
    pub const QUESTION: u8 = 24;
    pub const ANSWER: u8 = 25;
}

/// Appends a frame to `out`.
pub fn put(out: &mut Vec<u8>, frame: &Frame) {
    let start = out.len();
    out.put_u64_le(0); // length and checksum, known at the end
    match frame {
        Frame::Message(message) => put_message(out, message),
        Frame::Ping(number) => put_number(out, kind::PING, *number),
        Frame::Pong(number) => put_number(out, kind::PONG, *number),
        Frame::ImageBegin(message) => {
            out.put_u8(kind::IMAGE_BEGIN);
            put_raft(out, message);
        }
        Frame::ImageChunk(bytes) => {
            out.put_u8(kind::IMAGE_CHUNK);
            out.put_slice(bytes);
        }
        Frame::ImageEnd => out.put_u8(kind::IMAGE_END),
        Frame::ImageStored(ok) => {
            out.put_u8(kind::IMAGE_STORED);
            out.put_u8((*ok).into());
        }
        Frame::Question(bytes) => {
            out.put_u8(kind::QUESTION);
            out.put_slice(bytes);
        }
        Frame::Answer(bytes) => {
            out.put_u8(kind::ANSWER);
            out.put_slice(bytes);
        }
    }
    finish(out, start);
}

/// Appends the frame of a message to `out`.
pub fn put_peer_message(out: &mut Vec<u8>, message: &PeerMessage) {
    let start = out.len();
    out.put_u64_le(0);
    put_message(out, message);
    finish(out, start);
}

fn finish(out: &mut [u8], start: usize) {
    let content = &out[start + HEADER_BYTES..];
    let (len, crc) = (content.len() as u32, crc32c::crc32c(content));
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    out.put_u8(kind);
    out.put_u64_le(number);
}

fn put_tag(out: &mut Vec<u8>, kind: u8, tag: Tag) {
    out.put_u8(kind);
    out.put_u64_le(tag.epoch);
    out.put_u64_le(tag.number);
}

fn put_message(out: &mut Vec<u8>, message: &PeerMessage) {
    match message {
        PeerMessage::Raft(message) => {
            out.put_u8(kind::RAFT);
            put_raft(out, message);
        }
        PeerMessage::Propose { tag, term, command } => {
            put_tag(out, kind::PROPOSE, *tag);
            out.put_u64_le(term.0);
            out.put_slice(command);
        }
        PeerMessage::ProposeRefused { tag, refusal } => {
            put_tag(out, kind::PROPOSE_REFUSED, *tag);
            out.put_u8(match refusal {
                Refusal::NotLeader => 0,
                Refusal::Busy => 1,
            });
        }
        PeerMessage::ReadIndex { tag } => put_tag(out, kind::READ_INDEX, *tag),
        PeerMessage::ReadIndexed { tag, index } => {
            put_tag(out, kind::READ_INDEXED, *tag);
            out.put_u8(index.is_some().into());
            out.put_u64_le(index.map_or(0, |index| index.0));
        }
        PeerMessage::LeaseQuery { tag, query } => {
            put_tag(out, kind::LEASE_QUERY, *tag);
            out.put_slice(query);
        }
        PeerMessage::LeaseAnswer { tag, answer } => {
            put_tag(out, kind::LEASE_ANSWER, *tag);
            out.put_slice(answer);
        }
    }
}

mod body {
    pub const PRE_VOTE: u8 = 1;
    pub const PRE_VOTE_REPLY: u8 = 2;
    pub const VOTE: u8 = 3;
    pub const VOTE_REPLY: u8 = 4;
    pub const APPEND: u8 = 5;
    pub const APPENDED: u8 = 6;
    pub const APPEND_REJECTED: u8 = 7;
    pub const HEARTBEAT: u8 = 8;
    pub const HEARTBEAT_REPLY: u8 = 9;
    pub const INSTALL_SNAPSHOT: u8 = 10;
    pub const TIMEOUT_NOW: u8 = 11;
}

/// Appends a raft message, without sender and receiver.
pub(crate) fn put_raft(out: &mut Vec<u8>, message: &Message) {
    out.put_u64_le(message.term.0);
    match &message.body {
        Body::PreVote { last_index, last_term } => {
            out.put_u8(body::PRE_VOTE);
            out.put_u64_le(last_index.0);
            out.put_u64_le(last_term.0);
        }
        Body::PreVoteReply { granted } => {
            out.put_u8(body::PRE_VOTE_REPLY);
            out.put_u8((*granted).into());
        }
        Body::Vote { last_index, last_term, transfer } => {
            out.put_u8(body::VOTE);
            out.put_u64_le(last_index.0);
            out.put_u64_le(last_term.0);
            out.put_u8((*transfer).into());
        }
        Body::VoteReply { granted } => {
            out.put_u8(body::VOTE_REPLY);
            out.put_u8((*granted).into());
        }
        Body::Append { prev_index, prev_term, entries, commit } => {
            out.put_u8(body::APPEND);
            out.put_u64_le(prev_index.0);
            out.put_u64_le(prev_term.0);
            out.put_u64_le(commit.0);
            codec::put_entries(out, entries);
        }
        Body::Appended { matched } => put_number(out, body::APPENDED, matched.0),
        Body::AppendRejected { prev_index, hint_index, hint_term } => {
            put_number(out, body::APPEND_REJECTED, prev_index.0);
            out.put_u64_le(hint_index.0);
            out.put_u64_le(hint_term.0);
        }
        Body::Heartbeat { commit, round } => {
            put_number(out, body::HEARTBEAT, commit.0);
            out.put_u64_le(*round);
        }
        Body::HeartbeatReply { round } => put_number(out, body::HEARTBEAT_REPLY, *round),
        Body::InstallSnapshot { meta } => {
            out.put_u8(body::INSTALL_SNAPSHOT);
            codec::put_snapshot_meta(out, meta);
        }
        Body::TimeoutNow => out.put_u8(body::TIMEOUT_NOW),
    }
}

/// Reads a frame's kind and payload; `from` and `to` are the connection's.
///
/// # Errors
/// Whatever no member sends.
pub fn decode(content: Bytes, from: NodeId, to: NodeId) -> Result<Frame, DecodeError> {
    let mut bytes = Decoder::new(content);
    let frame = match bytes.u8()? {
        kind::RAFT => Frame::Message(PeerMessage::Raft(take_raft(&mut bytes, from, to)?)),
        kind::PROPOSE => {
            let (tag, term) = (take_tag(&mut bytes)?, bytes.term()?);
            return Ok(Frame::Message(PeerMessage::Propose { tag, term, command: bytes.rest() }));
        }
        kind::PROPOSE_REFUSED => {
            let tag = take_tag(&mut bytes)?;
            let refusal = match bytes.u8()? {
                0 => Refusal::NotLeader,
                1 => Refusal::Busy,
                other => return Err(DecodeError::Tag { what: "refusal", got: other.into() }),
            };
            Frame::Message(PeerMessage::ProposeRefused { tag, refusal })
        }
        kind::READ_INDEX => Frame::Message(PeerMessage::ReadIndex { tag: take_tag(&mut bytes)? }),
        kind::READ_INDEXED => {
            let tag = take_tag(&mut bytes)?;
            let (known, index) = (bytes.bool()?, bytes.index()?);
            Frame::Message(PeerMessage::ReadIndexed { tag, index: known.then_some(index) })
        }
        kind::LEASE_QUERY => {
            let tag = take_tag(&mut bytes)?;
            return Ok(Frame::Message(PeerMessage::LeaseQuery { tag, query: bytes.rest() }));
        }
        kind::LEASE_ANSWER => {
            let tag = take_tag(&mut bytes)?;
            return Ok(Frame::Message(PeerMessage::LeaseAnswer { tag, answer: bytes.rest() }));
        }
        kind::PING => Frame::Ping(bytes.u64()?),
        kind::PONG => Frame::Pong(bytes.u64()?),
        kind::IMAGE_BEGIN => Frame::ImageBegin(take_raft(&mut bytes, from, to)?),
        kind::IMAGE_CHUNK => return Ok(Frame::ImageChunk(bytes.rest())),
        kind::IMAGE_END => Frame::ImageEnd,
        kind::QUESTION => return Ok(Frame::Question(bytes.rest())),
        kind::ANSWER => return Ok(Frame::Answer(bytes.rest())),
        kind::IMAGE_STORED => Frame::ImageStored(bytes.bool()?),
        other => return Err(DecodeError::Tag { what: "frame", got: other.into() }),
    };
    bytes.end()?;
    Ok(frame)
}

fn take_tag(bytes: &mut Decoder) -> Result<Tag, DecodeError> {
    Ok(Tag { epoch: bytes.u64()?, number: bytes.u64()? })
}

/// Reads a raft message back.
///
/// # Errors
/// It makes no sense.
pub(crate) fn take_raft(bytes: &mut Decoder, from: NodeId, to: NodeId) -> Result<Message, DecodeError> {
    let term = bytes.term()?;
    let body = match bytes.u8()? {
        body::PRE_VOTE => Body::PreVote { last_index: bytes.index()?, last_term: bytes.term()? },
        body::PRE_VOTE_REPLY => Body::PreVoteReply { granted: bytes.bool()? },
        body::VOTE => {
            Body::Vote { last_index: bytes.index()?, last_term: bytes.term()?, transfer: bytes.bool()? }
        }
        body::VOTE_REPLY => Body::VoteReply { granted: bytes.bool()? },
        body::APPEND => {
            let (prev_index, prev_term, commit) = (bytes.index()?, bytes.term()?, bytes.index()?);
            Body::Append { prev_index, prev_term, commit, entries: bytes.entries()? }
        }
        body::APPENDED => Body::Appended { matched: bytes.index()? },
        body::APPEND_REJECTED => Body::AppendRejected {
            prev_index: bytes.index()?,
            hint_index: bytes.index()?,
            hint_term: bytes.term()?,
        },
        body::HEARTBEAT => Body::Heartbeat { commit: bytes.index()?, round: bytes.u64()? },
        body::HEARTBEAT_REPLY => Body::HeartbeatReply { round: bytes.u64()? },
        body::INSTALL_SNAPSHOT => {
            let meta: SnapshotMeta = bytes.snapshot_meta()?;
            Body::InstallSnapshot { meta }
        }
        body::TIMEOUT_NOW => Body::TimeoutNow,
        other => return Err(DecodeError::Tag { what: "raft message", got: other.into() }),
    };
    Ok(Message { from, to, term, body })
}

/// Takes frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: BytesMut,
}

impl FrameBuffer {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame's kind and payload, its checksum checked; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The stream is broken from here on.
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.bytes.get(..HEADER_BYTES) else { return Ok(None) };
        let len = u32::from_le_bytes(header[..4].try_into().expect("4 bytes")) as usize;
        let crc = u32::from_le_bytes(header[4..].try_into().expect("4 bytes"));
        if len == 0 || len > FRAME_BYTES_MAX {
            return Err(FrameError::Length(len));
        }
        if self.bytes.len() < HEADER_BYTES + len {
            return Ok(None);
        }
        let content = self.bytes.split_to(HEADER_BYTES + len).freeze().slice(HEADER_BYTES..);
        if crc32c::crc32c(&content) == crc { Ok(Some(content)) } else { Err(FrameError::Checksum) }
    }
}

/// Reads frames from a connection between `from` and `to`.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: FrameBuffer,
    scratch: Vec<u8>,
    from: NodeId,
    to: NodeId,
}

impl<R: Read> FrameReader<R> {
    /// What `from` sends to `to` over `stream`.
    pub fn new(stream: R, from: NodeId, to: NodeId) -> FrameReader<R> {
        FrameReader { stream, buffer: FrameBuffer::default(), scratch: vec![0; READ_BYTES], from, to }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &R {
        &self.stream
    }

    /// The connection itself, to write to.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The next frame that is here already; reads nothing.
    ///
    /// # Errors
    /// The stream is broken from here on.
    pub fn buffered(&mut self) -> Result<Option<Frame>, FrameError> {
        match self.buffer.next()? {
            Some(content) => Ok(Some(decode(content, self.from, self.to)?)),
            None => Ok(None),
        }
    }

    /// Reads once from the stream: 0 bytes mean that it has ended.
    ///
    /// # Errors
    /// The stream's.
    pub fn fill(&mut self) -> io::Result<usize> {
        loop {
            match self.stream.read(&mut self.scratch) {
                Ok(count) => {
                    self.buffer.push(&self.scratch[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame; waits for it.
    ///
    /// # Errors
    /// The stream is broken, or has ended.
    pub fn frame(&mut self) -> Result<Frame, FrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            if self.fill()? == 0 {
                return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
