//! The cluster, its network and its disks.

use super::ghost::Ghost;
use crate::{dice::Dice, disk::Disk};
use raft::{
    Body, Config, Durable, Entry, Input, LogIndex, Mark, Membership, Message, NodeId, Payload, Raft, ReadId,
    Ready, Role, SnapshotMeta, StepError,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// How a run is to go; all drawn from its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: u64,
    pub steps: usize,
    pub config: Config,
    /// How often each action is taken, as weights; by swarm, some are 0.
    pub weights: Vec<(super::actions::Action, usize)>,
    /// Chances in percent.
    pub lose: usize,
    pub duplicate: usize,
    pub delay: usize,
    pub batch: usize,
    #[cfg(feature = "plant")]
    pub mutation: Option<raft::Mutation>,
}

impl Plan {
    pub fn draw(seed: u64, nodes: u64) -> Plan {
        let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(nodes));
        let heartbeat_ticks = dice.between(1, 2) as u32;
        // Many elections, each interrupting what the last leader began: figure 8 of the Raft paper needs four.
        let churn = dice.percent(30);
        let config = Config {
            election_ticks: heartbeat_ticks + dice.between(2, 6) as u32,
            heartbeat_ticks,
            pre_vote: !churn && dice.percent(80),
            check_quorum: !churn && dice.percent(80),
            max_append_bytes: if churn { 1 } else { dice.between(1, 100) },
            max_inflight: dice.between(1, 5),
            max_uncommitted_bytes: dice.between(40, 1_000),
            ..Config::new(NodeId(1), seed)
        };
        Plan {
            seed,
            nodes,
            steps: dice.between(1_000, 9_000),
            config,
            weights: super::actions::draw_weights(&mut dice, churn),
            lose: if dice.percent(50) { dice.below(30) } else { 0 },
            duplicate: if dice.percent(50) { dice.below(30) } else { 0 },
            delay: if dice.percent(50) { dice.below(30) } else { 0 },
            batch: dice.below(90),
            #[cfg(feature = "plant")]
            mutation: None,
        }
    }
}

/// A state machine that is nothing but the history of what was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct App {
    pub applied: LogIndex,
    pub chain: u64,
    pub membership: Membership,
}

impl App {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.next(), "an entry was skipped or applied twice");
        let mut hasher = DefaultHasher::new();
        (self.chain, entry).hash(&mut hasher);
        self.applied = entry.index;
        self.chain = hasher.finish();
        if let Payload::Membership { membership, .. } = &entry.payload {
            self.membership = membership.clone();
        }
    }
}

#[derive(Clone, Debug)]
pub struct Image {
    pub meta: SnapshotMeta,
    pub app: App,
}

pub struct Server {
    /// `None` while crashed.
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Turns that the disk has not written yet.
    pub turns: VecDeque<Ready>,
    /// Turns that it has, of which the core was not told.
    pub marks: VecDeque<Mark>,
    pub app: App,
    /// Images on disk, by where they end.
    pub images: BTreeMap<LogIndex, Image>,
}

#[derive(Clone)]
pub struct Packet {
    pub message: Message,
    pub image: Option<Image>,
}

pub struct World {
    pub plan: Plan,
    pub dice: Dice,
    pub servers: BTreeMap<NodeId, Server>,
    pub network: Vec<Packet>,
    /// Packets that are delivered long after they were sent.
    pub late: Vec<Packet>,
    /// Links that are cut, from and to.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub ghost: Ghost,
    pub next_read: u64,
    pub next_command: u64,
    trace: bool,
}

