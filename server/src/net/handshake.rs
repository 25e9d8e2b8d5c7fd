//! The first words on a peer connection: who calls whom, for what, in which cluster.
//!
//! Both sides say, in 40 bytes:
//! ```text
//! "ASSAYNET" | version u16 | word u8 | 0 u8 | cluster u64 | self u64 | other u64 | crc u32
//! ```
//! The caller's word is the purpose of the connection, the other's whether it accepts. A refusal tells what
//! the refusing side is, so that both can say what differs.

use bytes::BufMut;
use raft::types::NodeId;
use std::{
    fmt,
    io::{self, Read, Write},
};

/// Version of the peer protocol.
pub const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"ASSAYNET";
const BYTES: usize = 40;
const ACCEPTED: u8 = 0;
const REFUSED: u8 = 0xff;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Messages from the caller, for as long as it lasts.
    Messages,
    /// One image from the caller.
    Image,
}

/// Who is at this end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its cluster.
    pub cluster: u64,
    /// The member.
    pub node: NodeId,
}

/// Why a connection did not come about.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection failed.
    Io(io::Error),
    /// The other side does not speak this protocol.
    Alien,
    /// The other side speaks another version.
    Version {
        /// Its version.
        theirs: u16,
    },
    /// The other side belongs to another cluster.
    Cluster {
        /// Its cluster.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// Another member was meant.
    Node {
        /// Whom the caller wanted.
        wanted: u64,
        /// Who answered.
        found: u64,
    },
    /// The other side refused, though nothing differs that this side can see.
    Refused,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Alien => write!(f, "the other side does not speak the peer protocol"),
            Self::Version { theirs } => {
                write!(f, "the other side speaks version {theirs} of the peer protocol, this one {VERSION}")
            }
            Self::Cluster { theirs, ours } => {
                write!(f, "the other side is of cluster {theirs:x}, this one of {ours:x}")
            }
            Self::Node { wanted, found } => {
                write!(f, "member {wanted:x} was called, member {found:x} is there")
            }
            Self::Refused => write!(f, "the other side refused"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        HandshakeError::Io(error)
    }
}

#[derive(Clone, Copy, Debug)]
struct Words {
    version: u16,
    word: u8,
    cluster: u64,
    own: u64,
    other: u64,
}

impl Words {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.put_slice(MAGIC);
        out.put_u16_le(self.version);
        out.put_u8(self.word);
        out.put_u8(0);
        out.put_u64_le(self.cluster);
        out.put_u64_le(self.own);
        out.put_u64_le(self.other);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    fn read(from: &mut impl Read) -> Result<Words, HandshakeError> {
        let mut bytes = [0; BYTES];
        from.read_exact(&mut bytes)?;
        let crc = u32::from_le_bytes(bytes[36..].try_into().expect("4 bytes"));
        if &bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..36]) != crc {
            return Err(HandshakeError::Alien);
        }
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Ok(Words {
            version: u16::from_le_bytes([bytes[8], bytes[9]]),
            word: bytes[10],
            cluster: u64_at(12),
            own: u64_at(20),
            other: u64_at(28),
        })
    }
}

/// Calls member `to`.
///
/// # Errors
/// What differs, or the connection's error.
pub fn call(
    stream: &mut (impl Read + Write),
    own: Party,
    to: NodeId,
    purpose: Purpose,
) -> Result<(), HandshakeError> {
    let word = match purpose {
        Purpose::Messages => 1,
        Purpose::Image => 2,
    };
    let call = Words { version: VERSION, word, cluster: own.cluster, own: own.node.0, other: to.0 };
    stream.write_all(&call.bytes())?;
    let answer = Words::read(stream)?;
    if answer.version != VERSION {
        Err(HandshakeError::Version { theirs: answer.version })
    } else if answer.cluster != own.cluster {
        Err(HandshakeError::Cluster { theirs: answer.cluster, ours: own.cluster })
    } else if answer.own != to.0 {
        Err(HandshakeError::Node { wanted: to.0, found: answer.own })
    } else if answer.word != ACCEPTED {
        Err(HandshakeError::Refused)
    } else {
        Ok(())
    }
}

/// Answers a call: gives the caller and what it wants.
///
/// # Errors
/// What differs, after telling the caller; or the connection's error.
pub fn answer(stream: &mut (impl Read + Write), own: Party) -> Result<(NodeId, Purpose), HandshakeError> {
    let call = Words::read(stream)?;
    let purpose = match call.word {
        1 => Some(Purpose::Messages),
        2 => Some(Purpose::Image),
        _ => None,
    };
    let caller = NodeId(call.own);
    let verdict = if call.version != VERSION {
        Err(HandshakeError::Version { theirs: call.version })
    } else if call.cluster != own.cluster {
        Err(HandshakeError::Cluster { theirs: call.cluster, ours: own.cluster })
    } else if call.other != own.node.0 {
        Err(HandshakeError::Node { wanted: call.other, found: own.node.0 })
    } else if let Some(purpose) = purpose.filter(|_| caller.0 != 0 && caller != own.node) {
        Ok((caller, purpose))
    } else {
        Err(HandshakeError::Alien)
    };
    let word = if verdict.is_ok() { ACCEPTED } else { REFUSED };
    let answer = Words { version: VERSION, word, cluster: own.cluster, own: own.node.0, other: call.own };
    stream.write_all(&answer.bytes())?;
    verdict
}
