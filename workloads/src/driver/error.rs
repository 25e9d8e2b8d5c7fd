//! What can go wrong with a request, and what that proves.
//!
//! The table from gRPC codes and etcd's texts to [`DriverError`] follows the errors that etcd's API
//! documents (`api/v3rpc/rpctypes`), and etcd's own client: a request that changes something is sent again
//! there only when it surely was never sent.

use checker::history::event::OpError;
use std::{error::Error, fmt};
use tonic::{Code, Status};

/// Why a request was not answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverError {
    /// The member's address refused the connection: nothing was sent.
    Refused {
        /// The system's text.
        text: String,
    },
    /// No connection within the deadline: nothing was sent.
    ConnectTimeout {
        /// How long was waited, in ms.
        after_ms: u64,
    },
    /// The connection ended before the request was written to it.
    NotSent {
        /// The system's text.
        text: String,
    },
    /// No answer within the deadline.
    Deadline {
        /// How long was waited, in ms.
        after_ms: u64,
    },
    /// The connection broke after the request went out.
    Lost {
        /// The system's text.
        text: String,
    },
    /// The request itself was refused, before it was proposed or when it was applied.
    Rejected {
        /// The gRPC code.
        code: Code,
        /// The server's text.
        text: String,
    },
    /// The revision asked for is compacted, or lies in the future.
    Revision {
        /// The server's text.
        text: String,
    },
    /// The server's queue is full; it did not take the request.
    TooManyRequests {
        /// The server's text.
        text: String,
    },
    /// The server's space quota is used up; it refuses what would grow the store.
    NoSpace {
        /// The server's text.
        text: String,
    },
    /// The member knew of no leader, so it proposed nothing.
    NoLeader {
        /// The server's text.
        text: String,
    },
    /// The leader changed while the request was under way.
    LeaderChanged {
        /// The server's text.
        text: String,
    },
    /// The server itself gave up waiting for the outcome.
    ServerTimeout {
        /// The server's text.
        text: String,
    },
    /// The server was stopping.
    Stopped {
        /// The server's text.
        text: String,
    },
    /// Any other error status.
    Status {
        /// The gRPC code.
        code: Code,
        /// The server's text.
        text: String,
    },
    /// An answer that breaks the API's contract, as a put's answer without a header.
    Malformed {
        /// What is wrong with it.
        text: String,
    },
}

/// Whether an error proves that the request took no effect, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It surely took none: the operation ends as `fail`.
    Definite,
    /// It may have, or may yet: the operation ends as `info`.
    Indeterminate,
}

impl DriverError {
    /// Whether a request that changes something surely did not.
    ///
    /// A pure read has no effect whatever the error; the workloads treat it so.
    pub fn certainty(&self) -> Certainty {
        match self {
            Self::Refused { .. }
            | Self::ConnectTimeout { .. }
            | Self::NotSent { .. }
            | Self::Rejected { .. }
            | Self::Revision { .. }
            | Self::TooManyRequests { .. }
            | Self::NoSpace { .. }
            | Self::NoLeader { .. } => Certainty::Definite,
            Self::Deadline { .. }
            | Self::Lost { .. }
            | Self::LeaderChanged { .. }
            | Self::ServerTimeout { .. }
            | Self::Stopped { .. }
            | Self::Status { .. }
            | Self::Malformed { .. } => Certainty::Indeterminate,
        }
    }

