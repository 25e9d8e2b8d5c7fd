//! A simulated member: what `server::node` does with threads, here as steps.

use super::{
    disk::SimFiles,
    door::{Ask, Door, Reply},
    plan::Plan,
    port::Front,
    time::SimTime,
};
use bytes::Bytes;
use prost::Message as _;
use raft::{
    Body, Durable, Entry, LogIndex, Membership, Message, NodeId, Raft, Ready, Role, SnapshotMeta, StepError,
    Write,
};
use server::{
    backend::Backend as _,
    cluster::{self, Member as Known, Roster},
    disk::{Birth, DataDir, Identity, Images, Opened, Wal},
    error::ApiError,
    node::load_image,
    proto::internal::{Command, LeaseAnswer, LeaseQuery, command::Request},
    replica::{
        Answers, Applier, Batch, Decided, Input, Outgoing, PeerMessage, Replica, Settings, Turn, command,
        office::{self, Office as _},
    },
    state_machine::{News, StateMachine},
};
use std::{
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    pin::Pin,
    task::{Context, Waker},
};

/// The cluster's identity.
pub(super) const CLUSTER: u64 = 0xa55a;
/// A tick of raft's time.
pub(super) const TICK_US: u64 = 20_000;
const HEARTBEAT_TICKS: u32 = 5;
const ELECTION_TICKS: u32 = 50;
/// Ticks between two looks at which leases have run out.
const SCAN_TICKS: u64 = 5;
/// Times that a change of the roster is tried.
const ADMINISTER_TRIES: usize = 50;
/// Superseded versions freed at a tick.
const SCRUB: usize = 100;
/// Bytes of an image's chunk.
const CHUNK_BYTES: usize = 1 << 14;

/// What a member says to another.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A message.
    Peer(PeerMessage),
    /// An image, and the message that comes with it.
    Image { message: Message, chunks: Vec<Vec<u8>> },
}

/// What a member's step made visible.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) said: Vec<(NodeId, Said)>,
    /// Entries that were applied, with a digest of the state after each.
    pub(super) applied: Vec<(Entry, u64)>,
    /// The disk is at work: [`Member::saved`] when it is done.
    pub(super) saving: bool,
    /// The member had to stop.
    pub(super) stopped: Option<String>,
    /// A promise is broken, as the member itself sees.
    pub(super) violation: Option<String>,
}

/// A turn on its way to the disk.
struct Waiting {
    ready: Ready,
    install: Option<SnapshotMeta>,
    committed: Vec<Entry>,
    lost: Vec<u64>,
}

/// Something that a member does beside its replica.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Life {
    epoch: u64,
    ticks: u64,
    /// Leases that ran out are being ended.
    ending: Option<Task>,
    /// Questions of peers that are being answered.
    answering: Vec<Task>,
    replica: Replica,
    applier: Applier,
    wal: Wal<SimFiles>,
    images: Images<SimFiles>,
    waiting: Option<Waiting>,
    inbox: Vec<Input>,
    last_image: LogIndex,
    /// Known to be committed at the start: requests are taken once that is applied.
    serves_from: LogIndex,
}

/// A member, up or down.
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) files: SimFiles,
    /// Of this life, or of the last one.
    pub(super) door: Door,
    /// Where clients come.
    pub(super) front: Front,
    time: SimTime,
    /// Counts its lives: what was meant for an earlier one is not for this one.
    pub(super) lives: u64,
    life: Option<Life>,
    snapshot_count: u64,
    keep: u64,
    segment_bytes: u64,
    /// The members that the cluster began with.
    roster: Roster,
    seed: u64,
    /// Requests that wait here.
    open: Vec<u64>,
    #[cfg(feature = "plant")]
    plant: Option<server::plant::Plant>,
    #[cfg(feature = "plant")]
    mutation: Option<raft::Mutation>,
}

