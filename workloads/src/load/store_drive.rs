//! Puts into the server's own store, in this process: what multi-version storage costs by itself. etcd's
//! `benchmark mvcc put`.

use super::{
    drive::{Load, Plan},
    http2::Answer,
    interval::Interval,
    schedule::Schedule,
    source::{KeySpace, Source},
};
use nix::time::{ClockId, clock_gettime};
use prost::Message;
use server::{mvcc::Store, proto::etcdserverpb::PutRequest};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A single thread has one operation at a time, whatever the number of clients.
pub(super) fn drive(plan: &Plan, stop: &AtomicBool, mut each: impl FnMut(Interval)) {
    let space = Arc::new(KeySpace::new(plan.workload.key_count));
    let mut source = Source::new(Arc::clone(&plan.workload), space, plan.seed, 0, 1);
    let mut store = Store::new();
    let (mut schedule, mut left) = match &plan.load {
        Load::Open { shape, arrivals } => {
            (Some(Schedule::new(shape.clone(), *arrivals, plan.seed, 0, 1)), u64::MAX)
        }
        Load::Closed { operations_max, .. } => (None, operations_max.unwrap_or(u64::MAX)),
    };
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
    let (interval_ns, end_ns) = (ns(plan.interval).max(1), ns(plan.duration));
    let (start, mut cpu) = (Instant::now(), cpu_ns());
    let now_ns = || ns(start.elapsed());
    let mut interval = Interval::new(0, plan.workload.names().len());
    let mut give = |interval: &mut Interval| {
        let (next, now) = (Interval::new(interval.index + 1, interval.tallies.len()), cpu_ns());
        interval.cpu_ns = now - std::mem::replace(&mut cpu, now);
        each(std::mem::replace(interval, next));
    };
    while left > 0 && !stop.load(Ordering::Relaxed) {
        let due_ns = match schedule.as_mut().map(Iterator::next) {
            None => now_ns(),
            Some(None) => break,
            Some(Some(due)) => {
                thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
                interval.lag.saturating_record(now_ns().saturating_sub(due));
                due
            }
        };
        if due_ns >= end_ns {
            break;
        }
        while now_ns() / interval_ns > interval.index {
            give(&mut interval);
        }
        let sent_ns = now_ns();
        put(&mut store, &mut source);
        interval.record(0, due_ns, Some(sent_ns), now_ns(), &Ok(Answer::default()));
        left -= 1;
    }
    give(&mut interval);
}

/// One put, from the octets of a request on, as an entry of the log has them.
fn put(store: &mut Store, source: &mut Source) {
    source.draw();
    let octets = bytes::Bytes::copy_from_slice(&source.message);
    let request = PutRequest::decode(octets).expect("requests are written as protobuf has them");
    store.put(&request, &|_| true).expect("a put without a lease is never refused");
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