    /// Whether the connection should be given up: it is gone, or nothing has come back over it in time.
    pub fn breaks_connection(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::ConnectTimeout { .. }
            | Self::NotSent { .. }
            | Self::Deadline { .. }
            | Self::Lost { .. } => true,
            Self::Rejected { .. }
            | Self::Revision { .. }
            | Self::TooManyRequests { .. }
            | Self::NoSpace { .. }
            | Self::NoLeader { .. }
            | Self::LeaderChanged { .. }
            | Self::ServerTimeout { .. }
            | Self::Stopped { .. }
            | Self::Status { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// Short machine-readable name, as histories carry it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::NotSent { .. } => "not_sent",
            Self::Deadline { .. } => "deadline",
            Self::Lost { .. } => "lost",
            Self::Rejected { .. } => "rejected",
            Self::Revision { .. } => "revision",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::NoSpace { .. } => "no_space",
            Self::NoLeader { .. } => "no_leader",
            Self::LeaderChanged { .. } => "leader_changed",
            Self::ServerTimeout { .. } => "server_timeout",
            Self::Stopped { .. } => "stopped",
            Self::Status { .. } => "status",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// The error as a history carries it.
    pub fn op_error(&self) -> OpError {
        OpError { kind: self.kind().to_string(), text: self.text() }
    }

    fn text(&self) -> String {
        match self {
            Self::Refused { text }
            | Self::NotSent { text }
            | Self::Lost { text }
            | Self::Revision { text }
            | Self::TooManyRequests { text }
            | Self::NoSpace { text }
            | Self::NoLeader { text }
            | Self::LeaderChanged { text }
            | Self::ServerTimeout { text }
            | Self::Stopped { text }
            | Self::Malformed { text } => text.clone(),
            Self::ConnectTimeout { after_ms } | Self::Deadline { after_ms } => format!("after {after_ms} ms"),
            Self::Rejected { code, text } | Self::Status { code, text } => format!("{code:?}: {text}"),
        }
    }

    /// Reads a status that a call came back with: the server's own, or one that tonic made of a failure
    /// of the connection.
    pub fn from_status(status: &Status) -> DriverError {
        if let Some(error) = own_error(status) {
            return error;
        }
        let (code, text) = (status.code(), status.message());
        match (code, etcd_text(text)) {
            (Code::ResourceExhausted, "too many requests") => Self::TooManyRequests { text: text.into() },
            (Code::ResourceExhausted, "mvcc: database space exceeded") => Self::NoSpace { text: text.into() },
            // The server's transport refuses such a message before anything looks into it.
            (Code::ResourceExhausted, t) if t.starts_with("grpc: received message larger than max") => {
                Self::Rejected { code, text: text.into() }
            }
            // tonic has OutOfRange too, for an answer that is too large for it: that proves nothing.
            (
                Code::OutOfRange,
                "mvcc: required revision has been compacted" | "mvcc: required revision is a future revision",
            ) => Self::Revision { text: text.into() },
            (Code::OutOfRange, "too large lease TTL") => Self::Rejected { code, text: text.into() },
            (Code::Unavailable, "no leader") => Self::NoLeader { text: text.into() },
            (Code::Unavailable, "leader changed") => Self::LeaderChanged { text: text.into() },
            (Code::Unavailable, "server stopped") => Self::Stopped { text: text.into() },
            (Code::Unavailable, t) if t.starts_with("request timed out") => {
                Self::ServerTimeout { text: text.into() }
            }
            (Code::Unavailable, "rpc not supported for learner" | "not capable") => {
                Self::Rejected { code, text: text.into() }
            }
            (code, _) if refuses_the_request(code) => Self::Rejected { code, text: text.into() },
            (code, _) => Self::Status { code, text: text.into() },
        }
    }
}

/// Codes that say the request cannot be served as it is, whatever the text.
fn refuses_the_request(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

/// etcd puts its name before most of its texts.
fn etcd_text(text: &str) -> &str {
    text.strip_prefix("etcdserver: ").unwrap_or(text)
}

/// The connection reports its own failures as a [`DriverError`], which tonic wraps into a status.
fn own_error(status: &Status) -> Option<DriverError> {
    let mut source: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<DriverError>() {
            return Some(own.clone());
        }
        // What breaks while an answer is being received comes from the transport itself.
        if error.is::<hyper::Error>() {
            return Some(DriverError::Lost { text: chain(error) });
        }
        source = error.source();
    }
    None
}

/// An error with all its causes, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.text())
    }
}

