//! Scripts of gRPC calls, and what a store answers: one line each, with what is each store's own left out.

use bytes::Bytes;
use server::proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, ResponseHeader,
        TxnRequest, TxnResponse, WatchRequest, WatchResponse, kv_client::KvClient, lease_client::LeaseClient,
        response_op::Response, watch_client::WatchClient, watch_request::RequestUnion,
    },
    mvccpb::{Event, KeyValue},
    v3electionpb::election_client::ElectionClient,
    v3lockpb::lock_client::LockClient,
};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long it is waited for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A store, and what it has answered.
pub struct Store {
    pub channel: Channel,
    pub kv: KvClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub lock: LockClient<Channel>,
    pub election: ElectionClient<Channel>,
    pub lines: Vec<String>,
}

impl Store {
    pub async fn at(endpoint: &str) -> Store {
        let endpoint = Endpoint::from_shared(endpoint.to_string()).expect("an address");
        let channel = endpoint.connect().await.expect("the store accepts");
        Store {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            lock: LockClient::new(channel.clone()),
            election: ElectionClient::new(channel.clone()),
            channel,
            lines: Vec::new(),
        }
    }

    pub fn note(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Notes a refusal, or what `show` makes of the answer.
    pub fn answer<T>(
        &mut self,
        what: &str,
        result: Result<tonic::Response<T>, Status>,
        show: impl Fn(T) -> String,
    ) {
        let line = match result {
            Ok(response) => show(response.into_inner()),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        self.note(format!("{what}: {line}"));
    }

    pub async fn put(&mut self, request: PutRequest) {
        let what = format!("put {}", text(&request.key));
        let answer = self.kv.put(request).await;
        self.answer(&what, answer, |response| format!("rev {}", revision(&response.header)));
    }

    pub async fn put_text(&mut self, key: &str, value: &str) {
        self.put(put(key, value)).await;
    }

    pub async fn delete(&mut self, key: &str, range_end: &str) {
        let request = DeleteRangeRequest {
            key: key.to_string().into(),
            range_end: range_end.to_string().into(),
            ..DeleteRangeRequest::default()
        };
        let answer = self.kv.delete_range(request).await;
        self.answer(&format!("delete {key}"), answer, |response| {
            format!("rev {}: {}", revision(&response.header), response.deleted)
        });
    }

    pub async fn range(&mut self, request: RangeRequest) {
        let what = format!("range {}", text(&request.key));
        let answer = self.kv.range(request).await;
        self.answer(&what, answer, |response| {
            let kvs: Vec<String> = response.kvs.iter().map(pair).collect();
            let more = if response.more { " and more" } else { "" };
            format!("rev {}: {} of {}{more}", revision(&response.header), kvs.join(" "), response.count)
        });
    }

    pub async fn txn(&mut self, request: TxnRequest) {
        let answer = self.kv.txn(request).await;
        self.answer("txn", answer, |response| txn(&response));
    }

    pub async fn compact(&mut self, revision: i64) {
        let answer = self.kv.compact(CompactionRequest { revision, physical: true }).await;
        self.answer(&format!("compact {revision}"), answer, |response| {
            format!("rev {}", self::revision(&response.header))
        });
    }

    pub async fn grant(&mut self, id: i64, ttl: i64) {
        let answer = self.lease.lease_grant(LeaseGrantRequest { id, ttl }).await;
        self.answer(&format!("grant {id} for {ttl}"), answer, |response| {
            format!("rev {}: {} for {}", revision(&response.header), response.id, response.ttl)
        });
    }

    pub async fn watch(&mut self) -> Watch {
        let (requests, receiver) = mpsc::channel(64);
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let opening = tokio::spawn(async move { client.watch(ReceiverStream::new(receiver)).await });
        Watch { requests, opening: Some(opening), answers: None }
    }

    /// Notes the next answers of a stream: those of each watch in their order, and the watches by their ids.
    pub async fn hear(&mut self, watch: &mut Watch, count: usize) {
        let mut heard = Vec::new();
        for _ in 0..count {
            heard.push(watch.next().await);
        }
        heard.sort_by_key(|answer| answer.watch_id);
        for answer in heard {
            self.note(show(&answer));
        }
    }

    /// Notes the events that come until one of this revision, whatever answers they come in.
    pub async fn hear_events(&mut self, watch: &mut Watch, until: i64) {
        let mut last = 0;
        while last < until {
            for event in watch.next().await.events {
                last = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                self.note(self::event(&event));
            }
        }
    }

    /// Nothing comes.
    pub async fn hear_nothing(&mut self, watch: &mut Watch) {
        if let Ok(answer) = tokio::time::timeout(SILENCE, watch.answers().await.message()).await {
            self.note(format!("unexpected: {answer:?}"));
        }
    }
}

/// A stream of watches.
pub struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    /// etcd does not begin to answer before it is asked something.
    opening: Option<JoinHandle<Result<tonic::Response<Streaming<WatchResponse>>, Status>>>,
    answers: Option<Streaming<WatchResponse>>,
}

impl Watch {
    pub async fn send(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.expect("the stream stands");
    }

