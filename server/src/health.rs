//! Health, as probes ask for it: `/health`, `/livez`, `/readyz`.
//!
//! A check takes what a client's read takes, so a member that passes can serve one.

use crate::{
    api::{Api, Caller},
    backend::Backend,
    error::ApiError,
    proto::etcdserverpb::{AlarmType, RangeRequest},
};
use bytes::Bytes;

/// One thing that must work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A read of what this member has.
    SerializableRead,
    /// A read that a quorum confirms.
    LinearizableRead,
    /// This member has a vote.
    NonLearner,
    /// No member was found to hold different data.
    DataCorruption,
}

/// What `/livez` asks: failing it is a reason to restart the server.
pub const LIVE: &[Check] = &[Check::SerializableRead];
/// What `/readyz` asks: failing it is a reason to send clients elsewhere.
pub const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    /// As paths and reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
            Check::DataCorruption => "data_corruption",
        }
    }

    /// Makes the check; the error says what failed.
    ///
    /// # Errors
    /// Why the read was refused, or that the member has no vote.
    pub async fn run<B: Backend>(self, api: &Api<B>) -> Result<(), String> {
        let failed = |error: ApiError| crate::api::status::text(error).to_string();
        match self {
            Check::SerializableRead => read(api, true).await.map_err(failed),
            Check::LinearizableRead => read(api, false).await.map_err(failed),
            Check::NonLearner if api.backend().status().is_learner => Err("the member is a learner".into()),
            Check::NonLearner => Ok(()),
            Check::DataCorruption if api.backend().state().alarms().has(AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".into())
            }
            Check::DataCorruption => Ok(()),
        }
    }
}

async fn read<B: Backend>(api: &Api<B>, serializable: bool) -> Result<(), ApiError> {
    let key = Bytes::from_static(b"\0");
    let range = RangeRequest { key, serializable, keys_only: true, ..RangeRequest::default() };
    Caller::Server.calls(api.range(range)).await.map(drop)
}

/// The answer to `/health`: why this member cannot serve, if it cannot. Alarms count, but for the kinds that
/// are `excluded`. Unless `serializable`, it must know a leader and have its read confirmed.
///
/// # Errors
/// The reason, in etcd's words.
pub async fn health<B: Backend>(
    api: &Api<B>,
    serializable: bool,
    excluded: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let alarms = api.backend().state().alarms().list(AlarmType::None);
    let mut kinds = alarms.iter().map(|alarm| alarm.alarm().as_str_name());
    if let Some(kind) = kinds.find(|kind| !excluded(kind)) {
        return Err(format!("ALARM {kind}"));
    }
    if !serializable && api.backend().status().leader.is_none() {
        return Err("RAFT NO LEADER".into());
    }
    read(api, serializable).await.map_err(|error| format!("RANGE ERROR:{}", crate::api::status::text(error)))
}
