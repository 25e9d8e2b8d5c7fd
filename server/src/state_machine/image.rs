//! The state as bytes, in chunks, while entries are applied.
//!
//! The same state gives the same bytes on every member, whatever is applied meanwhile and however far the
//! scrub has come. A chunk tells its own length; whoever stores chunks guards them against damage.
//!
//! ```text
//! chunk   magic "ASIM" | version u16 | kind u8 | number u32 | length u32 | payload     (little-endian)
//! head    applied, revision, compact revision; members and more: a protocol buffer; leases: count, ids with TTLs
//! records the store's, see mvcc::image
//! end     count of versions, sum of their digests
//! ```

use super::StateMachine;
use crate::{
    mvcc::{
        Pinned,
        codec::{put_bytes, put_i64, put_u64},
    },
    proto::{etcdserverpb::AlarmType, internal::ClusterState},
};
use prost::Message as _;
use raft::types::LogIndex;
use std::mem;

pub(super) const MAGIC: [u8; 4] = *b"ASIM";
pub(super) const VERSION: u16 = 2;
pub(super) const KIND_HEAD: u8 = 1;
pub(super) const KIND_RECORDS: u8 = 2;
pub(super) const KIND_END: u8 = 3;
/// Of a chunk's header.
pub(super) const HEADER_LEN: usize = 15;

/// An image in the making. While it lives, nothing that a compaction superseded is freed.
#[derive(Debug)]
pub struct Image {
    applied: LogIndex,
    kv: Pinned,
    number: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Written when the image began: small, and not kept in versions.
    Head(Vec<u8>),
    Records,
    End,
    Done,
}

impl Image {
    /// Index of the newest entry that the image holds.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }
}

impl StateMachine {
    /// Pins the state of now, in constant time. What is applied from here on is not part of the image.
    pub fn begin_image(&self) -> Image {
        let kv = self.kv.pin();
        let mut head = Vec::new();
        put_u64(&mut head, self.applied.0);
        put_i64(&mut head, kv.revision());
        let compacted = kv.compact_revision();
        #[cfg(feature = "plant")]
        let compacted =
            if crate::plant::is(crate::plant::Plant::ImageForgetsCompaction) { -1 } else { compacted };
        put_i64(&mut head, compacted);
        put_bytes(&mut head, &self.cluster_state().encode_to_vec());
        put_u64(&mut head, u64::try_from(self.leases.len()).expect("counts fit 64 bits"));
        for (id, lease) in self.leases.iter() {
            put_i64(&mut head, id);
            put_i64(&mut head, lease.ttl_s);
        }
        Image { applied: self.applied, kv, number: 0, stage: Stage::Head(head) }
    }

    /// What the image holds beside keys and leases.
    fn cluster_state(&self) -> ClusterState {
        let (members, removed) = (self.roster.records(), self.roster.removed.iter().map(|id| id.0));
        #[cfg(feature = "plant")]
        let removed = removed.filter(|_| !crate::plant::is(crate::plant::Plant::ImageForgetsRemoved));
        #[cfg(feature = "plant")]
        let members = members
            .into_iter()
            .map(|member| crate::proto::internal::MemberRecord {
                is_learner: member.is_learner && !crate::plant::is(crate::plant::Plant::ImageForgetsLearners),
                ..member
            })
            .collect();
        ClusterState {
            members,
            removed: removed.collect(),
            alarms: self.alarms.list(AlarmType::None),
            auth: Some(self.auth.record()),
            downgrade: self.downgrade.clone(),
        }
    }

    /// The next chunk, or `None` after the last one: about `max_bytes` long, more only by the record that
    /// exceeds it. Takes time in proportion to `max_bytes`, and to the keys that were created since the
    /// image began and lie in between.
    ///
    /// # Panics
    /// If the image was begun on another state, such as the one that this one has replaced.
    pub fn image_chunk(&self, image: &mut Image, max_bytes: usize) -> Option<Vec<u8>> {
        match mem::replace(&mut image.stage, Stage::Records) {
            Stage::Head(head) => {
                Some(image.chunk(KIND_HEAD, Vec::with_capacity(HEADER_LEN + head.len()), &head))
            }
            Stage::Records => {
                let mut out = Vec::with_capacity(max_bytes.saturating_add(HEADER_LEN).min(1 << 20));
                out.resize(HEADER_LEN, 0);
                if !self.kv.write_records(&mut image.kv, max_bytes.saturating_add(HEADER_LEN), &mut out) {
                    image.stage = Stage::End;
                }
                Some(image.chunk(KIND_RECORDS, out, &[]))
            }
            Stage::End => {
                image.stage = Stage::Done;
                let totals = image.kv.totals();
                let mut end = Vec::new();
                put_u64(&mut end, totals.versions);
                put_u64(&mut end, totals.digest);
                Some(image.chunk(KIND_END, Vec::new(), &end))
            }
            Stage::Done => {
                image.stage = Stage::Done;
                None
            }
        }
    }

    /// Whether the image was begun on this state, and not on one that this has replaced.
    pub fn owns(&self, image: &Image) -> bool {
        self.kv.owns(&image.kv)
    }

    /// Ends an image, whether it is complete or not; dropping it does the same.
    pub fn end_image(&self, image: Image) {
        drop(image);
    }
}

impl Image {
    /// Completes a chunk: `out` is empty, or begins with the room for the header.
    fn chunk(&mut self, kind: u8, mut out: Vec<u8>, payload: &[u8]) -> Vec<u8> {
        if out.is_empty() {
            out.resize(HEADER_LEN, 0);
        }
        out.extend_from_slice(payload);
        let len = u32::try_from(out.len() - HEADER_LEN).expect("a chunk is smaller than 4 GiB");
        out[0..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6] = kind;
        out[7..11].copy_from_slice(&self.number.to_le_bytes());
        out[11..15].copy_from_slice(&len.to_le_bytes());
        self.number = self.number.checked_add(1).expect("an image has fewer than 2^32 chunks");
        out
    }
}
