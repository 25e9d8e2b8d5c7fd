//! Watches beside a load: how long it takes until everybody who watches has seen a write.
//!
//! Each write carries in its value when it was due and when it was sent ([`Stamp`]), so an event tells its own
//! latency, however many watchers see it: from when the put was due, and not from when its answer came, as etcd's
//! `benchmark watch-latency` counts, which lets the fastest events take no time at all.

use super::{clock, endpoint::Endpoint, interval::Tally, mix::Workload, stamp::Stamp};
use server::proto::{
    etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::{Event, event::EventType},
};
use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_stream::StreamExt;

/// How long all watches together may take to be created.
const CREATE_LIMIT: Duration = Duration::from_secs(30);
/// How long events are waited for that have not come when the load is over.
const LAST_EVENTS_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks whether they have come.
const LOOK: Duration = Duration::from_millis(5);

/// What watches there are beside a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Streams, spread over the servers.
    pub streams: usize,
    /// Watches on each stream.
    pub per_stream: usize,
    /// Each watches all keys of the load; else each watches one key, in turn.
    pub whole: bool,
    /// Whether events bring the value before.
    pub prev_kv: bool,
}

impl Watching {
    /// A value must have so many octets to carry its times.
    pub const VALUE_BYTES_MIN: usize = Stamp::BYTES;
    /// The most streams, and the most watches on one.
    const MAX: usize = 100_000;

    /// Whether there are no watches at all.
    pub fn is_none(&self) -> bool {
        self.streams == 0 || self.per_stream == 0
    }
}

impl fmt::Display for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Watching { streams, per_stream, whole, prev_kv } = self;
        write!(f, "{streams}x{per_stream}")?;
        f.write_str(if *whole { ":all" } else { "" })?;
        f.write_str(if *prev_kv { ":prev" } else { "" })
    }
}

impl FromStr for Watching {
    type Err = String;

    /// Reads `10x100`, `10x10:all`, `10x10:all:prev`.
    fn from_str(text: &str) -> Result<Watching, String> {
        let wrong = || {
            format!(
                "`{text}` names no watches: write STREAMSxWATCHES such as 10x100, and :all behind it where each \
                 watches all keys"
            )
        };
        let mut parts = text.split(':');
        let (streams, per_stream) = parts.next().and_then(|part| part.split_once('x')).ok_or_else(wrong)?;
        let number = |text: &str| text.parse().ok().filter(|n| *n <= Watching::MAX).ok_or_else(wrong);
        let (streams, per_stream) = (number(streams)?, number(per_stream)?);
        let mut watching = Watching { streams, per_stream, whole: false, prev_kv: false };
        for part in parts {
            match part {
                "all" => watching.whole = true,
                "prev" => watching.prev_kv = true,
                _ => return Err(wrong()),
            }
        }
        Ok(watching)
    }
}

/// What the watches have seen.
#[derive(Debug, Default)]
struct Seen {
    /// What was not asked for yet.
    tally: Mutex<Tally>,
    /// Events of the load that came.
    events: AtomicU64,
    /// What ended a stream.
    error: Mutex<Option<String>>,
}

/// Watches under way. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Watchers {
    seen: Arc<Seen>,
    watching: Watching,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchers {
    /// Creates the watches, and returns once the servers have confirmed them all.
    ///
    /// # Errors
    /// Why a watch could not be created.
    pub(super) fn start(
        endpoints: &[Endpoint],
        workload: &Workload,
        watching: Watching,
    ) -> Result<Watchers, String> {
        let (end, ends) = watch::channel(false);
        let seen = Arc::new(Seen::default());
        let (tell, created) = std::sync::mpsc::channel();
        let requests: Vec<Vec<WatchRequest>> =
            (0..watching.streams).map(|stream| creates(workload, watching, stream)).collect();
        let endpoints: Vec<Endpoint> = endpoints.iter().cycle().take(watching.streams).cloned().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime for watches: {error}"))?;
        let shared = Arc::clone(&seen);
        let thread = thread::Builder::new().name("watchers".into()).spawn(move || {
            runtime.block_on(run(endpoints, requests, shared, tell, ends));
        });
        let thread = thread.map_err(|error| format!("no thread for watches: {error}"))?;
        let watchers = Watchers { seen, watching, end, thread: Some(thread) };
        let until = Instant::now() + CREATE_LIMIT;
        for _ in 0..watching.streams {
            match created.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let text = watchers.error().unwrap_or_else(|| "the server does not confirm them".into());
                    return Err(format!("watches were not created in {} s: {text}", CREATE_LIMIT.as_secs()));
                }
            }
        }
        Ok(watchers)
    }

    /// What came since this was asked for the last time.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut self.seen.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until as many events have come as `writes` successful writes bring, or no more do.
    pub(super) fn wait_for(&self, writes: u64) {
        let wanted = match self.watching.whole {
            true => writes.saturating_mul((self.watching.streams * self.watching.per_stream) as u64),
            // Who watches one key sees some of them: as long as any come.
            false => u64::MAX,
        };
        let (mut seen, mut since) = (self.count(), Instant::now());
        while seen < wanted && since.elapsed() < LAST_EVENTS_LIMIT {
            thread::sleep(LOOK);
            let now = self.count();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if !self.watching.whole && since.elapsed() > 20 * LOOK {
                return;
            }
        }
    }

    /// Events of the load that came since the watches were created.
    pub(super) fn count(&self) -> u64 {
        self.seen.events.load(Ordering::Relaxed)
    }

    /// What ended a stream before its time.
    pub(super) fn error(&self) -> Option<String> {
        self.seen.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, what was seen is still there.
            let _ = thread.join();
        }
    }
}

