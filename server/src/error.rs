//! Why a request was refused. `api::status` turns these into gRPC codes and etcd's texts.

/// A refusal that a client sees. Every variant but the last group proves that the request had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiError {
    /// The key is empty.
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a missing key, or an empty operation in a transaction.
    KeyNotFound,
    /// A value beside `ignore_value`.
    ValueProvided,
    /// A lease beside `ignore_lease`.
    LeaseProvided,
    /// More operations in a transaction than allowed.
    TooManyOps,
    /// A transaction writes one key twice.
    DuplicateKey,
    /// An unknown sort order or target.
    InvalidSortOption,
    /// The encoded request is larger than allowed.
    RequestTooLarge,
    /// The revision has been compacted.
    Compacted,
    /// The revision is larger than the newest.
    FutureRevision,
    /// The lease is unknown.
    LeaseNotFound,
    /// A lease of this id exists already.
    LeaseExists,
    /// The TTL is longer than a lease may live.
    LeaseTtlTooLarge,
    /// The member is unknown.
    MemberNotFound,
    /// The call must go to the leader.
    NotLeader,
    /// The transferee is unknown, a learner, or already the leader.
    BadLeaderTransferee,
    /// The node's queue is full.
    TooManyRequests,
    /// There is no leader; nothing was proposed.
    NoLeader,
    /// This server does not do that; the text says what.
    Unimplemented(&'static str),

    /// The leader changed while the request was under way: the outcome is unknown.
    LeaderChanged,
    /// No outcome in time: it is unknown.
    Timeout,
    /// The server is stopping; the outcome of a request under way is unknown.
    Stopped,
}
