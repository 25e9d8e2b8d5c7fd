//! Records, as bytes and back.

use crate::{
    codec::{self, DecodeError, Decoder},
    net::{put_raft, take_raft},
};
use bytes::{BufMut, Bytes};
use raft::{
    Config, Durable, Input, MembershipChange,
    ready::Ready,
    types::{NodeId, ReadId},
};
use rustc_hash::FxHasher;
use std::{
    collections::BTreeSet,
    hash::{Hash as _, Hasher as _},
};

pub(super) const MAGIC: &[u8; 8] = b"ASSAYTRC";
pub(super) const FORMAT: u32 = 1;
/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes before a record's contents.
pub(super) const RECORD_HEADER_BYTES: usize = 8;
/// Largest record: a start with everything that a log holds in memory.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 30;

mod kind {
    pub const START: u8 = 1;
    pub const TICK: u8 = 2;
    pub const RECEIVE: u8 = 3;
    pub const PERSISTED: u8 = 4;
    pub const PROPOSE: u8 = 5;
    pub const PROPOSE_MEMBERSHIP: u8 = 6;
    pub const READ: u8 = 7;
    pub const TRANSFER: u8 = 8;
    pub const SNAPSHOT_TAKEN: u8 = 9;
    pub const SNAPSHOT_REPORT: u8 = 10;
    pub const UNREACHABLE: u8 = 11;
    pub const CAMPAIGN: u8 = 12;
    pub const TURN: u8 = 20;
    pub const GAP: u8 = 21;
}

/// What a core starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Of the program that wrote the trace.
    pub version: String,
    /// The core's parameters.
    pub config: Config,
    /// What was found on disk.
    pub durable: Durable,
}

/// One record of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The member starts.
    Start(Box<Start>),
    /// The core is about to take this.
    Input(Input),
    /// Everything up to the turn with this number is durable: [`Input::Persisted`].
    Persisted(u64),
    /// A turn: its number, and a digest of what it gave out.
    Turn {
        /// [`raft::ready::Mark::number`].
        mark: u64,
        /// See [`digest`].
        digest: u64,
    },
    /// So many records were left out.
    Gap(u64),
}

/// A digest of everything that a turn gives out.
pub fn digest(ready: &Ready) -> u64 {
    let mut hasher = FxHasher::default();
    ready.hash(&mut hasher);
    hasher.finish()
}

/// The checksum of a record's contents.
pub fn checksum(content: &[u8]) -> u32 {
    crc32c::crc32c(content)
}

/// Appends a record: `fields` writes kind and fields.
fn put(out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u64_le(0);
    fields(out);
    let content = start + RECORD_HEADER_BYTES;
    let len = u32::try_from(out.len() - content).expect("a record is far below 4 GiB");
    let crc = checksum(&out[content..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..content].copy_from_slice(&crc.to_le_bytes());
}

pub(super) fn put_header(out: &mut Vec<u8>) {
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT);
    out.put_u32_le(0);
}

pub(super) fn put_start(out: &mut Vec<u8>, config: &Config, durable: &Durable) {
    put(out, |out| {
        out.put_u8(kind::START);
        codec::put_bytes(out, env!("CARGO_PKG_VERSION").as_bytes());
        out.put_u64_le(config.id.0);
        out.put_u32_le(config.election_ticks);
        out.put_u32_le(config.heartbeat_ticks);
        out.put_u8(config.pre_vote.into());
        out.put_u8(config.check_quorum.into());
        for size in [config.max_append_bytes, config.max_inflight, config.max_uncommitted_bytes] {
            out.put_u64_le(size as u64);
        }
        out.put_u64_le(config.seed);
        codec::put_hard_state(out, &durable.hard_state);
        out.put_u8(durable.snapshot.is_some().into());
        if let Some(meta) = &durable.snapshot {
            codec::put_snapshot_meta(out, meta);
        }
        codec::put_entries(out, &durable.entries);
    });
}

