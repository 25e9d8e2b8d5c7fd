//! Tests of the disk formats against a disk in memory that can be cut, flipped and made to fail.
mod crash;
mod damage;
mod memory;
mod whole;

use super::{Files, Identity, Wal, wal::Recovered};
use bytes::Bytes;
use memory::MemoryFiles;
use raft::{
    ready::{Storage, Write},
    types::{Entry, HardState, LogIndex, Membership, NodeId, Payload, SnapshotMeta, Term},
};
use std::path::Path;

const LOG: &str = "/log";
const OWNER: Identity = Identity { cluster: 0xc1, node: NodeId(7) };

fn entry(index: u64, term: u64, command: &'static str) -> Entry {
    let payload = Payload::Command(Bytes::from_static(command.as_bytes()));
    Entry { term: Term(term), index: LogIndex(index), payload }
}

fn turn(entries: Vec<Entry>, term: u64, commit: u64) -> Write {
    let hard_state = HardState { term: Term(term), vote: Some(NodeId(7)), commit: LogIndex(commit) };
    Write { install: None, entries, hard_state: Some(hard_state), must_sync: true }
}

fn meta(index: u64, term: u64) -> SnapshotMeta {
    let voters = [NodeId(7), NodeId(8), NodeId(9)].into();
    let membership = Membership { voters, ..Membership::default() };
    SnapshotMeta { index: LogIndex(index), term: Term(term), membership }
}

/// A log of four turns, the third of which replaces entries, and what each turn left: the length of the
/// file and what a reader must find.
fn small_log() -> (MemoryFiles, Vec<(usize, Recovered)>) {
    let files = MemoryFiles::default();
    let mut wal = Wal::create(files.clone(), Path::new(LOG), OWNER).unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    let mut left = vec![(files.len(&segment(1)), Recovered::default())];
    for write in [
        turn(vec![entry(1, 1, "a"), entry(2, 1, "bb")], 1, 0),
        turn(vec![entry(3, 1, "ccc")], 1, 2),
        turn(vec![entry(2, 2, "x"), entry(3, 2, "")], 2, 2),
        turn(vec![entry(4, 2, "the last one")], 2, 3),
    ] {
        wal.save(&write).unwrap();
        entries.truncate(write.entries[0].index.0 as usize - 1);
        entries.extend(write.entries.iter().cloned());
        let recovered = Recovered {
            hard_state: write.hard_state.unwrap(),
            installed: LogIndex::ZERO,
            entries: entries.clone(),
        };
        left.push((files.len(&segment(1)), recovered));
    }
    (files, left)
}

fn segment(seq: u64) -> std::path::PathBuf {
    Path::new(LOG).join(super::segment::name(seq))
}

fn reopen<F: Files>(files: &F) -> Result<Recovered, super::OpenError> {
    Wal::open(files.clone(), Path::new(LOG), OWNER).map(|(_, recovered)| recovered)
}