impl World {
    pub fn new(plan: Plan) -> World {
        let dice = Dice::new(plan.seed ^ 0x5eed);
        let mut world = World {
            dice,
            servers: BTreeMap::new(),
            network: Vec::new(),
            late: Vec::new(),
            cut: BTreeSet::new(),
            ghost: Ghost::default(),
            next_read: 0,
            next_command: 0,
            trace: super::env("RAFT_TRACE").is_some(),
            plan,
        };
        let ids: Vec<NodeId> = (1..=world.plan.nodes).map(NodeId).collect();
        for &id in &ids {
            world.add(id, Durable::bootstrap(Membership::of_voters(ids.iter().copied())));
        }
        world
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{}", text());
        }
    }

    pub fn add(&mut self, id: NodeId, durable: Durable) {
        let server = Server {
            raft: None,
            disk: Disk::new(durable),
            turns: VecDeque::new(),
            marks: VecDeque::new(),
            app: App::default(),
            images: BTreeMap::new(),
        };
        self.servers.insert(id, server);
        self.restart(id);
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.servers.keys().copied().collect()
    }

    pub fn alive(&self) -> Vec<NodeId> {
        let alive = self.servers.iter().filter(|(_, server)| server.raft.is_some());
        alive.map(|(&id, _)| id).collect()
    }

    pub fn raft(&self, id: NodeId) -> Option<&Raft> {
        self.servers.get(&id)?.raft.as_ref()
    }

    pub fn server(&mut self, id: NodeId) -> &mut Server {
        self.servers.get_mut(&id).expect("it was added")
    }

    /// Nodes that take themselves for the leader.
    pub fn leaders(&self) -> Vec<NodeId> {
        let leads = |id: &NodeId| self.raft(*id).is_some_and(|raft| raft.role() == Role::Leader);
        self.ids().into_iter().filter(leads).collect()
    }

    /// Loses what was not synced, but for some of it.
    pub fn crash(&mut self, id: NodeId) {
        let unsynced = self.servers[&id].disk.unsynced();
        let kept = self.dice.between(0, unsynced);
        #[cfg(feature = "plant")]
        let accepts_torn = self.plan.mutation == Some(raft::Mutation::TornTailAccepted);
        let server = self.server(id);
        server.raft = None;
        server.disk.crash(kept);
        // The crash came in the middle of the next write.
        #[cfg(feature = "plant")]
        if accepts_torn
            && kept == unsynced
            && let Some(turn) = server.turns.front()
        {
            server.disk.accept_torn(turn.write());
        }
        server.turns.clear();
        server.marks.clear();
    }

    pub fn restart(&mut self, id: NodeId) {
        let mut config = Config { id, seed: self.dice.next(), ..self.plan.config.clone() };
        config.id = id;
        #[cfg(feature = "plant")]
        {
            config.mutation = self.plan.mutation;
        }
        let adopt = self.dice.percent(50);
        let server = self.servers.get_mut(&id).expect("it was added");
        let mut durable = server.disk.durable.clone();
        // An image may have been stored, and the crash have come before the log was replaced by it.
        let ends = durable.snapshot.as_ref().map_or(LogIndex::ZERO, |meta| meta.index);
        if let Some((_, image)) = server.images.last_key_value()
            && image.meta.index > ends
            && adopt
        {
            durable.snapshot = Some(image.meta.clone());
            self.ghost.saw("a node starts from an image that had not replaced its log");
        }
        let raft = Raft::new(config, durable).unwrap_or_else(|error| panic!("{id} cannot start: {error}"));
        server.app = match server.images.get(&raft.snapshot().index) {
            Some(image) => image.app.clone(),
            None => App { membership: raft.snapshot().membership.clone(), ..App::default() },
        };
        assert_eq!(server.app.applied, raft.snapshot().index, "{id} has lost its image");
        // What the recovery dropped is dropped from the disk too.
        server.disk.durable.snapshot = Some(raft.snapshot().clone());
        server.disk.durable.entries = raft.log().entries().cloned().collect();
        server.raft = Some(raft);
    }

    /// Steps a node that is alive, and checks the invariants. Some turns take several steps.
    pub fn step(&mut self, id: NodeId, input: Input) -> Result<(), StepError> {
        self.note(|| format!("  {id} <- {input:?}"));
        let server = self.servers.get_mut(&id).expect("it was added");
        let raft = server.raft.as_mut().expect("it is alive");
        let (commit_before, last_before, term_before) = (raft.commit(), raft.last_index(), raft.term());
        let was_leader = raft.role() == Role::Leader;
        let result = raft.step(input);
        let raft = self.servers[&id].raft.as_ref().expect("it is alive");
        self.note(|| format!("     {} {result:?}", raft.view()));
        if let Err(
            error @ (StepError::Malformed { .. } | StepError::TwoLeaders { .. } | StepError::LogLost { .. }),
        ) = &result
        {
            panic!("{id}: among honest peers: {error}");
        }
        if raft.last_index() < last_before {
            self.ghost.saw("a log is truncated");
        }
        if was_leader && raft.role() == Role::Follower && raft.term() == term_before {
            self.ghost.saw("a leader steps down within its term");
        }
        self.ghost.stepped(raft, commit_before, &self.servers);
        if !self.dice.percent(self.plan.batch) {
            self.take_ready(id);
        }
        result
    }

    pub fn take_ready(&mut self, id: NodeId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Some(raft) = &mut server.raft else { return };
        if !raft.has_ready() {
            return;
        }
        let mut ready = raft.ready();
        assert!(!raft.has_ready(), "{id} has more to give out right after it gave all out");
        self.ghost.written(raft, &ready.write().entries);
        assert!(gives_something_out(&ready), "{id} had nothing to give out: {ready:?}");
        if let Some(meta) = &ready.write().install {
            self.ghost.saw("an image replaces a log");
            server.app = server.images[&meta.index].app.clone();
        }
        for entry in &ready.committed {
            self.ghost.applied(id, entry);
            server.app.apply(entry);
            self.ghost.reached(id, &server.app);
        }
        if server.turns.iter().filter(|turn| turn.write().must_sync).count() > 1 {
            self.ghost.saw("several writes wait for the disk");
        }
        for read in &ready.reads {
            if read.index.is_none() {
                self.ghost.saw("a read is lost");
            }
            self.ghost.read_decided(read.id, read.index);
        }
        let messages = std::mem::take(&mut ready.messages);
        server.turns.push_back(ready);
        self.send(messages);
    }

    /// Writes the oldest turn that is not written. Returns whether there was one.
    pub fn save(&mut self, id: NodeId) -> bool {
        let server = self.server(id);
        let Some(turn) = server.turns.pop_front() else { return false };
        let Ok(saved) = turn.save(&mut server.disk);
        server.marks.push_back(saved.mark);
        self.send(saved.messages);
        true
    }

    /// Tells the core of all turns that are written. Returns whether there were any.
    pub fn tell_persisted(&mut self, id: NodeId) -> bool {
        let server = self.server(id);
        let Some(&mark) = server.marks.back() else { return false };
        server.marks.clear();
        self.step(id, Input::Persisted(mark)).expect("the mark is its own");
        true
    }

    fn send(&mut self, messages: Vec<Message>) {
        for mut message in messages {
            self.ghost.sent(&message);
            self.note(|| format!("  send {message:?}"));
            let images = &self.servers[&message.from].images;
            let mut image = None;
            if let Body::InstallSnapshot { meta } = &mut message.body {
                // The newest one will do as well.
                let newest = images.last_key_value().map(|(_, image)| image.clone());
                let named = images.get(&meta.index).cloned();
                image = if self.dice.percent(50) { newest } else { named.or(newest) };
                *meta = image.as_ref().expect("it was taken").meta.clone();
            }
            self.network.push(Packet { message, image });
        }
    }

    /// Hands a packet over, where the link and the receiver allow.
    pub fn deliver(&mut self, packet: Packet) {
        let Packet { message, image } = packet;
        let (from, to) = (message.from, message.to);
        let arrives = !self.cut.contains(&(from, to)) && self.raft(to).is_some();
        let is_image = image.is_some();
        if arrives {
            if let Some(image) = image {
                let images = &mut self.server(to).images;
                images.insert(image.meta.index, image);
            }
            // What a message asks for may be refused; a peer that is malformed is caught in `step`.
            let _ = self.step(to, Input::Receive(message));
        }
        if is_image && self.raft(from).is_some() {
            let _ = self.step(from, Input::SnapshotReport { to, ok: arrives });
        } else if !arrives && self.raft(from).is_some() && self.dice.percent(30) {
            let _ = self.step(from, Input::Unreachable(to));
        }
    }

    pub fn ask_read(&mut self, id: NodeId) {
        let read = ReadId(self.next_read);
        self.next_read += 1;
        self.ghost.read_asked(read);
        if self.step(id, Input::Read(read)).is_err() {
            self.ghost.read_decided(read, None);
        }
    }

    /// Equal for equal runs.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (id, server) in &self.servers {
            (id, &server.raft, &server.app).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn gives_something_out(ready: &Ready) -> bool {
    let Ready { messages, committed, reads, soft_state, .. } = ready;
    let promises = |ready: &Ready| {
        let Ok(saved) = ready.clone().save(&mut Disk::default());
        !saved.messages.is_empty()
    };
    !messages.is_empty()
        || !committed.is_empty()
        || !reads.is_empty()
        || soft_state.is_some()
        || *ready.write() != raft::Write::default()
        || promises(ready)
}
