//! Cluster, Maintenance and the health service.

use super::Server;
use crate::{
    api::{ETCD_VERSION, Limits},
    fake::MEMBER,
    proto::{
        etcdserverpb::{
            AlarmMember, AlarmRequest, AlarmType, CompactionRequest, DefragmentRequest, DeleteRangeRequest,
            DowngradeRequest, HashKvRequest, HashRequest, MemberAddRequest, MemberListRequest,
            MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest, PutRequest,
            RangeRequest, RequestOp, SnapshotRequest, StatusRequest, TxnRequest, alarm_request::AlarmAction,
            cluster_client::ClusterClient, downgrade_request::DowngradeAction, kv_client::KvClient,
            maintenance_client::MaintenanceClient, request_op::Request,
        },
        health::{HealthCheckRequest, health_client::HealthClient},
    },
};
use tonic::{Code, Status};

#[tokio::test]
async fn status_tells_what_this_member_knows() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    KvClient::new(channel).put(put).await.expect("a put");

    let status = maintenance.status(StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(status.header.as_ref().map(|header| header.revision), Some(2));
    assert_eq!(status.version, ETCD_VERSION);
    assert_eq!((status.leader, status.raft_term, status.is_learner), (MEMBER.0, 2, false));
    assert_eq!((status.raft_index, status.raft_applied_index), (1, 1));
    assert!(status.db_size > 0 && status.db_size_in_use > 0, "{status:?}");
    assert!(status.errors.is_empty(), "{status:?}");

    server.fake.set_leaderless(true);
    let status = maintenance.status(StatusRequest {}).await.expect("nobody is needed").into_inner();
    assert_eq!(status.leader, 0);
    assert_eq!(status.errors, ["etcdserver: no leader"]);
}

#[tokio::test]
async fn hashes_follow_the_contents() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut hashes = Vec::new();
    for key in ["a", "b"] {
        let put = PutRequest { key: key.into(), ..PutRequest::default() };
        KvClient::new(channel.clone()).put(put).await.expect("a put");
        let whole = maintenance.hash(HashRequest {}).await.expect("a hash").into_inner();
        let newest = maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("a hash").into_inner();
        assert_eq!(whole.hash, newest.hash);
        assert_eq!(whole.header, newest.header);
        hashes.push(newest.hash);
    }
    assert_ne!(hashes[0], hashes[1]);
    let old = maintenance.hash_kv(HashKvRequest { revision: 2 }).await.expect("a hash").into_inner();
    assert_eq!(old.hash, hashes[0], "at the revision of the first");
}

#[tokio::test]
async fn members_are_listed_without_a_revision() {
    let server = Server::start().await;
    let mut cluster = ClusterClient::new(server.channel().await);
    let list =
        cluster.member_list(MemberListRequest { linearizable: true }).await.expect("a list").into_inner();
    assert_eq!(list.header.as_ref().map(|header| (header.member_id, header.revision)), Some((MEMBER.0, 0)));
    let [member] = &list.members[..] else { panic!("one member: {list:?}") };
    assert_eq!((member.id, &member.name[..], member.is_learner), (MEMBER.0, "default", false));
    assert_eq!(member.peer_ur_ls, ["http://127.0.0.1:2380"]);
    assert_eq!(member.client_ur_ls, ["http://127.0.0.1:2379"]);

    server.fake.set_leaderless(true);
    cluster.member_list(MemberListRequest { linearizable: false }).await.expect("what it knows");
    let status = cluster.member_list(MemberListRequest { linearizable: true }).await.expect_err("no quorum");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test]
