//! A simulated member: what `server::node` does with threads, here as steps.

mod image;
mod turn;

use super::{
    disk::SimFiles,
    door::{Ask, Door},
    plan::Plan,
    port::Front,
    time::SimTime,
};
use bytes::Bytes;
use prost::Message as _;
use raft::{
    Body, Durable, Entry, LogIndex, Membership, Message, NodeId, Raft, Ready, Role, SnapshotMeta, StartError,
};
use server::{
    backend::Backend as _,
    cluster::{Member as Known, Roster},
    disk::{Birth, DataDir, Identity, Images, OpenError, Opened, Wal},
    error::ApiError,
    node::{LoadError, load_image},
    proto::internal::{Command, LeaseAnswer, LeaseQuery, command::Request},
    replica::{
        Applier, Input, PeerMessage, Replica, Settings, command,
        office::{self, Office as _},
    },
    state_machine::StateMachine,
};
use std::{
    fmt,
    future::Future,
    path::Path,
    pin::Pin,
    task::{Context, Waker},
};

/// The cluster's identity.
pub(super) const CLUSTER: u64 = 0xa55a;
/// A tick of raft's time.
pub(super) const TICK_US: u64 = 20_000;
/// Times that a change of the roster is tried.
const ADMINISTER_TRIES: usize = 50;

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
    /// The member has a new image.
    pub(super) imaged: bool,
    /// The member had to stop.
    pub(super) stopped: Option<String>,
    /// A promise is broken, as the member itself sees.
    pub(super) violation: Option<String>,
}

/// Why a member does not start.
#[derive(Debug)]
pub(super) enum NoStart {
    /// What its disk holds does not fit together.
    Disk(OpenError),
    /// Its state cannot be read.
    Image(LoadError),
    /// The core takes it for no state of its own.
    Raft(StartError),
}

impl fmt::Display for NoStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoStart::Disk(error) => error.fmt(f),
            NoStart::Image(error) => error.fmt(f),
            NoStart::Raft(error) => error.fmt(f),
        }
    }
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
    /// How the core is set up.
    core: raft::Config,
    /// Requests that wait here.
    open: Vec<u64>,
    #[cfg(feature = "plant")]
    plant: Option<server::plant::Plant>,
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
            core: plan.core.clone(),
            open: Vec::new(),
            #[cfg(feature = "plant")]
            plant: plan.plant,
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
    pub(super) fn start(&mut self) -> Result<(), NoStart> {
        self.lives += 1;
        // Who joins later knows of nobody until a leader tells it.
        let founds = self.roster.members.contains_key(&self.id);
        let membership = if founds { self.roster.membership() } else { Membership::default() };
        let birth = Birth { membership, roster: Bytes::new() };
        let identity = Identity { cluster: CLUSTER, node: self.id };
        let opened = DataDir::new(self.files.clone(), Path::new("/data"))
            .open(identity, birth)
            .map_err(NoStart::Disk)?;
        let Opened { mut wal, images, image, hard_state, entries, roster: _, restarted: _ } = opened;
        wal.set_segment_bytes(self.segment_bytes);
        let epoch = self.id.0 << 32 | self.lives;
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut state = load_image(&images, image.index, &self.roster).map_err(NoStart::Image)?;
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
        let config =
            raft::Config { id: self.id, seed: self.seed.wrapping_add(self.lives), ..self.core.clone() };
        let election_ticks = u64::from(config.election_ticks);
        let raft = Raft::new(config, durable).map_err(NoStart::Raft)?;
        let settings = Settings {
            epoch,
            leader_wait_ticks: 2 * election_ticks,
            read_retry_ticks: election_ticks / 2 + 1,
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
                let stored = self.store_image(meta.clone(), &chunks);
                if stored {
                    self.input(Input::Receive { from, message: PeerMessage::Raft(message) }, out);
                }
                stored
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
}
