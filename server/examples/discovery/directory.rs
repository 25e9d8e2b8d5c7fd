//! Instances that announce themselves, and resolvers that follow them.
//!
//! An instance hangs its address from a lease, and renews that as long as it lives. A resolver lists the
//! addresses, then watches them from the list's revision on, so that it misses nothing. It hands them out only
//! while it is in touch: now and then it reads the store's revision, by a quorum, and asks its watch how far it
//! has come. What the watch had seen by then was true when the revision was read. Once that is longer ago than
//! allowed, it hands out nobody.
//!
//! So whoever is handed out was alive no longer ago than its TTL, the time to elect a leader (who gives leases
//! their whole TTL again, from its election on), and the time that a resolver may be out of touch.

use server::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    WatchCreateRequest, WatchProgressRequest, WatchRequest, kv_client::KvClient, lease_client::LeaseClient,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// Pause before the next endpoint is tried.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer may take before another endpoint is tried.
const CALL: Duration = Duration::from_secs(2);

/// Endpoints, tried in turn.
struct Endpoints {
    urls: Vec<String>,
    next: usize,
}

impl Endpoints {
    async fn connect(&mut self) -> Result<Channel, Status> {
        let url = self.urls[self.next % self.urls.len()].clone();
        self.next += 1;
        let endpoint = Endpoint::from_shared(url).map_err(|error| Status::internal(error.to_string()))?;
        let connecting = endpoint.connect_timeout(CALL).connect().await;
        connecting.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// An answer in time.
async fn soon<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(CALL, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

/// An instance that is announced as long as this lives.
pub struct Announcement {
    endpoints: Vec<String>,
    lease: Arc<Mutex<Option<i64>>>,
    task: JoinHandle<()>,
}

impl Announcement {
    /// Announces `address` under `key`; whoever stops renewing is gone after `ttl_s` seconds.
    pub fn start(endpoints: Vec<String>, key: String, address: String, ttl_s: i64) -> Announcement {
        let lease = Arc::new(Mutex::new(None));
        let known = Arc::clone(&lease);
        let urls = endpoints.clone();
        let task = tokio::spawn(async move {
            let mut endpoints = Endpoints { urls, next: 0 };
            loop {
                // An error, or a lease that is lost: announce again, through the next endpoint.
                let _ = announce(&mut endpoints, &key, &address, ttl_s, &known).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Announcement { endpoints, lease, task }
    }

    /// Leaves in good order: seen at once.
    pub async fn withdraw(mut self) {
        self.task.abort();
        let id = self.lease.lock().expect("no panic").take();
        let mut endpoints = Endpoints { urls: std::mem::take(&mut self.endpoints), next: 0 };
        if let (Some(id), Ok(channel)) = (id, endpoints.connect().await) {
            // Else the lease runs out.
            let _ = soon(LeaseClient::new(channel).lease_revoke(LeaseRevokeRequest { id })).await;
        }
    }
}

/// Dies without a word: the lease runs out.
impl Drop for Announcement {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Announces, and renews until that fails.
async fn announce(
    endpoints: &mut Endpoints,
    key: &str,
    address: &str,
    ttl_s: i64,
    known: &Mutex<Option<i64>>,
) -> Result<(), Status> {
    let channel = endpoints.connect().await?;
    let mut leases = LeaseClient::new(channel.clone());
    let old = *known.lock().expect("no panic");
    // The lease of before may still live: then the announcement stands, and is renewed.
    let mut lease = match old {
        Some(id) if renew(&mut leases, id).await? => id,
        _ => 0,
    };
    loop {
        if lease == 0 {
            let granted = soon(leases.lease_grant(LeaseGrantRequest { id: 0, ttl: ttl_s })).await?;
            lease = granted.into_inner().id;
            *known.lock().expect("no panic") = Some(lease);
            let (key, value) = (key.to_string().into(), address.to_string().into());
            let put = PutRequest { key, value, lease, ..PutRequest::default() };
            soon(KvClient::new(channel.clone()).put(put)).await?;
        }
        tokio::time::sleep(Duration::from_secs(ttl_s.unsigned_abs()) / 4).await;
        if !renew(&mut leases, lease).await? {
            lease = 0;
        }
    }
}

/// False if the lease is gone.
async fn renew(leases: &mut LeaseClient<Channel>, id: i64) -> Result<bool, Status> {
    let request = tokio_stream::iter([LeaseKeepAliveRequest { id }]);
    let mut answers = soon(leases.lease_keep_alive(request)).await?.into_inner();
    Ok(soon(answers.message()).await?.is_some_and(|answer| answer.ttl > 0))
}

/// The instances under a prefix, as they come and go.
pub struct Resolver {
    view: Arc<Mutex<View>>,
    touch_max: Duration,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct View {
    instances: BTreeMap<String, String>,
    /// The instances are those of this time or later.
    fresh: Option<Instant>,
}

impl Resolver {
    /// Follows the instances under `prefix`; hands nobody out once it has been out of touch for `touch_max`.
    pub fn start(endpoints: Vec<String>, prefix: String, touch_max: Duration) -> Resolver {
        let view = Arc::new(Mutex::new(View::default()));
        let shared = Arc::clone(&view);
        let task = tokio::spawn(async move {
            let mut endpoints = Endpoints { urls: endpoints, next: 0 };
            loop {
                let _ = follow(&mut endpoints, &prefix, touch_max / 4, &shared).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Resolver { view, touch_max, task }
    }

    /// The instances by their keys; `None` while it is out of touch.
    pub fn instances(&self) -> Option<BTreeMap<String, String>> {
        let view = self.view.lock().expect("no panic");
        let fresh = view.fresh.filter(|fresh| fresh.elapsed() <= self.touch_max);
        fresh.map(|_| view.instances.clone())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first key behind a prefix.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// Lists, and follows until that fails.
async fn follow(
    endpoints: &mut Endpoints,
    prefix: &str,
    pace: Duration,
    view: &Mutex<View>,
) -> Result<(), Status> {
    let channel = endpoints.connect().await?;
    let mut kv = KvClient::new(channel.clone());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let range = RangeRequest {
        key: prefix.to_string().into(),
        range_end: prefix_end(prefix).into(),
        ..RangeRequest::default()
    };
    let asked = Instant::now();
    let listed = soon(kv.range(range.clone())).await?.into_inner();
    let revision = listed.header.map_or(0, |header| header.revision);
    {
        let mut view = view.lock().expect("no panic");
        view.instances = listed.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        view.fresh = Some(asked);
    }
    let (requests, receiver) = mpsc::channel(4);
    let send = async |request| {
        let request = WatchRequest { request_union: Some(request) };
        requests.send(request).await.map_err(|_| Status::unavailable("the stream has ended"))
    };
    let create = WatchCreateRequest {
        key: range.key.clone(),
        range_end: range.range_end,
        start_revision: revision + 1,
        ..WatchCreateRequest::default()
    };
    send(RequestUnion::CreateRequest(create)).await?;
    let mut answers =
        soon(WatchClient::new(channel).watch(ReceiverStream::new(receiver))).await?.into_inner();
    // A read of the store's revision under way, with the time at which it was asked; then the revision that
    // the watch must reach.
    let mut ticks = tokio::time::interval(pace);
    let mut target: Option<(Instant, i64)> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let asked = Instant::now();
                let read = RangeRequest { key: range.key.clone(), limit: 1, keys_only: true, ..RangeRequest::default() };
                let read = soon(kv.range(read)).await?.into_inner();
                let revision = read.header.map_or(0, |header| header.revision);
                target = Some((asked, revision));
                send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await?;
            }
            answer = answers.message() => {
                let answer = answer?.ok_or_else(|| Status::unavailable("the stream has ended"))?;
                if answer.canceled {
                    return Err(Status::out_of_range("history is compacted: list again"));
                }
                let mut view = view.lock().expect("no panic");
                for event in &answer.events {
                    let Some(kv) = &event.kv else { continue };
                    if event.r#type == 0 {
                        view.instances.insert(text(&kv.key), text(&kv.value));
                    } else {
                        view.instances.remove(&text(&kv.key));
                    }
                }
                // Only an answer without events tells how far the watch has come.
                let reached = answer.header.map_or(0, |header| header.revision);
                if let Some((asked, _)) = target.filter(|(_, wanted)| {
                    answer.events.is_empty() && !answer.created && reached >= *wanted
                }) {
                    view.fresh = view.fresh.max(Some(asked));
                    target = None;
                }
            }
        }
    }
}
