//! The Election service through the generated client.

use super::Server;
use crate::proto::{
    etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, lease_client::LeaseClient},
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
        ResignRequest, election_client::ElectionClient,
    },
};
use std::time::Duration;
use tonic::{Code, Status, Streaming, transport::Channel};

const PATIENCE: Duration = Duration::from_secs(30);

async fn campaign(channel: Channel, lease: i64, value: &'static str) -> Result<CampaignResponse, Status> {
    let request = CampaignRequest { name: "e".into(), lease, value: value.into() };
    ElectionClient::new(channel).campaign(request).await.map(tonic::Response::into_inner)
}

async fn seen(leaders: &mut Streaming<LeaderResponse>) -> String {
    let next = tokio::time::timeout(PATIENCE, leaders.message()).await.expect("in time");
    let leader = next.expect("an answer").expect("the stream goes on");
    assert!(leader.header.is_some());
    show(&leader)
}

fn show(leader: &LeaderResponse) -> String {
    let kv = leader.kv.as_ref().expect("a pair");
    format!("{}={}", String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value))
}

#[tokio::test]
async fn leaders_follow_each_other_and_are_seen() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let mut election = ElectionClient::new(channel.clone());
    let mut leases = LeaseClient::new(channel.clone());
    for id in [0xa, 0xb] {
        leases.lease_grant(LeaseGrantRequest { id, ttl: 60 }).await.expect("a lease");
    }
    let name = LeaderRequest { name: "e".into() };
    let status = election.leader(name.clone()).await.expect_err("nobody leads");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "election: no leader"));
    let mut leaders = election.observe(name.clone()).await.expect("a stream").into_inner();

    let first = campaign(channel.clone(), 0xa, "one").await.expect("leadership").leader.expect("a key");
    assert_eq!((&first.key[..], first.lease, first.rev), (&b"e/a"[..], 0xa, 2));
    assert_eq!(seen(&mut leaders).await, "e/a=one");
    let second = tokio::spawn(campaign(channel.clone(), 0xb, "two"));
    let proclaim = |leader: &LeaderKey, value: &'static str| ProclaimRequest {
        leader: Some(leader.clone()),
        value: value.into(),
    };
    election.proclaim(proclaim(&first, "uno")).await.expect("it leads");
    assert_eq!(seen(&mut leaders).await, "e/a=uno");
    // Whoever leads may campaign again, with another value.
    let again = campaign(channel.clone(), 0xa, "eins").await.expect("leadership").leader.expect("a key");
    assert_eq!(again, first);
    assert_eq!(seen(&mut leaders).await, "e/a=eins");
    assert!(!second.is_finished());
    let leader = election.leader(name).await.expect("somebody leads").into_inner();
    assert_eq!(show(&leader), "e/a=eins");

    election.resign(ResignRequest { leader: Some(first.clone()) }).await.expect("an answer");
    let second = second.await.expect("no panic").expect("leadership").leader.expect("a key");
    assert!(second.rev > first.rev, "the fence grows");
    assert_eq!(seen(&mut leaders).await, "e/b=two");
    let status = election.proclaim(proclaim(&first, "late")).await.expect_err("it does not lead any more");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "election: not leader"));
    election.resign(ResignRequest { leader: Some(first) }).await.expect("nothing to do is no error");

    // A leader that is gone without a word, and one that comes later.
    leases.lease_revoke(LeaseRevokeRequest { id: 0xb }).await.expect("a revocation");
    campaign(channel.clone(), 0xa, "again").await.expect("leadership");
    assert_eq!(seen(&mut leaders).await, "e/a=again");
}

#[tokio::test]
async fn mistakes_are_told_as_etcd_tells_them() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let mut election = ElectionClient::new(channel.clone());
    let status = campaign(channel, 77, "x").await.expect_err("no such lease");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "etcdserver: requested lease not found"));
    let nobody = r#""leader" field must be provided"#;
    let status = election.resign(ResignRequest::default()).await.expect_err("whose?");
    assert_eq!((status.code(), status.message()), (Code::Unknown, nobody));
    let status = election.proclaim(ProclaimRequest::default()).await.expect_err("whose?");
    assert_eq!((status.code(), status.message()), (Code::Unknown, nobody));
}