impl Member {
    pub(super) fn new(id: NodeId, plan: &Plan, time: &SimTime) -> Member {
        let known = |id: u64| (NodeId(id), Known { name: format!("n{id}"), ..Known::default() });
        Member {
            id,
            files: SimFiles::default(),
            door: Door::new(id, 0, time.clone(), StateMachine::new()),
            front: Front::default(),
            time: time.clone(),
            lives: 0,
            life: None,
            snapshot_count: plan.snapshot_count,
            keep: plan.keep,
            segment_bytes: plan.segment_bytes,
            roster: Roster { members: (1..=plan.nodes).map(known).collect(), ..Roster::default() },
            seed: plan.seed,
            open: Vec::new(),
            #[cfg(feature = "plant")]
            plant: plan.plant,
            #[cfg(feature = "plant")]
            mutation: plan.mutation,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Raft's state, while the member is up.
    pub(super) fn raft(&self) -> Option<&Raft> {
        self.life.as_ref().map(|life| life.replica.raft())
    }

    /// Starts the member on what its disk holds.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn start(&mut self) -> Result<(), String> {
        self.lives += 1;
        // Who joins later knows of nobody until a leader tells it.
        let founds = self.roster.members.contains_key(&self.id);
        let membership = if founds { self.roster.membership() } else { Membership::default() };
        let birth = Birth { membership, roster: Bytes::new() };
        let identity = Identity { cluster: CLUSTER, node: self.id };
        let opened = DataDir::new(self.files.clone(), Path::new("/data"))
            .open(identity, birth)
            .map_err(|error| error.to_string())?;
        let Opened { mut wal, images, image, hard_state, entries, roster: _, restarted: _ } = opened;
        wal.set_segment_bytes(self.segment_bytes);
        let epoch = self.id.0 << 32 | self.lives;
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut state = load_image(&images, image.index, &self.roster).map_err(|error| error.to_string())?;
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut applier = Applier::new(self.id, epoch, image.clone());
        #[cfg(feature = "plant")]
        {
            state.set_plant(self.plant);
            if self.plant == Some(server::plant::Plant::ApplyTwiceAfterRestart) && self.lives > 1 {
                applier.apply_again(hard_state.commit);
            }
        }
        let serves_from = hard_state.commit;
        let durable = Durable { hard_state, snapshot: Some(image.clone()), entries };
        let config = raft::Config {
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            #[cfg(feature = "plant")]
            mutation: self.mutation,
            ..raft::Config::new(self.id, self.seed.wrapping_add(self.lives))
        };
        let raft = Raft::new(config, durable).map_err(|error| error.to_string())?;
        let settings = Settings {
            epoch,
            leader_wait_ticks: 2 * u64::from(ELECTION_TICKS),
            read_retry_ticks: u64::from(ELECTION_TICKS) / 2 + 1,
            parked_max: 100,
            remember_ticks: 500,
        };
        self.door = Door::new(self.id, epoch, self.time.clone(), state);
        self.door.serve(image.index >= serves_from);
        self.front.open(self.door.clone());
        let replica = Replica::new(raft, settings, image.index);
        let (waiting, inbox, last_image) = (None, Vec::new(), image.index);
        self.life = Some(Life {
            epoch,
            ticks: 0,
            ending: None,
            answering: Vec::new(),
            replica,
            applier,
            wal,
            images,
            waiting,
            inbox,
            last_image,
            serves_from,
        });
        Ok(())
    }

    /// Stops at once. Whoever waits here does not learn what became of the request.
    pub(super) fn stop(&mut self) {
        self.door.stop();
        // A turn that was on its way is partly on the disk: appended, and not flushed.
        if let Some(Life { waiting: Some(waiting), mut wal, .. }) = self.life.take() {
            self.files.fail_sync();
            let _ = waiting.ready.save(&mut wal);
        }
        self.open.clear();
    }

    /// A client's request arrives.
    pub(super) fn ask(&mut self, ask: Ask, out: &mut Out) {
        let (Ask::Propose(number, ..) | Ask::Read(number)) = &ask;
        let number = *number;
        let Some(life) = &self.life else {
            self.door.reply(number, Err(ApiError::NoLeader));
            return;
        };
        self.open.push(number);
        let input = match ask {
            Ask::Read(number) => Input::Read { number },
            Ask::Propose(number, request, principal) => {
                let (origin, epoch) = (self.id.0, life.epoch);
                let command = Command { origin, epoch, number, ..command(request, principal) };
                Input::Propose { number, command: command.encode_to_vec().into() }
            }
        };
        self.input(input, out);
    }

    /// A packet arrives. Returns whether an image in it was stored.
    pub(super) fn receive(&mut self, from: NodeId, said: Said, out: &mut Out) -> bool {
        let Some(life) = &mut self.life else { return false };
        match said {
            Said::Peer(PeerMessage::LeaseQuery { tag, query }) => {
                let Ok(query) = LeaseQuery::decode(query) else { return false };
                let door = self.door.clone();
                life.answering.push(Box::pin(async move {
                    let answer = office::answer(&door, query).await.encode_to_vec().into();
                    door.say(from, PeerMessage::LeaseAnswer { tag, answer });
                }));
                true
            }
            Said::Peer(PeerMessage::LeaseAnswer { tag, answer }) => {
                if let Ok(answer) = LeaseAnswer::decode(answer)
                    && tag.epoch == life.epoch
                {
                    self.door.answered(tag.number, answer);
                }
                true
            }
            Said::Peer(message) => {
                self.input(Input::Receive { from, message }, out);
                true
            }
            Said::Image { message, chunks } => {
                let Body::InstallSnapshot { meta } = &message.body else { return false };
                let stored = life.images.write(meta.clone(), "peer").and_then(|mut writer| {
                    chunks.iter().try_for_each(|chunk| writer.chunk(chunk))?;
                    writer.finish()
                });
                if stored.is_ok() {
                    self.input(Input::Receive { from, message: PeerMessage::Raft(message) }, out);
                }
                stored.is_ok()
            }
        }
    }

    /// Takes an input, now or when the disk is done.
    pub(super) fn input(&mut self, input: Input, out: &mut Out) {
        let Some(life) = &mut self.life else { return };
        if matches!(input, Input::Tick) && life.inbox.iter().any(|input| matches!(input, Input::Tick)) {
            return; // Time that the member slept through does not count twice.
        }
        life.inbox.push(input);
        if life.waiting.is_none() {
            self.work(out);
        }
    }

    /// The disk is done.
    pub(super) fn saved(&mut self, out: &mut Out) {
        let Some(waiting) = self.life.as_mut().and_then(|life| life.waiting.take()) else { return };
        self.finish(waiting, out);
        if out.stopped.is_none() {
            self.work(out);
        }
    }

    fn work(&mut self, out: &mut Out) {
        let mut first = true;
        loop {
            let Some(life) = &mut self.life else { return };
            if life.waiting.is_some() || out.stopped.is_some() {
                return;
            }
            for input in std::mem::take(&mut life.inbox) {
                first = true;
                if matches!(input, Input::Tick) {
                    self.door.state_mut().scrub(SCRUB);
                    life.ticks += 1;
                    if life.ticks.is_multiple_of(SCAN_TICKS) && life.ending.is_none() {
                        let door = self.door.clone();
                        life.ending = office::expired(&door)
                            .map(|expired| Box::pin(async move { expired.end(&door).await }) as Task);
                    }
                }
                let ticks = matches!(input, Input::Tick);
                step(&mut life.replica, input, out);
                let change = ticks
                    .then(|| cluster::change_to_propose(self.door.state().roster(), life.replica.raft()));
                if let Some(change) = change.flatten() {
                    step(&mut life.replica, Input::Change(change), out);
                }
            }
            if !first && !life.replica.has_turn() {
                return;
            }
            first = false;
            self.turn(out);
        }
    }

    fn turn(&mut self, out: &mut Out) {
        let Some(life) = &mut self.life else { return };
        let Turn { mut ready, outgoing, refused, reads, lost } = life.replica.turn();
        self.send(std::mem::take(&mut ready.messages), out);
        out.said.extend(outgoing.into_iter().map(|Outgoing { to, message }| (to, Said::Peer(message))));
        for (number, why) in refused {
            self.answer(number, Err(why));
        }
        let mut committed = std::mem::take(&mut ready.committed);
        let install = ready.write().install.clone();
        if install.is_none() {
            self.apply(std::mem::take(&mut committed), reads, out);
        } else {
            self.apply(Vec::new(), reads, out);
        }
        let waiting = Waiting { install, committed, lost, ready };
        if *waiting.ready.write() == Write::default() {
            self.finish(waiting, out);
        } else if let Some(life) = &mut self.life {
            life.waiting = Some(waiting);
            out.saving = true;
        }
    }

    fn finish(&mut self, waiting: Waiting, out: &mut Out) {
        let Waiting { ready, install, committed, lost } = waiting;
        let Some(life) = &mut self.life else { return };
        let saved = match ready.save(&mut life.wal) {
            Ok(saved) => saved,
            Err(error) => {
                out.stopped = Some(error.to_string());
                return;
            }
        };
        if let Some(meta) = install {
            match load_image(&life.images, meta.index, &self.roster) {
                Ok(state) => {
                    #[cfg(feature = "plant")]
                    let state = {
                        let mut state = state;
                        state.set_plant(self.plant);
                        state
                    };
                    let revision = state.kv().revision();
                    *self.door.state_mut() = state;
                    self.door.tell(News::default(), revision);
                    life.last_image = meta.index;
                    let mut answers = Answers::default();
                    life.applier.installed(meta, &mut answers);
                    self.answer_all(answers);
                }
                Err(error) => {
                    out.stopped = Some(error.to_string());
                    return;
                }
            }
            self.apply(committed, Vec::new(), out);
        }
        for number in lost {
            self.answer(number, Err(ApiError::NoLeader));
        }
        self.send(saved.messages, out);
        let Some(life) = &mut self.life else { return };
        step(&mut life.replica, Input::Persisted(saved.mark), out);
        let applied = life.applier.applied();
        step(&mut life.replica, Input::Applied(applied), out);
        self.take_image(out);
    }

    fn apply(&mut self, entries: Vec<Entry>, reads: Vec<Decided>, out: &mut Out) {
        let Some(life) = &mut self.life else { return };
        let mut answers = Answers::default();
        for entry in entries {
            let mut state = self.door.state_mut();
            state.record_events(self.door.is_watched());
            life.applier.apply(&mut state, Batch::prepare(vec![entry.clone()]), &mut answers);
            let (news, revision) = (state.take_news(), state.kv().revision());
            out.applied.push((entry, digest(&state)));
            drop(state);
            self.door.tell(news, revision);
        }
        if life.applier.applied() >= life.serves_from {
            self.door.serve(true);
        }
        for decided in reads {
            life.applier.wait(decided, &mut answers);
        }
        self.answer_all(answers);
    }

    fn answer_all(&mut self, answers: Answers) {
        for (number, outcome) in answers.outcomes {
            self.answer(number, outcome.map(Reply::Applied));
        }
        for number in answers.reads {
            self.answer(number, Ok(Reply::Serve));
        }
    }

    fn answer(&mut self, number: u64, reply: Result<Reply, ApiError>) {
        if let Some(at) = self.open.iter().position(|open| *open == number) {
            self.open.swap_remove(at);
            self.door.reply(number, reply);
        }
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut Out) {
        let Some(life) = &mut self.life else { return };
        for mut message in messages {
            let to = message.to;
            let Body::InstallSnapshot { meta } = &mut message.body else {
                out.said.push((to, Said::Peer(PeerMessage::Raft(message))));
                continue;
            };
            let read = life.images.newest_index().and_then(|newest| life.images.read_at(newest)).and_then(
                |mut reader| {
                    let mut chunks = Vec::new();
                    while let Some(chunk) = reader.chunk()? {
                        chunks.push(chunk);
                    }
                    Ok((reader.meta, chunks))
                },
            );
            match read {
                Ok((newest, chunks)) => {
                    if newest.index > meta.index {
                        *meta = newest;
                    }
                    out.said.push((to, Said::Image { message, chunks }));
                }
                Err(_) => step(&mut life.replica, Input::SnapshotReport { to, ok: false }, out),
            }
        }
    }

    /// Has a change of the roster replicated. Tried for a while: there may be no leader.
    pub(super) fn administer(&mut self, request: Request) {
        let Some(life) = &mut self.life else { return };
        let door = self.door.clone();
        life.answering.push(Box::pin(async move {
            for _ in 0..ADMINISTER_TRIES {
                let again = match door.propose(request.clone()).await {
                    Ok(_) => false,
                    Err(error) => matches!(error, ApiError::NoLeader | ApiError::TooManyRequests),
                };
                if !again || door.pause().await.is_err() {
                    return;
                }
            }
        }));
    }

    /// Whether the member knows that it was removed, and has nothing left to do.
    pub(super) fn has_left(&self) -> bool {
        self.raft().is_some_and(|raft| {
            let removed = self.door.state().roster().removed.contains(&self.id);
            removed && raft.role() != Role::Leader && !raft.membership().contains(self.id)
        })
    }

    /// Goes on with what the member does beside its replica, and lets clients know who leads.
    pub(super) fn go_on(&mut self) {
        let Some(life) = &mut self.life else { return };
        let raft = life.replica.raft();
        let leads = (raft.role() == Role::Leader).then_some(raft.term());
        self.door.follows(raft.leader(), leads);
        let mut context = Context::from_waker(Waker::noop());
        life.answering.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        if life.ending.as_mut().is_some_and(|task| task.as_mut().poll(&mut context).is_ready()) {
            life.ending = None;
        }
        // Ticks come often enough for all that waits here.
        drop(self.time.take_wakes());
    }

    /// Writes an image when enough was applied since the last one.
    fn take_image(&mut self, out: &mut Out) {
        let Some(life) = &mut self.life else { return };
        let meta = life.applier.meta().clone();
        if meta.index.0 < life.last_image.0 + self.snapshot_count {
            return;
        }
        let index = meta.index;
        let written = life.images.write(meta, "own").and_then(|mut writer| {
            let state = self.door.state();
            let mut image = state.begin_image();
            while let Some(chunk) = state.image_chunk(&mut image, CHUNK_BYTES) {
                writer.chunk(&chunk)?;
            }
            state.end_image(image);
            writer.finish()?;
            life.images.remove_older()
        });
        // After an error the log is kept, and another image is tried later.
        let Ok(oldest) = written else { return };
        life.last_image = index;
        step(&mut life.replica, Input::SnapshotTaken { index, keep: self.keep }, out);
        let _ = life.wal.release(oldest).remove();
    }
}

fn step(replica: &mut Replica, input: Input, out: &mut Out) {
    if let Err(
        error @ (StepError::TwoLeaders { .. }
        | StepError::LogLost { .. }
        | StepError::Malformed { .. }
        | StepError::UnknownMark
        | StepError::SnapshotAhead { .. }),
    ) = replica.step(input)
    {
        let id = replica.raft().id();
        out.violation.get_or_insert_with(|| format!("{id}: raft refused an input: {error}"));
    }
}

/// A digest of what the state holds.
fn digest(state: &StateMachine) -> u64 {
    let kv = state.kv();
    let hash = kv.hash_kv(0).map_or(0, |hash| u64::from(hash.hash));
    let rest = kv.revision().cast_unsigned().rotate_left(20) ^ kv.compact_revision().cast_unsigned();
    let mut hasher = DefaultHasher::new();
    for (id, lease) in state.leases().iter() {
        (id, lease.ttl_s, &lease.keys).hash(&mut hasher);
    }
    for (id, member) in &state.roster().members {
        (id, member.is_learner).hash(&mut hasher);
    }
    (hash << 32 ^ rest) ^ hasher.finish()
}
