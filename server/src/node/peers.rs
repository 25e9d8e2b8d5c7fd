//! What peers send, handed to the raft thread.

use super::{
    lease_loop::LeaseQuestion,
    questions,
    shared::{Event, Shared},
};
use crate::{
    disk::{Files, ImageWriter, Images},
    net::{ImageSink, Receiver},
    replica::{Input, PeerMessage},
};
use bytes::Bytes;
use raft::{
    message::Body,
    types::{NodeId, Payload, SnapshotMeta},
};
use std::{io, sync::Arc, time::Instant};

/// What may be queued for the raft thread; each message counts its payload and a little more.
pub(super) const QUEUED_BYTES_MAX: usize = 64 << 20;
/// What a message or request counts beside its payload.
pub(super) const QUEUED_BYTES_MIN: usize = 256;

pub(super) struct Peers<F: Files> {
    pub(super) shared: Arc<Shared>,
    pub(super) images: Images<F>,
}

impl<F: Files> Receiver for Peers<F> {
    fn messages(&self, from: NodeId, messages: &mut Vec<PeerMessage>) {
        for message in messages.drain(..) {
            let message = match message {
                PeerMessage::LeaseQuery { tag, query } => {
                    self.shared.leases.asked(LeaseQuestion { from, tag, query });
                    continue;
                }
                PeerMessage::LeaseAnswer { tag, answer } if tag.epoch == self.shared.epoch => {
                    self.shared.leases.answered(tag.number, &answer);
                    continue;
                }
                other => other,
            };
            let weight = weight(&message);
            let input = Input::Receive { from, message };
            if self.shared.offer(input, weight, QUEUED_BYTES_MAX).is_err() {
                tracing::warn!(peer = %from, "dropped a message: too many wait");
            }
        }
    }

    fn reachable(&self, peer: NodeId) {
        self.shared.reachable.lock().insert(peer, Instant::now());
    }

    fn unreachable(&self, peer: NodeId) {
        self.shared.reachable.lock().remove(&peer);
        self.shared.events.push(Event::Input(Input::Unreachable(peer)));
    }

    fn image(&self, from: NodeId, meta: SnapshotMeta) -> io::Result<Box<dyn ImageSink>> {
        Ok(Box::new(Sink(self.images.write(meta, &format!("from-{from}"))?)))
    }

    fn is_removed(&self, id: NodeId) -> bool {
        self.shared.roster.read().removed.contains(&id)
    }

    fn removed(&self, by: NodeId) {
        tracing::warn!(peer = %by, "a peer turns this member away: it was removed");
        self.shared.leave();
    }

    fn question(&self, from: Option<NodeId>, question: Bytes) -> Bytes {
        questions::answer(&self.shared, from, question)
    }

    fn image_sent(&self, to: NodeId, ok: bool) {
        self.shared.events.push(Event::Input(Input::SnapshotReport { to, ok }));
    }
}

fn weight(message: &PeerMessage) -> usize {
    let payload = match message {
        PeerMessage::Raft(message) => match &message.body {
            Body::Append { entries, .. } => entries
                .iter()
                .map(|entry| match &entry.payload {
                    Payload::Command(bytes) => bytes.len() + 32,
                    Payload::Empty | Payload::Membership { .. } => QUEUED_BYTES_MIN,
                })
                .sum(),
            _ => 0,
        },
        PeerMessage::Propose { command, .. } => command.len(),
        PeerMessage::ProposeRefused { .. }
        | PeerMessage::ReadIndex { .. }
        | PeerMessage::ReadIndexed { .. } => 0,
        PeerMessage::LeaseQuery { query: bytes, .. } | PeerMessage::LeaseAnswer { answer: bytes, .. } => {
            bytes.len()
        }
    };
    payload + QUEUED_BYTES_MIN
}

struct Sink<F: Files>(ImageWriter<F>);

impl<F: Files> ImageSink for Sink<F> {
    fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.chunk(chunk)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish()
    }
}
