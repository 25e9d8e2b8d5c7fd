//! Leases in a cluster: granted and renewed wherever a client asks, ended by the leader, and outliving it.

use super::{Cluster, PATIENCE, eventually, get, put_surely, runtime};
use crate::{
    api::{Api, Limits},
    backend::Backend as _,
    error::ApiError,
    node::Node,
    proto::etcdserverpb::{LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest},
};
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(2);

fn api(node: &Node) -> Api<Node> {
    Api::new(node.clone(), Limits::default())
}

async fn grant(node: &Node, id: i64) -> Result<i64, ApiError> {
    Ok(api(node).lease_grant(LeaseGrantRequest { id, ttl: 2 }).await?.ttl)
}

async fn hang(node: &Node, key: &'static str, lease: i64) -> Result<(), ApiError> {
    api(node).put(PutRequest { key: key.into(), lease, ..PutRequest::default() }).await.map(drop)
}

async fn renew(node: &Node, id: i64) -> Result<i64, ApiError> {
    Ok(api(node).lease_renew(vec![id]).await?[0].ttl)
}

#[test]
fn any_member_grants_and_renews_and_the_leader_ends() {
    let cluster = Cluster::new(3, 1000);
    let leader = cluster.leader();
    let runtime = runtime();
    let followers = [cluster.node((leader + 1) % 3), cluster.node((leader + 2) % 3)];
    runtime.block_on(async {
        assert_eq!(grant(&followers[0], 7).await, Ok(2));
        hang(&followers[1], "k", 7).await.unwrap();
        let begun = Instant::now();
        let mut renewed = begun;
        while begun.elapsed() < 2 * TTL {
            for node in [&followers[0], &followers[1], &cluster.node(leader)] {
                renewed = Instant::now();
                assert_eq!(renew(node, 7).await, Ok(2));
                assert_eq!(renew(node, 8).await, Ok(0), "there is no such lease");
            }
            tokio::time::sleep(TTL / 10).await;
        }
        let request = LeaseTimeToLiveRequest { id: 7, keys: true };
        let told = api(&followers[0]).lease_time_to_live(request).await.unwrap();
        assert_eq!((told.granted_ttl, told.keys), (2, vec!["k".into()]));
        assert!((0..=2).contains(&told.ttl), "{}", told.ttl);
        let lived = loop {
            if get(&followers[1], "k").is_none() {
                break renewed.elapsed();
            }
            assert!(renewed.elapsed() < PATIENCE, "the lease never ends");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(lived >= TTL, "it ended {lived:?} after its renewal");
        assert_eq!(renew(&followers[0], 7).await, Ok(0));
    });
    cluster.converges();
}

#[test]
fn a_new_leader_gives_leases_their_whole_time_and_then_ends_them() {
    let mut cluster = Cluster::new(3, 1000);
    let runtime = runtime();
    let leader = cluster.leader();
    put_surely(&runtime, &cluster.node(leader), "other", "1");
    runtime.block_on(async {
        grant(&cluster.node(leader), 7).await.unwrap();
        hang(&cluster.node(leader), "k", 7).await.unwrap();
    });
    cluster.converges();
    cluster.kill(leader);
    let survivor = cluster.node((leader + 1) % 3);
    // Before this there is no new leader, so its clock starts later.
    let without = Instant::now();
    eventually("the lease is known to the next leader", || {
        let request = LeaseTimeToLiveRequest { id: 7, keys: false };
        let told = runtime.block_on(api(&survivor).lease_time_to_live(request)).ok()?;
        assert_ne!(told.ttl, -1, "it is still there");
        Some(())
    });
    eventually("the lease ends", || get(&survivor, "k").is_none().then_some(()));
    assert!(without.elapsed() >= TTL, "it was shortened to {:?}", without.elapsed());
    // Restarted, the old leader knows no more of it than the others.
    cluster.start(leader);
    cluster.converges();
    assert!(cluster.node(leader).state().leases().is_empty());
}

#[test]
fn leases_come_back_from_images() {
    let mut cluster = Cluster::new(1, 20);
    let runtime = runtime();
    let node = cluster.node(0);
    runtime.block_on(async {
        api(&node).lease_grant(LeaseGrantRequest { id: 7, ttl: 1000 }).await.unwrap();
        hang(&node, "k", 7).await.unwrap();
    });
    for round in 0..100 {
        put_surely(&runtime, &node, "other", &round.to_string());
    }
    let images = cluster.dir.path().join("0").join("images");
    eventually("there is an image", || (std::fs::read_dir(&images).unwrap().count() > 0).then_some(()));
    drop(node);
    cluster.kill(0);
    cluster.start(0);
    let node = cluster.node(0);
    eventually("it is back", || runtime.block_on(node.read_index()).ok());
    let request = LeaseTimeToLiveRequest { id: 7, keys: true };
    let told = runtime.block_on(api(&node).lease_time_to_live(request)).unwrap();
    assert_eq!((told.granted_ttl, told.keys), (1000, vec!["k".into()]));
}

#[test]
fn without_a_majority_nothing_is_renewed_and_nothing_ends() {
    let mut cluster = Cluster::new(3, 1000);
    let leader = cluster.leader();
    let runtime = runtime();
    runtime.block_on(async {
        grant(&cluster.node(leader), 7).await.unwrap();
        hang(&cluster.node(leader), "k", 7).await.unwrap();
    });
    let node = cluster.node(leader);
    cluster.kill((leader + 1) % 3);
    cluster.kill((leader + 2) % 3);
    let begun = Instant::now();
    assert!(runtime.block_on(renew(&node, 7)).is_err(), "nobody confirms the leadership");
    std::iter::from_fn(|| (begun.elapsed() < 2 * TTL).then(|| std::thread::sleep(TTL / 10))).count();
    assert_eq!(get(&node, "k"), Some(String::new()));
    cluster.start((leader + 1) % 3);
    eventually("the lease ends once there is a majority", || get(&node, "k").is_none().then_some(()));
}
