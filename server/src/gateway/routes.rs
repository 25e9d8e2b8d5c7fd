//! The paths of the JSON API.

use super::{json, streams};
use crate::{
    api::{Api, METHODS, election, lock, status},
    backend::Backend,
};
use prost::{Message, Name};
use serde::Serialize;
use std::{future::Future, sync::Arc};
use tonic::Status;

/// An operation of the JSON API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compaction,
    Watch,
    LeaseGrant,
    LeaseRevoke,
    LeaseKeepAlive,
    LeaseTimeToLive,
    LeaseLeases,
    Lock,
    Unlock,
    Campaign,
    Proclaim,
    Leader,
    Observe,
    Resign,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberList,
    MemberPromote,
    Alarm,
    Status,
    Defragment,
    Hash,
    HashKv,
    Snapshot,
    TransferLeadership,
    Downgrade,
    AuthEnable,
    AuthDisable,
    AuthStatus,
    Authenticate,
    UserAdd,
    UserGet,
    UserList,
    UserDelete,
    UserChangePassword,
    UserGrantRole,
    UserRevokeRole,
    RoleAdd,
    RoleGet,
    RoleList,
    RoleDelete,
    RoleGrantPermission,
    RoleRevokePermission,
}

/// Every path below `/v3/`, with the gRPC method that does the same.
const ROUTES: &[(&str, Route, &str)] = &[
    ("kv/range", Route::Range, "/etcdserverpb.KV/Range"),
    ("kv/put", Route::Put, "/etcdserverpb.KV/Put"),
    ("kv/deleterange", Route::DeleteRange, "/etcdserverpb.KV/DeleteRange"),
    ("kv/txn", Route::Txn, "/etcdserverpb.KV/Txn"),
    ("kv/compaction", Route::Compaction, "/etcdserverpb.KV/Compact"),
    ("watch", Route::Watch, "/etcdserverpb.Watch/Watch"),
    ("lease/grant", Route::LeaseGrant, "/etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", Route::LeaseRevoke, "/etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", Route::LeaseRevoke, "/etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", Route::LeaseKeepAlive, "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", Route::LeaseTimeToLive, "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", Route::LeaseTimeToLive, "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", Route::LeaseLeases, "/etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", Route::LeaseLeases, "/etcdserverpb.Lease/LeaseLeases"),
    ("lock/lock", Route::Lock, "/v3lockpb.Lock/Lock"),
    ("lock/unlock", Route::Unlock, "/v3lockpb.Lock/Unlock"),
    ("election/campaign", Route::Campaign, "/v3electionpb.Election/Campaign"),
    ("election/proclaim", Route::Proclaim, "/v3electionpb.Election/Proclaim"),
    ("election/leader", Route::Leader, "/v3electionpb.Election/Leader"),
    ("election/observe", Route::Observe, "/v3electionpb.Election/Observe"),
    ("election/resign", Route::Resign, "/v3electionpb.Election/Resign"),
    ("cluster/member/add", Route::MemberAdd, "/etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", Route::MemberRemove, "/etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", Route::MemberUpdate, "/etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", Route::MemberList, "/etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", Route::MemberPromote, "/etcdserverpb.Cluster/MemberPromote"),
    ("maintenance/alarm", Route::Alarm, "/etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", Route::Status, "/etcdserverpb.Maintenance/Status"),
    ("maintenance/defragment", Route::Defragment, "/etcdserverpb.Maintenance/Defragment"),
    ("maintenance/hash", Route::Hash, "/etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", Route::HashKv, "/etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", Route::Snapshot, "/etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/transfer-leadership", Route::TransferLeadership, "/etcdserverpb.Maintenance/MoveLeader"),
    ("maintenance/downgrade", Route::Downgrade, "/etcdserverpb.Maintenance/Downgrade"),
    ("auth/enable", Route::AuthEnable, "/etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", Route::AuthDisable, "/etcdserverpb.Auth/AuthDisable"),
    ("auth/status", Route::AuthStatus, "/etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", Route::Authenticate, "/etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", Route::UserAdd, "/etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", Route::UserGet, "/etcdserverpb.Auth/UserGet"),
    ("auth/user/list", Route::UserList, "/etcdserverpb.Auth/UserList"),
    ("auth/user/delete", Route::UserDelete, "/etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", Route::UserChangePassword, "/etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", Route::UserGrantRole, "/etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", Route::UserRevokeRole, "/etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", Route::RoleAdd, "/etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", Route::RoleGet, "/etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", Route::RoleList, "/etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", Route::RoleDelete, "/etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", Route::RoleGrantPermission, "/etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", Route::RoleRevokePermission, "/etcdserverpb.Auth/RoleRevokePermission"),
];

/// The route of a path below `/v3/`, and its place in [`METHODS`].
pub(super) fn find(path: &str) -> Option<(Route, usize)> {
    let (_, route, rpc) = ROUTES.iter().find(|(known, ..)| *known == path)?;
    let method = METHODS.iter().position(|method| method.path == *rpc)?;
    Some((*route, method))
}

/// What an operation came to.
pub(super) enum Answer {
    /// A document.
    Whole(Vec<u8>),
    /// Documents that keep coming.
    Lines(streams::Lines),
}

/// Carries out an operation: the body is its request, the answer its response, both JSON.
pub(super) async fn call<B: Backend>(api: &Arc<Api<B>>, route: Route, body: &[u8]) -> Result<Answer, Status> {
    match route {
        Route::Watch => streams::watch(api, body).map(Answer::Lines),
        Route::LeaseKeepAlive => streams::keep_alive(api, body).map(Answer::Lines),
        Route::Observe => streams::observe(api, body).map(Answer::Lines),
        _one_answer => one(api, route, body).await.map(Answer::Whole),
    }
}

