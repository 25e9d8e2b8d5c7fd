//! Clusters grow and shrink under load, tolerate what etcd's table of fault tolerance promises, and part from
//! their members in order.

use crate::fleet::{Fleet, PATIENCE, Writers, has_all, serves};
use server::proto::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest, PutRequest, RangeRequest,
    cluster_client::ClusterClient, kv_client::KvClient,
};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tonic::{Code, Response, Status, transport::Channel};

const FLAGS: &[&str] = &["--snapshot-count=200", "--heartbeat-interval=50", "--election-timeout=500"];

fn joining() -> Vec<&'static str> {
    [FLAGS, &["--initial-cluster-state=existing"]].concat()
}

/// Tries until it is done: strict checks refuse what comes too early.
async fn until_done<T, F>(what: &str, mut act: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let begun = Instant::now();
    loop {
        match act().await {
            Ok(done) => return done.into_inner(),
            Err(status) => assert!(begun.elapsed() < PATIENCE, "{what}: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn members_of(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel)
}

/// Adds a member by way of `through`, starts it, and waits until it serves.
async fn grow(fleet: &mut Fleet, through: usize, members: &mut Vec<usize>, new: usize) {
    let add = MemberAddRequest { peer_ur_ls: vec![fleet.peer_url(new).into()], is_learner: false };
    let cluster = members_of(fleet.channel(through));
    let added = until_done("add", || {
        let (mut cluster, add) = (cluster.clone(), add.clone());
        async move { cluster.member_add(add).await }
    })
    .await;
    assert_eq!(added.members.len(), members.len() + 1);
    assert_eq!(added.member.as_ref().map(|member| member.name.as_str()), Some(""), "it has not started");
    members.push(new);
    fleet.spawn(new, members, &joining());
    serves(fleet.channel(new)).await;
}

async fn id_of(fleet: &Fleet, through: usize, at: usize) -> u64 {
    let list = until_done("list", || {
        let mut cluster = members_of(fleet.channel(through));
        async move { cluster.member_list(MemberListRequest { linearizable: true }).await }
    })
    .await;
    let member = list.members.iter().find(|member| member.peer_ur_ls == [fleet.peer_url(at)]);
    member.unwrap_or_else(|| panic!("n{at} is no member")).id
}

/// Removes a member by way of another, or of itself, and waits until it has stopped.
async fn shrink(fleet: &mut Fleet, through: usize, members: &mut Vec<usize>, gone: usize) {
    let id = id_of(fleet, through, gone).await;
    let begun = Instant::now();
    loop {
        let removed = members_of(fleet.channel(through)).member_remove(MemberRemoveRequest { id }).await;
        match removed {
            Ok(_) => break,
            // An earlier try may have done it without telling.
            Err(status) if status.code() == Code::NotFound => break,
            Err(status) => assert!(begun.elapsed() < PATIENCE, "remove: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    members.retain(|member| *member != gone);
    let status = fleet.ends(gone).await;
    assert_eq!(status.code(), Some(1), "a member that was removed stops");
    assert!(fleet.log(gone).contains("this member was removed from the cluster"), "and says why");
}

fn urls(fleet: &Fleet, members: &[usize]) -> Vec<String> {
    members.iter().map(|at| fleet.client_url(*at).to_string()).collect()
}

/// What a client sees that asks a member from its very start: never a store from before the member was one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_shows_nothing_from_before_it_was_added() {
    let mut fleet = Fleet::of(2);
    fleet.spawn(0, &[0], FLAGS);
    serves(fleet.channel(0)).await;
    // What takes a while to hand over.
    let mut kv = KvClient::new(fleet.channel(0));
    for key in 0..200_u32 {
        let put = PutRequest {
            key: key.to_be_bytes().to_vec().into(),
            value: vec![b'x'; 50_000].into(),
            ..PutRequest::default()
        };
        kv.put(put).await.expect("written");
    }
    let add = MemberAddRequest { peer_ur_ls: vec![fleet.peer_url(1).into()], is_learner: true };
    members_of(fleet.channel(0)).member_add(add).await.expect("added");
    fleet.spawn(1, &[0, 1], &joining());
    let all = RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        serializable: true,
        count_only: true,
        ..RangeRequest::default()
    };
    let (mut new, begun) = (KvClient::new(fleet.channel(1)), Instant::now());
    let first = loop {
        match new.range(all.clone()).await {
            Ok(answer) => break answer.into_inner(),
            Err(status) => assert!(begun.elapsed() < PATIENCE, "it does not serve: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let revision = first.header.expect("a header").revision;
    assert_eq!((first.count, revision), (200, 201), "the first answer is of the store that it joined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_1_to_5_and_shrinks_to_3_under_load() {
    let mut fleet = Fleet::of(5);
    let mut members = vec![0];
    fleet.spawn(0, &[0], FLAGS);
    serves(fleet.channel(0)).await;
    let writers = Writers::start(4, urls(&fleet, &members));
    for new in 1..5 {
        grow(&mut fleet, 0, &mut members, new).await;
        writers.go_through(urls(&fleet, &members));
    }
    // The leader removes itself, and somebody else goes by way of another.
    let leader = fleet.leader(&members).await;
    let stay: Vec<usize> = members.iter().copied().filter(|at| *at != leader).collect();
    writers.go_through(urls(&fleet, &stay[1..]));
    shrink(&mut fleet, leader, &mut members, leader).await;
    shrink(&mut fleet, stay[1], &mut members, stay[0]).await;
    let acknowledged = writers.stop().await;
    eprintln!("{} acknowledged while the cluster went 1 -> 5 -> 3", acknowledged.len());
    assert!(acknowledged.len() > 100, "only {} writes were acknowledged", acknowledged.len());
    assert_eq!(members.len(), 3);
    for at in &members {
        has_all(fleet.channel(*at), &acknowledged, &format!("n{at}")).await;
    }
    // A cluster of three goes on without one.
    fleet.kill(members[0]);
    serves(fleet.channel(members[1])).await;
    // Who was removed stays so, also when it is started again.
    fleet.spawn(leader, &[0], FLAGS);
    assert_eq!(fleet.ends(leader).await.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_catches_up_is_promoted_and_must_not_lose_its_data() {
    let mut fleet = Fleet::of(2);
    fleet.spawn(0, &[0], FLAGS);
    serves(fleet.channel(0)).await;
    let mut kv = KvClient::new(fleet.channel(0));
    for n in 0..600 {
        let put = PutRequest { key: format!("k{n}").into(), value: "v".into(), ..PutRequest::default() };
        kv.put(put).await.unwrap();
    }
    let mut cluster = members_of(fleet.channel(0));
    let add = MemberAddRequest { peer_ur_ls: vec![fleet.peer_url(1).into()], is_learner: true };
    let id = cluster.member_add(add).await.unwrap().into_inner().member.unwrap().id;
    let promote = MemberPromoteRequest { id };
    let early = cluster.member_promote(promote).await.unwrap_err();
    assert_eq!(
        (early.code(), early.message()),
        (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader"
        )
    );
    let second = MemberAddRequest { peer_ur_ls: vec!["http://127.0.0.1:1".into()], is_learner: true };
    let second = cluster.member_add(second).await.unwrap_err();
    assert_eq!(second.message(), "etcdserver: too many learner members in cluster");

    fleet.spawn(1, &[0, 1], &joining());
    let mut of_learner = KvClient::new(fleet.channel(1));
    let read = RangeRequest { key: "k599".into(), serializable: true, ..RangeRequest::default() };
    let begun = Instant::now();
    while of_learner.range(read.clone()).await.map_or(true, |found| found.into_inner().count == 0) {
        assert!(begun.elapsed() < PATIENCE, "the learner never catches up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for refused in [
        of_learner.range(RangeRequest { serializable: false, ..read.clone() }).await.map(drop),
        of_learner.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await.map(drop),
        members_of(fleet.channel(1)).member_list(MemberListRequest::default()).await.map(drop),
    ] {
        let status = refused.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "etcdserver: rpc not supported for learner")
        );
    }
    let promoted = until_done("promote", || {
        let mut cluster = cluster.clone();
        async move { cluster.member_promote(promote).await }
    })
    .await;
    assert!(promoted.members.iter().all(|member| !member.is_learner));
    serves(fleet.channel(1)).await;
    // Two voters: without the second, nothing goes.
    fleet.kill(1);
    std::fs::remove_dir_all(fleet.data_dir(1)).unwrap();
    fleet.spawn(1, &[0, 1], &joining());
    assert_eq!(fleet.ends(1).await.code(), Some(1), "it has voted, and has forgotten how");
    assert!(fleet.log(1).contains("must not forget it"), "{}", fleet.log(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_members_may_fail_as_the_table_says_and_no_more() {
    for (size, tolerated) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (9, 4)] {
        let mut fleet = Fleet::of(size);
        let members: Vec<usize> = (0..size).collect();
        for at in &members {
            fleet.spawn(*at, &members, FLAGS);
        }
        for at in &members {
            serves(fleet.channel(*at)).await;
        }
        for at in 0..tolerated {
            fleet.kill(at);
        }
        let survivor = size - 1;
        serves(fleet.channel(survivor)).await;
        let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
        until_done("put", || {
            let (mut kv, put) = (KvClient::new(fleet.channel(survivor)), put.clone());
            async move { kv.put(put).await }
        })
        .await;
        fleet.kill(tolerated);
        if tolerated < survivor {
            let lost = KvClient::new(fleet.channel(survivor)).put(put).await;
            assert!(lost.is_err(), "{size} members: no majority is left after {} kills", tolerated + 1);
            let read = RangeRequest { key: "k".into(), serializable: true, ..RangeRequest::default() };
            let stale = KvClient::new(fleet.channel(survivor)).range(read).await.unwrap().into_inner();
            assert_eq!(stale.count, 1, "{size} members: what is there can still be read serializably");
        }
    }
}
