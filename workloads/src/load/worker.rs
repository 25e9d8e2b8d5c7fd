//! One thread of the generator: its share of the schedule, its connections, its measurements.
//!
//! The thread wakes when something can be read or when the next tick is due. All that is due is sent at once, with as
//! few writes as there are connections. How late the thread noticed what was due is measured apart: that
//! lag is the generator's own fault, all other delay is the server's.

use super::{
    clock,
    endpoint::Endpoint,
    http2::{Answer, Connection, Failure, Method},
    interval::Interval,
    schedule::Schedule,
    socket::Socket,
    source::{Source, Token},
    trace::{Act, Trace, Tracer},
};
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

/// What is due within so many ns is sent together.
const TICK_NS: u64 = 50_000;
/// The thread looks after deadlines and the clock at least so often, in ns.
const IDLE_NS: u64 = 5_000_000;
/// Pause before a connection that was lost is made again, in ns: doubled up to the second value.
const RETRY_NS: (u64, u64) = (10_000_000, 500_000_000);
/// How long connecting may take, in ns.
const CONNECT_NS: u64 = 2_000_000_000;
/// So many requests are written at a time, so that send times are not stale and the server can begin.
const BATCH: usize = 64;
/// So many operations of a schedule go over one connection before it is the next one's turn: a write for each would cost
/// more than all else.
const RUN: usize = 8;
/// Octets that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// Where load comes from.
#[derive(Debug)]
pub(super) enum Pace {
    /// From a schedule, whatever the server does.
    Open {
        schedule: Box<Schedule>,
        /// When the first operation that is not yet noticed is due; `None` when there is none.
        next_ns: Option<u64>,
        /// Operations that are due and not sent, by due time.
        backlog: VecDeque<u64>,
    },
    /// From clients, each of which sends when it has its answer.
    Closed {
        /// Clients with nothing under way.
        idle: u64,
        /// Operations left to begin.
        left: u64,
    },
}

/// Settings of a worker.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub connections: Vec<Endpoint>,
    pub interval_ns: u64,
    /// No operation begins from here on.
    pub end_ns: u64,
    pub deadline_ns: u64,
    pub in_flight_max: usize,
    /// Where operations are recorded, if any are.
    pub trace: Option<Arc<Trace>>,
}

/// A connection and what became of it.
#[derive(Debug)]
struct Line {
    endpoint: Endpoint,
    state: State,
    retry_ns: u64,
    writable: bool,
}

/// When it is the next connection's turn.
#[derive(Clone, Copy, Debug)]
enum RunMax {
    /// After so many calls.
    Calls(usize),
    /// When it has so many calls under way: each has its share of the clients, so that those whose answers came
    /// together send together.
    Open(usize),
}

#[derive(Debug)]
enum State {
    Down { until_ns: u64 },
    Connecting { socket: Socket, since_ns: u64 },
    Up { socket: Socket, connection: Box<Connection<Token>>, since_ns: u64 },
}

impl Line {
    fn is_up(&self) -> bool {
        matches!(&self.state, State::Up { connection, .. } if connection.is_settled() && !connection.is_leaving())
    }
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    settings: Settings,
    start: Instant,
    /// The same on the clock that all threads share.
    start_ns: u64,
    source: Source,
    pace: Pace,
    lines: Vec<Line>,
    /// The connection whose turn it is, and how many operations it has had in this turn.
    turn: usize,
    run: usize,
    in_flight: usize,
    interval: Interval,
    intervals: Sender<Interval>,
    stop: &'a AtomicBool,
    tracer: Option<Tracer>,
    /// Operations that go on with another call, and when they were answered.
    follow: Vec<(usize, Token, Answer)>,
    buffer: Vec<u8>,
    cpu_ns: u64,
}

