//! The Watch service through the generated client.

use super::Server;
use crate::{
    api::Limits,
    proto::{
        etcdserverpb::{
            CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, WatchCancelRequest,
            WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, kv_client::KvClient,
            request_op, watch_client::WatchClient, watch_create_request::FilterType,
            watch_request::RequestUnion,
        },
        mvccpb::Event,
    },
};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with one stream.
struct Client {
    kv: KvClient<Channel>,
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Client {
    async fn open(server: &Server) -> Client {
        let channel = server.channel().await;
        let (requests, receiver) = mpsc::channel(16);
        let mut watch = WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
        let answers = watch.watch(request).await.expect("a stream").into_inner();
        Client { kv: KvClient::new(channel), requests, answers }
    }

    async fn send(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.expect("the stream stands");
    }

    async fn create(&mut self, request: WatchCreateRequest) -> String {
        self.send(RequestUnion::CreateRequest(request)).await;
        self.shown().await
    }

    async fn next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("an answer in time");
        next.map(|answer| answer.expect("the stream goes on"))
    }

    async fn shown(&mut self) -> String {
        show(&self.next().await.expect("an answer"))
    }

    async fn put(&mut self, key: &str, value: &str) {
        let put = PutRequest {
            key: key.to_string().into(),
            value: value.to_string().into(),
            ..PutRequest::default()
        };
        self.kv.put(put).await.expect("a put");
    }

    async fn delete(&mut self, key: &str) {
        let delete = DeleteRangeRequest { key: key.to_string().into(), ..DeleteRangeRequest::default() };
        self.kv.delete_range(delete).await.expect("a deletion");
    }

    async fn compact(&mut self, revision: i64) {
        let compact = CompactionRequest { revision, physical: true };
        self.kv.compact(compact).await.expect("a compaction");
    }

    async fn progress(&mut self) -> String {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        self.shown().await
    }
}

fn watch(key: &'static str, end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::from_static(key.as_bytes()),
        range_end: Bytes::from_static(end.as_bytes()),
        ..WatchCreateRequest::default()
    }
}

/// `#id rev revision: what`; events as `+key=value@revision` or `-key@revision`, with `(old)` behind.
fn show(answer: &WatchResponse) -> String {
    let mut parts =
        vec![format!("#{} rev {}:", answer.watch_id, answer.header.as_ref().expect("a header").revision)];
    if answer.created {
        parts.push("created".into());
    }
    if answer.canceled {
        parts.push("canceled".into());
    }
    if answer.compact_revision != 0 {
        parts.push(format!("compacted {}", answer.compact_revision));
    }
    if !answer.cancel_reason.is_empty() {
        parts.push(answer.cancel_reason.clone());
    }
    parts.extend(answer.events.iter().map(event));
    if answer.fragment {
        parts.push("more".into());
    }
    parts.join(" ")
}

fn event(event: &Event) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let kv = event.kv.as_ref().expect("a pair");
    let old = event.prev_kv.as_ref().map(|old| format!("({})", text(&old.value))).unwrap_or_default();
    if event.r#type == 0 {
        format!("+{}={}@{}{old}", text(&kv.key), text(&kv.value), kv.mod_revision)
    } else {
        assert_eq!((kv.create_revision, kv.version, kv.lease), (0, 0, 0));
        format!("-{}@{}{old}", text(&kv.key), kv.mod_revision)
    }
}

#[tokio::test]
async fn events_come_in_order_with_what_was_asked_for() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    assert_eq!(client.create(watch("w", "")).await, "#0 rev 1: created");
    client.put("w", "1").await;
    assert_eq!(client.shown().await, "#0 rev 2: +w=1@2");
    client.put("x", "not watched").await;
    client.delete("none").await;
    client.delete("w").await;
    assert_eq!(client.shown().await, "#0 rev 4: -w@4");
    let old = WatchCreateRequest { prev_kv: true, ..watch("w", "\0") };
    assert_eq!(client.create(old).await, "#1 rev 4: created");
    client.put("w", "2").await;
    let mut both = [client.shown().await, client.shown().await];
    both.sort();
    assert_eq!(both, ["#0 rev 5: +w=2@5", "#1 rev 5: +w=2@5"]);
    client.put("z", "a").await;
    assert_eq!(client.shown().await, "#1 rev 6: +z=a@6");
    client.put("z", "b").await;
    assert_eq!(client.shown().await, "#1 rev 7: +z=b@7(a)");
}

