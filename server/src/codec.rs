//! Bytes for raft's types, shared by the log on disk and the peer protocol: fixed-width little-endian
//! integers, lengths before contents. Decoding trusts nothing: hostile bytes give a [`DecodeError`], and
//! no allocation is larger than the input that asks for it.

use bytes::{Buf, BufMut, Bytes};
use raft::types::{Entry, HardState, LogIndex, Membership, NodeId, Payload, SnapshotMeta, Term};
use std::{collections::BTreeSet, fmt};

/// Participants in one set of a membership, at most.
const NODES_MAX: usize = 1024;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends too early.
    Short {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A tag that stands for nothing.
    Tag {
        /// Of what.
        what: &'static str,
        /// The tag.
        got: u64,
    },
    /// More elements than allowed.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
    },
    /// Bytes after the end.
    Trailing(usize),
    /// Text that is not UTF-8.
    Text,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { wanted, left } => write!(f, "{wanted} bytes wanted, {left} left"),
            Self::Tag { what, got } => write!(f, "{got} is no {what}"),
            Self::TooMany { what, got } => write!(f, "{got} {what} are too many"),
            Self::Trailing(n) => write!(f, "{n} bytes after the end"),
            Self::Text => write!(f, "text is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Takes values off the front of a buffer; byte strings share the buffer's memory.
#[derive(Debug)]
pub struct Decoder(Bytes);

impl Decoder {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Decoder {
        Decoder(bytes)
    }

    fn need(&self, wanted: usize) -> Result<(), DecodeError> {
        let left = self.0.len();
        if left < wanted { Err(DecodeError::Short { wanted, left }) } else { Ok(()) }
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2)?;
        Ok(self.0.get_u16_le())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }

    /// A flag: 0 or 1.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Tag { what: "flag", got: other.into() }),
        }
    }

    /// A byte string with its length before it.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.u32()? as usize;
        self.need(len)?;
        Ok(self.0.split_to(len))
    }

    /// A text with its length before it.
    pub fn text(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| DecodeError::Text)
    }

    /// How many elements follow, each of at least `size_min` bytes.
    pub fn count(&mut self, what: &'static str, size_min: usize) -> Result<usize, DecodeError> {
        let got = self.u32()? as usize;
        if got > self.0.len() / size_min { Err(DecodeError::TooMany { what, got }) } else { Ok(got) }
    }

    /// All that is left.
    pub fn rest(self) -> Bytes {
        self.0
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }

    /// A participant.
    pub fn node(&mut self) -> Result<NodeId, DecodeError> {
        match self.u64()? {
            0 => Err(DecodeError::Tag { what: "node", got: 0 }),
            id => Ok(NodeId(id)),
        }
    }

    /// A participant, or none.
    pub fn node_option(&mut self) -> Result<Option<NodeId>, DecodeError> {
        Ok(Some(self.u64()?).filter(|id| *id != 0).map(NodeId))
    }

    /// A term.
    pub fn term(&mut self) -> Result<Term, DecodeError> {
        self.u64().map(Term)
    }

    /// A position in the log.
    pub fn index(&mut self) -> Result<LogIndex, DecodeError> {
        self.u64().map(LogIndex)
    }

    fn nodes(&mut self) -> Result<BTreeSet<NodeId>, DecodeError> {
        let count = self.count("nodes", 8)?;
        if count > NODES_MAX {
            return Err(DecodeError::TooMany { what: "nodes", got: count });
        }
        (0..count).map(|_| self.node()).collect()
    }

    /// A membership.
    pub fn membership(&mut self) -> Result<Membership, DecodeError> {
        Ok(Membership { voters: self.nodes()?, outgoing: self.nodes()?, learners: self.nodes()? })
    }

    /// The name of a snapshot.
    pub fn snapshot_meta(&mut self) -> Result<SnapshotMeta, DecodeError> {
        Ok(SnapshotMeta { index: self.index()?, term: self.term()?, membership: self.membership()? })
    }

    /// A hard state.
    pub fn hard_state(&mut self) -> Result<HardState, DecodeError> {
        Ok(HardState { term: self.term()?, vote: self.node_option()?, commit: self.index()? })
    }

    /// One entry.
    pub fn entry(&mut self) -> Result<Entry, DecodeError> {
        let (term, index) = (self.term()?, self.index()?);
        let payload = match self.u8()? {
            0 => Payload::Empty,
            1 => Payload::Command(self.bytes()?),
            2 => Payload::Membership { membership: self.membership()?, context: self.bytes()? },
            other => return Err(DecodeError::Tag { what: "payload", got: other.into() }),
        };
        Ok(Entry { term, index, payload })
    }

    /// Entries with their number before them.
    pub fn entries(&mut self) -> Result<Vec<Entry>, DecodeError> {
        let count = self.count("entries", ENTRY_BYTES_MIN)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(self.entry()?);
        }
        Ok(entries)
    }
}

