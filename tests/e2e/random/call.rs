//! One unary call, over gRPC or through the JSON gateway, and its answer as JSON.

use super::wire::Http;
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use server::proto::{
    etcdserverpb::*,
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
        ResignRequest, ResignResponse,
    },
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};
use tonic::{
    Status, client::Grpc, codegen::http::uri::PathAndQuery, metadata::AsciiMetadataValue, transport::Channel,
};

/// What a store says: an answer as JSON, or a refusal.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// It did what it was asked.
    Yes(Value),
    /// The code, and the text.
    No(i32, String),
}

macro_rules! calls {
    ($($name:ident($request:ty => $response:ty) $rpc:literal $gateway:literal;)*) => {
        /// A call of any service.
        #[derive(Clone, Debug)]
        pub enum Call {
            $($name($request)),*
        }

        impl Call {
            /// Over gRPC, with metadata.
            pub async fn over_grpc(&self, channel: &Channel, metadata: &[(&'static str, &str)]) -> Said {
                match self {
                    $(Call::$name(request) => {
                        unary::<$request, $response>(channel, concat!("/", $rpc), request, metadata).await
                    })*
                }
            }

            /// The call of this name, and its request in protobuf's JSON.
            ///
            /// # Errors
            /// There is none of this name, or the request is not one of its kind.
            pub fn named(name: &str, request: Value) -> Result<Call, String> {
                match name {
                    $(stringify!($name) => {
                        serde_json::from_value(request).map(Call::$name).map_err(|error| format!("{name}: {error}"))
                    })*
                    _ => Err(format!("there is no call {name}")),
                }
            }

            /// Through the gateway. `None`: it cannot be said in JSON.
            pub async fn over_http(&self, http: &mut Http, token: Option<&str>) -> Option<Said> {
                match self {
                    $(Call::$name(request) => {
                        let body = serde_json::to_string(request).ok()?;
                        Some(http.call(concat!("/v3/", $gateway), body, token).await)
                    })*
                }
            }
        }
    };
}

calls! {
    Range(RangeRequest => RangeResponse) "etcdserverpb.KV/Range" "kv/range";
    Put(PutRequest => PutResponse) "etcdserverpb.KV/Put" "kv/put";
    Delete(DeleteRangeRequest => DeleteRangeResponse) "etcdserverpb.KV/DeleteRange" "kv/deleterange";
    Txn(TxnRequest => TxnResponse) "etcdserverpb.KV/Txn" "kv/txn";
    Compact(CompactionRequest => CompactionResponse) "etcdserverpb.KV/Compact" "kv/compaction";
    Grant(LeaseGrantRequest => LeaseGrantResponse) "etcdserverpb.Lease/LeaseGrant" "lease/grant";
    Revoke(LeaseRevokeRequest => LeaseRevokeResponse) "etcdserverpb.Lease/LeaseRevoke" "lease/revoke";
    TimeToLive(LeaseTimeToLiveRequest => LeaseTimeToLiveResponse)
        "etcdserverpb.Lease/LeaseTimeToLive" "lease/timetolive";
    Leases(LeaseLeasesRequest => LeaseLeasesResponse) "etcdserverpb.Lease/LeaseLeases" "lease/leases";
    MemberAdd(MemberAddRequest => MemberAddResponse) "etcdserverpb.Cluster/MemberAdd" "cluster/member/add";
    MemberRemove(MemberRemoveRequest => MemberRemoveResponse)
        "etcdserverpb.Cluster/MemberRemove" "cluster/member/remove";
    MemberUpdate(MemberUpdateRequest => MemberUpdateResponse)
        "etcdserverpb.Cluster/MemberUpdate" "cluster/member/update";
    MemberList(MemberListRequest => MemberListResponse) "etcdserverpb.Cluster/MemberList" "cluster/member/list";
    MemberPromote(MemberPromoteRequest => MemberPromoteResponse)
        "etcdserverpb.Cluster/MemberPromote" "cluster/member/promote";
    Alarm(AlarmRequest => AlarmResponse) "etcdserverpb.Maintenance/Alarm" "maintenance/alarm";
    Status(StatusRequest => StatusResponse) "etcdserverpb.Maintenance/Status" "maintenance/status";
    Defragment(DefragmentRequest => DefragmentResponse)
        "etcdserverpb.Maintenance/Defragment" "maintenance/defragment";
    HashKv(HashKvRequest => HashKvResponse) "etcdserverpb.Maintenance/HashKV" "maintenance/hashkv";
    MoveLeader(MoveLeaderRequest => MoveLeaderResponse)
        "etcdserverpb.Maintenance/MoveLeader" "maintenance/transfer-leadership";
    Downgrade(DowngradeRequest => DowngradeResponse) "etcdserverpb.Maintenance/Downgrade" "maintenance/downgrade";
    AuthEnable(AuthEnableRequest => AuthEnableResponse) "etcdserverpb.Auth/AuthEnable" "auth/enable";
    AuthDisable(AuthDisableRequest => AuthDisableResponse) "etcdserverpb.Auth/AuthDisable" "auth/disable";
    AuthStatus(AuthStatusRequest => AuthStatusResponse) "etcdserverpb.Auth/AuthStatus" "auth/status";
    Authenticate(AuthenticateRequest => AuthenticateResponse)
        "etcdserverpb.Auth/Authenticate" "auth/authenticate";
    UserAdd(AuthUserAddRequest => AuthUserAddResponse) "etcdserverpb.Auth/UserAdd" "auth/user/add";
    UserGet(AuthUserGetRequest => AuthUserGetResponse) "etcdserverpb.Auth/UserGet" "auth/user/get";
    UserList(AuthUserListRequest => AuthUserListResponse) "etcdserverpb.Auth/UserList" "auth/user/list";
    UserDelete(AuthUserDeleteRequest => AuthUserDeleteResponse) "etcdserverpb.Auth/UserDelete" "auth/user/delete";
    UserPassword(AuthUserChangePasswordRequest => AuthUserChangePasswordResponse)
        "etcdserverpb.Auth/UserChangePassword" "auth/user/changepw";
    UserGrant(AuthUserGrantRoleRequest => AuthUserGrantRoleResponse)
        "etcdserverpb.Auth/UserGrantRole" "auth/user/grant";
    UserRevoke(AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse)
        "etcdserverpb.Auth/UserRevokeRole" "auth/user/revoke";
    RoleAdd(AuthRoleAddRequest => AuthRoleAddResponse) "etcdserverpb.Auth/RoleAdd" "auth/role/add";
    RoleGet(AuthRoleGetRequest => AuthRoleGetResponse) "etcdserverpb.Auth/RoleGet" "auth/role/get";
    RoleList(AuthRoleListRequest => AuthRoleListResponse) "etcdserverpb.Auth/RoleList" "auth/role/list";
    RoleDelete(AuthRoleDeleteRequest => AuthRoleDeleteResponse) "etcdserverpb.Auth/RoleDelete" "auth/role/delete";
    RoleGrant(AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse)
        "etcdserverpb.Auth/RoleGrantPermission" "auth/role/grant";
    RoleRevoke(AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse)
        "etcdserverpb.Auth/RoleRevokePermission" "auth/role/revoke";
    Lock(LockRequest => LockResponse) "v3lockpb.Lock/Lock" "lock/lock";
    Unlock(UnlockRequest => UnlockResponse) "v3lockpb.Lock/Unlock" "lock/unlock";
    Campaign(CampaignRequest => CampaignResponse) "v3electionpb.Election/Campaign" "election/campaign";
    Proclaim(ProclaimRequest => ProclaimResponse) "v3electionpb.Election/Proclaim" "election/proclaim";
    Leader(LeaderRequest => LeaderResponse) "v3electionpb.Election/Leader" "election/leader";
    Resign(ResignRequest => ResignResponse) "v3electionpb.Election/Resign" "election/resign";
}

/// With a user's token.
pub fn with_token<T>(request: T, token: Option<&str>) -> tonic::Request<T> {
    with_metadata(request, token.map(|token| ("token", token)).as_slice())
}

fn with_metadata<T>(request: T, metadata: &[(&'static str, &str)]) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    for (name, value) in metadata {
        let value = AsciiMetadataValue::try_from(*value).expect("metadata is text");
        request.metadata_mut().insert(*name, value);
    }
    request
}

/// A refusal.
pub fn no(status: &Status) -> Said {
    Said::No(status.code().into(), status.message().to_string())
}

async fn unary<Q, R>(
    channel: &Channel,
    path: &'static str,
    request: &Q,
    metadata: &[(&'static str, &str)],
) -> Said
where
    Q: Message + Clone + Default + 'static,
    R: Message + Default + Serialize + 'static,
{
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    if let Err(error) = grpc.ready().await {
        return Said::No(-1, format!("no connection: {error}"));
    }
    let codec = tonic_prost::ProstCodec::<Q, R>::default();
    let path = PathAndQuery::from_static(path);
    match grpc.unary(with_metadata(request.clone(), metadata), path, codec).await {
        Ok(answer) => Said::Yes(serde_json::to_value(answer.into_inner()).expect("an answer is JSON")),
        Err(status) => no(&status),
    }
}
