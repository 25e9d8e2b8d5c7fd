//! One watch stream.

use super::Outgoing;
#[cfg(feature = "plant")]
use crate::plant::{self, Plant};
use crate::{
    api::{Api, Caller, random, status, streams::End},
    auth::Needs,
    backend::Backend,
    proto::{
        etcdserverpb::{
            WatchCreateRequest, WatchRequest, watch_create_request::FilterType, watch_request::RequestUnion,
        },
        mvccpb::Event,
    },
    watch::{Block, Filters, Hub, Interest, Item, Outbox, Slow, Ticket},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use rustc_hash::FxHashMap;
use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

/// Events of several revisions go out together up to this size.
const MERGED_BYTES_MAX: usize = 512 << 10;
/// Of a history that is read at once: what others wait for at most.
const HISTORY_BYTES_MAX: usize = 512 << 10;
/// Stands for all watches of the stream, or for none.
const NO_WATCH: i64 = -1;

/// Why a watch cannot be, in etcd's words.
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// The state of one stream. Its watches end with it.
pub(crate) struct Session<B: Backend, R> {
    api: Arc<Api<B>>,
    hub: Arc<Hub>,
    requests: R,
    /// Whether requests may still come. A client that has said all it wanted to goes on listening.
    open: bool,
    outbox: Arc<Outbox>,
    items: Vec<Item>,
    watches: FxHashMap<i64, Watch>,
    next_id: i64,
    /// Watches that read history, the one whose turn it is first. May name one that has ended since.
    behind: VecDeque<i64>,
    ready: VecDeque<Outgoing>,
    delivered: watch::Receiver<i64>,
    /// A progress request waits until this revision is reached.
    asked: Option<i64>,
    notify: Option<Notify>,
    end: End,
    ended: bool,
    caller: Caller,
}

struct Watch {
    interest: Interest,
    prev_kv: bool,
    fragment: bool,
    progress_notify: bool,
    /// Whether it was told of events since the last notification was due.
    told: bool,
    stay: Stay,
    /// Of who reads history.
    slow: Option<Slow>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// On the hub.
    Joined(Ticket),
    /// Reads history, from `interest.next` on.
    Behind,
}

/// Notifications of progress.
struct Notify {
    timer: Interval,
    due: bool,
}

impl<B, R> Session<B, R>
where
    B: Backend,
    R: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin,
{
    /// A stream without watches.
    pub(crate) fn new(api: Arc<Api<B>>, requests: R, end: End) -> Session<B, R> {
        let hub = Arc::clone(api.backend().hub());
        hub.streams.inc();
        Session {
            delivered: hub.delivered(),
            api,
            hub,
            requests,
            open: true,
            outbox: Arc::default(),
            items: Vec::new(),
            watches: FxHashMap::default(),
            next_id: 0,
            behind: VecDeque::new(),
            ready: VecDeque::new(),
            asked: None,
            notify: None,
            end,
            ended: false,
            caller: Caller::current(),
        }
    }

    /// All answers, in order.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Outgoing, Status>> {
        stream::unfold(self, |mut session| async move {
            let item = session.next().await?;
            Some((item, session))
        })
    }

    /// The next answer; waits for it. `None` once the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Result<Outgoing, Status>> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Some(Ok(answer));
            }
            if self.ended {
                return None;
            }
            self.tell_progress();
            if !self.ready.is_empty() {
                continue;
            }
            let (idle, waiting) = (self.behind.is_empty(), self.asked.is_some());
            // In this order, not in a random one: simulations must repeat. Requests go first, or a watch could
            // not be cancelled while events come; who asks for too much holds up its own stream alone.
            tokio::select! {
                biased;
                error = self.end.wait() => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
                request = self.requests.next(), if self.open => match request {
                    Some(Ok(request)) => self.take(request),
                    Some(Err(status)) => {
                        self.ended = true;
                        return Some(Err(status));
                    }
                    None => self.open = false,
                },
                () = self.outbox.ready(), if idle => self.deliver(),
                () = tokio::task::yield_now(), if !idle => self.deliver(),
                Ok(()) = self.delivered.changed(), if waiting => {}
                () = tick(&mut self.notify) => {}
            }
        }
    }

    fn take(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                self.asked = Some(self.api.backend().state().kv().revision());
            }
            // As etcd.
            None => {}
        }
    }

    fn create(&mut self, request: WatchCreateRequest) {
        let (revision, permitted) = {
            let state = self.api.backend().state();
            // As etcd, an empty key stands for the first one there can be.
            let key = if request.key.is_empty() { &[0][..] } else { &request.key[..] };
            let needs = [Needs::Read(key, &request.range_end)];
            (state.kv().revision(), self.api.permit_to(self.caller.clone(), &state, needs))
        };
        let refuse = |reason: Cow<'static, str>| Outgoing {
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason,
            ..Outgoing::default()
        };
        // As etcd: its errors as Go's library prints them, and what is wrong with the request itself as it is.
        let place = permitted
            .map_err(|error| {
                format!("rpc error: code = {:?} desc = {}", status::code(error), status::text(error)).into()
            })
            .and_then(|()| self.place(&request).map_err(Cow::from));
        let answer = match place {
            Ok(id) => {
                self.add(id, &request, revision);
                Outgoing { watch_id: id, created: true, ..Outgoing::default() }
            }
            Err(reason) => refuse(reason),
        };
        self.answer(answer, revision);
    }

    /// The id of a new watch, or why there is none.
    fn place(&mut self, request: &WatchCreateRequest) -> Result<i64, &'static str> {
        let (key, end) = (&request.key[..], &request.range_end[..]);
        if !matches!(end, [] | [0]) && end <= key.max(&[0][..]) {
            return Err(EMPTY_RANGE);
        }
        if request.start_revision < 0 {
            return Err(COMPACTED);
        }
        if request.watch_id != 0 {
            let known = self.watches.contains_key(&request.watch_id);
            return if known { Err(DUPLICATE_ID) } else { Ok(request.watch_id) };
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    fn add(&mut self, id: i64, request: &WatchCreateRequest, revision: i64) {
        let filter = |filter: FilterType| request.filters.contains(&i32::from(filter));
        // Copies: the request's bytes are a part of a message that they would keep in memory.
        let key = if request.key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            Bytes::copy_from_slice(&request.key)
        };
        let interest = Interest {
            key,
            range_end: Bytes::copy_from_slice(&request.range_end),
            filters: Filters { no_put: filter(FilterType::Noput), no_delete: filter(FilterType::Nodelete) },
            next: if request.start_revision == 0 { revision + 1 } else { request.start_revision },
        };
        #[cfg(feature = "plant")]
        let interest = match plant::is(Plant::WatchStartsLate) && request.start_revision == 0 {
            true => Interest { next: interest.next + 1, ..interest },
            false => interest,
        };
        let joined = if interest.next > revision { self.hub.join(&self.outbox, id, &interest) } else { None };
        let watch = Watch {
            stay: joined.map_or(Stay::Behind, Stay::Joined),
            interest,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress_notify: request.progress_notify,
            told: false,
            slow: joined.is_none().then(|| self.hub.slow()),
        };
        if watch.stay == Stay::Behind {
            self.behind.push_back(id);
        }
        if watch.progress_notify && self.notify.is_none() {
            self.notify = Some(Notify::every(self.api.limits().progress_interval));
        }
        self.watches.insert(id, watch);
    }

    fn cancel(&mut self, id: i64) {
        let Some(watch) = self.watches.remove(&id) else { return };
        if let Stay::Joined(ticket) = watch.stay {
            self.hub.leave(ticket);
        }
        let revision = self.api.backend().state().kv().revision();
        self.answer(Outgoing { watch_id: id, canceled: true, ..Outgoing::default() }, revision);
    }

    /// Sends what waits in the outbox; once that is empty, reads on in history for a watch that is behind.
    fn deliver(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        self.outbox.take(MERGED_BYTES_MAX, &mut items);
        if let Some(first) = items.first() {
            let (id, stay) = (first.watch_id, Stay::Joined(first.ticket));
            // Another watch may have the id by now.
            if self.watches.get(&id).is_some_and(|watch| watch.stay == stay) {
                let events = items.iter().flat_map(picked).collect();
                let revision = items.last().map_or(0, |last| last.block.revision);
                self.tell(id, events, revision);
            }
            items.clear();
        } else {
            for lagging in self.outbox.take_lagging() {
                if let Some(watch) = self.watches.get_mut(&lagging.watch_id)
                    && watch.stay == Stay::Joined(lagging.ticket)
                {
                    watch.stay = Stay::Behind;
                    watch.slow = Some(self.hub.slow());
                    watch.interest.next = lagging.next;
                    #[cfg(feature = "plant")]
                    {
                        let late = i64::from(plant::is(Plant::WatchGapAfterLag));
                        let early = i64::from(plant::is(Plant::WatchRepeatsAfterLag));
                        watch.interest.next += late - early;
                    }
                    self.behind.push_back(lagging.watch_id);
                }
            }
            if let Some(id) = self.behind.pop_front() {
                self.read_history(id);
            }
        }
        self.items = items;
    }

    /// Reads a piece of history for a watch, which joins the hub if there is no more.
    fn read_history(&mut self, id: i64) {
        let Some(watch) = self.watches.get_mut(&id).filter(|watch| watch.stay == Stay::Behind) else {
            return;
        };
        let (read, revision, compacted) = {
            let state = self.api.backend().state();
            let (kv, interest) = (state.kv(), &watch.interest);
            let read = kv.changes(&interest.key, &interest.range_end, interest.next, HISTORY_BYTES_MAX);
            (read, kv.revision(), kv.compact_revision())
        };
        #[cfg(feature = "plant")]
        if read.is_err() && plant::is(Plant::CompactedWatchGoesOn) {
            watch.interest.next = compacted + 1;
            return self.behind.push_back(id);
        }
        let Ok(mut changes) = read else {
            self.watches.remove(&id);
            // As in etcd, the header tells no revision.
            let canceled =
                Outgoing { watch_id: id, canceled: true, compact_revision: compacted, ..Outgoing::default() };
            self.answer(canceled, 0);
            return;
        };
        let is_delete = |event: &Event| event.r#type != 0;
        let passes = |event: &Event| watch.interest.filters.pass(is_delete(event));
        #[cfg(feature = "plant")]
        let passes = |event: &Event| passes(event) || plant::is(Plant::FilterIgnoredInHistory);
        changes.events.retain(passes);
        watch.interest.next = changes.next;
        let complete = changes.next > revision;
        let joined = if complete { self.hub.join(&self.outbox, id, &watch.interest) } else { None };
        match joined {
            Some(ticket) => (watch.stay, watch.slow) = (Stay::Joined(ticket), None),
            None => self.behind.push_back(id),
        }
        let told = if complete { revision } else { changes.next - 1 };
        if !changes.events.is_empty() {
            let block = self.hub.block(told, changes.events);
            let places = 0..u32::try_from(block.events.len()).expect("a piece of history is short");
            self.tell(id, places.map(|at| (Arc::clone(&block), at)).collect(), told);
        }
    }

    fn tell(&mut self, id: i64, events: Vec<(Arc<Block>, u32)>, revision: i64) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        watch.told = true;
        let prev_kv = watch.prev_kv;
        let limit = self.api.limits().max_message_bytes();
        let cut = watch.fragment && events.len() > 1;
        let header = self.api.header(revision).unwrap_or_default();
        #[cfg(feature = "plant")]
        if plant::is(Plant::RevisionSplit) {
            let one = |event| Outgoing {
                header,
                watch_id: id,
                events: vec![event],
                prev_kv,
                ..Outgoing::default()
            };
            return self.ready.extend(events.into_iter().map(one));
        }
        let answer = Outgoing { header, watch_id: id, events, prev_kv, ..Outgoing::default() };
        if cut && answer.encoded_len() >= limit {
            self.ready.extend(answer.fragments(limit));
        } else {
            self.ready.push_back(answer);
        }
    }

    /// Tells how far the watches have come, if that is due and there is nothing else to tell.
    fn tell_progress(&mut self) {
        let due = self.notify.as_ref().is_some_and(|notify| notify.due);
        if self.watches.is_empty() {
            // As etcd: nobody is there to be told of.
            self.asked = None;
        }
        if !due && self.asked.is_none() {
            return;
        }
        // In this order: what was delivered up to here is in the outbox, or was.
        let delivered = *self.delivered.borrow_and_update();
        #[cfg(feature = "plant")]
        if let Some(asked) = self.asked
            && plant::is(Plant::ProgressTooEarly)
        {
            self.asked = None;
            return self.answer(Outgoing { watch_id: NO_WATCH, ..Outgoing::default() }, asked);
        }
        if !self.behind.is_empty() || !self.outbox.is_empty() {
            return;
        }
        let reached = |watch: &Watch| watch.interest.next <= delivered + 1;
        if due {
            let mut ids = Vec::new();
            for (id, watch) in &mut self.watches {
                if watch.progress_notify && !std::mem::take(&mut watch.told) && reached(watch) {
                    ids.push(*id);
                }
            }
            ids.sort_unstable();
            for id in ids {
                self.answer(Outgoing { watch_id: id, ..Outgoing::default() }, delivered);
            }
            if let Some(notify) = &mut self.notify {
                notify.due = false;
            }
        }
        if self.asked.is_some_and(|asked| asked <= delivered) && self.watches.values().all(reached) {
            self.asked = None;
            self.answer(Outgoing { watch_id: NO_WATCH, ..Outgoing::default() }, delivered);
        }
    }

    fn answer(&mut self, answer: Outgoing, revision: i64) {
        let header = self.api.header(revision).unwrap_or_default();
        self.ready.push_back(Outgoing { header, ..answer });
    }
}

