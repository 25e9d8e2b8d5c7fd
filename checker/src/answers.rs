//! What the answers of some workloads hold, typed: whoever records them writes what the checks read.

use serde::{Deserialize, Serialize};

/// What a holder knows of its time with the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The revision at which the lock became its: the fencing token.
    pub fence: i64,
    /// From when on it surely held it: the answer was there, ns.
    pub from_ns: u64,
    /// Until when it acted as its holder: before it released it, ns.
    pub to_ns: u64,
    /// The revision of its write.
    pub wrote: i64,
}

/// A leader as somebody saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The revision at which it became the leader.
    pub term: i64,
    /// Who it is.
    pub leader: i64,
}

/// What a lease's owner saw of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The TTL that was granted, s.
    pub ttl_s: i64,
    /// When the last renewal that succeeded was sent, or the grant, ns.
    pub renewed_ns: u64,
    /// How often it was renewed.
    pub renewals: u64,
    /// When its owner asked for its end, ns: from then on it may go at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ns: Option<u64>,
    /// Its keys that are known to have gone, each with the revision of that.
    #[serde(default)]
    pub gone: Vec<(String, i64)>,
    /// When the first of them was known to have gone, ns.
    #[serde(default)]
    pub gone_ns: Option<u64>,
}

/// What a final read saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// How long it waited for keys to go, ms.
    pub waited_ms: u64,
    /// The longest TTL that any lease asked for, s.
    pub ttl_s_max: i64,
    /// Keys that are still there.
    pub keys: Vec<String>,
}
