//! `lock` and `lock-unfenced`: sections under a lock that a lease holds, with pauses longer than the lease.
//!
//! A holder takes the lock by making its key under a lease of two seconds that it never renews, reads the list
//! that the lock guards, sleeps, writes the list with one more element, and releases the lock. That is how a
//! program behaves that is paused while it holds a lock. Fenced, the write is guarded by the revision at which the
//! lock was made, so a holder that lost it has no effect; unfenced it is a plain put, and with any store whatever
//! a late holder undoes what the next one did. `lock-unfenced` is there to show that, and so it is expected to fail.

use super::{
    Completion, Generator, Invocation, Space, Workload,
    list::{self, List},
    watch::failed,
};
use crate::{
    driver::{Client, DriverError, revision},
    generator::{KeyPool, Purpose, rng},
};
use checker::answers::Held;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, compare::CompareResult,
    compare::CompareTarget, compare::TargetUnion, request_op::Request,
};
use std::time::{Duration, Instant};

/// How many locks are in use at a time.
const LOCKS: usize = 2;
/// After how many sections a lock retires.
const USES_PER_LOCK: u64 = 60;
/// The lease of a lock, s: the least that etcd grants with its usual election timeout.
const TTL_S: i64 = 2;
/// How often a taken lock is tried, and how long is waited between.
const TRIES: u32 = 8;
const TRY_EVERY: Duration = Duration::from_millis(150);

/// The workload.
#[derive(Clone, Debug)]
pub struct Lock {
    space: Space,
    fenced: bool,
    /// Where the times of its answers begin.
    start: Instant,
}

/// One operation on the lock with this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOp {
    lock: String,
    act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Hold { element: u64, sleep: Duration },
    Read,
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct LockGenerator {
    rng: ChaCha8Rng,
    /// The state of a lock is the newest element made for it.
    locks: KeyPool<u64>,
}

impl Lock {
    /// The workload, with its keys in `space`; `fenced` tells whether writes are guarded.
    pub fn new(space: Space, fenced: bool) -> Lock {
        Lock { space, fenced, start: Instant::now() }
    }
}

impl Generator for LockGenerator {
    type Op = LockOp;

    fn next(&mut self) -> LockOp {
        // Most are quick; some sleep about as long as the lease, or longer.
        let sleep_ms = match self.rng.random_range(0..10) {
            0..7 => self.rng.random_range(0..300),
            _ => self.rng.random_range(1_500..3_500),
        };
        let read = self.rng.random_ratio(1, 5);
        let (number, newest) = self.locks.pick(&mut self.rng);
        let lock = format!("l{number}");
        if read {
            return LockOp { lock, act: Act::Read };
        }
        *newest += 1;
        LockOp { lock, act: Act::Hold { element: *newest, sleep: Duration::from_millis(sleep_ms) } }
    }

    fn final_reads(&self) -> Vec<LockOp> {
        (0..self.locks.used()).map(|lock| LockOp { lock: format!("l{lock}"), act: Act::Read }).collect()
    }
}

impl Workload for Lock {
    type Op = LockOp;
    type Generator = LockGenerator;

    fn generator(&self, seed: u64) -> LockGenerator {
        LockGenerator { rng: rng(seed, Purpose::Lock), locks: KeyPool::new(LOCKS, USES_PER_LOCK) }
    }

    fn invocation(&self, op: &LockOp) -> Invocation {
        let (f, value) = match op.act {
            Act::Hold { element, .. } => ("hold", json!(element)),
            Act::Read => ("read", Value::Null),
        };
        Invocation { f, key: Some(op.lock.clone()), value }
    }

    async fn execute(&self, op: &LockOp, client: &mut Client) -> Completion {
        match op.act {
            Act::Read => match self.read(&op.lock, client).await {
                Ok((List { items, .. }, rev)) => Completion::Ok { value: json!(items), rev: Some(rev) },
                Err(error) => Completion::of_read_error(&error),
            },
            Act::Hold { element, sleep } => self.hold(&op.lock, element, sleep, client).await,
        }
    }
}

