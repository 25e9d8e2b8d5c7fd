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

mod follow;
mod generator;

pub use generator::WatchGenerator;

use super::{Completion, Invocation, Space, Workload};
use crate::{
    driver::{Client, DriverError, WatchStream, revision},
    generator::{Purpose, rng},
};
use checker::{
    history::event::OpError,
    watch::{Act, Asked, Seen},
};
use follow::Until;
use generator::{Known, lock};
use serde_json::{Value, json};
use server::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest,
    request_op::Request, response_op::Response as Answer, watch_create_request::FilterType,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

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

impl Watch {
    /// The workload, with its keys in `space`, on a store that is at revision `base`.
    pub fn new(space: Space, base: i64, pace: Pace) -> Watch {
        let known = Known::at(base);
        let ending = Arc::new(watch::Sender::new(false));
        Watch { space, known: Arc::new(Mutex::new(known)), pace, ending }
    }
}

/// All keys of the workload.
fn everything() -> Asked {
    Asked { key: "w".into(), end: "x".into(), ..Asked::default() }
}

impl Workload for Watch {
    type Op = WatchOp;
    type Generator = WatchGenerator;

    fn generator(&self, seed: u64) -> WatchGenerator {
        WatchGenerator::new(rng(seed, Purpose::Watch), Arc::clone(&self.known), self.pace)
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