#[tokio::test]
async fn a_transaction_comes_as_a_whole() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    client.create(watch("b", "d")).await;
    let put = |key: &'static str| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: key.into(),
            ..PutRequest::default()
        })),
    };
    let success = vec![put("c"), put("a"), put("d"), put("b")];
    client.kv.txn(TxnRequest { success, ..TxnRequest::default() }).await.expect("a transaction");
    assert_eq!(client.shown().await, "#0 rev 2: +c=@2 +b=@2");
}

#[tokio::test]
async fn history_is_told_first() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    for value in ["1", "2", "3"] {
        client.put("m", value).await;
        client.put("n", value).await;
    }
    let from = |revision, key, end| WatchCreateRequest {
        start_revision: revision,
        prev_kv: true,
        ..watch(key, end)
    };
    assert_eq!(client.create(from(3, "m", "")).await, "#0 rev 7: created");
    assert_eq!(client.shown().await, "#0 rev 7: +m=2@4(1) +m=3@6(2)");
    assert_eq!(client.create(from(2, "a", "z")).await, "#1 rev 7: created");
    let all = "+m=1@2 +n=1@3 +m=2@4(1) +n=2@5(1) +m=3@6(2) +n=3@7(2)";
    assert_eq!(client.shown().await, format!("#1 rev 7: {all}"));
    // Of the future: nothing before it.
    assert_eq!(client.create(from(9, "m", "")).await, "#2 rev 7: created");
    client.put("m", "8").await;
    client.put("m", "9").await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(client.shown().await);
    }
    let of = |id: &str| -> Vec<&str> {
        seen.iter().map(String::as_str).filter(|line| line.starts_with(id)).collect()
    };
    assert_eq!(of("#2"), ["#2 rev 9: +m=9@9(8)"]);
    assert_eq!(of("#0"), ["#0 rev 8: +m=8@8(3)", "#0 rev 9: +m=9@9(8)"]);
    assert_eq!(of("#1"), ["#1 rev 8: +m=8@8(3)", "#1 rev 9: +m=9@9(8)"]);
}

#[tokio::test]
async fn compacted_history_ends_a_watch() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    for value in ["1", "2", "3"] {
        client.put("k", value).await;
    }
    client.compact(3).await;
    let from = |revision| WatchCreateRequest { start_revision: revision, ..watch("k", "") };
    assert_eq!(client.create(from(2)).await, "#0 rev 4: created");
    assert_eq!(client.shown().await, "#0 rev 0: canceled compacted 3");
    assert_eq!(client.create(from(3)).await, "#1 rev 4: created");
    assert_eq!(client.shown().await, "#1 rev 4: +k=2@3 +k=3@4");
    // A watch that is up to date does not need history.
    client.put("k", "4").await;
    client.compact(5).await;
    assert_eq!(client.shown().await, "#1 rev 5: +k=4@5");
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(client.create(from(-7)).await, format!("#-1 rev 5: created canceled {compacted}"));
}

#[tokio::test]
async fn filters_hold_back() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    let filtered = |filter: FilterType| WatchCreateRequest {
        filters: vec![filter.into()],
        start_revision: 2,
        prev_kv: true,
        ..watch("f", "")
    };
    client.put("f", "A").await;
    client.delete("f").await;
    assert_eq!(client.create(filtered(FilterType::Noput)).await, "#0 rev 3: created");
    assert_eq!(client.shown().await, "#0 rev 3: -f@3(A)");
    assert_eq!(client.create(filtered(FilterType::Nodelete)).await, "#1 rev 3: created");
    assert_eq!(client.shown().await, "#1 rev 3: +f=A@2");
    client.put("f", "B").await;
    assert_eq!(client.shown().await, "#1 rev 4: +f=B@4");
    client.delete("f").await;
    assert_eq!(client.shown().await, "#0 rev 5: -f@5(B)");
}

