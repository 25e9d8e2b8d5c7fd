//! `watch`: writes, and watches of many ranges on all members, from old, new and future revisions.
//!
//! A watch is an operation that answers with every response it got until its time was over, its stream broke, or
//! the server ended it. Where one ended, another begins later, on whatever member, right after the last event that
//! the first one saw. Some last long enough to see a member through a fault and its recovery. Writes are puts and
//! deletions of one key or of several at one revision; every few seconds history is compacted. At the end each
//! member is watched from the oldest revision that is left until it has told of everything.
//!
//! How many watches there are at a time, and how often history is compacted, does not depend on the rate: at
//! thousands of writes a second watches would otherwise take every process, and no history be left to go back to.

use super::{Completion, Generator, Invocation, Space, Workload};
use crate::{
    driver::{Client, DriverError, WatchStream, revision},
    generator::{Purpose, rng},
};
use checker::{
    history::event::OpError,
    watch::{Act, Asked, Event, EventKind, Past, Response, Seen, Stopped},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        WatchCreateRequest, WatchResponse, request_op::Request, response_op::Response as Answer,
        watch_create_request::FilterType,
    },
    mvccpb::{self, event::EventType},
};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

const KEYS: u64 = 8;
/// How long a watch goes on, ms.
const WINDOW_MS: Range<u64> = 200..3_000;
/// The same for one that sees its member through a fault: one in [`LONG_ONE_IN`].
const LONG_WINDOW_MS: Range<u64> = 8_000..40_000;
const LONG_ONE_IN: u32 = 4;
/// The most watches at a time: two thirds of the processes, and no more than this, for each may see every event. Half
/// of them may be long, or no others would have their turn.
const WATCHES_MAX: usize = 20;
/// Between two compactions: this many seconds times a power of two.
const COMPACT_EVERY_S: u64 = 2;
const COMPACT_DOUBLINGS: u32 = 4;
/// How often a watch that asks for it is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long a final watch may take to see everything.
const FINAL_LIMIT: Duration = Duration::from_secs(20);
/// Ends of watches that wait to be resumed.
const RESUMED_MAX: usize = 64;

/// The workload.
#[derive(Clone, Debug)]
pub struct Watch {
    space: Space,
    known: Arc<Mutex<Known>>,
    pace: Pace,
    /// Whether watches are to come to their end.
    ending: Arc<watch::Sender<bool>>,
}

/// How much there will be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Operations per second.
    pub per_s: u64,
    /// Operations that may be under way at a time.
    pub processes: usize,
}

/// What the generator guesses from.
#[derive(Debug)]
struct Known {
    /// The newest revision that was heard of.
    newest: i64,
    /// The newest revision that a compaction was asked for.
    compacted: i64,
    /// Watches that ended, with the revision that comes next.
    ended: VecDeque<Asked>,
    /// Watches that were made and have not ended, and how many of them are long.
    under_way: usize,
    long: usize,
}

