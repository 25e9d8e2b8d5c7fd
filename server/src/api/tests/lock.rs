//! The Lock service through the generated client.

use super::Server;
use crate::proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseRevokeRequest, RangeRequest, kv_client::KvClient, lease_client::LeaseClient,
    },
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, lock_client::LockClient},
};
use bytes::Bytes;
use std::time::Duration;
use tonic::{Code, Status, transport::Channel};

const PATIENCE: Duration = Duration::from_secs(30);

async fn grant(channel: &Channel, id: i64) {
    let request = LeaseGrantRequest { id, ttl: 60 };
    LeaseClient::new(channel.clone()).lease_grant(request).await.expect("a lease");
}

async fn lock(channel: Channel, lease: i64) -> Result<LockResponse, Status> {
    let request = LockRequest { name: "l".into(), lease };
    LockClient::new(channel).lock(request).await.map(tonic::Response::into_inner)
}

async fn keys(channel: &Channel) -> Vec<String> {
    let all = RangeRequest { key: "l".into(), range_end: "m".into(), ..RangeRequest::default() };
    let found = KvClient::new(channel.clone()).range(all).await.expect("a read").into_inner();
    found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

async fn until_keys_are(channel: &Channel, want: &[&str]) {
    let wait = async {
        while keys(channel).await != want {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the keys in time");
}

async fn unlock(channel: &Channel, key: Bytes) {
    LockClient::new(channel.clone()).unlock(UnlockRequest { key }).await.expect("an answer");
}

#[tokio::test]
async fn the_lock_goes_from_one_to_the_next() {
    let server = Server::start().await;
    let channel = server.channel().await;
    for id in [0xa, 0xb, 0xc] {
        grant(&channel, id).await;
    }
    let first = lock(channel.clone(), 0xa).await.expect("the lock");
    assert_eq!(first.key, "l/a");
    assert_eq!(lock(channel.clone(), 0xa).await.expect("whoever has it has it").key, "l/a");
    let second = tokio::spawn(lock(channel.clone(), 0xb));
    until_keys_are(&channel, &["l/a", "l/b"]).await;
    let third = tokio::spawn(lock(channel.clone(), 0xc));
    until_keys_are(&channel, &["l/a", "l/b", "l/c"]).await;
    assert!(!second.is_finished() && !third.is_finished());
    unlock(&channel, first.key).await;
    let second = second.await.expect("no panic").expect("the lock");
    assert_eq!(second.key, "l/b");
    assert!(!third.is_finished());
    // The holder's lease ends: so does its hold.
    let revoke = LeaseRevokeRequest { id: 0xb };
    LeaseClient::new(channel.clone()).lease_revoke(revoke).await.expect("a revocation");
    assert_eq!(third.await.expect("no panic").expect("the lock").key, "l/c");
    unlock(&channel, Bytes::from_static(b"l/nobody")).await;
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_queue() {
    let server = Server::start().await;
    let channel = server.channel().await;
    for id in [0xa, 0xb] {
        grant(&channel, id).await;
    }
    lock(channel.clone(), 0xa).await.expect("the lock");
    let second = tokio::spawn(lock(channel.clone(), 0xb));
    until_keys_are(&channel, &["l/a", "l/b"]).await;
    second.abort();
    until_keys_are(&channel, &["l/a"]).await;
}

#[tokio::test]
async fn a_lease_is_granted_to_who_brings_none_and_must_exist_otherwise() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let locked = lock(channel.clone(), 0).await.expect("the lock");
    assert!(locked.key.starts_with(b"l/"), "{locked:?}");
    let status = lock(channel.clone(), 77).await.expect_err("no such lease");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "etcdserver: requested lease not found"));
    // The server's lease is not renewed.
    server.fake.pass(Duration::from_secs(61));
    assert_eq!(keys(&channel).await, [""; 0]);
}

#[tokio::test]
async fn a_lock_is_not_had_by_who_lost_its_lease_while_waiting() {
    let server = Server::start().await;
    let channel = server.channel().await;
    for id in [0xa, 0xb] {
        grant(&channel, id).await;
    }
    let first = lock(channel.clone(), 0xa).await.expect("the lock");
    let second = tokio::spawn(lock(channel.clone(), 0xb));
    until_keys_are(&channel, &["l/a", "l/b"]).await;
    let revoke = LeaseRevokeRequest { id: 0xb };
    LeaseClient::new(channel.clone()).lease_revoke(revoke).await.expect("a revocation");
    unlock(&channel, first.key).await;
    let status = second.await.expect("no panic").expect_err("its lease is gone");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "mutex: session is expired"));
}