async fn one<B: Backend>(api: &Arc<Api<B>>, route: Route, body: &[u8]) -> Result<Vec<u8>, Status> {
    let limit = api.limits().max_message_bytes();
    match route {
        Route::Range => unary(body, limit, |request| api.range(request)).await,
        Route::Put => unary(body, limit, |request| api.put(request)).await,
        Route::DeleteRange => unary(body, limit, |request| api.delete_range(request)).await,
        Route::Txn => unary(body, limit, |request| api.txn(request)).await,
        Route::Compaction => unary(body, limit, |request| api.compact(request)).await,
        Route::LeaseGrant => unary(body, limit, |request| api.lease_grant(request)).await,
        Route::LeaseRevoke => unary(body, limit, |request| api.lease_revoke(request)).await,
        Route::LeaseTimeToLive => unary(body, limit, |request| api.lease_time_to_live(request)).await,
        Route::LeaseLeases => unary(body, limit, |request| api.lease_leases(request)).await,
        Route::Lock => unary(body, limit, |request| lock::lock(api, request)).await,
        Route::Unlock => unary(body, limit, |request| lock::unlock(api, request)).await,
        Route::Campaign => unary(body, limit, |request| election::campaign(api, request)).await,
        Route::Proclaim => unary(body, limit, |request| election::proclaim(api, request)).await,
        Route::Leader => unary(body, limit, |request| election::leader(api, request)).await,
        Route::Resign => unary(body, limit, |request| election::resign(api, request)).await,
        Route::Watch | Route::LeaseKeepAlive | Route::Observe => {
            Err(Status::internal("a stream is no single answer"))
        }
        Route::MemberList => unary(body, limit, |request| api.member_list(request)).await,
        Route::MemberAdd => unary(body, limit, |request| api.member_add(request)).await,
        Route::MemberRemove => unary(body, limit, |request| api.member_remove(request)).await,
        Route::MemberUpdate => unary(body, limit, |request| api.member_update(request)).await,
        Route::MemberPromote => unary(body, limit, |request| api.member_promote(request)).await,
        Route::Alarm => unary(body, limit, |request| api.alarm(request)).await,
        Route::Status => unary(body, limit, |request| api.status(request)).await,
        Route::Defragment => unary(body, limit, |request| api.defragment(request)).await,
        Route::Hash => unary(body, limit, |request| api.hash(request)).await,
        Route::HashKv => unary(body, limit, |request| api.hash_kv(request)).await,
        Route::TransferLeadership => unary(body, limit, |request| api.move_leader(request)).await,
        Route::Downgrade => unary(body, limit, |request| api.downgrade(request)).await,
        Route::Snapshot => snapshot(api).await,
        Route::AuthEnable => unary(body, limit, |request| api.auth_enable(request)).await,
        Route::AuthDisable => unary(body, limit, |request| api.auth_disable(request)).await,
        Route::AuthStatus => unary(body, limit, |request| api.auth_status(request)).await,
        Route::Authenticate => unary(body, limit, |request| api.authenticate(request)).await,
        Route::UserAdd => unary(body, limit, |request| api.user_add(request)).await,
        Route::UserGet => unary(body, limit, |request| api.user_get(request)).await,
        Route::UserList => unary(body, limit, |request| api.user_list(request)).await,
        Route::UserDelete => unary(body, limit, |request| api.user_delete(request)).await,
        Route::UserChangePassword => unary(body, limit, |request| api.user_change_password(request)).await,
        Route::UserGrantRole => unary(body, limit, |request| api.user_grant_role(request)).await,
        Route::UserRevokeRole => unary(body, limit, |request| api.user_revoke_role(request)).await,
        Route::RoleAdd => unary(body, limit, |request| api.role_add(request)).await,
        Route::RoleGet => unary(body, limit, |request| api.role_get(request)).await,
        Route::RoleList => unary(body, limit, |request| api.role_list(request)).await,
        Route::RoleDelete => unary(body, limit, |request| api.role_delete(request)).await,
        Route::RoleGrantPermission => unary(body, limit, |request| api.role_grant_permission(request)).await,
        Route::RoleRevokePermission => {
            unary(body, limit, |request| api.role_revoke_permission(request)).await
        }
    }
}

/// The whole snapshot: a line of JSON for each of its chunks, as of any stream.
async fn snapshot<B: Backend>(api: &Api<B>) -> Result<Vec<u8>, Status> {
    let mut body = Vec::new();
    for chunk in api.snapshot_chunks().await? {
        body.extend_from_slice(b"{\"result\":");
        body.extend(json::encode(&chunk)?);
        body.extend_from_slice(b"}\n");
    }
    Ok(body)
}

async fn unary<Q, R, E, F>(
    body: &[u8],
    limit: usize,
    operation: impl FnOnce(Q) -> F,
) -> Result<Vec<u8>, Status>
where
    Q: Message + Name + Default,
    R: Serialize,
    E: Into<Status>,
    F: Future<Output = Result<R, E>>,
{
    let request: Q = json::decode(body)?;
    let bytes = request.encoded_len();
    if bytes > limit {
        return Err(status::message_too_large(bytes, limit));
    }
    json::encode(&operation(request).await.map_err(Into::into)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_method() {
        for (path, route, rpc) in ROUTES {
            let (found, method) = find(path).expect("the method is in the table");
            assert_eq!((found, METHODS[method].path), (*route, *rpc));
        }
        assert_eq!(find("kv/rag"), None);
        assert_eq!(find("kv/range/"), None);
    }
}
