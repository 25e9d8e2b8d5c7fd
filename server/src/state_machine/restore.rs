//! The state from the chunks of an image.

use super::{
    StateMachine,
    image::{KIND_END, KIND_HEAD, KIND_RECORDS, MAGIC, VERSION},
};
use crate::{
    alarm::Alarms,
    auth::AuthStore,
    cluster::Roster,
    lease::Leases,
    mvcc::{
        Builder, Damage, Moved, Totals,
        codec::{Malformed, Reader},
    },
    proto::internal::ClusterState,
};
use prost::Message as _;
use raft::types::LogIndex;
use std::{error::Error, fmt};

/// Why chunks are no image of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The chunk does not begin as one.
    NotAChunk,
    /// The image was written by a version of this program that this one does not know.
    Version(u16),
    /// A chunk of an unknown kind.
    Kind(u8),
    /// A chunk is missing, or comes a second time.
    Number {
        /// The chunk that is due.
        want: u32,
        /// The chunk that came.
        found: u32,
    },
    /// A chunk of this kind has no place here.
    Order(u8),
    /// A chunk's contents cannot be read.
    Malformed(Malformed),
    /// What the image says of the cluster cannot be read, or contradicts itself.
    Cluster,
    /// The leases are not in order, or a key hangs from one that does not exist.
    Leases,
    /// The last chunk has not come.
    Unfinished,
    /// The records are no store's.
    Damage(Damage),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NotAChunk => f.write_str("this is no state image"),
            RestoreError::Version(version) => {
                write!(f, "the state image has format {version}; this program reads format {VERSION}")
            }
            RestoreError::Kind(kind) => write!(f, "the state image has a chunk of the unknown kind {kind}"),
            RestoreError::Number { want, found } => {
                write!(f, "the state image has chunk {found} where chunk {want} should be")
            }
            RestoreError::Order(kind) => write!(f, "the state image has a chunk of kind {kind} out of place"),
            RestoreError::Malformed(malformed) => {
                write!(f, "a chunk of the state image cannot be read: {malformed}")
            }
            RestoreError::Cluster => f.write_str("the state image has a damaged list of members"),
            RestoreError::Leases => f.write_str("the state image has damaged leases"),
            RestoreError::Unfinished => f.write_str("the state image ends too early"),
            RestoreError::Damage(damage) => write!(f, "the state image is damaged: {damage}"),
        }
    }
}

impl Error for RestoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RestoreError::Damage(damage) => Some(damage),
            RestoreError::NotAChunk
            | RestoreError::Version(_)
            | RestoreError::Kind(_)
            | RestoreError::Number { .. }
            | RestoreError::Order(_)
            | RestoreError::Malformed(_)
            | RestoreError::Cluster
            | RestoreError::Leases
            | RestoreError::Unfinished => None,
        }
    }
}

impl From<Malformed> for RestoreError {
    fn from(malformed: Malformed) -> RestoreError {
        RestoreError::Malformed(malformed)
    }
}

impl From<Damage> for RestoreError {
    fn from(damage: Damage) -> RestoreError {
        RestoreError::Damage(damage)
    }
}

/// A state in the making.
#[derive(Debug, Default)]
pub struct Restore {
    number: u32,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Start,
    Records(Box<Head>, Builder),
    Done(Box<StateMachine>),
}

/// What the image's head says beside the store.
#[derive(Debug)]
struct Head {
    applied: LogIndex,
    roster: Roster,
    alarms: Alarms,
    auth: AuthStore,
    downgrade: String,
    leases: Leases,
}

impl Restore {
    /// Waits for the first chunk.
    pub fn new() -> Restore {
        Restore::default()
    }