/// CPU time of this thread, in ns.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        settings: Settings,
        source: Source,
        pace: Pace,
        ops: usize,
        intervals: Sender<Interval>,
        stop: &'a AtomicBool,
    ) -> Worker<'a> {
        let lines = settings.connections.iter().map(|endpoint| Line {
            endpoint: endpoint.clone(),
            state: State::Down { until_ns: 0 },
            retry_ns: RETRY_NS.0,
            writable: false,
        });
        Worker {
            lines: lines.collect(),
            start: Instant::now(),
            start_ns: 0,
            source,
            pace,
            turn: 0,
            run: 0,
            in_flight: 0,
            interval: Interval::new(0, ops),
            intervals,
            stop,
            tracer: settings.trace.clone().map(|trace| Tracer::new(trace, settings.connections.len())),
            follow: Vec::new(),
            buffer: vec![0; READ_BYTES],
            cpu_ns: 0,
            settings,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Works until the end and until nothing is under way any more, or until told to stop. Times count from `start`.
    pub(super) fn run(mut self, start: Instant) {
        self.start = start;
        self.start_ns = clock::ns_at(start);
        // Without this the kernel adds 50 µs to every wait. A kernel that refuses leaves it at that.
        let _ = nix::sys::prctl::set_timerslack(1000);
        self.cpu_ns = cpu_ns();
        loop {
            let now = self.now();
            self.roll(now);
            let stopped = self.stop.load(Ordering::Relaxed);
            if stopped || (now >= self.settings.end_ns && self.is_idle()) || self.is_done() {
                break;
            }
            self.tend(now);
            self.notice(now);
            self.send_due();
            self.interval.in_flight_max = self.interval.in_flight_max.max(self.in_flight as u64);
            self.wait();
        }
        self.give_interval();
    }

    /// Whether nothing is under way and nothing waits to be.
    fn is_idle(&self) -> bool {
        let waiting = match &self.pace {
            // A thread that woke late has yet to notice what was due before the end.
            Pace::Open { backlog, next_ns, .. } => {
                !backlog.is_empty() || next_ns.is_some_and(|due| due < self.settings.end_ns)
            }
            Pace::Closed { .. } => false,
        };
        self.in_flight == 0 && !waiting
    }

    /// Whether there is nothing to do before the end either.
    fn is_done(&self) -> bool {
        let exhausted = match &self.pace {
            Pace::Open { next_ns, .. } => next_ns.is_none(),
            Pace::Closed { left, .. } => *left == 0,
        };
        exhausted && self.is_idle()
    }

    /// Hands over the interval that is over.
    fn roll(&mut self, now: u64) {
        while now / self.settings.interval_ns > self.interval.index {
            self.give_interval();
        }
    }

    fn give_interval(&mut self) {
        let cpu = cpu_ns();
        self.interval.cpu_ns = cpu - self.cpu_ns;
        self.cpu_ns = cpu;
        let next = Interval::new(self.interval.index + 1, self.interval.tallies.len());
        // Whoever collected them has gone: then nobody wants this one either.
        let _ = self.intervals.send(std::mem::replace(&mut self.interval, next));
    }
}