impl Error for DriverError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_kind_and_certainty() {
        use Certainty::{Definite, Indeterminate};
        for (code, text, kind, certainty) in [
            (Code::InvalidArgument, "etcdserver: key is not provided", "rejected", Definite),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request", "rejected", Definite),
            (Code::InvalidArgument, "etcdserver: request is too large", "rejected", Definite),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "revision",
                Definite,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                "revision",
                Definite,
            ),
            (Code::OutOfRange, "etcdserver: too large lease TTL", "rejected", Definite),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
                "status",
                Indeterminate,
            ),
            (Code::ResourceExhausted, "etcdserver: too many requests", "too_many_requests", Definite),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", "no_space", Definite),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (2097153 vs. 2097152)",
                "rejected",
                Definite,
            ),
            (Code::ResourceExhausted, "quota of a proxy", "status", Indeterminate),
            (Code::NotFound, "etcdserver: requested lease not found", "rejected", Definite),
            (Code::FailedPrecondition, "etcdserver: not leader", "rejected", Definite),
            (Code::PermissionDenied, "etcdserver: permission denied", "rejected", Definite),
            (Code::Unauthenticated, "etcdserver: invalid auth token", "rejected", Definite),
            (Code::Unimplemented, "", "rejected", Definite),
            (Code::AlreadyExists, "", "rejected", Definite),
            (Code::Unavailable, "etcdserver: no leader", "no_leader", Definite),
            (Code::Unavailable, "etcdserver: rpc not supported for learner", "rejected", Definite),
            (Code::Unavailable, "etcdserver: leader changed", "leader_changed", Indeterminate),
            (Code::Unavailable, "etcdserver: server stopped", "stopped", Indeterminate),
            (Code::Unavailable, "etcdserver: request timed out", "server_timeout", Indeterminate),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                "server_timeout",
                Indeterminate,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out, waiting for the applied index took too long",
                "server_timeout",
                Indeterminate,
            ),
            (Code::Unavailable, "etcdserver: unhealthy cluster", "status", Indeterminate),
            (Code::Unavailable, "transport is closing", "status", Indeterminate),
            (Code::DeadlineExceeded, "context deadline exceeded", "status", Indeterminate),
            (Code::Cancelled, "etcdserver: request canceled", "status", Indeterminate),
            (Code::DataLoss, "etcdserver: corrupt cluster", "status", Indeterminate),
            (Code::Unknown, "anything", "status", Indeterminate),
            (Code::Internal, "anything", "status", Indeterminate),
            (Code::Aborted, "anything", "status", Indeterminate),
        ] {
            let error = DriverError::from_status(&Status::new(code, text));
            assert_eq!((error.kind(), error.certainty()), (kind, certainty), "{code:?} {text:?}");
        }
    }

    #[test]
    fn a_failure_of_the_connection_survives_its_way_through_tonic() {
        for (error, certainty) in [
            (DriverError::Refused { text: "refused".into() }, Certainty::Definite),
            (DriverError::NotSent { text: "closed".into() }, Certainty::Definite),
            (DriverError::Lost { text: "reset".into() }, Certainty::Indeterminate),
        ] {
            let status = Status::from_error(Box::new(error.clone()));
            assert_eq!(DriverError::from_status(&status), error);
            assert_eq!(error.certainty(), certainty, "{error}");
        }
    }

    #[test]
    fn waiting_in_vain_is_definite_only_before_the_request_was_sent() {
        assert_eq!(DriverError::ConnectTimeout { after_ms: 9 }.certainty(), Certainty::Definite);
        assert_eq!(DriverError::Deadline { after_ms: 9 }.certainty(), Certainty::Indeterminate);
        assert_eq!(DriverError::Malformed { text: "no header".into() }.certainty(), Certainty::Indeterminate);
        assert_eq!(DriverError::Deadline { after_ms: 9 }.op_error().text, "after 9 ms");
    }
}
