//! No call slips past a missing permission, over gRPC or through the gateway.

use super::Server;
use crate::{
    api::{Limits, METHODS, tokens::Tokens},
    backend::Backend,
    proto::etcdserverpb::{
        AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
        AuthUserGrantRoleRequest, AuthenticateRequest, LeaseGrantRequest, Permission, PutRequest,
        auth_client::AuthClient, kv_client::KvClient, lease_client::LeaseClient, permission::Type,
    },
};
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Nothing.
    Open,
    /// A user.
    User,
    /// To read the key `a`.
    Read,
    /// To write the key `a`.
    Write,
    /// Everything.
    Root,
}

use Right::{Open, Read, Root, User, Write};

/// Every call: the method, the path below `/v3/` if there is one, its request as JSON, what it needs.
const CALLS: &[(&str, &str, &str, Right)] = &[
    ("KV/Range", "kv/range", r#"{"key":"YQ=="}"#, Read),
    ("KV/Put", "kv/put", r#"{"key":"YQ=="}"#, Write),
    ("KV/DeleteRange", "kv/deleterange", r#"{"key":"YQ=="}"#, Write),
    ("KV/Txn", "kv/txn", r#"{"success":[{"request_range":{"key":"YQ=="}}]}"#, Read),
    ("KV/Txn", "kv/txn", r#"{"failure":[{"request_put":{"key":"YQ=="}}]}"#, Write),
    ("KV/Txn", "kv/txn", r#"{"compare":[{"key":"YQ=="}]}"#, Read),
    (
        "KV/Txn",
        "kv/txn",
        r#"{"failure":[{"request_txn":{"failure":[{"request_delete_range":{"key":"YQ=="}}]}}]}"#,
        Write,
    ),
    ("KV/Compact", "kv/compaction", r#"{"revision":1}"#, Root),
    ("Lease/LeaseGrant", "lease/grant", r#"{"TTL":10}"#, User),
    ("Lease/LeaseTimeToLive", "lease/timetolive", r#"{"ID":7,"keys":true}"#, Read),
    ("Lease/LeaseTimeToLive", "lease/timetolive", r#"{"ID":7}"#, User),
    // A list of all leases is for who may read the keys of each of them, as with etcd.
    ("Lease/LeaseLeases", "lease/leases", "{}", Read),
    ("Lease/LeaseKeepAlive", "", r#"{"ID":7}"#, Write),
    ("Lease/LeaseRevoke", "lease/revoke", r#"{"ID":7}"#, Write),
    ("Cluster/MemberAdd", "cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:9"]}"#, Root),
    ("Cluster/MemberRemove", "cluster/member/remove", r#"{"ID":7}"#, Root),
    ("Cluster/MemberUpdate", "cluster/member/update", r#"{"ID":7,"peerURLs":["http://127.0.0.1:9"]}"#, Root),
    ("Cluster/MemberList", "cluster/member/list", "{}", User),
    ("Cluster/MemberPromote", "cluster/member/promote", r#"{"ID":7}"#, Root),
    ("Maintenance/Alarm", "maintenance/alarm", "{}", User),
    ("Maintenance/Alarm", "maintenance/alarm", r#"{"action":"DEACTIVATE","alarm":"NOSPACE"}"#, Root),
    ("Maintenance/Alarm", "maintenance/alarm", r#"{"action":"ACTIVATE","alarm":"NOSPACE"}"#, Root),
    ("Maintenance/Status", "maintenance/status", "{}", Root),
    ("Maintenance/Defragment", "maintenance/defragment", "{}", Root),
    ("Maintenance/Hash", "maintenance/hash", "{}", Root),
    ("Maintenance/HashKV", "maintenance/hashkv", "{}", Root),
    ("Maintenance/Snapshot", "maintenance/snapshot", "{}", Root),
    ("Maintenance/MoveLeader", "maintenance/transfer-leadership", r#"{"targetID":7}"#, Root),
    ("Maintenance/Downgrade", "maintenance/downgrade", r#"{"version":"3.4"}"#, Root),
    ("Auth/AuthEnable", "auth/enable", "{}", Root),
    ("Auth/AuthDisable", "auth/disable", "{}", Root),
    ("Auth/AuthStatus", "auth/status", "{}", Root),
    ("Auth/Authenticate", "auth/authenticate", r#"{"name":"with","password":"with"}"#, Open),
    ("Auth/UserAdd", "auth/user/add", r#"{"name":"new","password":"p"}"#, Root),
    ("Auth/UserGet", "auth/user/get", r#"{"name":"root"}"#, Root),
    ("Auth/UserList", "auth/user/list", "{}", Root),
    ("Auth/UserDelete", "auth/user/delete", r#"{"name":"nobody"}"#, Root),
    ("Auth/UserChangePassword", "auth/user/changepw", r#"{"name":"nobody","password":"p"}"#, Root),
    ("Auth/UserGrantRole", "auth/user/grant", r#"{"user":"nobody","role":"root"}"#, Root),
    ("Auth/UserRevokeRole", "auth/user/revoke", r#"{"name":"nobody","role":"root"}"#, Root),
    ("Auth/RoleAdd", "auth/role/add", r#"{"name":"new"}"#, Root),
    ("Auth/RoleGet", "auth/role/get", r#"{"role":"root"}"#, Root),
    ("Auth/RoleList", "auth/role/list", "{}", Root),
    ("Auth/RoleDelete", "auth/role/delete", r#"{"role":"none"}"#, Root),
    ("Auth/RoleGrantPermission", "auth/role/grant", r#"{"name":"none","perm":{"key":"YQ=="}}"#, Root),
    ("Auth/RoleRevokePermission", "auth/role/revoke", r#"{"role":"none","key":"YQ=="}"#, Root),
];

/// Messages as bytes, whatever they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The request of a call, encoded.
fn encoded(method: &str, json: &str) -> Bytes {
    use crate::proto::etcdserverpb::*;
    fn of<T: Message + serde::de::DeserializeOwned>(json: &str) -> Bytes {
        serde_json::from_str::<T>(json).expect(json).encode_to_vec().into()
    }
    match method {
        "KV/Range" => of::<RangeRequest>(json),
        "KV/Put" => of::<PutRequest>(json),
        "KV/DeleteRange" => of::<DeleteRangeRequest>(json),
        "KV/Txn" => of::<TxnRequest>(json),
        "Lease/LeaseGrant" => of::<LeaseGrantRequest>(json),
        "Lease/LeaseTimeToLive" => of::<LeaseTimeToLiveRequest>(json),
        "Lease/LeaseKeepAlive" => of::<LeaseKeepAliveRequest>(json),
        "Lease/LeaseRevoke" => of::<LeaseRevokeRequest>(json),
        "KV/Compact" => of::<CompactionRequest>(json),
        "Cluster/MemberAdd" => of::<MemberAddRequest>(json),
        "Cluster/MemberRemove" => of::<MemberRemoveRequest>(json),
        "Cluster/MemberUpdate" => of::<MemberUpdateRequest>(json),
        "Cluster/MemberPromote" => of::<MemberPromoteRequest>(json),
        "Maintenance/Alarm" => of::<AlarmRequest>(json),
        "Maintenance/MoveLeader" => of::<MoveLeaderRequest>(json),
        "Maintenance/Downgrade" => of::<DowngradeRequest>(json),
        "Auth/Authenticate" => of::<AuthenticateRequest>(json),
        "Auth/UserAdd" => of::<AuthUserAddRequest>(json),
        "Auth/UserGet" => of::<AuthUserGetRequest>(json),
        "Auth/UserDelete" => of::<AuthUserDeleteRequest>(json),
        "Auth/UserChangePassword" => of::<AuthUserChangePasswordRequest>(json),
        "Auth/UserGrantRole" => of::<AuthUserGrantRoleRequest>(json),
        "Auth/UserRevokeRole" => of::<AuthUserRevokeRoleRequest>(json),
        "Auth/RoleAdd" => of::<AuthRoleAddRequest>(json),
        "Auth/RoleGet" => of::<AuthRoleGetRequest>(json),
        "Auth/RoleDelete" => of::<AuthRoleDeleteRequest>(json),
        "Auth/RoleGrantPermission" => of::<AuthRoleGrantPermissionRequest>(json),
        "Auth/RoleRevokePermission" => of::<AuthRoleRevokePermissionRequest>(json),
        _without_fields => {
            assert_eq!(json, "{}", "{method}");
            Bytes::new()
        }
    }
}

/// A server with authentication on, and the tokens of `root`, of a user who may read and write the key `a`, and
/// of one who may nothing.
async fn server() -> (Server, [String; 3]) {
    let server = Server::with(Limits { bcrypt_cost: 4, ..Limits::default() }).await;
    let lease = LeaseGrantRequest { ttl: 1000, id: 7 };
    LeaseClient::new(server.channel().await).lease_grant(lease).await.expect("a lease");
    let put = PutRequest { key: "a".into(), lease: 7, ..PutRequest::default() };
    KvClient::new(server.channel().await).put(put).await.expect("a key of the lease");
    let mut auth = AuthClient::new(server.channel().await);
    for name in ["root", "with", "without"] {
        let add = AuthUserAddRequest { name: name.into(), password: name.into(), options: None };
        auth.user_add(add).await.expect("a user");
    }
    auth.role_add(AuthRoleAddRequest { name: "a".into() }).await.expect("a role");
    let perm = Permission { perm_type: Type::Readwrite.into(), key: "a".into(), range_end: Bytes::new() };
    let grant = AuthRoleGrantPermissionRequest { name: "a".into(), perm: Some(perm) };
    auth.role_grant_permission(grant).await.expect("a permission");
    for (user, role) in [("root", "root"), ("with", "a")] {
        let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        auth.user_grant_role(grant).await.expect("a role");
    }
    auth.auth_enable(AuthEnableRequest {}).await.expect("on");
    let mut tokens = Vec::new();
    for name in ["root", "with", "without"] {
        let login = AuthenticateRequest { name: name.into(), password: name.into() };
        tokens.push(auth.authenticate(login).await.expect("a token").into_inner().token);
    }
    (server, tokens.try_into().expect("three"))
}

/// What of an answer is about who asks.
fn verdict(code: i32, text: &str) -> Option<Code> {
    match (Code::from(code), text) {
        (code @ (Code::PermissionDenied | Code::Unauthenticated), _) => Some(code),
        (code, "etcdserver: user name is empty") => Some(code),
        _about_the_request => None,
    }
}

async fn over_grpc(server: &Server, method: &str, body: Bytes, token: Option<&str>) -> Option<Code> {
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.expect("a connection");
    let mut request = tonic::Request::new(body);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().expect("a header"));
    }
    let path = format!("/etcdserverpb.{method}").parse().expect("a path");
    match grpc.unary(request, path, Raw).await {
        Ok(_) => None,
        Err(status) => verdict(status.code().into(), status.message()),
    }
}

async fn through_gateway(server: &Server, path: &str, body: &str, token: Option<&str>) -> Option<Code> {
    let mut socket = server.connect().await;
    let header = token.map(|token| format!("authorization: {token}\r\n")).unwrap_or_default();
    let len = body.len();
    let request = format!(
        "POST /v3/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}content-length: {len}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body["code"].as_i64().unwrap_or_default();
    verdict(code as i32, body["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn every_call_asks_for_just_the_right_that_it_needs() {
    let covered: BTreeSet<&str> = CALLS.iter().map(|(method, ..)| *method).collect();
    for method in METHODS.iter().filter(|method| method.service.name().starts_with("etcdserverpb.")) {
        let name = method.path.trim_start_matches("/etcdserverpb.");
        // A watch that is not permitted is answered in the stream: see below.
        assert!(covered.contains(name) || name == "Watch/Watch", "no row for {name}");
    }
    let mut wrong = Vec::new();
    for &(method, path, json, right) in CALLS {
        let (server, [root, with, without]) = server().await;
        let expired = {
            let state = server.fake.state();
            Tokens::simple(Duration::ZERO).issue("root", state.auth()).expect("a token")
        };
        let denied = Some(Code::PermissionDenied);
        for (who, token, want) in [
            ("nobody", None, (right != Open).then_some(Code::InvalidArgument)),
            ("expired", Some(&expired), (right != Open).then_some(Code::Unauthenticated)),
            ("without", Some(&without), if matches!(right, Open | User) { None } else { denied }),
            ("with", Some(&with), if right == Root { denied } else { None }),
            ("root", Some(&root), None),
        ] {
            let token = token.map(String::as_str);
            let grpc = over_grpc(&server, method, encoded(method, json), token).await;
            let gateway = if path.is_empty() {
                grpc // The gateway streams the same answer in another form.
            } else {
                through_gateway(&server, path, json, token).await
            };
            if (grpc, gateway) != (want, want) {
                wrong.push(format!("{method} {json} as {who}: {grpc:?}, {gateway:?}; should be {want:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn users_may_look_at_themselves_and_their_roles_and_passwords_count() {
    use crate::proto::etcdserverpb::{AuthRoleGetRequest, AuthUserGetRequest};
    let (server, [_, with, _]) = server().await;
    let mut auth = AuthClient::new(server.channel().await);
    fn by<T>(message: T, token: &str) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("token", token.parse().expect("a header"));
        request
    }
    let user = auth.user_get(by(AuthUserGetRequest { name: "with".into() }, &with)).await.expect("itself");
    assert_eq!(user.into_inner().roles, ["a"]);
    let role = auth.role_get(by(AuthRoleGetRequest { role: "a".into() }, &with)).await.expect("its role");
    assert_eq!(role.into_inner().perm.len(), 1);
    for (name, password) in [("with", "wrong"), ("nobody", ""), ("with", "")] {
        let login = AuthenticateRequest { name: name.into(), password: password.into() };
        let status = auth.authenticate(login).await.expect_err("a wrong password");
        assert_eq!(status.message(), "etcdserver: authentication failed, invalid user ID or password");
    }
}

#[tokio::test]
async fn without_authentication_nobody_is_asked() {
    let server = Server::start().await;
    let mut auth = AuthClient::new(server.channel().await);
    let login = AuthenticateRequest { name: "root".into(), password: "root".into() };
    let status = auth.authenticate(login).await.expect_err("it is off");
    assert_eq!(status.message(), "etcdserver: authentication is not enabled");
    let status = auth.auth_enable(AuthEnableRequest {}).await.expect_err("no root");
    assert_eq!(status.message(), "etcdserver: root user does not exist");
    let status = auth.auth_status(crate::proto::etcdserverpb::AuthStatusRequest {}).await.expect("a status");
    let status = status.into_inner();
    assert_eq!((status.enabled, status.auth_revision), (false, 1));
}

#[tokio::test]
async fn a_watch_needs_the_right_to_read_all_of_its_keys() {
    use crate::proto::etcdserverpb::{
        WatchCreateRequest, WatchRequest, watch_client::WatchClient, watch_request::RequestUnion,
    };
    let (server, [root, with, without]) = server().await;
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    for (token, key, range_end, want) in [
        (None, "a", "", "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"),
        (
            Some("nonsense"),
            "a",
            "",
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
        ),
        (Some(&without[..]), "a", "", denied),
        (Some(&with[..]), "a", "", ""),
        (Some(&with[..]), "a", "c", denied),
        (Some(&with[..]), "", "\0", denied),
        (Some(&root[..]), "", "\0", ""),
    ] {
        let create = WatchCreateRequest {
            key: key.to_string().into(),
            range_end: range_end.to_string().into(),
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let mut request = tonic::Request::new(tokio_stream::iter([create]));
        if let Some(token) = token {
            request.metadata_mut().insert("token", token.parse().expect("a header"));
        }
        let mut answers =
            WatchClient::new(server.channel().await).watch(request).await.expect("a stream").into_inner();
        let answer = answers.message().await.expect("it goes on").expect("an answer");
        assert!(answer.created);
        assert_eq!(
            (answer.canceled, &answer.cancel_reason[..]),
            (!want.is_empty(), want),
            "{key:?} {range_end:?}"
        );
    }
}
