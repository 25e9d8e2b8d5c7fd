//! Drives a store with load: starts the workers and puts together what they measure.

use super::{
    endpoint::Endpoint,
    interval::Interval,
    mix::Workload,
    schedule::{Arrivals, Schedule, Shape},
    source::{KeySpace, Source},
    trace::Trace,
    worker::{Pace, Settings, Worker},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::AtomicBool,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

/// Where load comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// From a schedule, whatever the server does.
    Open {
        /// How the rate changes.
        shape: Shape,
        /// How arrivals fall on it.
        arrivals: Arrivals,
    },
    /// From clients, each of which sends when it has its answer.
    Closed {
        /// How many.
        clients: usize,
        /// How many operations they begin together at most.
        operations_max: Option<u64>,
    },
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers; connections are spread over them.
    pub endpoints: Vec<Endpoint>,
    /// What operations there are.
    pub workload: Arc<Workload>,
    /// How many there are.
    pub load: Load,
    /// How long operations begin, the warm-up included.
    pub duration: Duration,
    /// How long an operation may take to be sent, and each of its calls to be answered.
    pub deadline: Duration,
    /// Length of the intervals that are measured by themselves.
    pub interval: Duration,
    /// Connections of all workers together; each worker has at least one.
    pub connections: usize,
    /// Threads.
    pub workers: usize,
    /// The most calls under way on all connections together.
    pub in_flight_max: usize,
    /// Seed of all choices.
    pub seed: u64,
    /// Where the operations on some keys are recorded, if they are.
    pub trace: Option<Arc<Trace>>,
    /// Set when the first operation is due: time 0 of everything that is measured.
    pub began: Arc<OnceLock<Instant>>,
}

impl Plan {
    /// A plan with default settings.
    pub fn new(endpoints: Vec<Endpoint>, workload: Workload, load: Load, duration: Duration) -> Plan {
        Plan {
            endpoints,
            workload: Arc::new(workload),
            load,
            duration,
            deadline: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            connections: 8,
            workers: 1,
            in_flight_max: 100_000,
            seed: 0,
            trace: None,
            began: Arc::default(),
        }
    }
}

/// Drives a store as planned, and hands over each interval when all workers are through with it.
///
/// Returns when the load is over, or soon after `stop` was set.
///
/// # Panics
/// When there is no endpoint.
pub fn drive(plan: &Plan, stop: &AtomicBool, mut each: impl FnMut(Interval)) {
    assert!(!plan.endpoints.is_empty(), "a load needs an endpoint");
    let space = Arc::new(KeySpace::new(plan.workload.key_count));
    let (mut workers, mut inboxes) = (Vec::new(), Vec::new());
    for number in 0..plan.workers.max(1) {
        let (sender, inbox) = mpsc::channel();
        workers.push(plan.worker(number, Arc::clone(&space), sender, stop));
        inboxes.push(inbox);
    }
    // Not before all is made: making values takes time, in which nothing is due yet.
    let start = Instant::now();
    // A plan that is driven again keeps the time of its first load.
    let _ = plan.began.set(start);
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(move || worker.run(start));
        }
        merge(&inboxes, &mut each);
    });
}

/// Puts the intervals of all workers together, in order, until all have ended.
fn merge(inboxes: &[Receiver<Interval>], each: &mut impl FnMut(Interval)) {
    let mut held: BTreeMap<u64, Interval> = BTreeMap::new();
    loop {
        let mut any = false;
        for inbox in inboxes {
            // Each worker gives one interval a round, so a round makes one whole unless some have ended.
            let Ok(interval) = inbox.recv() else { continue };
            any = true;
            match held.get_mut(&interval.index) {
                Some(sum) => sum.add_parallel(&interval),
                None => drop(held.insert(interval.index, interval)),
            }
        }
        while let Some((_, whole)) = held.pop_first() {
            each(whole);
        }
        if !any {
            return;
        }
    }
}

impl Plan {
    fn worker<'a>(
        &self,
        number: usize,
        space: Arc<KeySpace>,
        intervals: mpsc::Sender<Interval>,
        stop: &'a AtomicBool,
    ) -> Worker<'a> {
        let workers = self.workers.max(1);
        let share = |whole: usize| whole / workers + usize::from(number < whole % workers);
        let connections = (0..self.connections.max(workers))
            .filter(|at| at % workers == number)
            .map(|at| &self.endpoints[at % self.endpoints.len()])
            .cloned()
            .collect();
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
        let settings = Settings {
            connections,
            interval_ns: ns(self.interval).max(1),
            end_ns: ns(self.duration),
            deadline_ns: ns(self.deadline),
            in_flight_max: share(self.in_flight_max).max(1),
            trace: self.trace.clone(),
        };
        let source = Source::new(Arc::clone(&self.workload), space, self.seed, number, workers);
        let pace = match &self.load {
            Load::Open { shape, arrivals } => {
                let mut schedule =
                    Box::new(Schedule::new(shape.clone(), *arrivals, self.seed, number, workers));
                Pace::Open { next_ns: schedule.next(), schedule, backlog: Default::default() }
            }
            Load::Closed { clients, operations_max } => Pace::Closed {
                idle: share(*clients) as u64,
                left: operations_max.map_or(u64::MAX, |max| {
                    let share = share(usize::try_from(max).unwrap_or(usize::MAX));
                    share as u64
                }),
            },
        };
        Worker::new(settings, source, pace, self.workload.names().len(), intervals, stop)
    }
}