    /// Takes the next bytes of the image: one or several whole chunks.
    ///
    /// # Errors
    /// Whatever is wrong with them. Nothing in them is trusted, and no input makes this panic or take more
    /// memory than a small multiple of its length.
    pub fn push(mut self, chunks: &[u8]) -> Result<Restore, RestoreError> {
        let mut reader = Reader::new(chunks);
        loop {
            self.stage = self.take_chunk(&mut reader)?;
            self.number = self.number.checked_add(1).ok_or(Malformed::Number)?;
            if reader.is_empty() {
                return Ok(self);
            }
        }
    }

    /// The state.
    ///
    /// # Errors
    /// [`RestoreError::Unfinished`] before the last chunk.
    pub fn finish(self) -> Result<StateMachine, RestoreError> {
        match self.stage {
            Stage::Done(state) => Ok(*state),
            Stage::Start | Stage::Records(..) => Err(RestoreError::Unfinished),
        }
    }

    fn take_chunk(&mut self, reader: &mut Reader<'_>) -> Result<Stage, RestoreError> {
        if reader.array()? != MAGIC {
            return Err(RestoreError::NotAChunk);
        }
        let version = u16::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let [kind] = reader.array()?;
        let found = u32::from_le_bytes(reader.array()?);
        if found != self.number {
            return Err(RestoreError::Number { want: self.number, found });
        }
        let len = usize::try_from(u32::from_le_bytes(reader.array()?)).map_err(|_| Malformed::Truncated)?;
        let mut payload = Reader::new(reader.take(len)?);
        let stage = match (kind, std::mem::take(&mut self.stage)) {
            (KIND_HEAD, Stage::Start) => {
                let (head, builder) = read_head(&mut payload)?;
                Stage::Records(Box::new(head), builder)
            }
            (KIND_RECORDS, Stage::Records(head, mut builder)) => {
                builder.read_records(&mut payload)?;
                Stage::Records(head, builder)
            }
            (KIND_END, Stage::Records(head, builder)) => {
                let totals = Totals { versions: payload.u64()?, digest: payload.u64()? };
                let Head { applied, roster, alarms, auth, downgrade, mut leases } = *head;
                let kv = builder.finish(totals)?;
                for (key, lease) in kv.leased() {
                    #[cfg(feature = "plant")]
                    if crate::plant::is(crate::plant::Plant::ImageForgetsLeasedKeys) {
                        continue;
                    }
                    if !leases.note(Moved { key: key.clone(), from: 0, to: lease }) {
                        return Err(RestoreError::Leases);
                    }
                }
                Stage::Done(Box::new(StateMachine {
                    applied,
                    kv,
                    leases,
                    roster,
                    alarms,
                    auth,
                    downgrade,
                    ..StateMachine::default()
                }))
            }
            (KIND_HEAD | KIND_RECORDS | KIND_END, _) => return Err(RestoreError::Order(kind)),
            (kind, _) => return Err(RestoreError::Kind(kind)),
        };
        payload.end()?;
        Ok(stage)
    }
}

fn read_head(payload: &mut Reader<'_>) -> Result<(Head, Builder), RestoreError> {
    let applied = LogIndex(payload.u64()?);
    if applied.0 >= 1 << 63 {
        return Err(Malformed::Number.into());
    }
    let builder = Builder::new(payload.i64()?, payload.i64()?)?;
    let ClusterState { members, removed, alarms, auth, downgrade } =
        ClusterState::decode(payload.bytes()?).map_err(|_| RestoreError::Cluster)?;
    let roster = Roster::from_records(members, removed).ok_or(RestoreError::Cluster)?;
    let alarms = Alarms::from_list(&alarms);
    let auth = AuthStore::from_record(auth.unwrap_or_default());
    let mut leases = Leases::default();
    let mut last = None;
    for _ in 0..payload.u64()? {
        let (id, ttl_s) = (payload.i64()?, payload.i64()?);
        if last.is_some_and(|last| last >= id) || ttl_s < 1 {
            return Err(RestoreError::Leases);
        }
        last = Some(id);
        leases.grant(id, ttl_s).map_err(|_| RestoreError::Leases)?;
    }
    Ok((Head { applied, roster, alarms, auth, downgrade, leases }, builder))
}
