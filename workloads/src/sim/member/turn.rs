//! A member's turns: inputs go in, and what comes out is sent, written, applied and answered.

use super::{Member, Out, Said, Task, Waiting, image::read_image};
use crate::sim::door::Reply;
use raft::{Body, Entry, Message, StepError, Write};
use server::{
    cluster,
    error::ApiError,
    replica::{Answers, Batch, Decided, Input, Outgoing, PeerMessage, Replica, Turn, office},
    state_machine::StateMachine,
};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Ticks between two looks at which leases have run out.
const SCAN_TICKS: u64 = 5;
/// Superseded versions freed at a tick.
const SCRUB: usize = 100;

impl Member {
    /// Goes on until there is nothing to do, or the disk is at work.
    pub(super) fn work(&mut self, out: &mut Out) {
        let mut first = true;
        loop {
            let Some(life) = &mut self.life else { return };
            if life.waiting.is_some() || out.stopped.is_some() {
                return;
            }
            let mut inbox = std::mem::take(&mut life.inbox);
            for input in inbox.drain(..) {
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
            // Nothing came meanwhile; the room that it has is used again.
            life.inbox = inbox;
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

    pub(super) fn finish(&mut self, waiting: Waiting, out: &mut Out) {
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
            if let Err(error) = self.install(meta, out) {
                out.stopped = Some(error.to_string());
                return;
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

    pub(super) fn answer_all(&mut self, answers: Answers) {
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
            let read = read_image(&life.images);
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
}

pub(super) fn step(replica: &mut Replica, input: Input, out: &mut Out) {
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
    state.roster().removed.hash(&mut hasher);
    (hash << 32 ^ rest) ^ hasher.finish()
}
