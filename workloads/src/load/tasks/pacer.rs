//! When calls begin, and what is measured of them.

use crate::load::{
    drive::{Load, Plan},
    http2::{Answer, Failure},
    interval::Interval,
    schedule::Schedule,
    source::Token,
};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(1);

/// What a call came to.
pub(super) struct Outcome {
    pub token: Token,
    /// When, on [`Moment`]'s clock.
    pub at_ns: u64,
    pub result: Result<Answer, Failure>,
    /// An error's text.
    pub error: Option<String>,
}

/// A call under way.
pub(super) type Call = Pin<Box<dyn Future<Output = Outcome>>>;

/// The load's clock: ns since it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(Instant);

impl Moment {
    pub(super) fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A time of this clock on the one that all threads share.
    pub(super) fn shared_ns(self, ns: u64) -> u64 {
        crate::load::clock::ns_at(self.0) + ns
    }
}

/// What operations are made of.
pub(super) trait Caller {
    /// Begins an operation that was due at `due_ns`.
    fn begin(&mut self, due_ns: u64, clock: Moment) -> Call;

    /// The call that follows on an outcome; `None` when the operation is over.
    fn follow(&mut self, outcome: &Outcome, clock: Moment) -> Option<Call>;

    /// Operations that may be under way at a time.
    fn room(&self) -> usize;
}

/// Begins operations when they are due, or when a client is free.
pub(super) struct Pacer<C> {
    caller: C,
    clock: Moment,
    began: Arc<OnceLock<Instant>>,
    interval_ns: u64,
    end_ns: u64,
    schedule: Option<Schedule>,
    next_ns: Option<u64>,
    backlog: VecDeque<u64>,
    idle: u64,
    left: u64,
    in_flight_max: usize,
    calls: JoinSet<Outcome>,
    interval: Interval,
    cpu_ns: u64,
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<C: Caller> Pacer<C> {
    pub(super) fn new(plan: &Plan, caller: C) -> Pacer<C> {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
        let (mut schedule, idle, left) = match &plan.load {
            Load::Open { shape, arrivals } => {
                (Some(Schedule::new(shape.clone(), *arrivals, plan.seed, 0, 1)), 0, 0)
            }
            Load::Closed { clients, operations_max } => {
                (None, *clients as u64, operations_max.unwrap_or(u64::MAX))
            }
        };
        Pacer {
            clock: Moment(Instant::now()),
            began: Arc::clone(&plan.began),
            interval_ns: ns(plan.interval).max(1),
            end_ns: ns(plan.duration),
            next_ns: schedule.as_mut().and_then(Iterator::next),
            schedule,
            backlog: VecDeque::new(),
            idle,
            left,
            in_flight_max: plan.in_flight_max.clamp(1, caller.room().max(1)),
            calls: JoinSet::new(),
            interval: Interval::new(0, plan.workload.names().len()),
            cpu_ns: thread_cpu_ns(),
            caller,
        }
    }

    pub(super) async fn run(mut self, stop: &AtomicBool, each: &mut impl FnMut(Interval)) {
        // To prepare took time, in which nothing was due yet.
        self.clock = Moment(Instant::now());
        // A plan that is driven again keeps the time of its first load.
        let _ = self.began.set(self.clock.0);
        loop {
            let now = self.clock.now_ns();
            while now / self.interval_ns > self.interval.index {
                self.give(each);
            }
            // What was due before the end is noticed even by a thread that woke late.
            let unnoticed = self.next_ns.is_some_and(|due| due < self.end_ns);
            let over = now >= self.end_ns && !unnoticed && self.calls.is_empty() && self.backlog.is_empty();
            let exhausted = self.schedule.is_some() && self.next_ns.is_none()
                || self.schedule.is_none() && self.left == 0;
            let done = exhausted && self.calls.is_empty() && self.backlog.is_empty();
            if stop.load(Ordering::Relaxed) || over || done {
                break;
            }
            self.notice(now);
            self.begin_due();
            self.interval.in_flight_max = self.interval.in_flight_max.max(self.calls.len() as u64);
            if let Ok(Some(Ok(outcome))) = tokio::time::timeout(TICK, self.calls.join_next()).await {
                self.ended(outcome);
                while let Some(Ok(outcome)) = self.calls.try_join_next() {
                    self.ended(outcome);
                }
            } else if self.calls.is_empty() {
                tokio::time::sleep(TICK).await;
            }
        }
        self.give(each);
    }

    fn give(&mut self, each: &mut impl FnMut(Interval)) {
        let cpu = thread_cpu_ns();
        self.interval.cpu_ns = cpu - self.cpu_ns;
        self.cpu_ns = cpu;
        let next = Interval::new(self.interval.index + 1, self.interval.tallies.len());
        each(std::mem::replace(&mut self.interval, next));
    }

    fn notice(&mut self, now: u64) {
        while let Some(due) = self.next_ns.filter(|due| *due <= now) {
            if due >= self.end_ns {
                self.next_ns = None;
                break;
            }
            self.interval.lag.saturating_record(now - due);
            self.backlog.push_back(due);
            self.next_ns = self.schedule.as_mut().and_then(Iterator::next);
        }
        self.interval.backlog_max = self.interval.backlog_max.max(self.backlog.len() as u64);
    }

    fn begin_due(&mut self) {
        let now = self.clock.now_ns();
        while self.calls.len() < self.in_flight_max {
            let due_ns = if self.idle > 0 && self.left > 0 && now < self.end_ns {
                self.idle -= 1;
                self.left -= 1;
                now
            } else if let Some(due) = self.backlog.pop_front() {
                due
            } else {
                return;
            };
            let call = self.caller.begin(due_ns, self.clock);
            self.calls.spawn_local(call);
        }
    }

    fn ended(&mut self, mut outcome: Outcome) {
        self.interval.error = outcome.error.take().or(self.interval.error.take());
        if let Some(call) = self.caller.follow(&outcome, self.clock) {
            self.calls.spawn_local(call);
            return;
        }
        let Outcome { token, at_ns, result, .. } = outcome;
        self.interval.record(token.op, token.due_ns, Some(token.sent_ns), at_ns, &result);
        if self.schedule.is_none() {
            self.idle += 1;
        }
    }
}