/// The requests that create the watches of a stream.
fn creates(workload: &Workload, watching: Watching, stream: usize) -> Vec<WatchRequest> {
    let one = |number: usize| {
        let (mut key, mut range_end) = (workload.prefix.as_bytes().to_vec(), workload.prefix_end());
        if !watching.whole {
            key.clear();
            range_end.clear();
            workload.write_key(number as u64 % workload.key_count.max(1), &mut key);
        } else if key.is_empty() {
            key.push(0);
        }
        let create = WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            prev_kv: watching.prev_kv,
            ..WatchCreateRequest::default()
        };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    };
    (0..watching.per_stream).map(|at| one(stream * watching.per_stream + at)).collect()
}

async fn run(
    endpoints: Vec<Endpoint>,
    requests: Vec<Vec<WatchRequest>>,
    seen: Arc<Seen>,
    tell: std::sync::mpsc::Sender<Result<(), String>>,
    ends: watch::Receiver<bool>,
) {
    let mut streams = JoinSet::new();
    for (endpoint, requests) in endpoints.into_iter().zip(requests) {
        let (seen, tell, mut ends) = (Arc::clone(&seen), tell.clone(), ends.clone());
        streams.spawn(async move {
            let stream = follow(endpoint, requests, &seen, &tell);
            let ended = tokio::select! {
                ended = stream => ended,
                _ = ends.wait_for(|end| *end) => return,
            };
            if let Err(error) = ended {
                let _ = tell.send(Err(error.clone()));
                seen.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
    }
    while streams.join_next().await.is_some() {}
}

/// Follows one stream until it ends, which it should not.
async fn follow(
    endpoint: Endpoint,
    requests: Vec<WatchRequest>,
    seen: &Seen,
    tell: &std::sync::mpsc::Sender<Result<(), String>>,
) -> Result<(), String> {
    let url = &endpoint.url;
    let fault = |what: &str, error: &dyn fmt::Display| format!("{url}: {what}: {error}");
    let channel = endpoint.channel()?;
    let wanted = requests.len();
    // The stream of requests stays open for as long as the watches shall live.
    let requests = tokio_stream::iter(requests).chain(tokio_stream::pending());
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut request = tonic::Request::new(requests);
    endpoint.authorize(request.metadata_mut())?;
    let answers = client.watch(request).await.map_err(|error| fault("no watch", &error))?;
    let mut answers = answers.into_inner();
    let mut created = 0;
    loop {
        let message = answers.message().await.map_err(|error| fault("a watch ended", &error))?;
        let Some(message) = message else { return Err(fault("a watch ended", &"the server closed it")) };
        if message.canceled {
            return Err(fault("a watch was cancelled", &message.cancel_reason));
        }
        if message.created {
            created += 1;
            if created == wanted {
                let _ = tell.send(Ok(()));
            }
        }
        note(&message, seen);
    }
}

/// Counts the events of a message.
fn note(message: &WatchResponse, seen: &Seen) {
    if message.events.is_empty() {
        return;
    }
    let (now_ns, mut stamped) = (clock::now_ns(), 0);
    let mut tally = seen.tally.lock().unwrap_or_else(PoisonError::into_inner);
    for stamp in message.events.iter().filter_map(stamp) {
        tally.ok += 1;
        tally.response.saturating_record(now_ns.saturating_sub(stamp.due_ns));
        tally.service.saturating_record(now_ns.saturating_sub(stamp.sent_ns));
        stamped += 1;
    }
    drop(tally);
    seen.events.fetch_add(stamped, Ordering::Relaxed);
}

fn stamp(event: &Event) -> Option<Stamp> {
    let put = event.r#type == i32::from(EventType::Put);
    event.kv.as_ref().filter(|_| put).and_then(|kv| Stamp::read(&kv.value))
}
