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
    /// The member is there already.
    MemberExists,
    /// Another member has this peer URL.
    PeerUrlExists,
    /// A member's URLs make no sense.
    BadMemberUrls,
    /// Too few members have started for this change to be safe.
    NotEnoughStarted,
    /// Some members are not connected long enough for this change to be safe.
    Unhealthy,
    /// Only a learner can be promoted.
    MemberNotLearner,
    /// The learner has not caught up.
    LearnerNotReady,
    /// There is a learner already.
    TooManyLearners,
    /// A learner serves no such request.
    NotForLearner,
    /// The call must go to the leader.
    NotLeader,
    /// The transferee is unknown, a learner, or already the leader.
    BadLeaderTransferee,
    /// The store has reached its quota.
    NoSpace,
    /// Members hold different data.
    Corrupt,
    /// The version to downgrade to cannot be read.
    DowngradeFormat,
    /// The version to downgrade to is not the minor release before this one.
    DowngradeTarget,
    /// There is a downgrade already.
    DowngradeInProgress,
    /// There is no downgrade to cancel.
    NoDowngrade,
    /// No user is named.
    UserEmpty,
    /// No role is named.
    RoleEmpty,
    /// Authentication needs a user `root`.
    NoRootUser,
    /// Authentication needs the user `root` to have the role `root`.
    NoRootRole,
    /// The user is there already.
    UserExists,
    /// The user is unknown.
    UserNotFound,
    /// The role is there already.
    RoleExists,
    /// The role is unknown.
    RoleNotFound,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// No permission is given.
    PermissionNotGiven,
    /// User and password do not fit.
    AuthFailed,
    /// The caller may not do that.
    PermissionDenied,
    /// Authentication is off.
    AuthNotEnabled,
    /// The token is unknown, or has expired.
    InvalidToken,
    /// This would lock everybody out.
    InvalidAuthManagement,
    /// Users or roles changed since the caller was looked at.
    AuthOldRevision,
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
