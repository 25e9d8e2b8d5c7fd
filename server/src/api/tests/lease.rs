//! The Lease service through the generated client.

use super::Server;
use crate::{
    api::Limits,
    proto::etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
        kv_client::KvClient, lease_client::LeaseClient,
    },
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status, transport::Channel};

struct Client {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
}

impl Client {
    async fn of(server: &Server) -> Client {
        let channel = server.channel().await;
        Client { kv: KvClient::new(channel.clone()), lease: LeaseClient::new(channel) }
    }

    async fn grant(&mut self, id: i64, ttl: i64) -> Result<(i64, i64), Status> {
        let granted = self.lease.lease_grant(LeaseGrantRequest { id, ttl }).await?.into_inner();
        Ok((granted.id, granted.ttl))
    }

    async fn put(&mut self, key: &'static str, lease: i64) -> Result<(), Status> {
        let put = PutRequest { key: key.into(), lease, ..PutRequest::default() };
        self.kv.put(put).await.map(drop)
    }

    /// TTL, granted TTL, keys.
    async fn ttl(&mut self, id: i64) -> (i64, i64, Vec<String>) {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let told = self.lease.lease_time_to_live(request).await.expect("an answer").into_inner();
        assert_eq!(told.id, id);
        let text = |key: &bytes::Bytes| String::from_utf8_lossy(key).into_owned();
        (told.ttl, told.granted_ttl, told.keys.iter().map(text).collect())
    }

    async fn renew(&mut self, ids: &[i64]) -> Vec<LeaseKeepAliveResponse> {
        let requests: Vec<_> = ids.iter().map(|id| LeaseKeepAliveRequest { id: *id }).collect();
        let answers = self.lease.lease_keep_alive(tokio_stream::iter(requests)).await.expect("a stream");
        answers.into_inner().map(|answer| answer.expect("an answer")).collect().await
    }

