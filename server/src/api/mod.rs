//! The client API: etcd's v3 services over gRPC, generic over what stands behind them.
//!
//! One file a service. Each operation is a method of [`Api`] that takes and gives plain messages and typed
//! refusals; the gRPC service and the JSON gateway both call it. [`app`] puts everything that one port
//! answers together, and [`serve`] runs it on a listener.
//!
//! Left out: snapshots in etcd's file format.

use crate::{backend::Backend, error::ApiError};
use std::{sync::Arc, time::Duration};
use tokens::Tokens;
use tokio::sync::watch as watch_channel;

mod app;
mod auth;
mod caller;
mod cluster;
mod counted;
pub(crate) mod election;
mod front;
mod grpc;
mod header;
mod health;
mod kv;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod maintenance;
mod messages;
mod methods;
mod serve;
pub mod status;
pub(crate) mod streams;
pub mod tokens;
mod turn;
mod unary;
pub mod validate;
pub(crate) mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub use app::{App, Body, app, app_with};
pub use caller::{Caller, CommonName};
pub use methods::{METHODS, Method, MethodCounters};
pub use serve::{ClientListener, serve, serve_with};

/// The release of etcd whose behaviour this server follows. Clients switch features on and off by it.
pub const ETCD_VERSION: &str = "3.5.30";

/// The version that all members of the cluster speak.
pub const CLUSTER_VERSION: &str = "3.5.0";

/// How large the store may become unless told otherwise. As etcd.
pub const QUOTA_BYTES: u64 = 2 << 30;
/// The cost of hashing a password unless told otherwise. As etcd.
pub const BCRYPT_COST: u32 = 10;
/// How long a token lives unless told otherwise. As etcd.
pub const TOKEN_TTL: Duration = Duration::from_secs(300);

/// How large requests may be, how long things take, and other choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an encoded request that is to be proposed. Default: 1.5 MiB.
    pub max_request_bytes: usize,
    /// Compares, and operations of a branch, in a transaction. Default: 128.
    pub max_txn_ops: usize,
    /// The shortest TTL of a lease, in seconds. Default: 2.
    pub lease_ttl_s_min: i64,
    /// How often a watch that wants it is told how far it has come. Default: 10 minutes.
    pub progress_interval: Duration,
    /// A stream whose client wants a leader is ended after this long without one. Default: 3 s.
    pub leaderless_max: Duration,
    /// Whether changes of members that may cost the quorum are refused. Default: yes.
    pub strict_reconfig_check: bool,
    /// Bytes that the store may take before writes are refused. Default: 2 GiB.
    pub quota_bytes: Option<u64>,
    /// How much work it is to hash a password: 2 to the power of this. Default: 10.
    pub bcrypt_cost: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_request_bytes: 1024 * 1024 * 3 / 2,
            max_txn_ops: 128,
            strict_reconfig_check: true,
            quota_bytes: Some(QUOTA_BYTES),
            bcrypt_cost: BCRYPT_COST,
            lease_ttl_s_min: 2,
            progress_interval: Duration::from_secs(600),
            leaderless_max: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// Bytes of any message: etcd lets 512 KiB pass its gRPC library beyond what it proposes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_request_bytes.saturating_add(512 * 1024)
    }
}

/// The operations of all services.
#[derive(Debug)]
pub struct Api<B> {
    backend: B,
    limits: Limits,
    tokens: Arc<Tokens>,
    closing: watch_channel::Sender<bool>,
}

impl<B: Backend> Api<B> {
    /// Operations on `backend`, with simple tokens.
    pub fn new(backend: B, limits: Limits) -> Api<B> {
        Api::with_tokens(backend, limits, Arc::new(Tokens::simple(TOKEN_TTL)))
    }

    /// Operations on `backend`.
    pub fn with_tokens(backend: B, limits: Limits, tokens: Arc<Tokens>) -> Api<B> {
        Api { backend, limits, tokens, closing: watch_channel::Sender::new(false) }
    }

    /// Ends all streams: the server is to stop.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// What stands behind the operations.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// How large requests may be.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether this member serves calls of this method at all: a learner serves few.
    ///
    /// # Errors
    /// [`ApiError::NotForLearner`].
    pub(crate) fn admit(&self, method: &Method) -> Result<(), ApiError> {
        // Of reads, a learner serves the serializable ones: that is seen later.
        const SERVED: [&str; 3] = ["Range", "Status", "Snapshot"];
        let served = method.service == methods::Service::Health || SERVED.contains(&method.name());
        if !served && self.backend.status().is_learner { Err(ApiError::NotForLearner) } else { Ok(()) }
    }
}

/// A refusal by a service that etcd builds on its client library, which does not pass codes on.
fn unknown(error: ApiError) -> tonic::Status {
    tonic::Status::unknown(status::text(error))
}

/// A number from the operating system's randomness.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Its keys are drawn once a thread and then counted up: hashed, they tell nothing of each other.
    RandomState::new().hash_one(std::time::Instant::now())
}