    pub async fn next(&mut self) -> WatchResponse {
        let next = async { self.answers().await.message().await };
        let next = tokio::time::timeout(PATIENCE, next).await.expect("an answer in time");
        next.expect("an answer").expect("the stream goes on")
    }

    async fn answers(&mut self) -> &mut Streaming<WatchResponse> {
        if let Some(opening) = self.opening.take() {
            let opened = opening.await.expect("no panic").expect("a stream");
            self.answers = Some(opened.into_inner());
        }
        self.answers.as_mut().expect("it is open")
    }
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..PutRequest::default() }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn revision(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().map_or(-1, |header| header.revision)
}

/// `key=value c(reated)/m(odified)/v(ersion)`, and the lease if there is one.
pub fn pair(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!("/l{}", kv.lease) };
    let value = if kv.value.len() > 64 { format!("{} bytes", kv.value.len()) } else { text(&kv.value) };
    format!("{}={value} c{}/m{}/v{}{lease}", text(&kv.key), kv.create_revision, kv.mod_revision, kv.version)
}

fn event(event: &Event) -> String {
    let sign = if event.r#type == 0 { '+' } else { '-' };
    let old = event.prev_kv.as_ref().map(|old| format!(" was {}", pair(old))).unwrap_or_default();
    format!("[{sign}{}{old}]", event.kv.as_ref().map(pair).unwrap_or_default())
}

pub fn show(answer: &WatchResponse) -> String {
    let mut parts = vec![format!("#{} rev {}", answer.watch_id, revision(&answer.header))];
    for (is, word) in
        [(answer.created, "created"), (answer.canceled, "canceled"), (answer.fragment, "fragment")]
    {
        parts.extend(is.then(|| word.to_string()));
    }
    if answer.compact_revision != 0 {
        parts.push(format!("compacted {}", answer.compact_revision));
    }
    parts.push(answer.cancel_reason.clone());
    parts.extend(answer.events.iter().map(event));
    parts.join(" ")
}

fn txn(response: &TxnResponse) -> String {
    let parts = response.responses.iter().map(|op| match op.response.as_ref().expect("an answer") {
        Response::ResponseRange(range) => {
            let kvs: Vec<String> = range.kvs.iter().map(pair).collect();
            format!("range {} of {}", kvs.join(" "), range.count)
        }
        Response::ResponsePut(_) => "put".to_string(),
        Response::ResponseDeleteRange(delete) => format!("{} deleted", delete.deleted),
        Response::ResponseTxn(nested) => format!("({})", txn(nested)),
    });
    let parts: Vec<String> = parts.collect();
    format!("rev {}: {} {}", revision(&response.header), response.succeeded, parts.join("; "))
}

/// The end of the prefix that a key is.
pub fn prefix_end(key: &str) -> Bytes {
    let mut end = key.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    end.into()
}