async fn changes_of_members_are_refused_as_etcd_refuses_them() {
    let server = Server::start().await;
    let mut cluster = ClusterClient::new(server.channel().await);
    let add = |url: &str| MemberAddRequest { peer_ur_ls: vec![url.into()], is_learner: false };
    let other = vec!["http://127.0.0.1:7777".to_string()];
    for (what, outcome, code, text) in [
        (
            "no URL",
            cluster.member_add(MemberAddRequest::default()).await.map(drop),
            Code::InvalidArgument,
            "given member URLs are invalid",
        ),
        (
            "a bad URL",
            cluster.member_add(add("nonsense")).await.map(drop),
            Code::InvalidArgument,
            "given member URLs are invalid",
        ),
        (
            "a URL in use",
            cluster.member_add(add("http://127.0.0.1:2380")).await.map(drop),
            Code::FailedPrecondition,
            "Peer URLs already exists",
        ),
        (
            "a stranger removed",
            cluster.member_remove(MemberRemoveRequest { id: 7 }).await.map(drop),
            Code::NotFound,
            "member not found",
        ),
        (
            "a stranger promoted",
            cluster.member_promote(MemberPromoteRequest { id: 7 }).await.map(drop),
            Code::NotFound,
            "member not found",
        ),
        (
            "a stranger updated",
            cluster.member_update(MemberUpdateRequest { id: 7, peer_ur_ls: other.clone() }).await.map(drop),
            Code::NotFound,
            "member not found",
        ),
        (
            "a voter promoted",
            cluster.member_promote(MemberPromoteRequest { id: MEMBER.0 }).await.map(drop),
            Code::FailedPrecondition,
            "can only promote a learner member",
        ),
        (
            "the last removed",
            cluster.member_remove(MemberRemoveRequest { id: MEMBER.0 }).await.map(drop),
            Code::FailedPrecondition,
            "re-configuration failed due to not enough started members",
        ),
    ] {
        let status = outcome.expect_err(what);
        assert_eq!((status.code(), status.message()), (code, &format!("etcdserver: {text}")[..]), "{what}");
    }
    let updated = MemberUpdateRequest { id: MEMBER.0, peer_ur_ls: other.clone() };
    let updated = cluster.member_update(updated).await.expect("an update").into_inner();
    assert_eq!(updated.members[0].peer_ur_ls, other);
    let added = cluster.member_add(add("http://127.0.0.1:2222")).await.expect("a second").into_inner();
    assert_eq!((added.members.len(), added.header.map(|header| header.revision)), (2, Some(0)));
    let third =
        cluster.member_add(add("http://127.0.0.1:3333")).await.expect_err("the second has not started");
    assert_eq!(third.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn leadership_moves_from_the_leader_to_a_voter() {
    let server = Server::start().await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let mut to = async |target_id| maintenance.move_leader(MoveLeaderRequest { target_id }).await;
    let refusal = |status: Status| (status.code(), status.message().to_string());
    assert_eq!(to(MEMBER.0).await.expect("it leads").into_inner().header, None);
    for stranger in [0, 1, u64::MAX] {
        let want = (Code::FailedPrecondition, "etcdserver: bad leader transferee".into());
        assert_eq!(refusal(to(stranger).await.expect_err("a stranger")), want);
    }
    server.fake.set_leaderless(true);
    let want = (Code::FailedPrecondition, "etcdserver: not leader".into());
    assert_eq!(refusal(to(1).await.expect_err("no leader")), want);
}

#[tokio::test]
async fn defragmentation_has_nothing_to_do() {
    let server = Server::start().await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let response = maintenance.defragment(DefragmentRequest {}).await.expect("done").into_inner();
    assert_eq!(response.header, None);
}

#[tokio::test]
async fn a_full_store_raises_the_alarm_and_refuses_what_takes_space_until_it_is_disarmed() {
    let quota_bytes = Some(20_000);
    let server = Server::with(Limits { quota_bytes, ..Limits::default() }).await;
    let channel = server.channel().await;
    let (mut kv, mut maintenance) = (KvClient::new(channel.clone()), MaintenanceClient::new(channel));
    let put =
        |key: String| PutRequest { key: key.into(), value: vec![0; 1000].into(), ..PutRequest::default() };
    let mut written = 0;
    let refused = loop {
        match kv.put(put(format!("k{written}"))).await {
            Ok(_) => written += 1,
            Err(status) => break status,
        }
    };
    let no_space = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".to_string());
    let told = |status: Status| (status.code(), status.message().to_string());
    assert_eq!(told(refused), no_space);
    assert!((5..20).contains(&written), "{written} fitted");
    let get = AlarmRequest::default();
    let alarms = maintenance.alarm(get).await.expect("a list").into_inner();
    let alarm = AlarmMember { member_id: MEMBER.0, alarm: AlarmType::Nospace.into() };
    assert_eq!(alarms.alarms, [alarm]);
    assert!(alarms.header.is_some_and(|header| header.revision > 1));
    let status = maintenance.status(StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(status.errors, [format!("memberID:{} alarm:NOSPACE ", MEMBER.0)]);
    let delete = DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: false };
    kv.delete_range(delete).await.expect("what frees space passes");
    let small = PutRequest { key: "s".into(), ..PutRequest::default() };
    assert_eq!(told(kv.put(small.clone()).await.expect_err("the alarm is on")), no_space);
    let compact = CompactionRequest { revision: i64::from(written) + 2, physical: true };
    kv.compact(compact).await.expect("a compaction passes");
    let disarm = AlarmRequest {
        action: AlarmAction::Deactivate.into(),
        member_id: MEMBER.0,
        alarm: AlarmType::Nospace.into(),
    };
    assert_eq!(maintenance.alarm(disarm).await.expect("disarmed").into_inner().alarms, [alarm]);
    assert_eq!(maintenance.alarm(disarm).await.expect("again").into_inner().alarms, []);
    kv.put(small).await.expect("there is space again");
}

#[tokio::test]
async fn while_members_differ_nobody_writes() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let (mut kv, mut maintenance) = (KvClient::new(channel.clone()), MaintenanceClient::new(channel));
    let alarm = |action: AlarmAction| AlarmRequest {
        action: action.into(),
        member_id: 7,
        alarm: AlarmType::Corrupt.into(),
    };
    maintenance.alarm(alarm(AlarmAction::Activate)).await.expect("raised");
    let put = PutRequest { key: "k".into(), ..PutRequest::default() };
    let op = RequestOp { request: Some(Request::RequestPut(put.clone())) };
    let txn = TxnRequest { success: vec![op], ..TxnRequest::default() };
    for (what, outcome) in [
        ("put", kv.put(put.clone()).await.map(drop)),
        (
            "delete",
            kv.delete_range(DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() })
                .await
                .map(drop),
        ),
        ("txn", kv.txn(txn).await.map(drop)),
    ] {
        let status = outcome.expect_err(what);
        assert_eq!(
            (status.code(), status.message()),
            (Code::DataLoss, "etcdserver: corrupt cluster"),
            "{what}"
        );
    }
    // As by etcd, readers are served what this member has.
    kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await.expect("a read");
    kv.txn(TxnRequest::default()).await.expect("a transaction that writes nothing");
    maintenance.alarm(alarm(AlarmAction::Deactivate)).await.expect("disarmed");
    kv.put(put).await.expect("served again");
}

