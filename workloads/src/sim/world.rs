//! The world: virtual time, a queue of events, the network.

mod clients;
mod faults;

use super::{
    clients::Process,
    door::Ask,
    faults::{Fault, Moment},
    member::{Member, NoStart, Out, Said, TICK_US},
    plan::{Micros, Plan, SECOND},
    time::SimTime,
};
use crate::workload::Workload;
use checker::{
    history::event::{Event as Line, What},
    raft_invariants::Observer,
};
use raft::{Body, NodeId, Role};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHasher;
use serde_json::{Value, json};
use server::{
    disk::OpenError,
    replica::{Input, Outgoing, PeerMessage},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt::Write as _,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// An operation on a healed cluster that is not answered by then has an unknown outcome.
const DEADLINE_US: Micros = 3 * SECOND;
/// A message that is late is so by at most this.
const LATE_US: Micros = 2 * SECOND;
/// Lines of a diagram that are kept: the last ones.
const DIAGRAM_LINES: usize = 120;

#[derive(Debug)]
enum Event {
    Tick(usize, u64),
    Packet {
        from: usize,
        to: usize,
        said: Box<Said>,
    },
    Saved(usize, u64),
    Report {
        of: usize,
        to: usize,
        life: u64,
        ok: bool,
    },
    Ask(usize, u64, Box<Ask>),
    Due,
    /// A client wants to be polled in an operation.
    Wake(usize, u64),
    Begin(usize),
    End(usize),
    /// A member loses power, in the life that it had when that was decided.
    Strike {
        at: usize,
        life: u64,
        down_us: Micros,
    },
    /// It comes back.
    Return(usize),
}

struct Queued {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One simulated cluster with its clients.
pub(super) struct World<W: Workload> {
    plan: Plan,
    pub(super) now: Micros,
    time: SimTime,
    queue: BinaryHeap<Reverse<Queued>>,
    number: u64,
    rng: ChaCha8Rng,
    pub(super) members: Vec<Member>,
    /// Members that cannot use their disks any more.
    pub(super) spoilt: BTreeSet<usize>,
    /// Members that have not joined yet, or have left.
    pub(super) outside: BTreeSet<usize>,
    /// What happened to a member while it stood still.
    paused: BTreeMap<usize, Vec<Event>>,
    cut: BTreeSet<(usize, usize)>,
    clog_us: Micros,
    /// Until when a member's flushes are stuck.
    stuck: BTreeMap<usize, Micros>,
    /// Faults that strike at moments, as long as they last.
    striking: BTreeSet<usize>,
    /// Members of which it is known that they lead, and the term.
    leading: BTreeMap<usize, raft::Term>,
    healed: bool,
    observer: Observer,
    workload: Arc<W>,
    pub(super) generator: W::Generator,
    processes: Vec<Process>,
    next_process: u64,
    issued: u64,
    serials: u64,
    pub(super) history: Vec<Line>,
    /// What is broken.
    pub(super) violation: Option<String>,
    trace: FxHasher,
    pub(super) events: u64,
    diagram: Option<Vec<String>>,
}

impl<W: Workload> World<W> {
    pub(super) fn new(plan: &Plan, workload: W, diagram: bool) -> World<W> {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(41);
        let time = SimTime::new();
        let members: Vec<Member> =
            (1..=plan.members_max() as u64).map(|id| Member::new(NodeId(id), plan, &time)).collect();
        let deadline = Duration::from_micros(plan.deadline_us);
        let processes = (0..plan.clients).map(|number| {
            let member = (number % plan.nodes) as usize;
            Process::new(number, member, &members[member].front, &time, deadline)
        });
        let processes = processes.collect();
        let mut world = World {
            now: 0,
            time,
            queue: BinaryHeap::new(),
            number: 0,
            rng,
            spoilt: BTreeSet::new(),
            outside: (plan.nodes as usize..members.len()).collect(),
            paused: BTreeMap::new(),
            cut: BTreeSet::new(),
            clog_us: 0,
            stuck: BTreeMap::new(),
            striking: BTreeSet::new(),
            leading: BTreeMap::new(),
            healed: false,
            observer: Observer::new(),
            generator: workload.generator(plan.seed),
            workload: Arc::new(workload),
            processes,
            next_process: plan.clients,
            issued: 0,
            serials: 0,
            history: Vec::new(),
            violation: None,
            trace: FxHasher::default(),
            events: 0,
            diagram: diagram.then(Vec::new),
            members,
            plan: plan.clone(),
        };
        for at in 0..plan.nodes as usize {
            world.start(at);
        }
        for (at, fault) in plan.faults.iter().enumerate() {
            world.queue_at(fault.at_us, Event::Begin(at));
            world.queue_at(fault.at_us + fault.for_us, Event::End(at));
        }
        world.queue_at(SECOND, Event::Due);
        world
    }

    /// A hash of everything that happened: equal for equal runs.
    pub(super) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// The last that happened, a line each.
    pub(super) fn diagram(&self) -> String {
        self.diagram.as_ref().map(|lines| lines.join("\n")).unwrap_or_default()
    }

    /// Goes on until virtual time `until`, or something breaks.
    pub(super) fn run_until(&mut self, until: Micros) {
        // A broken invariant is a panic in the server and a finding here.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.happen_until(until))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
            self.violation = Some(format!("an invariant is broken: {}", text.unwrap_or_default()));
        }
        if self.violation.is_none() {
            self.now = self.now.max(until);
            self.time.set(self.now);
        }
    }

    fn happen_until(&mut self, until: Micros) {
        while self.violation.is_none()
            && let Some(Reverse(next)) = self.queue.peek()
            && next.at <= until
        {
            let Some(Reverse(Queued { at, event, .. })) = self.queue.pop() else { return };
            self.now = at;
            self.time.set(at);
            self.events += 1;
            self.happen(event);
        }
    }

    fn queue_at(&mut self, at: Micros, event: Event) {
        self.number += 1;
        self.queue.push(Reverse(Queued { at, number: self.number, event }));
    }

    fn queue_in(&mut self, after: Micros, event: Event) {
        self.queue_at(self.now + after, event);
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.diagram {
            if lines.len() >= DIAGRAM_LINES {
                lines.remove(0);
            }
            lines.push(format!("{:>10.6}  {}", self.now as f64 / 1e6, line()));
        }
    }

    fn note(&mut self, kind: u8, place: usize) {
        (self.now, kind, place).hash(&mut self.trace);
    }

    pub(super) fn record(&mut self, what: What) {
        let i = self.history.len() as u64;
        self.history.push(Line { i, t: self.now * 1000, what });
    }

    fn happen(&mut self, event: Event) {
        let place = match &event {
            Event::Tick(at, _) | Event::Saved(at, _) | Event::Ask(at, ..) => Some(*at),
            Event::Packet { to, .. } => Some(*to),
            Event::Report { of, .. } => Some(*of),
            Event::Due
            | Event::Wake(..)
            | Event::Begin(_)
            | Event::End(_)
            | Event::Strike { .. }
            | Event::Return(_) => None,
        };
        if let Some(held) = place.and_then(|at| self.paused.get_mut(&at)) {
            held.push(event);
            return;
        }
        let mut out = Out::default();
        match event {
            Event::Tick(at, life) => {
                if self.members[at].lives != life || !self.members[at].is_up() {
                    return;
                }
                self.note(1, at);
                self.members[at].input(Input::Tick, &mut out);
                self.queue_in(TICK_US, Event::Tick(at, life));
                self.follow(at, out);
                if self.members[at].has_left() {
                    self.leave(at);
                }
            }
            Event::Packet { from, to, said } => self.arrive(from, to, *said),
            Event::Saved(at, life) => {
                if self.members[at].lives == life {
                    self.note(3, at);
                    self.members[at].saved(&mut out);
                    self.follow(at, out);
                }
            }
            Event::Report { of, to, life, ok } => {
                if self.members[of].lives == life {
                    self.members[of].input(Input::SnapshotReport { to: NodeId(to as u64 + 1), ok }, &mut out);
                    self.follow(of, out);
                }
            }
            Event::Ask(at, life, ask) if self.members[at].lives == life => {
                self.note(5, at);
                self.members[at].ask(*ask, &mut out);
                self.follow(at, out);
            }
            // Whoever asked an earlier life sees that it is over.
            Event::Ask(..) => {}
            Event::Due => self.due(),
            Event::Wake(at, serial) => {
                if self
                    .processes
                    .get(at)
                    .is_some_and(|process| process.serial == serial && !process.is_free())
                {
                    self.poll(at);
                }
            }
            Event::Begin(fault) => self.begin(fault),
            Event::End(fault) => self.end(fault),
            Event::Strike { at, life, down_us } => self.strike(at, life, down_us),
            Event::Return(at) => self.start(at),
        }
    }

    fn arrive(&mut self, from: usize, to: usize, said: Said) {
        self.note(2, to);
        let life = self.members[from].lives;
        let image = matches!(said, Said::Image { .. });
        let cut = self.cut.contains(&(from, to));
        self.tell(|| {
            let fate = if cut { " (lost: the link is cut)" } else { "" };
            format!("{}{fate}", line_of(from, to, &said))
        });
        let mut out = Out::default();
        let stored = !cut && self.members[to].receive(NodeId(from as u64 + 1), said, &mut out);
        if image {
            let delay = self.delay();
            self.queue_in(delay, Event::Report { of: from, to, life, ok: stored });
        }
        self.follow(to, out);
    }

    /// Takes care of what a member's step made visible.
    fn follow(&mut self, at: usize, out: Out) {
        let Out { said, applied, saving, imaged, stopped, violation } = out;
        let id = self.members[at].id;
        if let Some(text) = violation {
            self.violation.get_or_insert(text);
        }
        for (entry, digest) in applied {
            (entry.index.0, digest).hash(&mut self.trace);
            self.tell(|| format!("n{} applies {}@{}", at + 1, entry.index, entry.term));
            let term = self.members[at].raft().map_or(entry.term, raft::Raft::term);
            if let Err(broken) = self.observer.applied(id, term, &entry, Some(digest)) {
                self.violation.get_or_insert(broken.to_string());
            }
        }
        if let Some(raft) = self.members[at].raft()
            && let Err(broken) = self.observer.saw(&raft.view())
        {
            self.violation.get_or_insert(broken.to_string());
        }
        self.notice_leader(at);
        if imaged {
            self.moment(at, Moment::Images);
        }
        for (to, said) in said {
            self.send(at, (to.0 - 1) as usize, said);
        }
        self.members[at].go_on();
        self.carry_on(at);
        if let Some(why) = stopped {
            self.tell(|| format!("n{} stops: {why}", at + 1));
            self.crash(at);
        } else if saving {
            let life = self.members[at].lives;
            let takes = self.around(self.plan.flush_us);
            let stuck = self.stuck.get(&at).map_or(0, |until| until.saturating_sub(self.now));
            self.queue_in(stuck + takes, Event::Saved(at, life));
        }
        self.look_at_clients(at);
    }

    /// Takes what a member's own tasks ask of it, and say to others.
    fn carry_on(&mut self, at: usize) {
        self.take_asked(at);
        for Outgoing { to, message } in self.members[at].door.take_said() {
            self.send(at, (to.0 - 1) as usize, Said::Peer(message));
        }
    }

    fn take_asked(&mut self, member: usize) {
        let life = self.members[member].lives;
        for ask in self.members[member].door.take_asked() {
            let after = self.rng.random_range(50..500);
            self.queue_in(after, Event::Ask(member, life, Box::new(ask)));
        }
    }

    fn around(&mut self, mean: Micros) -> Micros {
        // Mostly near the mean, now and then far above it.
        let base = self.rng.random_range(mean / 2..=mean * 3 / 2);
        if self.rng.random_bool(0.02) { base * 8 } else { base }
    }

    fn delay(&mut self) -> Micros {
        let late = !self.healed && self.rng.random_range(0..100) < self.plan.late_percent;
        let late_us = if late { self.rng.random_range(0..LATE_US) } else { 0 };
        self.around(self.plan.delay_us) + self.clog_us + late_us
    }

    fn send(&mut self, from: usize, to: usize, said: Said) {
        if let Said::Peer(PeerMessage::Raft(message)) = &said {
            if let Err(broken) = self.observer.sent(message) {
                self.violation.get_or_insert(broken.to_string());
            }
            match message.body {
                Body::VoteReply { granted: true } => self.moment(from, Moment::Votes),
                Body::Appended { .. } => self.moment(from, Moment::Acknowledges),
                _ => {}
            }
        }
        let lost = !self.healed && self.rng.random_range(0..100) < self.plan.loss_percent;
        let may_double = matches!(said, Said::Peer(PeerMessage::Raft(_)));
        let twice = !self.healed && may_double && self.rng.random_range(0..100) < self.plan.twice_percent;
        let image = matches!(said, Said::Image { .. });
        if lost && !image {
            return;
        }
        if twice {
            let after = self.delay() * 3;
            self.queue_in(after, Event::Packet { from, to, said: Box::new(said.clone()) });
        }
        let after = self.delay();
        self.queue_in(after, Event::Packet { from, to, said: Box::new(said) });
    }

    fn start(&mut self, at: usize) {
        if self.members[at].is_up() || self.spoilt.contains(&at) || self.outside.contains(&at) {
            return;
        }
        match self.members[at].start() {
            Ok(()) => {
                let life = self.members[at].lives;
                let phase = self.rng.random_range(1..=TICK_US);
                let first = if self.plan.in_step { TICK_US - self.now % TICK_US } else { phase };
                self.tell(|| format!("n{} starts", at + 1));
                self.record_restart(at);
                self.queue_in(first, Event::Tick(at, life));
                if let Some(raft) = self.members[at].raft()
                    && let Err(broken) = self.observer.started(&raft.view())
                {
                    self.violation.get_or_insert(broken.to_string());
                }
            }
            Err(error) => {
                let rotten = |fault: &Fault| fault.kind.spoils() == Some(at);
                // Whatever a disk lost: what an intact image needs of the log is never let go of.
                let excused = !matches!(error, NoStart::Disk(OpenError::Gap { .. }));
                if excused && self.plan.faults.iter().any(rotten) {
                    self.tell(|| format!("n{} refuses its disk: {error}", at + 1));
                    self.spoilt.insert(at);
                } else {
                    self.violation.get_or_insert(format!("n{} cannot start again: {error}", at + 1));
                }
            }
        }
    }

    /// Lets the history know that a member was started again: what it showed before may be gone.
    fn record_restart(&mut self, at: usize) {
        let life = self.members[at].lives;
        if life > 1 {
            let (f, fault) = ("restart".to_string(), (at as u64) << 32 | life);
            let value = json!({ "nodes": [format!("n{}", at + 1)] });
            self.record(What::NemesisStart { f: f.clone(), fault, value, proof: Value::Null });
            self.record(What::NemesisEnd { f, fault, proof: Value::Null });
        }
    }

    /// Time of the next event.
    fn next_at(&self) -> Option<Micros> {
        self.queue.peek().map(|Reverse(next)| next.at)
    }

    fn notice_leader(&mut self, at: usize) {
        let raft = self.members[at].raft();
        let Some(term) = raft.filter(|raft| raft.role() == Role::Leader).map(raft::Raft::term) else {
            self.leading.remove(&at);
            return;
        };
        if self.leading.insert(at, term) != Some(term) {
            self.moment(at, Moment::Leads);
        }
    }

    fn crash(&mut self, at: usize) {
        self.paused.remove(&at);
        self.leading.remove(&at);
        if self.members[at].is_up() {
            self.members[at].stop();
            let torn = self.plan.torn;
            self.members[at].files.lose_power(&mut self.rng, torn);
            self.tell(|| format!("n{} is down", at + 1));
            self.look_at_clients(at);
        }
    }

    fn resume(&mut self, at: usize) {
        for event in self.paused.remove(&at).unwrap_or_default() {
            self.queue_in(0, event);
        }
    }

    /// A line for each member.
    pub(super) fn status(&self) -> String {
        let mut text = String::new();
        for member in &self.members {
            let applied = member.door.state().applied();
            let _ = match member.raft() {
                Some(raft) => writeln!(text, "{} applied={applied}", raft.view()),
                None => writeln!(text, "{} is down", member.id),
            };
        }
        text
    }
}

/// An arrow on a lane a member, from left to right n1, n2, ...
fn line_of(from: usize, to: usize, said: &Said) -> String {
    let what = match said {
        Said::Peer(PeerMessage::Raft(message)) => format!("term {} {:?}", message.term, message.body),
        Said::Peer(other) => format!("{other:?}"),
        Said::Image { message, chunks } => format!("image in {} chunks, {:?}", chunks.len(), message.body),
    };
    let short: String = what.chars().take(150).collect();
    let (left, right) = (from.min(to), from.max(to));
    let mut lanes = String::new();
    for lane in 0..=right.max(2) {
        let inside = (left..right).contains(&lane);
        lanes.push(if lane == to {
            if from < to { '>' } else { '<' }
        } else if lane == from {
            'o'
        } else {
            '|'
        });
        lanes.push_str(if inside { "---" } else { "   " });
    }
    format!("{lanes} n{} -> n{} {short}", from + 1, to + 1)
}