pub(super) fn put_input(out: &mut Vec<u8>, input: &Input) {
    put(out, |out| match input {
        Input::Tick => out.put_u8(kind::TICK),
        Input::Receive(message) => {
            out.put_u8(kind::RECEIVE);
            out.put_u64_le(message.from.0);
            out.put_u64_le(message.to.0);
            put_raft(out, message);
        }
        Input::Persisted(mark) => put_numbers(out, kind::PERSISTED, [mark.number()]),
        Input::Propose(command) => {
            out.put_u8(kind::PROPOSE);
            codec::put_bytes(out, command);
        }
        Input::ProposeMembership { change, context } => {
            out.put_u8(kind::PROPOSE_MEMBERSHIP);
            for nodes in [&change.add_voters, &change.add_learners, &change.remove] {
                codec::put_count(out, nodes.len());
                nodes.iter().for_each(|node| out.put_u64_le(node.0));
            }
            codec::put_bytes(out, context);
        }
        Input::Read(id) => put_numbers(out, kind::READ, [id.0]),
        Input::Transfer(to) => put_numbers(out, kind::TRANSFER, [to.0]),
        Input::SnapshotTaken { index, keep } => put_numbers(out, kind::SNAPSHOT_TAKEN, [index.0, *keep]),
        Input::SnapshotReport { to, ok } => {
            put_numbers(out, kind::SNAPSHOT_REPORT, [to.0]);
            out.put_u8((*ok).into());
        }
        Input::Unreachable(to) => put_numbers(out, kind::UNREACHABLE, [to.0]),
        Input::Campaign => out.put_u8(kind::CAMPAIGN),
    });
}

pub(super) fn put_turn(out: &mut Vec<u8>, ready: &Ready) {
    put(out, |out| put_numbers(out, kind::TURN, [ready.mark().number(), digest(ready)]));
}

pub(super) fn put_gap(out: &mut Vec<u8>, lost: u64) {
    put(out, |out| put_numbers(out, kind::GAP, [lost]));
}

fn put_numbers<const N: usize>(out: &mut Vec<u8>, kind: u8, numbers: [u64; N]) {
    out.put_u8(kind);
    numbers.into_iter().for_each(|number| out.put_u64_le(number));
}

/// Reads a record's kind and fields.
pub(super) fn take(content: Bytes) -> Result<Record, DecodeError> {
    let mut from = Decoder::new(content);
    let record = match from.u8()? {
        kind::START => Record::Start(Box::new(take_start(&mut from)?)),
        kind::TICK => Record::Input(Input::Tick),
        kind::RECEIVE => {
            let (sender, receiver) = (from.node()?, from.node()?);
            Record::Input(Input::Receive(take_raft(&mut from, sender, receiver)?))
        }
        kind::PERSISTED => Record::Persisted(from.u64()?),
        kind::PROPOSE => Record::Input(Input::Propose(from.bytes()?)),
        kind::PROPOSE_MEMBERSHIP => {
            let change = MembershipChange {
                add_voters: take_nodes(&mut from)?,
                add_learners: take_nodes(&mut from)?,
                remove: take_nodes(&mut from)?,
            };
            Record::Input(Input::ProposeMembership { change, context: from.bytes()? })
        }
        kind::READ => Record::Input(Input::Read(ReadId(from.u64()?))),
        kind::TRANSFER => Record::Input(Input::Transfer(from.node()?)),
        kind::SNAPSHOT_TAKEN => {
            Record::Input(Input::SnapshotTaken { index: from.index()?, keep: from.u64()? })
        }
        kind::SNAPSHOT_REPORT => Record::Input(Input::SnapshotReport { to: from.node()?, ok: from.bool()? }),
        kind::UNREACHABLE => Record::Input(Input::Unreachable(from.node()?)),
        kind::CAMPAIGN => Record::Input(Input::Campaign),
        kind::TURN => Record::Turn { mark: from.u64()?, digest: from.u64()? },
        kind::GAP => Record::Gap(from.u64()?),
        other => return Err(DecodeError::Tag { what: "trace record", got: other.into() }),
    };
    from.end()?;
    Ok(record)
}

fn take_start(from: &mut Decoder) -> Result<Start, DecodeError> {
    let version = from.text()?;
    let id = from.node()?;
    let (election_ticks, heartbeat_ticks) = (from.u32()?, from.u32()?);
    let (pre_vote, check_quorum) = (from.bool()?, from.bool()?);
    let mut size = || from.u64().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let (max_append_bytes, max_inflight, max_uncommitted_bytes) = (size()?, size()?, size()?);
    let config = Config {
        election_ticks,
        heartbeat_ticks,
        pre_vote,
        check_quorum,
        max_append_bytes,
        max_inflight,
        max_uncommitted_bytes,
        ..Config::new(id, from.u64()?)
    };
    let hard_state = from.hard_state()?;
    let snapshot = if from.bool()? { Some(from.snapshot_meta()?) } else { None };
    let durable = Durable { hard_state, snapshot, entries: from.entries()? };
    Ok(Start { version, config, durable })
}

fn take_nodes(from: &mut Decoder) -> Result<BTreeSet<NodeId>, DecodeError> {
    let count = from.count("nodes", size_of::<u64>())?;
    (0..count).map(|_| from.node()).collect()
}