/// The key whose revision of creation is compared.
pub(super) fn created_at(key: &str, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.to_owned().into(),
        range_end: Default::default(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

/// Makes a key under a lease if it is absent. Gives the revision of that, `None` where it is there.
pub(super) async fn make_under_lease(
    client: &mut Client,
    key: &str,
    value: &str,
    lease: i64,
) -> Result<Option<i64>, DriverError> {
    let put = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease,
        ..PutRequest::default()
    };
    let request = TxnRequest {
        compare: vec![created_at(key, 0)],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: Vec::new(),
    };
    let answer = client.txn(request).await?;
    let rev = revision(answer.header.as_ref())?;
    Ok(answer.succeeded.then_some(rev))
}

/// Deletes a key if it is the one that was made at a revision.
pub(super) async fn release(client: &mut Client, key: &str, made_at: i64) -> Result<(), DriverError> {
    let delete = DeleteRangeRequest { key: key.to_owned().into(), ..DeleteRangeRequest::default() };
    let request = TxnRequest {
        compare: vec![created_at(key, made_at)],
        success: vec![RequestOp { request: Some(Request::RequestDeleteRange(delete)) }],
        failure: Vec::new(),
    };
    client.txn(request).await.map(drop)
}

impl Lock {
    fn lock_key(&self, lock: &str) -> String {
        self.space.key(&format!("{lock}/lock"))
    }

    fn list_key(lock: &str) -> String {
        format!("{lock}/list")
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("the run is shorter than 584 years")
    }

    async fn read(&self, lock: &str, client: &mut Client) -> Result<(List, i64), DriverError> {
        let answer = client.range(list::read(&self.space, &Lock::list_key(lock))).await?;
        List::of_range(&answer)
    }

    async fn hold(&self, lock: &str, element: u64, sleep: Duration, client: &mut Client) -> Completion {
        // Until the list is written nothing has been done to it: all errors up to there are definite. A lock that
        // was taken without an answer goes with its lease.
        let fence = match self.take(lock, element, client).await {
            Ok(Some(fence)) => fence,
            Ok(None) => return failed("taken", "others held the lock all the time"),
            Err(error) => return Completion::of_read_error(&error),
        };
        let from_ns = self.now_ns();
        let items = match self.read(lock, client.start_operation()).await {
            Ok((list, _)) => list.items,
            Err(error) => return Completion::of_read_error(&error),
        };
        tokio::time::sleep(sleep).await;
        let written = self.write(lock, fence, items, element, client.start_operation()).await;
        let to_ns = self.now_ns();
        // Whatever becomes of it, the lease ends the lock.
        let _ = release(client.start_operation(), &self.lock_key(lock), fence).await;
        match written {
            Ok(Some(wrote)) => {
                Completion::Ok { value: json!(Held { fence, from_ns, to_ns, wrote }), rev: Some(wrote) }
            }
            Ok(None) => failed("lost", "the lock was lost before the list was written"),
            Err(error) => Completion::of_write_error(&error),
        }
    }

    /// Takes the lock, and gives its fencing token; `None` where it stays somebody else's.
    async fn take(&self, lock: &str, element: u64, client: &mut Client) -> Result<Option<i64>, DriverError> {
        for _ in 0..TRIES {
            let lease = client.start_operation().lease_grant(TTL_S).await?.id;
            let key = self.lock_key(lock);
            let made = make_under_lease(client.start_operation(), &key, &element.to_string(), lease).await?;
            if made.is_some() {
                return Ok(made);
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        Ok(None)
    }

    /// Writes the list with one more element. `None` where the guard says that the lock is lost.
    async fn write(
        &self,
        lock: &str,
        fence: i64,
        mut items: Vec<u64>,
        element: u64,
        client: &mut Client,
    ) -> Result<Option<i64>, DriverError> {
        items.push(element);
        let compare = if self.fenced { vec![created_at(&self.lock_key(lock), fence)] } else { Vec::new() };
        let success = vec![list::put(&self.space, &Lock::list_key(lock), &items)];
        let answer = client.txn(TxnRequest { compare, success, failure: Vec::new() }).await?;
        let rev = revision(answer.header.as_ref())?;
        Ok(answer.succeeded.then_some(rev))
    }
}
