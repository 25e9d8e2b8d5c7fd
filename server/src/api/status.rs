//! What a refusal looks like on the wire: gRPC codes, etcd's texts, and HTTP codes.
//!
//! The texts are a contract: clients tell errors apart by them, and by them decide whether a request may
//! have had an effect.

use super::methods::Service;
use crate::error::ApiError;
use http::StatusCode;
use tonic::{Code, Status};

/// The gRPC code of a refusal. Source: the error table of etcd's `rpctypes`.
pub fn code(error: ApiError) -> Code {
    match error {
        ApiError::EmptyKey
        | ApiError::KeyNotFound
        | ApiError::ValueProvided
        | ApiError::LeaseProvided
        | ApiError::TooManyOps
        | ApiError::DuplicateKey
        | ApiError::InvalidSortOption
        | ApiError::RequestTooLarge
        | ApiError::BadMemberUrls
        | ApiError::DowngradeFormat
        | ApiError::DowngradeTarget
        | ApiError::UserEmpty
        | ApiError::RoleEmpty
        | ApiError::PermissionNotGiven
        | ApiError::AuthFailed
        | ApiError::InvalidAuthManagement
        | ApiError::AuthOldRevision => Code::InvalidArgument,
        ApiError::Compacted | ApiError::FutureRevision | ApiError::LeaseTtlTooLarge => Code::OutOfRange,
        ApiError::LeaseNotFound | ApiError::MemberNotFound => Code::NotFound,
        ApiError::LeaseExists
        | ApiError::NotLeader
        | ApiError::BadLeaderTransferee
        | ApiError::MemberExists
        | ApiError::PeerUrlExists
        | ApiError::NotEnoughStarted
        | ApiError::MemberNotLearner
        | ApiError::LearnerNotReady
        | ApiError::TooManyLearners
        | ApiError::DowngradeInProgress
        | ApiError::NoDowngrade
        | ApiError::NoRootUser
        | ApiError::NoRootRole
        | ApiError::UserExists
        | ApiError::UserNotFound
        | ApiError::RoleExists
        | ApiError::RoleNotFound
        | ApiError::RoleNotGranted
        | ApiError::PermissionNotGranted
        | ApiError::AuthNotEnabled => Code::FailedPrecondition,
        ApiError::TooManyRequests | ApiError::NoSpace => Code::ResourceExhausted,
        ApiError::PermissionDenied => Code::PermissionDenied,
        ApiError::InvalidToken => Code::Unauthenticated,
        ApiError::Corrupt => Code::DataLoss,
        ApiError::NoLeader
        | ApiError::LeaderChanged
        | ApiError::Timeout
        | ApiError::Stopped
        | ApiError::Unhealthy
        | ApiError::NotForLearner => Code::Unavailable,
        ApiError::Unimplemented(_) => Code::Unimplemented,
    }
}

