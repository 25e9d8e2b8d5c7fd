//! The gRPC methods that this server knows, and how often each was called.

use crate::metrics::Counter;
use std::{array, sync::Arc};
use tonic::Code;

/// The services, as the paths of requests name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Keys and values.
    Kv,
    /// Changes of keys.
    Watch,
    /// Leases.
    Lease,
    /// Locks, kept by the server.
    Lock,
    /// Elections, kept by the server.
    Election,
    /// Members.
    Cluster,
    /// This member's state.
    Maintenance,
    /// Users, roles and tokens.
    Auth,
    /// The standard health service.
    Health,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 9] = [
        Service::Kv,
        Service::Watch,
        Service::Lease,
        Service::Lock,
        Service::Election,
        Service::Cluster,
        Service::Maintenance,
        Service::Auth,
        Service::Health,
    ];

    /// The full name, with the package.
    pub fn name(self) -> &'static str {
        match self {
            Service::Kv => "etcdserverpb.KV",
            Service::Watch => "etcdserverpb.Watch",
            Service::Lease => "etcdserverpb.Lease",
            Service::Lock => "v3lockpb.Lock",
            Service::Election => "v3electionpb.Election",
            Service::Cluster => "etcdserverpb.Cluster",
            Service::Maintenance => "etcdserverpb.Maintenance",
            Service::Auth => "etcdserverpb.Auth",
            Service::Health => "grpc.health.v1.Health",
        }
    }
}

/// One method of a service.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Where it belongs.
    pub service: Service,
    /// The path of its requests.
    pub path: &'static str,
    /// `unary`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
}

impl Method {
    /// Its name within the service.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('/').map_or(self.path, |(_, name)| name)
    }
}

/// The kind of a method with one request and one answer.
pub(super) const UNARY: &str = "unary";

const fn unary(service: Service, path: &'static str) -> Method {
    Method { service, path, kind: UNARY }
}

const fn server_stream(service: Service, path: &'static str) -> Method {
    Method { service, path, kind: "server_stream" }
}

const fn bidi_stream(service: Service, path: &'static str) -> Method {
    Method { service, path, kind: "bidi_stream" }
}