impl<B: Backend, R> Drop for Session<B, R> {
    fn drop(&mut self) {
        for watch in self.watches.values() {
            if let Stay::Joined(ticket) = watch.stay {
                self.hub.leave(ticket);
            }
        }
        self.hub.streams.sub(1);
    }
}

impl Notify {
    /// Jitter spreads the notifications of streams that began together.
    fn every(period: Duration) -> Notify {
        let jitter = period / 10 * u32::try_from(random() % 100).unwrap_or(0) / 100;
        let mut timer = interval_at(Instant::now() + period + jitter, period + jitter);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Notify { timer, due: false }
    }
}

/// Returns once a notification becomes due; never, if nobody wants any.
async fn tick(notify: &mut Option<Notify>) {
    match notify {
        Some(notify) => {
            notify.timer.tick().await;
            notify.due = true;
        }
        None => std::future::pending().await,
    }
}

/// The events of an item, by their places.
fn picked(item: &Item) -> impl Iterator<Item = (Arc<Block>, u32)> {
    let all = item.picks.is_none();
    let places = 0..u32::try_from(item.block.events.len()).expect("a revision has fewer than 2^32 writes");
    let some = item.picks.iter().flat_map(|picks| picks.iter().copied());
    places.filter(move |_| all).chain(some).map(|at| (Arc::clone(&item.block), at))
}