#[tokio::test]
async fn ids_are_given_taken_and_used_again() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    let id = |watch_id| WatchCreateRequest { watch_id, ..watch("k", "") };
    let cancel = |watch_id| RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
    assert_eq!(client.create(id(0)).await, "#0 rev 1: created");
    assert_eq!(client.create(id(1)).await, "#1 rev 1: created");
    assert_eq!(client.create(id(0)).await, "#2 rev 1: created");
    assert_eq!(client.create(id(7)).await, "#7 rev 1: created");
    let duplicate = "mvcc: duplicate watch ID provided on the WatchStream";
    assert_eq!(client.create(id(7)).await, format!("#-1 rev 1: created canceled {duplicate}"));
    client.send(cancel(7)).await;
    assert_eq!(client.shown().await, "#7 rev 1: canceled");
    // Unknown by now: no answer.
    client.send(cancel(7)).await;
    client.send(cancel(99)).await;
    assert_eq!(client.create(id(7)).await, "#7 rev 1: created");
    assert_eq!(client.create(id(-1)).await, "#-1 rev 1: created");
    let empty = "#-1 rev 1: created canceled mvcc: watcher range is empty";
    assert_eq!(client.create(watch("b", "a")).await, empty);
    assert_eq!(client.create(watch("b", "b")).await, empty);
    assert_eq!(client.create(watch("", "")).await, "#3 rev 1: created");
    client.put("k", "v").await;
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(client.next().await.expect("an event").watch_id);
    }
    told.sort_unstable();
    assert_eq!(told, [-1, 0, 1, 2, 7]);
}

#[tokio::test]
async fn progress_is_told_when_it_is_asked_for() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    // Without watches there is nobody to tell.
    client.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    client.create(watch("p", "")).await;
    assert_eq!(client.progress().await, "#-1 rev 1:");
    client.put("other", "").await;
    assert_eq!(client.progress().await, "#-1 rev 2:");
    client.put("p", "").await;
    assert_eq!(client.shown().await, "#0 rev 3: +p=@3");
    assert_eq!(client.progress().await, "#-1 rev 3:");
}

#[tokio::test]
async fn idle_watches_are_told_how_far_they_have_come() {
    let limits = Limits { progress_interval: Duration::from_millis(50), ..Limits::default() };
    let server = Server::with(limits).await;
    let mut client = Client::open(&server).await;
    let notified = WatchCreateRequest { progress_notify: true, ..watch("p", "") };
    assert_eq!(client.create(notified).await, "#0 rev 1: created");
    assert_eq!(client.shown().await, "#0 rev 1:");
    client.put("other", "").await;
    while client.shown().await != "#0 rev 2:" {}
}

#[tokio::test]
async fn large_answers_come_in_fragments_if_that_is_wanted() {
    let limits = Limits { max_request_bytes: 1000, ..Limits::default() };
    let server = Server::with(limits).await;
    let mut client = Client::open(&server).await;
    // Four events of 200 kB: more than the 512 kB that a message may have beyond a request.
    let limits = Limits { max_request_bytes: 300_000, ..Limits::default() };
    let server = Server::with(limits).await;
    drop(std::mem::replace(&mut client, Client::open(&server).await));
    let value = "x".repeat(250_000);
    for key in ["a", "b", "c", "d"] {
        client.put(key, &value).await;
    }
    let from = |fragment| WatchCreateRequest { fragment, start_revision: 2, ..watch("a", "z") };
    client.create(from(false)).await;
    let whole = client.next().await.expect("events");
    let first = whole.events.len();
    let rest = if first < 4 { client.next().await.expect("events").events.len() } else { 0 };
    assert_eq!((first + rest, whole.fragment), (4, false));
    // In one revision, so that they belong together.
    let delete = DeleteRangeRequest { key: "a".into(), range_end: "z".into(), prev_kv: false };
    let old = WatchCreateRequest { prev_kv: true, fragment: true, ..watch("a", "z") };
    client.create(old).await;
    client.kv.delete_range(delete).await.expect("a deletion");
    let mut pieces = Vec::new();
    while pieces.last().is_none_or(|(_, more)| *more) {
        let answer = client.next().await.expect("events");
        if answer.watch_id == 1 {
            assert_eq!(answer.header.expect("a header").revision, 6);
            pieces.push((answer.events.len(), answer.fragment));
        }
    }
    assert_eq!(pieces, [(3, true), (1, false)]);
}

