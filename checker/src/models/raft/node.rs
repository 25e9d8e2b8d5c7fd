//! One member: the core, its disk, and what it has applied.

use super::Bounds;
use raft::{Config, Durable, LogIndex, Membership, NodeId, Raft, Ready, StartError, Write};
use std::collections::VecDeque;

/// A member, up or down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// The core; `None` while the node is down.
    pub(super) raft: Option<Raft>,
    /// What the disk holds.
    pub(super) durable: Durable,
    /// Turns that wait for the disk, oldest first.
    pub(super) unsaved: VecDeque<Ready>,
    /// Applied up to here; starts from the image after a restart.
    pub(super) applied: LogIndex,
    /// The register that the commands write.
    pub(super) value: Option<u8>,
}

impl Node {
    pub(super) fn new(id: NodeId, bounds: &Bounds) -> Node {
        let membership = Membership::of_voters((1..=bounds.nodes).map(NodeId));
        let durable = Durable::bootstrap(membership);
        let mut node =
            Node { id, raft: None, durable, unsaved: VecDeque::new(), applied: LogIndex::ZERO, value: None };
        node.start(bounds).expect("a bootstrap image is a valid start");
        node
    }

    /// Starts the core from the disk.
    pub(super) fn start(&mut self, bounds: &Bounds) -> Result<(), StartError> {
        let mut config = Config::new(self.id, 0);
        config.pre_vote = bounds.pre_vote;
        config.check_quorum = false;
        let mut raft = Raft::new(config, self.durable.clone())?;
        raft.canonicalise();
        self.raft = Some(raft);
        Ok(())
    }

    /// Stops; everything that is not on the disk is lost.
    pub(super) fn crash(&mut self) {
        self.raft = None;
        self.unsaved.clear();
        self.applied = self.durable.snapshot.as_ref().map_or(LogIndex::ZERO, |image| image.index);
        self.value = None;
    }

    /// What the disk does with a turn's write.
    pub(super) fn write(&mut self, write: &Write) {
        let disk = &mut self.durable;
        if let Some(image) = &write.install {
            disk.snapshot = Some(image.clone());
            disk.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            disk.entries.retain(|entry| entry.index < first.index);
            disk.entries.extend_from_slice(&write.entries);
        }
        if let Some(hard_state) = write.hard_state {
            disk.hard_state = hard_state;
        }
    }

    /// Makes an image of everything applied durable, and drops the log before it from the disk.
    pub(super) fn keep_image(&mut self) {
        let Some(raft) = &self.raft else { return };
        self.durable.snapshot = Some(raft.snapshot().clone());
        let first = raft.first_index();
        self.durable.entries.retain(|entry| entry.index >= first);
    }
}
