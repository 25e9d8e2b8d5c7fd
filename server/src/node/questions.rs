//! What members ask each other, and what who wants to join asks them.

use super::shared::Shared;
use crate::{
    cluster::Roster,
    codec::{self, DecodeError, Decoder},
    proto::internal::ClusterState,
    state_machine::StateMachine,
};
use bytes::{BufMut, Bytes};
use prost::Message as _;
use raft::types::{LogIndex, NodeId};

/// A question to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who are you all? Strangers may ask this, and nothing else.
    Members,
    /// Of the leader: does this learner hold nearly the whole log?
    CaughtUp(NodeId),
    /// How far are you, and what is the hash of your history up to this revision?
    Standing(i64),
}

impl Question {
    /// As bytes.
    pub fn encode(self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Question::Members => out.put_u8(1),
            Question::CaughtUp(id) => {
                out.put_u8(2);
                out.put_u64_le(id.0);
            }
            Question::Standing(revision) => {
                out.put_u8(3);
                out.put_i64_le(revision);
            }
        }
        out.into()
    }

    fn decode(bytes: Bytes) -> Result<Question, DecodeError> {
        let mut from = Decoder::new(bytes);
        let question = match from.u8()? {
            1 => Question::Members,
            2 => Question::CaughtUp(from.node()?),
            3 => Question::Standing(from.u64()?.cast_signed()),
            other => return Err(DecodeError::Tag { what: "question", got: other.into() }),
        };
        from.end()?;
        Ok(question)
    }
}

/// The answer to [`Question::Members`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersAnswer {
    /// The cluster's identity.
    pub cluster_id: u64,
    /// The members that it began with.
    pub birth: Roster,
    /// The members that it has.
    pub roster: Roster,
}

impl MembersAnswer {
    fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u64_le(self.cluster_id);
        codec::put_bytes(&mut out, &self.birth.encode());
        let removed = self.roster.removed.iter().map(|id| id.0).collect();
        let state = ClusterState { members: self.roster.records(), removed, ..ClusterState::default() };
        out.put_slice(&state.encode_to_vec());
        out.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that are no such answer.
    pub fn decode(bytes: Bytes) -> Result<MembersAnswer, DecodeError> {
        let malformed = DecodeError::Tag { what: "list of members", got: 0 };
        let mut from = Decoder::new(bytes);
        let cluster_id = from.u64()?;
        let birth = Roster::decode(from.bytes()?)?;
        let state = ClusterState::decode(from.rest()).map_err(|_| malformed)?;
        let roster = Roster::from_records(state.members, state.removed).ok_or(malformed)?;
        Ok(MembersAnswer { cluster_id, birth, roster })
    }
}

/// Answers a question; nothing to what makes no sense, or is not for the ears of who asks.
pub(super) fn answer(shared: &Shared, from: Option<NodeId>, question: Bytes) -> Bytes {
    match Question::decode(question) {
        Ok(Question::Members) => MembersAnswer {
            cluster_id: shared.options.cluster_id,
            birth: shared.options.roster.clone(),
            roster: Roster::clone(&shared.roster.read()),
        }
        .encode(),
        Ok(Question::CaughtUp(id)) if from.is_some() => {
            vec![u8::from(shared.caught_up.lock().contains(&id))].into()
        }
        Ok(Question::Standing(revision)) if from.is_some() => {
            Standing::of(&shared.state.read(), revision).encode()
        }
        Ok(Question::CaughtUp(_) | Question::Standing(_)) | Err(_) => Bytes::new(),
    }
}

/// How far a member is, all of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Last entry applied.
    pub applied: LogIndex,
    /// Newest revision.
    pub revision: i64,
    /// Oldest readable revision; -1 before the first compaction.
    pub compact_revision: i64,
    /// Hash of the history up to the revision that was asked for, if it can be told.
    pub hash: Option<u32>,
}

impl Standing {
    /// Of a state, with the hash at `revision` (0: the newest).
    pub fn of(state: &StateMachine, revision: i64) -> Standing {
        let (applied, kv) = (state.applied(), state.kv());
        let hash = kv.hash_kv(revision).ok().map(|hash| hash.hash);
        Standing { applied, revision: kv.revision(), compact_revision: kv.compact_revision(), hash }
    }

    fn encode(self) -> Bytes {
        let mut out = Vec::new();
        out.put_u64_le(self.applied.0);
        out.put_i64_le(self.revision);
        out.put_i64_le(self.compact_revision);
        out.put_u8(self.hash.is_some().into());
        out.put_u32_le(self.hash.unwrap_or_default());
        out.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that are none: a member that does not tell answers with no bytes at all.
    pub fn decode(bytes: Bytes) -> Result<Standing, DecodeError> {
        let mut from = Decoder::new(bytes);
        let (applied, revision, compact_revision) = (from.index()?, from.u64()?, from.u64()?);
        let (told, hash) = (from.bool()?, from.u32()?);
        from.end()?;
        let (compact_revision, revision) = (compact_revision.cast_signed(), revision.cast_signed());
        Ok(Standing { applied, revision, compact_revision, hash: told.then_some(hash) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_round_trip_and_no_cut_is_one() {
        for question in [Question::Members, Question::CaughtUp(NodeId(7)), Question::Standing(-7)] {
            let bytes = question.encode();
            assert_eq!(Question::decode(bytes.clone()), Ok(question));
            for cut in 0..bytes.len() {
                assert!(Question::decode(bytes.slice(..cut)).is_err());
            }
        }
        let birth = Roster::of_new_cluster(&[("a".to_string(), vec!["http://a:1".to_string()])].into(), "t");
        let mut roster = birth.clone();
        roster.add(NodeId(7), &["http://b:1".to_string()], false).expect("it is new");
        let answer = MembersAnswer { cluster_id: 5, birth, roster };
        assert_eq!(MembersAnswer::decode(answer.encode()), Ok(answer));
        assert!(MembersAnswer::decode(Bytes::from_static(b"nonsense")).is_err());
        for hash in [None, Some(7)] {
            let standing = Standing { applied: LogIndex(9), revision: 5, compact_revision: -1, hash };
            let bytes = standing.encode();
            assert_eq!(Standing::decode(bytes.clone()), Ok(standing));
            for cut in 0..bytes.len() {
                assert!(Standing::decode(bytes.slice(..cut)).is_err());
            }
        }
    }
}