impl Known {
    /// Counts a watch that begins, or one that ended.
    fn count(&mut self, window: Duration, begins: bool) {
        let is_long = window.as_millis() >= u128::from(LONG_WINDOW_MS.start);
        for (count, counts) in [(&mut self.under_way, true), (&mut self.long, is_long)] {
            match (counts, begins) {
                (false, _) => {}
                (true, true) => *count += 1,
                (true, false) => *count -= 1,
            }
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchOp {
    /// Writes at one revision.
    Write(Vec<Act>),
    /// Watches for a while.
    Watch {
        /// What.
        asked: Asked,
        /// For how long.
        window: Duration,
        /// Whether progress is asked for.
        progress: bool,
    },
    /// Watches everything that is left, until it has seen all that was there when it began.
    Final(Asked),
    /// Forgets what is older than a revision.
    Compact(i64),
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct WatchGenerator {
    rng: ChaCha8Rng,
    known: Arc<Mutex<Known>>,
    value: i64,
    base: i64,
    pace: Pace,
    /// Operations until the next compaction.
    compact_in: u64,
}

impl Watch {
    /// The workload, with its keys in `space`, on a store that is at revision `base`.
    pub fn new(space: Space, base: i64, pace: Pace) -> Watch {
        let known = Known { newest: base, compacted: base, ended: VecDeque::new(), under_way: 0, long: 0 };
        let ending = Arc::new(watch::Sender::new(false));
        Watch { space, known: Arc::new(Mutex::new(known)), pace, ending }
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    // Whatever a panic left of guesses is still good for guesses.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All keys of the workload.
fn everything() -> Asked {
    Asked { key: "w".into(), end: "x".into(), ..Asked::default() }
}

impl Generator for WatchGenerator {
    type Op = WatchOp;

    fn next(&mut self) -> WatchOp {
        self.compact_in = self.compact_in.saturating_sub(1);
        if self.compact_in == 0 {
            self.compact_in = self.until_compaction();
            return self.compact();
        }
        match self.rng.random_range(0..1000) {
            0..60 if self.has_room() => self.watch(),
            0..200 => {
                // The store refuses two writes of one key in a transaction.
                let first = self.rng.random_range(0..KEYS);
                let count = self.rng.random_range(2..4);
                WatchOp::Write((0..count).map(|step| self.act((first + 3 * step) % KEYS)).collect())
            }
            _ => {
                let key = self.rng.random_range(0..KEYS);
                WatchOp::Write(vec![self.act(key)])
            }
        }
    }

    fn final_reads(&self) -> Vec<WatchOp> {
        let from = lock(&self.known).compacted.max(self.base) + 1;
        vec![WatchOp::Final(Asked { from, ..everything() })]
    }
}

impl WatchGenerator {
    fn watches_max(&self) -> usize {
        (self.pace.processes * 2 / 3).clamp(1, WATCHES_MAX)
    }

    /// Whether another watch may be under way.
    fn has_room(&self) -> bool {
        lock(&self.known).under_way < self.watches_max()
    }

    /// How many operations come before the next compaction.
    fn until_compaction(&mut self) -> u64 {
        let seconds = COMPACT_EVERY_S << self.rng.random_range(0..=COMPACT_DOUBLINGS);
        (self.pace.per_s * seconds).max(1)
    }

    /// Leaves a few revisions, or many.
    fn compact(&mut self) -> WatchOp {
        let left = match self.rng.random() {
            true => self.rng.random_range(20..200),
            false => self.rng.random_range(200..20_000),
        };
        WatchOp::Compact((lock(&self.known).newest - left).max(1))
    }

    fn act(&mut self, key: u64) -> Act {
        let key = format!("w{key}");
        if self.rng.random_ratio(1, 5) {
            return Act::Delete { key };
        }
        self.value += 1;
        Act::Put { key, value: self.value }
    }

    fn watch(&mut self) -> WatchOp {
        let long_max = self.watches_max() / 2;
        let rng = &mut self.rng;
        let mut known = lock(&self.known);
        // Most that are long see few of the keys, for what they see is kept.
        let (windows, widths) = match rng.random_ratio(1, LONG_ONE_IN) && known.long < long_max {
            true => (LONG_WINDOW_MS, 4..9),
            false => (WINDOW_MS, 0..10),
        };
        let window = Duration::from_millis(rng.random_range(windows));
        let progress = rng.random_ratio(1, 3);
        known.count(window, true);
        if rng.random()
            && let Some(asked) = known.ended.pop_front()
        {
            return WatchOp::Watch { asked, window, progress };
        }
        let from = match rng.random_range(0..100) {
            0..25 => 0,
            25..60 => known.newest - rng.random_range(0..60),
            60..80 => rng.random_range(self.base..=known.newest.max(self.base)),
            _ => known.newest + rng.random_range(1..40),
        };
        let (key, end) = match rng.random_range(widths) {
            0..5 => ("w".into(), "x".into()),
            5..8 => (format!("w{}", rng.random_range(0..KEYS)), String::new()),
            _ => (
                format!("w{}", rng.random_range(0..KEYS / 2)),
                format!("w{}", rng.random_range(KEYS / 2..KEYS)),
            ),
        };
        let asked = Asked {
            key,
            end,
            from: from.max(0),
            no_put: rng.random_ratio(1, 12),
            no_delete: rng.random_ratio(1, 12),
            prev_kv: rng.random_ratio(3, 5),
            fragment: rng.random_ratio(1, 5),
        };
        WatchOp::Watch { asked, window, progress }
    }
}

impl Workload for Watch {
    type Op = WatchOp;
    type Generator = WatchGenerator;

    fn generator(&self, seed: u64) -> WatchGenerator {
        let (base, pace, known) = (lock(&self.known).newest, self.pace, Arc::clone(&self.known));
        let rng = rng(seed, Purpose::Watch);
        let mut generator = WatchGenerator { rng, known, value: 0, base, pace, compact_in: 0 };
        generator.compact_in = generator.until_compaction();
        generator
    }

    fn wind_down(&self) {
        self.ending.send_replace(true);
    }

    fn invocation(&self, op: &WatchOp) -> Invocation {
        let (f, value) = match op {
            WatchOp::Write(acts) => ("write", json!(acts)),
            WatchOp::Watch { asked, .. } | WatchOp::Final(asked) => ("watch", json!(asked)),
            WatchOp::Compact(revision) => ("compact", json!(revision)),
        };
        Invocation { f, key: None, value }
    }

    async fn execute(&self, op: &WatchOp, client: &mut Client) -> Completion {
        match op {
            WatchOp::Write(acts) => self.write(acts, client).await,
            WatchOp::Compact(revision) => {
                {
                    let mut known = lock(&self.known);
                    known.compacted = known.compacted.max(*revision);
                }
                let request = CompactionRequest { revision: *revision, physical: false };
                match client.compact(request).await {
                    Ok(_) => Completion::Ok { value: Value::Null, rev: None },
                    Err(error) => Completion::of_write_error(&error),
                }
            }
            WatchOp::Watch { asked, window, progress } => {
                let seen = self.watch(asked, Until::Time(*window), *progress, client).await;
                lock(&self.known).count(*window, false);
                if let Ok(seen) = &seen {
                    self.ended(asked, seen);
                }
                completed(seen)
            }
            WatchOp::Final(asked) => completed(self.last(asked, client).await),
        }
    }
}

fn completed(seen: Result<Seen, DriverError>) -> Completion {
    match seen {
        Ok(seen) => Completion::Ok { value: json!(seen), rev: None },
        Err(error) => Completion::of_read_error(&error),
    }
}

/// When a watch has seen enough.
#[derive(Clone, Copy, Debug)]
enum Until {
    Time(Duration),
    /// When everything up to a revision came.
    Revision(i64),
}

impl Watch {
    async fn write(&self, acts: &[Act], client: &mut Client) -> Completion {
        let requests = acts.iter().map(|act| self.request(act)).collect();
        // One write is a request of its own as often as not; several are a transaction.
        let answer = match acts {
            [Act::Put { key, value }] => client
                .put(self.put(key, *value))
                .await
                .and_then(|answer| Ok((vec![true], revision(answer.header.as_ref())?))),
            [Act::Delete { key }] => client
                .delete_range(self.delete(key))
                .await
                .and_then(|answer| Ok((vec![answer.deleted > 0], revision(answer.header.as_ref())?))),
            _ => client.txn(TxnRequest { success: requests, ..TxnRequest::default() }).await.and_then(
                |answer| {
                    let changed = answer.responses.iter().map(|response| match &response.response {
                        Some(Answer::ResponseDeleteRange(deleted)) => deleted.deleted > 0,
                        _ => true,
                    });
                    Ok((changed.collect(), revision(answer.header.as_ref())?))
                },
            ),
        };
        match answer {
            Ok((changed, rev)) => {
                let mut known = lock(&self.known);
                known.newest = known.newest.max(rev);
                Completion::Ok { value: json!(changed), rev: Some(rev) }
            }
            Err(error) => Completion::of_write_error(&error),
        }
    }

    fn put(&self, key: &str, value: i64) -> PutRequest {
        let (key, value) = (self.space.key(key).into(), value.to_string().into());
        PutRequest { key, value, ..PutRequest::default() }
    }

    fn delete(&self, key: &str) -> DeleteRangeRequest {
        DeleteRangeRequest { key: self.space.key(key).into(), ..DeleteRangeRequest::default() }
    }

    fn request(&self, act: &Act) -> RequestOp {
        let request = match act {
            Act::Put { key, value } => Request::RequestPut(self.put(key, *value)),
            Act::Delete { key } => Request::RequestDeleteRange(self.delete(key)),
        };
        RequestOp { request: Some(request) }
    }

    /// Whoever comes next may go on where a watch ended.
    fn ended(&self, asked: &Asked, seen: &Seen) {
        let last = seen.responses.iter().rev().find_map(|response| response.events.last());
        let Some(last) = last.filter(|_| !matches!(seen.stopped, Stopped::Compacted(_))) else { return };
        let mut known = lock(&self.known);
        if known.ended.len() < RESUMED_MAX {
            known.ended.push_back(Asked { from: last.mod_revision + 1, ..asked.clone() });
        }
    }

    /// Watches until all has come that was there at the beginning.
    async fn last(&self, asked: &Asked, client: &mut Client) -> Result<Seen, DriverError> {
        let range = RangeRequest { key: self.space.key("w").into(), ..RangeRequest::default() };
        let newest = revision(client.range(range).await?.header.as_ref())?;
        self.watch(asked, Until::Revision(newest), true, client).await
    }

    async fn watch(
        &self,
        asked: &Asked,
        until: Until,
        progress: bool,
        client: &mut Client,
    ) -> Result<Seen, DriverError> {
        let clock = client.clock();
        let end = clock.now()
            + match until {
                Until::Time(window) => window,
                Until::Revision(_) => FINAL_LIMIT,
            };
        let mut stream = client.watch(self.create(asked)).await?;
        let mut ending = self.ending.subscribe();
        let mut seen = Seen::default();
        let mut ask_at = clock.now() + PROGRESS_EVERY;
        loop {
            let response = tokio::select! {
                biased;
                response = stream.next() => response,
                () = clock.sleep_until(ask_at), if progress => {
                    stream.ask_progress();
                    ask_at = clock.now() + PROGRESS_EVERY;
                    continue;
                }
                () = clock.sleep_until(end) => break,
                // The sender is this workload's own, so there is no other end to waiting.
                _ = ending.wait_for(|&ending| ending), if matches!(until, Until::Time(_)) => break,
            };
            match response {
                Ok(Some(response)) => {
                    if !self.note(response, &mut seen)? {
                        break;
                    }
                }
                Ok(None) => {
                    seen.stopped = Stopped::Broke("the server ended the stream".into());
                    break;
                }
                // A stream that breaks has shown what it has shown.
                Err(error) if seen.created > 0 => {
                    seen.stopped = Stopped::Broke(error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
            if let Until::Revision(goal) = until
                && seen.responses.last().is_some_and(|response| told(response) >= goal)
            {
                return Ok(seen);
            }
        }
        match until {
            Until::Revision(goal) => Err(not_reached(goal, seen.stopped)),
            Until::Time(_) if seen.created == 0 && seen.stopped == Stopped::Enough => {
                Err(DriverError::Deadline { after_ms: 0 })
            }
            Until::Time(_) => Ok(seen),
        }
    }

    fn create(&self, asked: &Asked) -> WatchCreateRequest {
        let mut filters = Vec::new();
        if asked.no_put {
            filters.push(FilterType::Noput.into());
        }
        if asked.no_delete {
            filters.push(FilterType::Nodelete.into());
        }
        let range_end = if asked.end.is_empty() { String::new() } else { self.space.key(&asked.end) };
        WatchCreateRequest {
            key: self.space.key(&asked.key).into(),
            range_end: range_end.into(),
            start_revision: asked.from,
            progress_notify: false,
            filters,
            prev_kv: asked.prev_kv,
            watch_id: 0,
            fragment: asked.fragment,
        }
    }

    /// Notes a response; false where it is the last one.
    fn note(&self, response: WatchResponse, seen: &mut Seen) -> Result<bool, DriverError> {
        let rev = revision(response.header.as_ref())?;
        if response.canceled {
            seen.stopped = match response.compact_revision {
                0 => Stopped::Broke(response.cancel_reason),
                compacted => Stopped::Compacted(compacted),
            };
            return Ok(false);
        }
        if response.created {
            seen.created = rev;
            return Ok(true);
        }
        let events: Result<Vec<Event>, DriverError> =
            response.events.iter().map(|event| self.event(event)).collect();
        seen.responses.push(Response { rev, events: events?, fragment: response.fragment });
        Ok(true)
    }

    fn event(&self, event: &mvccpb::Event) -> Result<Event, DriverError> {
        let malformed = |text: &str| DriverError::Malformed { text: text.into() };
        let kv = event.kv.as_ref().ok_or_else(|| malformed("an event without a pair"))?;
        let kind = match EventType::try_from(event.r#type) {
            Ok(EventType::Put) => EventKind::Put,
            Ok(EventType::Delete) => EventKind::Delete,
            Err(_) => return Err(malformed("an event of an unknown type")),
        };
        let prev = event.prev_kv.as_ref().map(|prev| {
            Ok(Past {
                value: super::number(&prev.value)?,
                create_revision: prev.create_revision,
                mod_revision: prev.mod_revision,
                version: prev.version,
            })
        });
        Ok(Event {
            kind,
            key: self.space.strip(&kv.key)?,
            value: (kind == EventKind::Put).then(|| super::number(&kv.value)).transpose()?,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            prev: prev.transpose()?,
        })
    }
}

/// Why a watch that was to see everything up to a revision did not.
fn not_reached(goal: i64, stopped: Stopped) -> DriverError {
    match stopped {
        // The member was slow: nothing is wrong with what it said.
        Stopped::Enough => DriverError::Deadline { after_ms: FINAL_LIMIT.as_millis() as u64 },
        Stopped::Broke(text) => DriverError::Lost { text },
        Stopped::Compacted(revision) => DriverError::Malformed {
            text: format!(
                "a watch up to revision {goal} ended for a compaction at {revision} that nobody asked for"
            ),
        },
    }
}

/// Up to which revision everything has come with a response.
fn told(response: &Response) -> i64 {
    response.events.last().map_or(response.rev, |event| event.mod_revision)
}

/// A watch of the keys under a prefix, for other workloads: deletions only.
pub(super) async fn deletions(
    client: &mut Client,
    prefix: &str,
    end: String,
    from: i64,
) -> Result<WatchStream, DriverError> {
    let create = WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: end.into(),
        start_revision: from,
        filters: vec![FilterType::Noput.into()],
        ..WatchCreateRequest::default()
    };
    client.watch(create).await
}

/// Why an operation that takes a lease came to nothing.
pub(super) fn failed(kind: &str, text: &str) -> Completion {
    Completion::Fail(OpError { kind: kind.into(), text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn watch() -> Watch {
        Watch::new(Space::new("", "watch"), 1, Pace { per_s: 300, processes: 9 })
    }

    #[test]
    fn watches_begin_in_the_past_now_and_in_the_future_and_writes_are_unique() {
        let workload = watch();
        lock(&workload.known).newest = 500;
        let mut generator = workload.generator(7);
        let (mut values, mut old, mut now, mut future, mut several) = (BTreeSet::new(), 0, 0, 0, 0);
        for _ in 0..20_000 {
            let op = generator.next();
            if let WatchOp::Watch { window, .. } = &op {
                lock(&workload.known).count(*window, false);
            }
            match op {
                WatchOp::Write(acts) => {
                    let keys: BTreeSet<&str> = acts.iter().map(Act::key).collect();
                    assert_eq!(keys.len(), acts.len(), "{acts:?}");
                    several += usize::from(acts.len() > 1);
                    for act in &acts {
                        if let Act::Put { value, .. } = act {
                            assert!(values.insert(*value), "{value} twice");
                        }
                    }
                }
                WatchOp::Watch { asked, .. } => match asked.from {
                    0 => now += 1,
                    1..=500 => old += 1,
                    _ => future += 1,
                },
                WatchOp::Compact(revision) => assert!((1..480).contains(&revision)),
                WatchOp::Final(_) => panic!("only at the end"),
            }
        }
        assert!(old > 300 && now > 100 && future > 100 && several > 1000, "{old} {now} {future} {several}");
    }

    #[test]
    fn watches_leave_processes_to_writers_and_history_is_compacted_by_time_whatever_the_rate() {
        for per_s in [10, 3_000] {
            let workload = Watch::new(Space::new("", "watch"), 1, Pace { per_s, processes: 10 });
            let mut generator = workload.generator(7);
            let ops: Vec<WatchOp> = (0..per_s * 600).map(|_| generator.next()).collect();
            let watches: Vec<_> = ops.iter().filter(|op| matches!(op, WatchOp::Watch { .. })).collect();
            assert_eq!(watches.len(), 6, "none of them ended, at {per_s} per s");
            assert!(lock(&workload.known).long <= 3, "{watches:?}");
            let compactions = ops.iter().filter(|op| matches!(op, WatchOp::Compact(_))).count();
            // Of 600 s, in steps of 2 to 32 s.
            assert!((19..300).contains(&compactions), "{compactions} at {per_s} per s");
        }
    }

    #[test]
    fn a_watch_that_ended_is_resumed_after_its_last_event() {
        let workload = watch();
        let event = Event {
            kind: EventKind::Delete,
            key: "w1".into(),
            value: None,
            create_revision: 0,
            mod_revision: 41,
            version: 0,
            prev: None,
        };
        let response = Response { rev: 44, events: vec![event], fragment: false };
        let seen = Seen { created: 40, responses: vec![response], stopped: Stopped::Broke("gone".into()) };
        workload.ended(&Asked { from: 7, ..everything() }, &seen);
        assert_eq!(lock(&workload.known).ended, [Asked { from: 42, ..everything() }]);
    }
}
