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
/// How TLS begins: a record of a handshake, of major version 3.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];
const ACCEPTED: u8 = 0;
const REFUSED: u8 = 0xff;
const REMOVED: u8 = 0xfe;

impl Purpose {
    fn word(self) -> u8 {
        match self {
            Purpose::Messages => 1,
            Purpose::Image => 2,
            Purpose::Question => 3,
        }
    }

    fn of(word: u8) -> Option<Purpose> {
        [Purpose::Messages, Purpose::Image, Purpose::Question].into_iter().find(|known| known.word() == word)
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Messages from the caller, for as long as it lasts.
    Messages,
    /// One image from the caller.
    Image,
    /// One question, and its answer.
    Question,
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
    /// No encryption that both sides trust.
    Tls(rustls::Error),
    /// The other side encrypts, and this port does not.
    Encrypted,
    /// The address is encrypted, and this member has no certificate.
    NoCertificate,
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
    /// The other side says that this member was removed from the cluster.
    Removed,
    /// The other side refused, though nothing differs that this side can see.
    Refused,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Alien => write!(f, "the other side does not speak the peer protocol"),
            Self::Tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                write!(f, "the other side does not speak TLS, which https URLs of members ask for")
            }
            Self::Tls(error) => write!(f, "no encryption is agreed upon: {error}"),
            Self::Encrypted => {
                write!(f, "the other side speaks TLS, but --listen-peer-urls has http:// for this port")
            }
            Self::NoCertificate => {
                write!(f, "it is an https URL, and this member has no --peer-cert-file, nor --peer-auto-tls")
            }
            Self::Version { theirs } => {
                write!(f, "the other side speaks version {theirs} of the peer protocol, this one {VERSION}")
            }
            Self::Cluster { theirs, ours } => {
                write!(f, "the other side is of cluster {theirs:x}, this one of {ours:x}")
            }
            Self::Node { wanted, found } => {
                write!(f, "member {wanted:x} was called, member {found:x} is there")
            }
            Self::Removed => write!(f, "the caller was removed from the cluster"),
            Self::Refused => write!(f, "the other side refused"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => HandshakeError::Tls(tls.clone()),
            None => HandshakeError::Io(error),
        }
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
        if bytes[..2] == TLS_HANDSHAKE {
            return Err(HandshakeError::Encrypted);
        }
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
    let call =
        Words { version: VERSION, word: purpose.word(), cluster: own.cluster, own: own.node.0, other: to.0 };
    stream.write_all(&call.bytes())?;
    let answer = Words::read(stream)?;
    if answer.version != VERSION {
        Err(HandshakeError::Version { theirs: answer.version })
    } else if answer.cluster != own.cluster {
        Err(HandshakeError::Cluster { theirs: answer.cluster, ours: own.cluster })
    } else if answer.own != to.0 {
        Err(HandshakeError::Node { wanted: to.0, found: answer.own })
    } else {
        judge(answer.word)
    }
}

fn judge(word: u8) -> Result<(), HandshakeError> {
    match word {
        ACCEPTED => Ok(()),
        REMOVED => Err(HandshakeError::Removed),
        _refused => Err(HandshakeError::Refused),
    }
}

/// Calls whoever is there, as one who belongs to no cluster yet, to ask a question.
///
/// # Errors
/// As [`call`].
pub fn call_as_stranger(stream: &mut (impl Read + Write)) -> Result<(), HandshakeError> {
    let call = Words { version: VERSION, word: Purpose::Question.word(), cluster: 0, own: 0, other: 0 };
    stream.write_all(&call.bytes())?;
    let answer = Words::read(stream)?;
    if answer.version != VERSION {
        return Err(HandshakeError::Version { theirs: answer.version });
    }
    judge(answer.word)
}

/// Answers a call: gives the caller, if it is a member, and what it wants. `is_removed` tells whom to turn
/// away for good.
///
/// # Errors
/// What differs, after telling the caller; or the connection's error.
pub fn answer(
    stream: &mut (impl Read + Write),
    own: Party,
    is_removed: impl FnOnce(NodeId) -> bool,
) -> Result<(Option<NodeId>, Purpose), HandshakeError> {
    let call = Words::read(stream)?;
    let purpose = Purpose::of(call.word);
    let caller = NodeId(call.own);
    let is_stranger = (call.cluster, call.own, call.other) == (0, 0, 0);
    let verdict = if call.version != VERSION {
        Err(HandshakeError::Version { theirs: call.version })
    } else if is_stranger && purpose == Some(Purpose::Question) {
        Ok((None, Purpose::Question))
    } else if call.cluster != own.cluster {
        Err(HandshakeError::Cluster { theirs: call.cluster, ours: own.cluster })
    } else if call.other != own.node.0 {
        Err(HandshakeError::Node { wanted: call.other, found: own.node.0 })
    } else if is_removed(caller) {
        Err(HandshakeError::Removed)
    } else if let Some(purpose) = purpose.filter(|_| caller.0 != 0 && caller != own.node) {
        Ok((Some(caller), purpose))
    } else {
        Err(HandshakeError::Alien)
    };
    let word = match verdict {
        Ok(_) => ACCEPTED,
        Err(HandshakeError::Removed) => REMOVED,
        Err(_) => REFUSED,
    };
    let answer = Words { version: VERSION, word, cluster: own.cluster, own: own.node.0, other: call.own };
    stream.write_all(&answer.bytes())?;
    verdict
}