/// Term, index and the tag of the payload.
const ENTRY_BYTES_MIN: usize = 17;

/// Appends a byte string, its length before it.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a byte string is shorter than 4 GiB");
    out.put_u32_le(len);
    out.extend_from_slice(bytes);
}

/// Appends the number of elements that follow.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("fewer than 2^32 elements"));
}

fn put_nodes(out: &mut Vec<u8>, nodes: &BTreeSet<NodeId>) {
    put_count(out, nodes.len());
    for node in nodes {
        out.put_u64_le(node.0);
    }
}

/// Appends a membership.
pub fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    put_nodes(out, &membership.voters);
    put_nodes(out, &membership.outgoing);
    put_nodes(out, &membership.learners);
}

/// Appends the name of a snapshot.
pub fn put_snapshot_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    out.put_u64_le(meta.index.0);
    out.put_u64_le(meta.term.0);
    put_membership(out, &meta.membership);
}

/// Appends a hard state.
pub fn put_hard_state(out: &mut Vec<u8>, state: &HardState) {
    out.put_u64_le(state.term.0);
    out.put_u64_le(state.vote.map_or(0, |node| node.0));
    out.put_u64_le(state.commit.0);
}

/// Appends one entry.
pub fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.put_u64_le(entry.term.0);
    out.put_u64_le(entry.index.0);
    match &entry.payload {
        Payload::Empty => out.put_u8(0),
        Payload::Command(command) => {
            out.put_u8(1);
            put_bytes(out, command);
        }
        Payload::Membership { membership, context } => {
            out.put_u8(2);
            put_membership(out, membership);
            put_bytes(out, context);
        }
    }
}

/// Appends entries, their number before them.
pub fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    put_count(out, entries.len());
    for entry in entries {
        put_entry(out, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        let membership = Membership {
            voters: [NodeId(1), NodeId(7)].into(),
            outgoing: [NodeId(2)].into(),
            learners: BTreeSet::new(),
        };
        vec![
            Entry { term: Term(3), index: LogIndex(9), payload: Payload::Empty },
            Entry {
                term: Term(4),
                index: LogIndex(10),
                payload: Payload::Command(Bytes::from_static(b"put")),
            },
            Entry {
                term: Term(4),
                index: LogIndex(11),
                payload: Payload::Membership { membership, context: Bytes::from_static(b"why") },
            },
        ]
    }

    #[test]
    fn entries_survive_the_round_trip() {
        let mut out = Vec::new();
        put_entries(&mut out, &sample());
        let mut decoder = Decoder::new(out.into());
        assert_eq!(decoder.entries().unwrap(), sample());
        decoder.end().unwrap();
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut out = Vec::new();
        put_entries(&mut out, &sample());
        let whole = Bytes::from(out);
        for cut in 0..whole.len() {
            assert!(Decoder::new(whole.slice(..cut)).entries().is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_count_larger_than_the_input_allocates_nothing() {
        let mut decoder = Decoder::new(Bytes::from_static(&[0xff; 20]));
        assert!(matches!(decoder.entries(), Err(DecodeError::TooMany { .. })));
    }
}
