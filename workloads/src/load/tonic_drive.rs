//! The same load through tonic's client: what an ordinary program would measure, and pay.

use super::{
    drive::{Endpoint, Load, Plan},
    http2::{Answer, Failure, Method},
    interval::Interval,
    schedule::Schedule,
    source::{KeySpace, Source, Token},
};
use bytes::{Buf, BufMut};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint as TonicEndpoint},
};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(1);

/// Passes octets through: the requests are made and the answers are read by the same code as for the raw
/// client, so that the two differ in the client alone.
#[derive(Clone, Copy, Debug, Default)]
struct Octets;

impl Codec for Octets {
    type Encode = Vec<u8>;
    type Decode = Answer;
    type Encoder = Octets;
    type Decoder = Octets;

    fn encoder(&mut self) -> Octets {
        Octets
    }

    fn decoder(&mut self) -> Octets {
        Octets
    }
}

impl Encoder for Octets {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Octets {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        let octets = message.copy_to_bytes(message.remaining());
        Ok(Some(Answer::read(&octets)))
    }
}

/// What one call came to.
type Outcome = (usize, Token, u64, Result<Answer, Failure>, Option<String>);

/// Drives a store as planned, from one thread.
pub(super) fn drive(plan: &Plan, stop: &AtomicBool, mut each: impl FnMut(Interval)) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let mut interval = Interval::new(0, plan.workload.mix.0.len());
            interval.error = Some(format!("no runtime for tonic: {error}"));
            return each(interval);
        }
    };
    let local = tokio::task::LocalSet::new();
    // Channels are made inside the runtime that they belong to.
    local.block_on(&runtime, async { Loop::new(plan).run(stop, &mut each).await });
}

struct Loop {
    start: Instant,
    interval_ns: u64,
    end_ns: u64,
    deadline: Duration,
    channels: Vec<Channel>,
    turn: usize,
    source: Source,
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

fn channel(endpoint: &Endpoint) -> Channel {
    let url = format!("http://{}", endpoint.address);
    let endpoint = TonicEndpoint::from_shared(url).expect("an address and a port make a URL");
    endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_timeout(Duration::from_secs(2))
        .connect_lazy()
}

impl Loop {
    fn new(plan: &Plan) -> Loop {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
        let space = Arc::new(KeySpace::new(plan.workload.key_count));
        let (mut schedule, idle, left) = match &plan.load {
            Load::Open { shape, arrivals } => {
                (Some(Schedule::new(shape.clone(), *arrivals, plan.seed, 0, 1)), 0, 0)
            }
            Load::Closed { clients, operations_max } => {
                (None, *clients as u64, operations_max.unwrap_or(u64::MAX))
            }
        };
        let endpoints = plan.endpoints.iter().cycle().take(plan.connections.max(1));
        Loop {
            start: Instant::now(),
            interval_ns: ns(plan.interval).max(1),
            end_ns: ns(plan.duration),
            deadline: plan.deadline,
            channels: endpoints.map(channel).collect(),
            turn: 0,
            source: Source::new(Arc::clone(&plan.workload), space, plan.seed, 0, 1),
            next_ns: schedule.as_mut().and_then(Iterator::next),
            schedule,
            backlog: VecDeque::new(),
            idle,
            left,
            in_flight_max: plan.in_flight_max.max(1),
            calls: JoinSet::new(),
            interval: Interval::new(0, plan.workload.mix.0.len()),
            cpu_ns: thread_cpu_ns(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    async fn run(mut self, stop: &AtomicBool, each: &mut impl FnMut(Interval)) {
        // Making values took time, in which nothing was due yet.
        self.start = Instant::now();
        loop {
            let now = self.now();
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
            self.send_due();
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

    fn send_due(&mut self) {
        let now = self.now();
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
            let (op, key, method) = self.source.draw();
            self.call(Token { due_ns, sent_ns: now, call_ns: now, key, op, calls: 0 }, method);
        }
    }

    fn call(&mut self, token: Token, method: Method) {
        let at = self.turn % self.channels.len();
        self.turn += 1;
        let (channel, deadline, start) = (self.channels[at].clone(), self.deadline, self.start);
        let message = self.source.message.clone();
        self.calls.spawn_local(async move {
            let path = http::uri::PathAndQuery::from_static(method.path());
            let call = async {
                let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                grpc.unary(Request::new(message), path, Octets).await
            };
            let outcome = tokio::time::timeout(deadline, call).await;
            let now = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            match outcome {
                Err(_) => (at, token, now, Err(Failure::Deadline), None),
                Ok(Ok(answer)) => (at, token, now, Ok(answer.into_inner()), None),
                Ok(Err(status)) => {
                    // tonic makes statuses of its own where the connection fails.
                    let lost = status.code() == Code::Unknown || std::error::Error::source(&status).is_some();
                    let code = u32::try_from(i32::from(status.code())).unwrap_or(2);
                    let failure = if lost { Failure::Lost } else { Failure::Status(code) };
                    (at, token, now, Err(failure), Some(status.to_string()))
                }
            }
        });
    }

    fn ended(&mut self, (_, token, now, outcome, error): Outcome) {
        self.interval.error = error.or(self.interval.error.take());
        if let Ok(answer) = &outcome
            && self.source.goes_on(&token)
            && let Some(method) = self.source.follow(&token, answer)
        {
            return self.call(Token { call_ns: now, calls: token.calls + 1, ..token }, method);
        }
        self.interval.record(token.op, token.due_ns, Some(token.sent_ns), now, &outcome);
        if self.schedule.is_none() {
            self.idle += 1;
        }
    }
}
