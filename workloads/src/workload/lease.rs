//! `lease`: leases with keys, kept alive for a while and then left to end, with their keys watched all the time.
//!
//! Some are kept alive for longer than most faults last, so that they are there before one, during it, and when
//! whoever it hit comes back.

use super::{Completion, Generator, Invocation, Space, Workload, watch};
use crate::{
    driver::{Client, Clock, DriverError, WatchStream, revision},
    generator::{Purpose, rng},
};
use checker::answers::{Left, Life};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::etcdserverpb::{
    LeaseGrantResponse, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch as watch_channel;

const TTL_S: std::ops::RangeInclusive<i64> = 2..=4;
/// How long a lease is kept alive, ms.
const KEEP_MS: std::ops::Range<u64> = 0..6_000;
/// The same for one that sees its leader through a fault: one in [`LONG_ONE_IN`].
const LONG_KEEP_MS: std::ops::Range<u64> = 8_000..20_000;
const LONG_ONE_IN: u32 = 3;
/// How long beyond its TTL the end of a lease is waited for: a new leader gives a lease its whole TTL again.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often keys are looked at where the watch broke.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a final read waits for keys to go: longer than the checker allows them.
const FINAL_PATIENCE: Duration = Duration::from_secs(16);

/// The workload.
#[derive(Clone, Debug)]
pub struct Lease {
    space: Space,
    /// Whether leases are to be left to end.
    ending: Arc<watch_channel::Sender<bool>>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOp {
    /// The life of one lease.
    Live {
        /// Its number: names its keys.
        number: u64,
        /// Its TTL, s.
        ttl_s: i64,
        /// How many keys it has.
        keys: u64,
        /// How long it is kept alive.
        keep: Duration,
        /// Whether it is revoked then, or left to end.
        revoked: bool,
    },
    /// Waits until no lease has keys any more.
    Read,
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct LeaseGenerator {
    rng: ChaCha8Rng,
    leases: u64,
}

impl Lease {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Lease {
        Lease { space, ending: Arc::new(watch_channel::Sender::new(false)) }
    }
}

impl Generator for LeaseGenerator {
    type Op = LeaseOp;

    fn next(&mut self) -> LeaseOp {
        self.leases += 1;
        let keep_ms = if self.rng.random_ratio(1, LONG_ONE_IN) { LONG_KEEP_MS } else { KEEP_MS };
        LeaseOp::Live {
            number: self.leases,
            ttl_s: self.rng.random_range(TTL_S),
            keys: self.rng.random_range(1..4),
            keep: Duration::from_millis(self.rng.random_range(keep_ms)),
            revoked: self.rng.random_ratio(1, 6),
        }
    }

    fn final_reads(&self) -> Vec<LeaseOp> {
        vec![LeaseOp::Read]
    }
}

impl Workload for Lease {
    type Op = LeaseOp;
    type Generator = LeaseGenerator;

    fn generator(&self, seed: u64) -> LeaseGenerator {
        LeaseGenerator { rng: rng(seed, Purpose::Lease), leases: 0 }
    }

    fn wind_down(&self) {
        self.ending.send_replace(true);
    }

    fn invocation(&self, op: &LeaseOp) -> Invocation {
        match op {
            LeaseOp::Live { number, ttl_s, keys, keep, revoked } => {
                let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
                let value = json!({"lease": number, "ttl_s": ttl_s, "keys": keys, "keep_ms": keep_ms,
                    "revoked": revoked});
                Invocation { f: "lease", key: None, value }
            }
            LeaseOp::Read => Invocation { f: "read", key: None, value: Value::Null },
        }
    }

    async fn execute(&self, op: &LeaseOp, client: &mut Client) -> Completion {
        match op {
            LeaseOp::Live { number, ttl_s, keys, keep, revoked } => {
                let plan = Plan { number: *number, keys: *keys, keep: *keep, revoked: *revoked };
                match self.live(&plan, *ttl_s, client).await {
                    Ok(life) => Completion::Ok { value: json!(life), rev: None },
                    // A lease that nobody heard of ends by itself.
                    Err(error) => Completion::of_read_error(&error),
                }
            }
            LeaseOp::Read => match self.left(client).await {
                Ok(left) => Completion::Ok { value: json!(left), rev: None },
                Err(error) => Completion::of_read_error(&error),
            },
        }
    }
}

struct Plan {
    number: u64,
    keys: u64,
    keep: Duration,
    revoked: bool,
}

/// A lease under way.
struct Living {
    id: i64,
    life: Life,
    /// Of its keys.
    prefix: String,
    /// How many keys it has.
    keys: u64,
    /// Deletions of its keys, while the stream lives.
    deletions: Option<WatchStream>,
}

/// The time, as answers tell it.
fn now_ns(clock: &Clock) -> u64 {
    u64::try_from(clock.now().as_nanos()).expect("the run is shorter than 584 years")
}

impl Lease {
    async fn live(&self, plan: &Plan, ttl_s: i64, client: &mut Client) -> Result<Life, DriverError> {
        let clock = client.clock();
        let mut renewed_ns = now_ns(&clock);
        let LeaseGrantResponse { id, ttl, .. } = client.lease_grant(ttl_s).await?;
        let prefix = self.space.key(&format!("{}/", plan.number));
        let rev = self.put(&prefix, plan.keys, id, client).await?;
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let deletions = watch::deletions(client.start_operation(), &prefix, end, rev + 1).await.ok();
        // The grant is the first renewal.
        let life = Life { ttl_s: ttl, renewed_ns, ..Life::default() };
        let mut living = Living { id, life, prefix, keys: plan.keys, deletions };
        let keep_until = clock.now() + plan.keep;
        let every = Duration::from_secs(u64::try_from(ttl).unwrap_or(1)) / 3;
        let mut ending = self.ending.subscribe();
        while clock.now() < keep_until && !living.is_over() && !*ending.borrow() {
            renewed_ns = now_ns(&clock);
            // A renewal without an answer counts for nothing; a lease that is gone is what the watch tells.
            if let Ok(ttl) = client.start_operation().lease_keep_alive(living.id).await
                && ttl > 0
            {
                living.life.renewed_ns = renewed_ns;
                living.life.ttl_s = ttl;
                living.life.renewals += 1;
            }
            let until = keep_until.min(clock.now() + every);
            tokio::select! {
                () = self.look(&mut living, until, client) => {}
                _ = ending.wait_for(|&ending| ending) => {}
            }
        }
        if plan.revoked && !living.is_over() {
            living.life.revoked_ns = Some(now_ns(&clock));
            let _ = client.start_operation().lease_revoke(living.id).await;
        }
        let wait = Duration::from_secs(u64::try_from(living.life.ttl_s).unwrap_or(1)) + PATIENCE;
        self.look(&mut living, clock.now() + wait, client).await;
        Ok(living.life)
    }

    async fn put(
        &self,
        prefix: &str,
        keys: u64,
        lease: i64,
        client: &mut Client,
    ) -> Result<i64, DriverError> {
        let put = |key| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: format!("{prefix}{key}").into(),
                value: "x".into(),
                lease,
                ..PutRequest::default()
            })),
        };
        let request = TxnRequest { success: (0..keys).map(put).collect(), ..TxnRequest::default() };
        revision(client.start_operation().txn(request).await?.header.as_ref())
    }

    /// Notes what becomes of the keys until a time, or until all are gone.
    async fn look(&self, living: &mut Living, until: Duration, client: &mut Client) {
        let clock = client.clock();
        while !living.is_over() && clock.now() < until {
            let Some(deletions) = &mut living.deletions else {
                clock.sleep_until(until.min(clock.now() + LOOK_EVERY)).await;
                self.look_once(living, client).await;
                continue;
            };
            match clock.timeout_at(until, deletions.next()).await {
                None => return,
                Some(Ok(Some(response))) if !response.canceled => {
                    for event in &response.events {
                        let Some(kv) = &event.kv else { continue };
                        let key = String::from_utf8_lossy(&kv.key).into_owned();
                        living.life.gone.push((key, kv.mod_revision));
                        living.life.gone_ns.get_or_insert(now_ns(&client.clock()));
                    }
                }
                Some(_) => living.deletions = None,
            }
        }
    }

    /// Where the watch broke: whether a linearizable read finds a key gone.
    async fn look_once(&self, living: &mut Living, client: &mut Client) {
        if let Ok(there) = self.keys(&living.prefix, client.start_operation()).await
            && (there.len() as u64) < living.keys
        {
            living.life.gone_ns.get_or_insert(now_ns(&client.clock()));
        }
    }

    async fn keys(&self, prefix: &str, client: &mut Client) -> Result<Vec<String>, DriverError> {
        let range = RangeRequest {
            key: prefix.to_owned().into(),
            range_end: format!("{}0", prefix.trim_end_matches('/')).into(),
            keys_only: true,
            ..RangeRequest::default()
        };
        let answer = client.range(range).await?;
        Ok(answer.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect())
    }

    async fn left(&self, client: &mut Client) -> Result<Left, DriverError> {
        let clock = client.clock();
        let start = clock.now();
        loop {
            let keys = self.keys(self.space.prefix(), client.start_operation()).await?;
            if keys.is_empty() || clock.now() - start >= FINAL_PATIENCE {
                let waited_ms = u64::try_from((clock.now() - start).as_millis()).unwrap_or(u64::MAX);
                return Ok(Left { waited_ms, ttl_s_max: *TTL_S.end(), keys });
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }
}

impl Living {
    /// Whether nothing more can be learnt of it: all keys went, or, with the watch broken, any.
    fn is_over(&self) -> bool {
        self.life.gone.len() as u64 >= self.keys || (self.deletions.is_none() && self.life.gone_ns.is_some())
    }
}
