//! How fast the state machine is, in CPU time. Prints figures, and asserts nothing about them:
//! `cargo test --release -p assay-server --lib speed -- --ignored --nocapture`

use super::{apply, command, compaction};
use crate::{
    mvcc::Scrub,
    proto::{
        etcdserverpb::{PutRequest, RangeRequest},
        internal::{Command, command::Request},
    },
    state_machine::{Restore, StateMachine},
};
use bytes::Bytes;
use std::{fs, ops, time::Duration};

/// A moment in this thread's CPU time: others who use the machine make no difference to it.
#[derive(Clone, Copy)]
struct Moment(Duration);

impl Moment {
    fn now() -> Moment {
        let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a Linux with schedstat");
        Moment(Duration::from_nanos(ns))
    }

    fn elapsed(self) -> Duration {
        Moment::now() - self
    }
}

impl ops::Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.0 - earlier.0
    }
}

fn timed<T>(what: &str, unit: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let begin = Moment::now();
    let result = work();
    report(what, unit, count, begin.elapsed());
    result
}

fn report(what: &str, unit: &str, count: usize, took: Duration) {
    let count = count as f64;
    let (per_s, ns) = (count / took.as_secs_f64(), took.as_secs_f64() * 1e9 / count);
    println!("{what:34} {per_s:>12.0} {unit}/s {ns:>9.0} ns each, {:.3} s in all", took.as_secs_f64());
}

/// Key number `n` of some, in an order that is not that of the keys.
fn key(n: usize, keys: usize) -> Bytes {
    Bytes::from(format!("key/{:012}", (n * 7_919) % keys))
}

fn put(n: usize, keys: usize, value: &Bytes) -> Command {
    command(Request::Put(PutRequest { key: key(n, keys), value: value.clone(), ..PutRequest::default() }))
}

fn resident_mb() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0);
    pages * 4 / 1024
}

fn measure(keys: usize, puts: usize) {
    println!("-- {puts} puts of 256 bytes over {keys} keys");
    let value = Bytes::from(vec![b'v'; 256]);
    let mut state = StateMachine::new();
    let mut took = Duration::ZERO;
    for first in (0..puts).step_by(10_000) {
        let batch: Vec<_> = (first..first + 10_000).map(|n| put(n, keys, &value)).collect();
        let begin = Moment::now();
        for command in &batch {
            apply(&mut state, command).expect("a put");
        }
        took += begin.elapsed();
    }
    report("put", "put", puts, took);
    let held = state.kv().size_bytes();
    println!("   size_bytes {} MB, resident {} MB", held / 1_000_000, resident_mb());

    let reads: Vec<_> =
        (0..200_000).map(|n| RangeRequest { key: key(n * 31, keys), ..RangeRequest::default() }).collect();
    timed("get", "get", reads.len(), || {
        for request in &reads {
            assert_eq!(state.kv().range(request).map(|response| response.count), Ok(1));
        }
    });
    let all = RangeRequest { key: "key/".into(), range_end: "key0".into(), ..RangeRequest::default() };
    for (what, request) in [
        ("range, all", all.clone()),
        ("range, count only", RangeRequest { count_only: true, ..all.clone() }),
        ("range, limit 500", RangeRequest { limit: 500, ..all.clone() }),
    ] {
        timed(what, "key", keys, || state.kv().range(&request).expect("a readable revision"));
    }
    timed("hash, from the contents", "version", puts, || state.kv().hash());
    timed("hash_kv", "hash", 1, || state.kv().hash_kv(0).expect("a readable revision"));
    let chunks = timed("image, 1 MiB chunks", "version", puts, || super::chunks(&state, 1 << 20));
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    println!("   {} MB in {} chunks", bytes / 1_000_000, chunks.len());
    let restored = timed("restore", "version", puts, || {
        let restore = chunks.iter().try_fold(Restore::new(), |restore, chunk| restore.push(chunk));
        restore.and_then(Restore::finish).expect("an image can be read")
    });
    assert_eq!(restored.kv().hash_kv(0), state.kv().hash_kv(0));
    let revision = state.kv().revision();
    apply(&mut state, &compaction(revision)).expect("a readable revision");
    let (mut longest, begin) = (Duration::ZERO, Moment::now());
    loop {
        let step = Moment::now();
        let done = state.scrub(1_000);
        longest = longest.max(step.elapsed());
        if done == Scrub::Done {
            break;
        }
    }
    report("scrub, 1000 at a time", "revision", puts, begin.elapsed());
    println!("   longest step {} us, held {} MB", longest.as_micros(), state.kv().size_bytes() / 1_000_000);
}

#[test]
#[ignore = "a measurement, to be run in release mode"]
fn speed() {
    measure(10_000, 1_000_000);
    measure(1_000_000, 1_000_000);
    measure(1, 1_000_000);
}