#[tokio::test]
async fn downgrades_are_answered_as_by_etcd() {
    let server = Server::start().await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let mut ask = async |action: DowngradeAction, version: &str| {
        let request = DowngradeRequest { action: action.into(), version: version.into() };
        let answer = maintenance.downgrade(request).await;
        answer.map(|answer| answer.into_inner().version).map_err(|status| status.message().to_string())
    };
    use DowngradeAction::{Cancel, Enable, Validate};
    let ours = Ok(crate::api::CLUSTER_VERSION.to_string());
    let refused = |text: &str| Err(format!("etcdserver: {text}"));
    for (action, version, want) in [
        (Validate, "3.4", ours.clone()),
        (Validate, "3.4.0", ours.clone()),
        (Validate, "3.3", refused("invalid downgrade target version")),
        (Validate, "3.x", refused("wrong downgrade target version format")),
        (Cancel, "", refused("no inflight downgrade job")),
        (Enable, "3.4", ours.clone()),
        (Enable, "3.4", refused("cluster has a downgrade job in progress")),
        (Cancel, "", ours.clone()),
    ] {
        assert_eq!(ask(action, version).await, want, "{action:?} {version}");
    }
}

#[tokio::test]
async fn a_snapshot_is_what_etcdctl_takes_for_one() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let put = PutRequest { key: "k".into(), value: vec![7; 100_000].into(), ..PutRequest::default() };
    KvClient::new(channel.clone()).put(put).await.expect("a put");
    let mut blobs =
        MaintenanceClient::new(channel).snapshot(SnapshotRequest {}).await.expect("a stream").into_inner();
    let (mut whole, mut last) = (Vec::new(), None);
    while let Some(message) = blobs.message().await.expect("it goes on") {
        whole.extend_from_slice(&message.blob);
        last = Some((message.remaining_bytes, message.blob.len()));
    }
    assert_eq!((whole.len() % 512, last), (32, Some((0, 32))));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), whole).expect("a file");
    let state = crate::snapshot_file::read(file.path()).expect("a snapshot");
    assert_eq!((state.kv().revision(), state.kv().key_count()), (2, 1));
}

#[tokio::test]
async fn health_cannot_be_watched() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let status = health.watch(HealthCheckRequest::default()).await.expect_err("not there");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_server_as_a_whole_is_serving() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let response = health.check(HealthCheckRequest::default()).await.expect("an answer").into_inner();
    assert_eq!(response.status, 1);
    let status = health.check(HealthCheckRequest { service: "other".into() }).await.expect_err("unknown");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "unknown service"));
}
