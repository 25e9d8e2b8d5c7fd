//! Drives a store with load: starts the workers and puts together what they measure.

use super::{
    http2::Peer,
    interval::Interval,
    mix::Workload,
    schedule::{Arrivals, Schedule, Shape},
    source::{KeySpace, Source},
    worker::{Pace, Settings, Worker},
};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As it was given.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    /// What requests to it say.
    pub peer: Peer,
}

impl Endpoint {
    /// Reads `http://HOST:PORT` or `HOST:PORT`, and looks the host up.
    ///
    /// # Errors
    /// A text for the user.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let authority = match url.split_once("://") {
            None => url,
            Some(("http", authority)) => authority,
            Some((scheme, _)) => return Err(format!("`{url}`: `{scheme}` is not supported, only http")),
        };
        let authority = authority.trim_end_matches('/');
        let addresses = authority
            .to_socket_addrs()
            .map_err(|error| format!("`{url}` is no endpoint ({error}): write http://HOST:PORT"))?;
        let address =
            addresses.into_iter().next().ok_or_else(|| format!("`{url}`: the host has no address"))?;
        Ok(Endpoint { url: url.to_owned(), address, peer: Peer::plain(authority) })
    }
}

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
        }
    }
}

/// Why a store could not be driven at all.
#[derive(Debug)]
pub struct Unreachable {
    /// The endpoint.
    pub url: String,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be reached: {}", self.url, self.error)
    }
}

impl std::error::Error for Unreachable {}

/// Looks whether every endpoint takes connections.
///
/// # Errors
/// The first that does not.
pub fn reach(endpoints: &[Endpoint]) -> Result<(), Unreachable> {
    for endpoint in endpoints {
        std::net::TcpStream::connect_timeout(&endpoint.address, Duration::from_secs(2))
            .map_err(|error| Unreachable { url: endpoint.url.clone(), error })?;
    }
    Ok(())
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
            .map(|endpoint| (endpoint.address, endpoint.peer.clone()))
            .collect();
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
        let settings = Settings {
            connections,
            interval_ns: ns(self.interval).max(1),
            end_ns: ns(self.duration),
            deadline_ns: ns(self.deadline),
            in_flight_max: share(self.in_flight_max).max(1),
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
        Worker::new(settings, source, pace, self.workload.mix.0.len(), intervals, stop)
    }
}