/// Connections.
impl Worker<'_> {
    /// Makes connections and gives up what is late.
    fn tend(&mut self, now: u64) {
        let deadline_ns = self.settings.deadline_ns;
        for at in 0..self.lines.len() {
            let line = &mut self.lines[at];
            match &mut line.state {
                State::Down { until_ns } if *until_ns <= now => match Socket::connect(&line.endpoint) {
                    Ok(socket) => line.state = State::Connecting { socket, since_ns: now },
                    Err(error) => self.lose(at, now, &error),
                },
                State::Connecting { since_ns, .. } if now > *since_ns + CONNECT_NS => {
                    self.lose(at, now, &io::Error::from(io::ErrorKind::TimedOut));
                }
                State::Up { connection, since_ns, .. } => {
                    let silent = !connection.is_settled() && now > *since_ns + CONNECT_NS;
                    let (interval, in_flight) = (&mut self.interval, &mut self.in_flight);
                    let (pace, outcome) = (&mut self.pace, Err(Failure::Deadline));
                    let tracer = &mut self.tracer;
                    connection.expire(
                        |token| token.call_ns + deadline_ns <= now,
                        |token| {
                            complete(tracer, &token, &outcome);
                            interval.record(token.op, token.due_ns, Some(token.sent_ns), now, &outcome);
                            *in_flight -= 1;
                            pace.ended();
                        },
                    );
                    if connection.is_leaving() && connection.open() == 0 {
                        line.state = State::Down { until_ns: now };
                    } else if silent {
                        let text = "it does not answer: no settings of HTTP/2 came";
                        self.lose(at, now, &io::Error::other(text));
                    }
                }
                State::Down { .. } | State::Connecting { .. } => {}
            }
        }
    }

    /// Gives up a connection and all calls on it.
    fn lose(&mut self, at: usize, now: u64, error: &dyn std::fmt::Display) {
        let line = &mut self.lines[at];
        let down = State::Down { until_ns: now + line.retry_ns };
        line.retry_ns = (line.retry_ns * 2).min(RETRY_NS.1);
        if let State::Up { mut connection, .. } = std::mem::replace(&mut line.state, down) {
            connection.fail_all(|token| {
                let outcome = Err(Failure::Lost);
                complete(&mut self.tracer, &token, &outcome);
                self.interval.record(token.op, token.due_ns, Some(token.sent_ns), now, &outcome);
                self.in_flight -= 1;
                self.pace.ended();
            });
        }
        self.interval.disconnects += 1;
        self.interval.error = Some(format!("{}: {error}", line.endpoint.address));
    }

    /// Waits until something can be read or is due, and takes what comes.
    fn wait(&mut self) {
        let now = self.now();
        let wake = match &self.pace {
            Pace::Open { next_ns: Some(next), .. } => (*next).max(now + TICK_NS).min(now + IDLE_NS),
            Pace::Open { next_ns: None, .. } | Pace::Closed { .. } => now + IDLE_NS,
        };
        let mut polled = Vec::with_capacity(self.lines.len());
        let mut places = Vec::with_capacity(self.lines.len());
        for (at, line) in self.lines.iter().enumerate() {
            let (socket, flags) = match &line.state {
                State::Down { .. } => continue,
                State::Connecting { socket, .. } => (socket, PollFlags::POLLOUT),
                State::Up { socket, .. } if line.writable => (socket, PollFlags::POLLIN),
                State::Up { socket, .. } => (socket, PollFlags::POLLIN | PollFlags::POLLOUT),
            };
            polled.push(PollFd::new(socket.fd(), flags));
            places.push(at);
        }
        let timeout = TimeSpec::from(Duration::from_nanos(wake.saturating_sub(now)));
        // A wait that a signal ended is a short wait.
        let ready = ppoll(&mut polled, Some(timeout), None).unwrap_or(0);
        if ready == 0 {
            return;
        }
        let events: Vec<PollFlags> =
            polled.iter().map(|fd| fd.revents().unwrap_or(PollFlags::POLLIN)).collect();
        for (at, events) in places.into_iter().zip(events) {
            if !events.is_empty() {
                self.serve(at, events);
            }
        }
        self.send_follow_ups();
    }

    /// Takes what came on a connection.
    fn serve(&mut self, at: usize, events: PollFlags) {
        let now = self.now();
        let line = &mut self.lines[at];
        let state = std::mem::replace(&mut line.state, State::Down { until_ns: now });
        match state {
            State::Down { .. } => {}
            State::Connecting { socket, .. } => match socket.connected() {
                Ok(()) => {
                    let connection = Box::new(Connection::new(&line.endpoint.peer));
                    line.state = State::Up { socket, connection, since_ns: now };
                    line.writable = true;
                    self.flush(at);
                }
                Err(error) => self.lose(at, now, &error),
            },
            State::Up { socket, connection, since_ns } => {
                line.state = State::Up { socket, connection, since_ns };
                line.writable |= events.contains(PollFlags::POLLOUT);
                if events.intersects(PollFlags::POLLIN | PollFlags::POLLERR | PollFlags::POLLHUP)
                    && let Err(error) = self.read(at)
                {
                    let now = self.now();
                    self.lose(at, now, &error);
                    return;
                }
                self.flush(at);
            }
        }
    }

    /// Reads all there is on a connection.
    fn read(&mut self, at: usize) -> io::Result<()> {
        let start = self.start;
        let line = &mut self.lines[at];
        let State::Up { socket, connection, .. } = &mut line.state else { return Ok(()) };
        loop {
            let Some(length) = socket.read(&mut self.buffer)? else { return Ok(()) };
            if length == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            let now = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let (interval, in_flight) = (&mut self.interval, &mut self.in_flight);
            let (source, follow, pace) = (&mut self.source, &mut self.follow, &mut self.pace);
            let tracer = &mut self.tracer;
            let received = connection.receive(&self.buffer[..length], |token, outcome| {
                complete(tracer, &token, &outcome);
                if let Ok(answer) = &outcome
                    && source.goes_on(&token)
                {
                    follow.push((at, token, *answer));
                    return;
                }
                interval.record(token.op, token.due_ns, Some(token.sent_ns), now, &outcome);
                *in_flight -= 1;
                pace.ended();
            });
            if let Some(error) = connection.take_error() {
                interval.error = Some(error);
            }
            received.map_err(io::Error::other)?;
            if connection.is_settled() {
                line.retry_ns = RETRY_NS.0;
            }
            // What is encrypted may have been taken from the socket, and not be read yet.
            if length < self.buffer.len() && line.endpoint.encryption.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes what a connection has to write.
    fn flush(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let State::Up { socket, connection, .. } = &mut line.state else { return };
        while line.writable && (!connection.output().is_empty() || socket.holds_output()) {
            match socket.write(connection.output()) {
                Ok(Some(bytes)) => connection.wrote(bytes),
                Ok(None) => line.writable = false,
                Err(error) => {
                    let now = self.now();
                    return self.lose(at, now, &error);
                }
            }
        }
    }
}

/// Operations.
impl Worker<'_> {
    /// Puts what has become due into the backlog, and counts how late it was noticed.
    fn notice(&mut self, now: u64) {
        let end_ns = self.settings.end_ns;
        if let Pace::Open { schedule, next_ns, backlog } = &mut self.pace {
            while let Some(due) = next_ns.filter(|due| *due <= now) {
                if due >= end_ns {
                    *next_ns = None;
                    break;
                }
                self.interval.lag.saturating_record(now - due);
                backlog.push_back(due);
                *next_ns = schedule.next();
            }
        }
        self.give_up_late(now);
        if let Pace::Open { backlog, .. } = &self.pace {
            self.interval.backlog_max = self.interval.backlog_max.max(backlog.len() as u64);
        }
    }

    /// Ends operations that could not be sent in time.
    fn give_up_late(&mut self, now: u64) {
        let deadline_ns = self.settings.deadline_ns;
        while let Pace::Open { backlog, .. } = &mut self.pace {
            let Some(due) = backlog.front().copied().filter(|due| due + deadline_ns <= now) else { return };
            backlog.pop_front();
            let (op, ..) = self.source.draw();
            self.interval.record(op, due, None, now, &Err(Failure::NotSent));
        }
    }

    /// Sends what is due, as far as there is room for it.
    fn send_due(&mut self) {
        let mut batch = 0;
        let mut now = self.now();
        let ended = now >= self.settings.end_ns;
        let run_max = self.run_max();
        while self.in_flight < self.settings.in_flight_max {
            let due = match &mut self.pace {
                Pace::Open { backlog, .. } => backlog.front().copied(),
                Pace::Closed { idle, left } => (*idle > 0 && *left > 0 && !ended).then_some(now),
            };
            let Some(due_ns) = due else { break };
            let Some(at) = self.line_with_room(run_max) else { break };
            match &mut self.pace {
                Pace::Open { backlog, .. } => drop(backlog.pop_front()),
                Pace::Closed { idle, left } => {
                    *idle -= 1;
                    *left -= 1;
                }
            }
            let (op, key, method) = self.source.draw();
            self.in_flight += 1;
            self.send(at, Token { due_ns, sent_ns: now, call_ns: now, key, op, calls: 0, trace: 0 }, method);
            batch += 1;
            if batch == BATCH {
                self.flush_all();
                now = self.now();
                batch = 0;
            }
        }
        if batch > 0 {
            self.flush_all();
            // What was just written is not added to.
            self.run = RUN;
        }
    }

    /// Sends the next calls of operations that have more than one.
    fn send_follow_ups(&mut self) {
        if self.follow.is_empty() {
            return;
        }
        let now = self.now();
        for (at, token, answer) in std::mem::take(&mut self.follow) {
            let has_room =
                matches!(&self.lines[at].state, State::Up { connection, .. } if connection.has_room());
            let at = if has_room { Some(at) } else { self.line_with_room(RunMax::Calls(1)) };
            match (self.source.follow(&token, &answer), at) {
                (Some(method), Some(at)) => {
                    self.send(at, Token { call_ns: now, calls: token.calls + 1, ..token }, method);
                }
                (followed, _) => {
                    let outcome = if followed.is_some() { Err(Failure::NotSent) } else { Ok(answer) };
                    self.interval.record(token.op, token.due_ns, Some(token.sent_ns), now, &outcome);
                    self.in_flight -= 1;
                    self.pace.ended();
                }
            }
        }
        self.flush_all();
    }

    /// How long a connection's turn is.
    fn run_max(&self) -> RunMax {
        let Pace::Closed { idle, .. } = &self.pace else { return RunMax::Calls(RUN) };
        let up = self.lines.iter().filter(|line| line.is_up()).count().max(1);
        let clients = self.in_flight + usize::try_from(*idle).unwrap_or(usize::MAX / 2);
        RunMax::Open(clients.div_ceil(up))
    }

    /// The next connection in turn that takes a call.
    fn line_with_room(&mut self, run_max: RunMax) -> Option<usize> {
        // Once around, and the one whose turn it is may have had enough.
        for _ in 0..=self.lines.len() {
            if let State::Up { connection, .. } = &self.lines[self.turn].state
                && connection.is_settled()
                && connection.has_room()
                && match run_max {
                    RunMax::Calls(max) => self.run < max,
                    RunMax::Open(max) => connection.open() < max,
                }
            {
                self.run += 1;
                return Some(self.turn);
            }
            self.turn = (self.turn + 1) % self.lines.len();
            self.run = 0;
        }
        None
    }

    /// Sends the call whose message the source holds.
    fn send(&mut self, at: usize, token: Token, method: Method) {
        let (mut token, mut tag) = (token, 0);
        token.trace = 0;
        if let Some(tracer) = &mut self.tracer
            && tracer.covers(token.key)
        {
            let act = self.source.act(token.op, method, || tracer.value());
            tag = if let Act::Write(value) = act { value } else { 0 };
            token.trace = tracer.invoke(at, &self.lines[at].endpoint.url, self.source.key(), act);
        }
        self.source.stamp(self.start_ns + token.due_ns, self.start_ns + token.sent_ns, tag);
        if let State::Up { connection, .. } = &mut self.lines[at].state {
            connection.send(token, method, &self.source.message);
        }
    }

    fn flush_all(&mut self) {
        for at in 0..self.lines.len() {
            self.flush(at);
        }
    }
}

/// Records the end of a call that is recorded.
fn complete(tracer: &mut Option<Tracer>, token: &Token, outcome: &Result<Answer, Failure>) {
    if let Some(tracer) = tracer {
        tracer.complete(token.trace, outcome);
    }
}

impl Pace {
    /// An operation is over.
    fn ended(&mut self) {
        if let Pace::Closed { idle, .. } = self {
            *idle += 1;
        }
    }
}
