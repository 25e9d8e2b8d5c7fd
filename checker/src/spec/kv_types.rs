//! Requests and responses of an etcd-like key-value store, as histories of the `kv` workload carry them in
//! the `value` of an invocation and of its `ok`.
//!
//! Keys and values are text. Field names and meanings follow etcd's API reference; what a response does
//! not say (because the request did not ask) is left out.

use serde::{Deserialize, Serialize};

/// What is asked for. The `f` of the event is the name of the variant in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Reads keys.
    Range(RangeRequest),
    /// Writes one key.
    Put(PutRequest),
    /// Deletes keys.
    Delete(DeleteRequest),
    /// Compares, then reads and writes, at one revision.
    Txn(TxnRequest),
    /// Forgets history below a revision.
    Compact {
        /// The oldest revision that stays readable.
        revision: i64,
    },
}

/// What keys are meant: one key, or `[key, end)`; `end` of `"\0"` means "to the end".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// The key, or the first key of the range.
    pub key: String,
    /// Exclusive end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// Reads keys in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "RangeFields")]
pub struct RangeRequest {
    /// Which keys.
    #[serde(flatten)]
    pub keys: KeyRange,
    /// At most so many pairs; 0 = no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: i64,
    /// At this revision; 0 = the newest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: i64,
    /// Served from the member's own state: may be stale.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serializable: bool,
    /// Only the count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count_only: bool,
    /// No values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys_only: bool,
}

/// A range as it is written: reading a flattened field would copy all of them first.
#[derive(Deserialize)]
struct RangeFields {
    key: String,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    limit: i64,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    serializable: bool,
    #[serde(default)]
    count_only: bool,
    #[serde(default)]
    keys_only: bool,
}

impl From<RangeFields> for RangeRequest {
    fn from(fields: RangeFields) -> RangeRequest {
        let RangeFields { key, end, limit, revision, serializable, count_only, keys_only } = fields;
        RangeRequest { keys: KeyRange { key, end }, limit, revision, serializable, count_only, keys_only }
    }
}

/// Writes one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Answer with the pair as it was before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

/// Deletes keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// Which keys.
    #[serde(flatten)]
    pub keys: KeyRange,
    /// Answer with the pairs as they were before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

/// If all of `compare` hold, `success`, else `failure`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TxnRequest {
    /// Conditions, all of which must hold.
    #[serde(default)]
    pub compare: Vec<Compare>,
    /// Done when they do.
    #[serde(default)]
    pub success: Vec<Request>,
    /// Done when they do not.
    #[serde(default)]
    pub failure: Vec<Request>,
}

/// One condition of a transaction: it must hold for every key of the range.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compare {
    /// Which keys.
    #[serde(flatten)]
    pub keys: KeyRange,
    /// How the two sides are compared: key's field `op` operand.
    pub op: CompareOp,
    /// Which field of the pair, and the operand.
    #[serde(flatten)]
    pub target: CompareTarget,
}

/// How two sides are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompareOp {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
    /// The pair's field is greater than the operand.
    #[serde(rename = ">")]
    Greater,
    /// The pair's field is less than the operand.
    #[serde(rename = "<")]
    Less,
}

/// The field of a pair that is compared, with the operand. A missing key has 0 for every number, and
/// fails every comparison of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareTarget {
    /// Writes since the key's creation.
    Version(i64),
    /// Revision of the key's creation.
    CreateRevision(i64),
    /// Revision of the key's newest write.
    ModRevision(i64),
    /// The value.
    Value(String),
    /// The lease.
    Lease(i64),
}

/// What was answered, beside the header's revision (the event's `rev`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To a range.
    Range {
        /// The pairs.
        #[serde(default)]
        kvs: Vec<KeyValue>,
        /// All matches, whatever the limit.
        count: i64,
        /// Whether the limit cut the result.
        #[serde(default, skip_serializing_if = "is_default")]
        more: bool,
    },
    /// To a put.
    Put {
        /// The pair before, where asked for and there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev: Option<KeyValue>,
    },
    /// To a delete.
    Delete {
        /// How many keys went.
        deleted: i64,
        /// The pairs before, where asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prevs: Vec<KeyValue>,
    },
    /// To a transaction.
    Txn {
        /// Whether the comparisons held.
        succeeded: bool,
        /// One response for each request of the branch taken.
        #[serde(default)]
        responses: Vec<Response>,
    },
    /// To a compaction.
    Compact {},
}

/// A stored pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value, empty where only keys were asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Revision of the key's creation.
    pub create_revision: i64,
    /// Revision of the key's newest write.
    pub mod_revision: i64,
    /// Writes since the creation.
    pub version: i64,
    /// The lease, 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lease: i64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