    /// The newest revision, and the keys there are.
    async fn keys(&mut self) -> (i64, Vec<String>) {
        let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
        let found = self.kv.range(all).await.expect("a read").into_inner();
        let keys = found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
        (found.header.expect("a header").revision, keys)
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("a refusal");
    (status.code(), status.message().to_string())
}

#[tokio::test]
async fn leases_are_granted_within_bounds() {
    let server = Server::start().await;
    let mut client = Client::of(&server).await;
    for (id, ttl, want) in [(1, 0, 2), (2, -1, 2), (3, 1, 2), (-5, 60, 60), (4, 9_000_000_000, 9_000_000_000)]
    {
        assert_eq!(client.grant(id, ttl).await.expect("a lease"), (id, want));
    }
    let (drawn, _) = client.grant(0, 5).await.expect("a lease");
    assert!(drawn > 0);
    let exists = (Code::FailedPrecondition, "etcdserver: lease already exists".to_string());
    assert_eq!(refused(client.grant(1, 5).await), exists);
    let large = (Code::OutOfRange, "etcdserver: too large lease TTL".to_string());
    assert_eq!(refused(client.grant(9, 9_000_000_001).await), large);
    let listed = client.lease.lease_leases(LeaseLeasesRequest {}).await.expect("a list").into_inner();
    let ids: Vec<i64> = listed.leases.iter().map(|lease| lease.id).collect();
    assert_eq!(ids[..5], [-5, 1, 2, 3, 4]);
    assert_eq!(ids[5..], [drawn]);
}

#[tokio::test]
async fn keys_hang_from_leases() {
    let server = Server::start().await;
    let mut client = Client::of(&server).await;
    client.grant(7, 60).await.expect("a lease");
    client.grant(8, 60).await.expect("a lease");
    let unknown = (Code::NotFound, "etcdserver: requested lease not found".to_string());
    assert_eq!(refused(client.put("k", 9).await), unknown);
    for (key, lease) in [("b", 7), ("a", 7), ("c", 7), ("c", 8), ("d", 7), ("d", 0)] {
        client.put(key, lease).await.expect("a put");
    }
    assert_eq!(client.ttl(7).await, (60, 60, vec!["a".into(), "b".into()]));
    assert_eq!(client.ttl(8).await, (60, 60, vec!["c".into()]));
    assert_eq!(client.ttl(9).await, (-1, 0, vec![]));
    let keep = PutRequest { key: "a".into(), ignore_lease: true, ..PutRequest::default() };
    client.kv.put(keep).await.expect("a put");
    let delete = DeleteRangeRequest { key: "b".into(), ..DeleteRangeRequest::default() };
    client.kv.delete_range(delete).await.expect("a deletion");
    assert_eq!(client.ttl(7).await.2, ["a"]);
    client.put("b", 7).await.expect("a put");
    let (before, _) = client.keys().await;
    client.lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.expect("a revocation");
    assert_eq!(client.keys().await, (before + 1, vec!["c".into(), "d".into()]), "one revision for all keys");
    client.grant(6, 60).await.expect("a lease");
    client.lease.lease_revoke(LeaseRevokeRequest { id: 6 }).await.expect("a revocation");
    assert_eq!(client.keys().await.0, before + 1, "no revision without keys");
    assert_eq!(refused(client.lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await), unknown);
}

#[tokio::test]
async fn leases_run_out_unless_they_are_renewed() {
    let server = Server::start().await;
    let mut client = Client::of(&server).await;
    client.grant(4, 10).await.expect("a lease");
    client.grant(5, 10).await.expect("a lease");
    client.put("four", 4).await.expect("a put");
    client.put("five", 5).await.expect("a put");
    server.fake.pass(Duration::from_millis(6500));
    assert_eq!(client.ttl(4).await.0, 3, "seconds begun do not count");
    let renewed = client.renew(&[4, 555, 4]).await;
    let shown: Vec<_> = renewed.iter().map(|answer| (answer.id, answer.ttl)).collect();
    assert_eq!(shown, [(4, 10), (555, 0), (4, 10)], "one answer a request, in order");
    server.fake.pass(Duration::from_secs(4));
    assert_eq!(client.keys().await.1, ["four"]);
    assert_eq!(client.ttl(5).await, (-1, 0, vec![]));
    server.fake.pass(Duration::from_secs(7));
    assert_eq!(client.keys().await.1, [""; 0]);
    assert_eq!(client.renew(&[4]).await[0].ttl, 0);
}

#[tokio::test]
async fn many_renewals_on_one_stream_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = Client::of(&server).await;
    for id in 1..=2000 {
        client.grant(id, 60).await.expect("a lease");
    }
    let ids: Vec<i64> = (1..=3000).collect();
    let answers = client.renew(&ids).await;
    assert_eq!(answers.len(), ids.len());
    for (answer, id) in answers.iter().zip(ids) {
        assert_eq!((answer.id, answer.ttl), (id, if id <= 2000 { 60 } else { 0 }));
    }
}

#[tokio::test]
async fn without_a_leader_nothing_is_renewed() {
    let limits = Limits { leaderless_max: Duration::from_millis(50), ..Limits::default() };
    let server = Server::with(limits).await;
    let mut client = Client::of(&server).await;
    client.grant(1, 60).await.expect("a lease");
    let no_leader = (Code::Unavailable, "etcdserver: no leader".to_string());
    let (requests, receiver) = mpsc::channel(1);
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let mut answers = client.lease.lease_keep_alive(request).await.expect("a stream").into_inner();
    requests.send(LeaseKeepAliveRequest { id: 1 }).await.expect("the stream stands");
    assert_eq!(answers.message().await.expect("an answer").expect("one").ttl, 60);
    server.fake.set_leaderless(true);
    assert_eq!(refused(answers.message().await), no_leader, "the stream ends by itself");
    let request = LeaseTimeToLiveRequest { id: 1, keys: false };
    assert_eq!(refused(client.lease.lease_time_to_live(request).await), no_leader);
    let request = tokio_stream::iter([LeaseKeepAliveRequest { id: 1 }]);
    let mut answers = client.lease.lease_keep_alive(request).await.expect("a stream").into_inner();
    assert_eq!(refused(answers.message().await), no_leader);
}