/// The text of a refusal, as etcd has it.
pub fn text(error: ApiError) -> &'static str {
    match error {
        ApiError::EmptyKey => "etcdserver: key is not provided",
        ApiError::KeyNotFound => "etcdserver: key not found",
        ApiError::ValueProvided => "etcdserver: value is provided",
        ApiError::LeaseProvided => "etcdserver: lease is provided",
        ApiError::TooManyOps => "etcdserver: too many operations in txn request",
        ApiError::DuplicateKey => "etcdserver: duplicate key given in txn request",
        ApiError::InvalidSortOption => "etcdserver: invalid sort option",
        ApiError::RequestTooLarge => "etcdserver: request is too large",
        ApiError::Compacted => "etcdserver: mvcc: required revision has been compacted",
        ApiError::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
        ApiError::LeaseNotFound => "etcdserver: requested lease not found",
        ApiError::LeaseExists => "etcdserver: lease already exists",
        ApiError::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
        ApiError::MemberNotFound => "etcdserver: member not found",
        ApiError::MemberExists => "etcdserver: member ID already exist",
        ApiError::PeerUrlExists => "etcdserver: Peer URLs already exists",
        ApiError::BadMemberUrls => "etcdserver: given member URLs are invalid",
        ApiError::NotEnoughStarted => "etcdserver: re-configuration failed due to not enough started members",
        ApiError::Unhealthy => "etcdserver: unhealthy cluster",
        ApiError::MemberNotLearner => "etcdserver: can only promote a learner member",
        ApiError::LearnerNotReady => {
            "etcdserver: can only promote a learner member which is in sync with leader"
        }
        ApiError::TooManyLearners => "etcdserver: too many learner members in cluster",
        ApiError::NotForLearner => "etcdserver: rpc not supported for learner",
        ApiError::NoSpace => "etcdserver: mvcc: database space exceeded",
        ApiError::Corrupt => "etcdserver: corrupt cluster",
        ApiError::DowngradeFormat => "etcdserver: wrong downgrade target version format",
        ApiError::DowngradeTarget => "etcdserver: invalid downgrade target version",
        ApiError::DowngradeInProgress => "etcdserver: cluster has a downgrade job in progress",
        ApiError::NoDowngrade => "etcdserver: no inflight downgrade job",
        ApiError::UserEmpty => "etcdserver: user name is empty",
        ApiError::RoleEmpty => "etcdserver: role name is empty",
        ApiError::NoRootUser => "etcdserver: root user does not exist",
        ApiError::NoRootRole => "etcdserver: root user does not have root role",
        ApiError::UserExists => "etcdserver: user name already exists",
        ApiError::UserNotFound => "etcdserver: user name not found",
        ApiError::RoleExists => "etcdserver: role name already exists",
        ApiError::RoleNotFound => "etcdserver: role name not found",
        ApiError::RoleNotGranted => "etcdserver: role is not granted to the user",
        ApiError::PermissionNotGranted => "etcdserver: permission is not granted to the role",
        ApiError::PermissionNotGiven => "etcdserver: permission not given",
        ApiError::AuthFailed => "etcdserver: authentication failed, invalid user ID or password",
        ApiError::PermissionDenied => "etcdserver: permission denied",
        ApiError::AuthNotEnabled => "etcdserver: authentication is not enabled",
        ApiError::InvalidToken => "etcdserver: invalid auth token",
        ApiError::InvalidAuthManagement => "etcdserver: invalid auth management",
        ApiError::AuthOldRevision => "etcdserver: revision of auth store is old",
        ApiError::NotLeader => "etcdserver: not leader",
        ApiError::BadLeaderTransferee => "etcdserver: bad leader transferee",
        ApiError::TooManyRequests => "etcdserver: too many requests",
        ApiError::NoLeader => "etcdserver: no leader",
        ApiError::LeaderChanged => "etcdserver: leader changed",
        ApiError::Timeout => "etcdserver: request timed out",
        ApiError::Stopped => "etcdserver: server stopped",
        ApiError::Unimplemented(what) => what,
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        Status::new(code(error), text(error))
    }
}

/// The HTTP code that the JSON gateway answers with. Source: grpc-gateway's table.
pub fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // "Client closed request": not one of the registered codes.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A message larger than the server takes, in the words of etcd's gRPC library.
pub fn message_too_large(bytes: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({bytes} vs. {limit})"))
}

/// Puts what tonic says of malformed requests into the words of etcd's gRPC library. A message may have no
/// more bytes than `limit`.
pub(super) fn reword(status: Status, limit: usize) -> Status {
    let text = status.message();
    if status.code() == Code::OutOfRange && text.starts_with("Error, decoded message length too large") {
        let bytes = text.split(' ').find_map(|word| word.parse().ok());
        return message_too_large(bytes.unwrap_or(limit), limit);
    }
    if status.code() == Code::Internal
        && let Some(why) = text.strip_prefix("failed to decode Protobuf message: ")
    {
        let why = if why.ends_with("buffer underflow") { "unexpected EOF" } else { why };
        return Status::internal(format!("grpc: error unmarshalling request: {why}"));
    }
    status
}

/// No such service or method.
pub(super) fn unknown(path: &str) -> Status {
    match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        Some((service, method)) if Service::ALL.iter().any(|known| known.name() == service) => {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        }
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_errors_are_reworded_and_others_are_left_alone() {
        for (code, text, want_code, want) in [
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 2697188 bytes, the limit is: 2097152 bytes",
                Code::ResourceExhausted,
                "grpc: received message larger than max (2697188 vs. 2097152)",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                Code::Internal,
                "failed to decode Protobuf message: PutRequest.key: buffer underflow",
                Code::Internal,
                "grpc: error unmarshalling request: unexpected EOF",
            ),
            (Code::Internal, "another", Code::Internal, "another"),
            (Code::Unimplemented, "not here", Code::Unimplemented, "not here"),
        ] {
            let status = reword(Status::new(code, text), 2_097_152);
            assert_eq!((status.code(), status.message()), (want_code, want), "{code:?} {text:?}");
        }
    }

    #[test]
    fn an_unknown_method_is_told_from_an_unknown_service() {
        for (path, want) in [
            ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
            ("/etcdserverpb.Nope/Range", "unknown service etcdserverpb.Nope"),
            ("/a/b/c", "unknown service a/b"),
            ("/", "malformed method name: \"/\""),
            ("*", "malformed method name: \"*\""),
        ] {
            let status = unknown(path);
            assert_eq!((status.code(), status.message()), (Code::Unimplemented, want), "{path}");
        }
    }
}