#[tokio::test]
async fn a_client_that_does_not_read_neither_blocks_nor_loses_anything() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    client.create(watch("k", "")).await;
    client.create(watch("a", "z")).await;
    let mut other = KvClient::new(server.channel().await);
    // Far more than a stream's queue and the connection take.
    let value: Bytes = vec![b'x'; 10_000].into();
    for _ in 0..4000 {
        let put = PutRequest { key: "k".into(), value: value.clone(), ..PutRequest::default() };
        other.put(put).await.expect("writers are not held up");
    }
    let mut next = [2_i64, 2];
    while next != [4002, 4002] {
        let answer = client.next().await.expect("events");
        for event in &answer.events {
            let at = answer.watch_id as usize;
            assert_eq!(event.kv.as_ref().expect("a pair").mod_revision, next[at], "watch {at}");
            next[at] += 1;
        }
    }
    assert_eq!(client.progress().await, "#-1 rev 4001:");
}

#[tokio::test]
async fn a_slow_client_is_told_that_what_it_needs_is_compacted() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    client.create(watch("k", "")).await;
    let mut other = KvClient::new(server.channel().await);
    let value: Bytes = vec![b'x'; 20_000].into();
    for _ in 0..2000 {
        let put = PutRequest { key: "k".into(), value: value.clone(), ..PutRequest::default() };
        other.put(put).await.expect("writers are not held up");
    }
    other.compact(CompactionRequest { revision: 2001, physical: true }).await.expect("a compaction");
    let mut next = 2;
    let end = loop {
        let answer = client.next().await.expect("answers");
        if answer.canceled {
            break answer;
        }
        for event in &answer.events {
            assert_eq!(event.kv.as_ref().expect("a pair").mod_revision, next, "nothing is left out before");
            next += 1;
        }
    };
    assert_eq!(show(&end), "#0 rev 0: canceled compacted 2001");
    assert!(next < 2001, "it had not seen everything");
}

#[tokio::test]
async fn streams_end_without_a_leader_if_their_clients_want_one() {
    let limits = Limits { leaderless_max: Duration::from_millis(50), ..Limits::default() };
    let server = Server::with(limits).await;
    let mut client = Client::open(&server).await;
    client.create(watch("k", "")).await;
    server.fake.set_leaderless(true);
    let status = client.next().await.expect_err("the stream ends");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test]
async fn streams_end_with_the_server_and_take_their_watches_with_them() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    client.create(watch("k", "")).await;
    let mut second = Client::open(&server).await;
    second.create(watch("k", "")).await;
    let hub = std::sync::Arc::clone(crate::backend::Backend::hub(&server.fake));
    assert_eq!((hub.load().0, hub.is_watched()), (2, true));
    drop(second);
    while hub.load().0 > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = server.stop();
    let status = client.next().await.expect_err("the stream ends");
    assert_eq!(status.message(), "etcdserver: server stopped");
    tokio::time::timeout(PATIENCE, stopped).await.expect("it stops").expect("in good order");
    assert_eq!((hub.load().0, hub.is_watched(), hub.streams.get()), (0, false, 0));
}