/// All methods; the ones that are called most come first.
pub const METHODS: [Method; 50] = [
    unary(Service::Kv, "/etcdserverpb.KV/Range"),
    unary(Service::Kv, "/etcdserverpb.KV/Put"),
    unary(Service::Kv, "/etcdserverpb.KV/Txn"),
    unary(Service::Kv, "/etcdserverpb.KV/DeleteRange"),
    unary(Service::Kv, "/etcdserverpb.KV/Compact"),
    bidi_stream(Service::Watch, "/etcdserverpb.Watch/Watch"),
    bidi_stream(Service::Lease, "/etcdserverpb.Lease/LeaseKeepAlive"),
    unary(Service::Lease, "/etcdserverpb.Lease/LeaseGrant"),
    unary(Service::Lease, "/etcdserverpb.Lease/LeaseRevoke"),
    unary(Service::Lease, "/etcdserverpb.Lease/LeaseTimeToLive"),
    unary(Service::Lease, "/etcdserverpb.Lease/LeaseLeases"),
    unary(Service::Lock, "/v3lockpb.Lock/Lock"),
    unary(Service::Lock, "/v3lockpb.Lock/Unlock"),
    unary(Service::Election, "/v3electionpb.Election/Campaign"),
    unary(Service::Election, "/v3electionpb.Election/Proclaim"),
    unary(Service::Election, "/v3electionpb.Election/Leader"),
    server_stream(Service::Election, "/v3electionpb.Election/Observe"),
    unary(Service::Election, "/v3electionpb.Election/Resign"),
    unary(Service::Cluster, "/etcdserverpb.Cluster/MemberAdd"),
    unary(Service::Cluster, "/etcdserverpb.Cluster/MemberRemove"),
    unary(Service::Cluster, "/etcdserverpb.Cluster/MemberUpdate"),
    unary(Service::Cluster, "/etcdserverpb.Cluster/MemberList"),
    unary(Service::Cluster, "/etcdserverpb.Cluster/MemberPromote"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/Alarm"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/Status"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/Defragment"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/Hash"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/HashKV"),
    server_stream(Service::Maintenance, "/etcdserverpb.Maintenance/Snapshot"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/MoveLeader"),
    unary(Service::Maintenance, "/etcdserverpb.Maintenance/Downgrade"),
    unary(Service::Auth, "/etcdserverpb.Auth/AuthEnable"),
    unary(Service::Auth, "/etcdserverpb.Auth/AuthDisable"),
    unary(Service::Auth, "/etcdserverpb.Auth/AuthStatus"),
    unary(Service::Auth, "/etcdserverpb.Auth/Authenticate"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserAdd"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserGet"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserList"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserDelete"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserChangePassword"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserGrantRole"),
    unary(Service::Auth, "/etcdserverpb.Auth/UserRevokeRole"),
    unary(Service::Auth, "/etcdserverpb.Auth/RoleAdd"),
    unary(Service::Auth, "/etcdserverpb.Auth/RoleGet"),
    unary(Service::Auth, "/etcdserverpb.Auth/RoleList"),
    unary(Service::Auth, "/etcdserverpb.Auth/RoleDelete"),
    unary(Service::Auth, "/etcdserverpb.Auth/RoleGrantPermission"),
    unary(Service::Auth, "/etcdserverpb.Auth/RoleRevokePermission"),
    unary(Service::Health, "/grpc.health.v1.Health/Check"),
    server_stream(Service::Health, "/grpc.health.v1.Health/Watch"),
];

/// Number of gRPC codes.
pub(crate) const CODES: usize = 17;

/// How often each of [`METHODS`] was called and what the calls came to.
#[derive(Debug)]
pub struct MethodCounters {
    started: [Counter; METHODS.len()],
    received: [Counter; METHODS.len()],
    sent: [Counter; METHODS.len()],
    handled: [[Counter; CODES]; METHODS.len()],
}

impl Default for MethodCounters {
    fn default() -> MethodCounters {
        let counters = || array::from_fn(|_| Counter::default());
        MethodCounters {
            started: counters(),
            received: counters(),
            sent: counters(),
            handled: array::from_fn(|_| Default::default()),
        }
    }
}

impl MethodCounters {
    /// Calls begun of method `at`.
    pub fn started(&self, at: usize) -> u64 {
        self.started[at].get()
    }

    /// Messages that clients sent in calls of method `at`.
    pub fn received(&self, at: usize) -> u64 {
        self.received[at].get()
    }

    /// Messages that were sent to clients in calls of method `at`.
    pub fn sent(&self, at: usize) -> u64 {
        self.sent[at].get()
    }

    /// Calls of method `at` that ended with `code`.
    pub fn handled(&self, at: usize, code: Code) -> u64 {
        self.handled[at][code as usize].get()
    }

    pub(crate) fn start(self: &Arc<Self>, at: usize) -> Call {
        self.started[at].inc();
        // What is not ended otherwise was dropped: its client gave up.
        Call { counters: Arc::clone(self), at, code: Code::Cancelled }
    }

    pub(crate) fn add_received(&self, at: usize, messages: u64) {
        self.received[at].add(messages);
    }
}

/// A call that is being handled; counts its end when it is dropped.
pub(crate) struct Call {
    counters: Arc<MethodCounters>,
    at: usize,
    pub(crate) code: Code,
}

impl Call {
    /// Notes messages to the client.
    pub(crate) fn add_sent(&self, messages: u64) {
        self.counters.sent[self.at].add(messages);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.counters.handled[self.at][self.code as usize].inc();
    }
}

/// The place of a request's method in [`METHODS`].
pub(super) fn find(path: &str) -> Option<usize> {
    METHODS.iter().position(|method| method.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_definitions_has_a_row() {
        let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        for (at, method) in METHODS.iter().enumerate() {
            assert_eq!(find(method.path), Some(at));
            assert_eq!(method.path, format!("/{}/{}", method.service.name(), method.name()));
            let (_, service) = method.service.name().rsplit_once('.').expect("a package");
            for word in [service, method.name()] {
                let found = descriptors.windows(word.len()).any(|bytes| bytes == word.as_bytes());
                assert!(found, "{word} is not in the definitions");
            }
        }
    }
}
