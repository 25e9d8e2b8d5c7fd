//! What a leader does: replicate, commit, answer reads, change the membership, hand over.
//!
//! Steps only take note of what is to be sent; [`Leader::flush`] sends it at the end of a turn, so that all
//! proposals of a turn share one append per peer, and all its reads share one round of heartbeats.

#[cfg(feature = "plant")]
use crate::mutation::Mutation;
use crate::{
    canonical::Rename,
    input::StepError,
    membership::MembershipChange,
    message::Body,
    node::Node,
    progress::{Progress, ProgressState},
    read_index::ReadIndex,
    ready::ReadState,
    types::{Entry, LogIndex, NodeId, Payload, ReadId, Term},
};
use bytes::Bytes;
use std::{cmp::Reverse, collections::BTreeMap};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// Every other node of the membership in force, and who is being removed.
    peers: BTreeMap<NodeId, Progress>,
    reads: ReadIndex,
    transfer: Option<Transfer>,
    /// Ticks since heartbeats were last due.
    heartbeat_elapsed: u32,
    /// Bytes of the log after the commit index.
    uncommitted_bytes: usize,
    /// Something happened since the last flush that may let entries go.
    unsent: bool,
}

/// Leadership is being handed over. Raft thesis, section 3.10.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Transfer {
    to: NodeId,
    elapsed: u32,
    /// The target has the whole log and was told to campaign.
    told: bool,
}

impl Leader {
    /// Begins a term of leadership with an entry of its own: only those can be committed by counting, and
    /// until one is, the commit index may be out of date. Raft thesis, section 6.4. It is empty, but for the
    /// first of a log, which tells nodes that join later what the cluster began with.
    pub(crate) fn elected(node: &mut Node) -> Leader {
        node.leader = Some(node.id());
        node.election_elapsed = 0;
        let tail = node.log.range(node.commit, node.log.last_index());
        let mut leader = Leader {
            peers: BTreeMap::new(),
            reads: ReadIndex::default(),
            transfer: None,
            heartbeat_elapsed: 0,
            uncommitted_bytes: tail.map(Entry::size_bytes).sum(),
            unsent: true,
        };
        leader.follow_membership(node);
        let first = match node.log.last_index() {
            LogIndex::ZERO => {
                Payload::Membership { membership: node.membership().clone(), context: Bytes::new() }
            }
            _ => Payload::Empty,
        };
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::NoFirstEntry) && matches!(first, Payload::Empty) {
            return leader;
        }
        leader.append(node, first);
        leader
    }

    /// The reads that wait get no answer from this leader.
    pub(crate) fn resign(self, decided: &mut Vec<ReadState>) {
        self.reads.abandon(decided);
    }

    pub(crate) fn transferring_to(&self) -> Option<NodeId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }

    pub(crate) fn progress(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.peers.iter().map(|(&id, progress)| (id, progress))
    }

    // Proposals.

    pub(crate) fn propose(&mut self, node: &mut Node, command: Bytes) -> Result<(), StepError> {
        self.refuse_while_transferring()?;
        let payload = Payload::Command(command);
        let bytes = self.uncommitted_bytes.saturating_add(payload.entry_bytes());
        if self.uncommitted_bytes > 0 && bytes > node.config.max_uncommitted_bytes {
            return Err(StepError::TooManyUncommitted);
        }
        self.append(node, payload);
        Ok(())
    }

    pub(crate) fn propose_membership(
        &mut self,
        node: &mut Node,
        change: &MembershipChange,
        context: Bytes,
    ) -> Result<(), StepError> {
        self.refuse_while_transferring()?;
        // Without this, two leaders could each change a membership of which the other knows nothing. Source:
        // Ongaro, "bug in single-server membership changes", raft-dev, 2015.
        let early = !node.has_committed_in_term();
        #[cfg(feature = "plant")]
        let early = early && !node.config.plants(Mutation::ChangeTooEarly);
        if early {
            return Err(StepError::ChangeTooEarly);
        }
        let busy = node.membership().is_joint() || node.memberships.current_index() > node.commit;
        #[cfg(feature = "plant")]
        let busy = busy && !node.config.plants(Mutation::TwoChangesAtOnce);
        if busy {
            return Err(StepError::ChangeInProgress);
        }
        let membership = node.membership().changed(change).map_err(StepError::BadChange)?;
        self.append(node, Payload::Membership { membership, context });
        Ok(())
    }

    fn refuse_while_transferring(&self) -> Result<(), StepError> {
        match self.transferring_to() {
            Some(to) => Err(StepError::Transferring { to }),
            None => Ok(()),
        }
    }

    fn append(&mut self, node: &mut Node, payload: Payload) {
        let changes_membership = matches!(payload, Payload::Membership { .. });
        let entry = Entry { term: node.term, index: node.log.last_index().next(), payload };
        self.uncommitted_bytes += entry.size_bytes();
        node.append(entry);
        self.unsent = true;
        if changes_membership {
            self.follow_membership(node);
        }
    }

    /// A membership is in force once it is in the log. Raft thesis, section 4.1.
    fn follow_membership(&mut self, node: &mut Node) {
        for id in node.membership().nodes().into_iter().filter(|&id| id != node.id()) {
            // Optimistic: most followers have the whole log. Who just joined has not, and says so.
            self.peers.entry(id).or_insert_with(|| Progress::new(node.log.last_index().next()));
        }
        self.confirm_reads(node);
    }

    /// Who is removed gets entries, but counts for nothing, until the removal is committed, so that it may
    /// learn of it.
    fn forget_removed(&mut self, node: &mut Node) {
        let membership = node.memberships.current();
        let is_settled = node.memberships.current_index() <= node.commit;
        if is_settled && self.peers.keys().any(|&id| !membership.contains(id)) {
            self.flush(node);
            let membership = node.memberships.current();
            self.peers.retain(|&id, _| membership.contains(id));
        }
    }

    /// Both majorities know of the change, so the new one may go on alone. Raft thesis, section 4.3. A
    /// transfer goes first: its target must not fall behind again.
    fn end_change(&mut self, node: &mut Node) {
        let is_committed = node.memberships.current_index() <= node.commit && node.has_committed_in_term();
        if is_committed && node.membership().is_joint() && self.transfer.is_none() {
            let membership = node.membership().settled();
            self.append(node, Payload::Membership { membership, context: Bytes::new() });
        }
    }

    // Commit.

    /// Commits what the needed majorities hold durably, if that is an entry of this term: an older one may
    /// still be replaced, however many hold it. Raft paper, section 5.4.2 and figure 8.
    pub(crate) fn advance_commit(&mut self, node: &mut Node) {
        let index = self.index_on_majority(node);
        if index <= node.commit || !Self::may_commit(node, index) {
            return;
        }
        self.uncommitted_bytes -= node.log.range(node.commit, index).map(Entry::size_bytes).sum::<usize>();
        node.commit_to(index);
        self.unsent = true;
        self.forget_removed(node);
        self.end_change(node);
    }

    fn may_commit(node: &Node, index: LogIndex) -> bool {
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::CommitsOldTerm) {
            return true;
        }
        node.log.term_at(index) == Some(node.term)
    }

    fn index_on_majority(&self, node: &Node) -> LogIndex {
        // The leader's own write goes on in parallel with its sends, and counts like any other's: once it is
        // durable. Raft thesis, section 10.2.1.
        let own = node.disk.persisted();
        #[cfg(feature = "plant")]
        let own = if node.config.plants(Mutation::CountsUnsaved) { node.log.last_index() } else { own };
        let matched = |id| {
            if id == node.id() { own.0 } else { self.peers.get(&id).map_or(0, |peer| peer.matched.0) }
        };
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::CommitsByMinority) && node.membership().voters.len() > 1 {
            let mut all: Vec<u64> = node.membership().voters.iter().map(|id| matched(*id)).collect();
            all.sort_unstable_by_key(|value| Reverse(*value));
            return LogIndex(all[(all.len() / 2).max(1) - 1]);
        }
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::NewMajorityOnly) {
            return LogIndex(node.membership().settled().majority_value(matched));
        }
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::LearnerCounts) {
            let membership = node.membership();
            let mut all: Vec<u64> = membership.nodes().into_iter().map(matched).collect();
            all.sort_unstable_by_key(|value| Reverse(*value));
            return LogIndex(all.get(membership.voters.len() / 2).copied().unwrap_or(0));
        }
        LogIndex(node.membership().majority_value(matched))
    }

    // Answers of followers.

    pub(crate) fn on_appended(
        &mut self,
        node: &mut Node,
        from: NodeId,
        matched: LogIndex,
    ) -> Result<(), StepError> {
        let last = node.log.last_index();
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        if matched > last {
            return Err(StepError::Malformed { from, why: "it acknowledges what was never sent" });
        }
        peer.active = true;
        self.unsent = true;
        if peer.acknowledged(matched) {
            self.advance_commit(node);
            self.tell_transfer_target(node);
        }
        Ok(())
    }

    pub(crate) fn on_rejected(
        &mut self,
        node: &Node,
        from: NodeId,
        prev_index: LogIndex,
        hint_index: LogIndex,
        hint_term: Term,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.active = true;
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::AckWithoutAppend) {
            peer.matched = peer.matched.min(hint_index);
        }
        let stale = match peer.state {
            ProgressState::Probe { .. } => prev_index.next() != peer.next,
            ProgressState::Replicate { .. } => prev_index <= peer.matched,
            ProgressState::Snapshot { .. } => true,
        };
        #[cfg(feature = "plant")]
        let stale = stale && !node.config.plants(Mutation::StaleRejectionBelieved);
        if stale {
            return;
        }
        // The follower skipped what it has of newer terms than ours at `prev_index`; here we skip what we
        // have of newer terms than its.
        let agreed = node.log.last_at_most(hint_index, hint_term);
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::NoBacktrack) {
            peer.probe(prev_index.next(), false);
            self.unsent = true;
            return;
        }
        peer.probe(agreed.next().min(prev_index), false);
        self.unsent = true;
    }

    pub(crate) fn on_heartbeat_reply(&mut self, node: &mut Node, from: NodeId, round: u64) {
        let last = node.log.last_index();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.active = true;
        if round <= self.reads.round() {
            peer.round = peer.round.max(round);
        }
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::LossNotRepaired) {
            peer.may_repeat = false;
        }
        if std::mem::take(&mut peer.may_repeat) {
            match &mut peer.state {
                ProgressState::Probe { sent } => *sent = false,
                ProgressState::Replicate { .. } => {
                    peer.nudge = peer.matched < last && peer.matched == peer.matched_at_beat;
                }
                ProgressState::Snapshot { .. } => {}
            }
            self.unsent = true;
        }
        self.confirm_reads(node);
    }

    /// Either way the follower is probed, once it is heard from: if the image did not arrive, the probe's
    /// rejection asks for another.
    pub(crate) fn on_snapshot_report(&mut self, from: NodeId, ok: bool) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if let ProgressState::Snapshot { index } = peer.state {
            let next = if ok { index.next() } else { peer.matched.next() };
            peer.probe(next, true);
        }
    }

    pub(crate) fn on_unreachable(&mut self, to: NodeId) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if let ProgressState::Replicate { .. } = peer.state {
            // Not at once, or a peer that stays unreachable would be tried in a tight loop.
            peer.probe(peer.matched.next(), true);
        }
    }

    // Reads.

    pub(crate) fn read(&mut self, node: &mut Node, id: ReadId) -> Result<(), StepError> {
        let early = !node.has_committed_in_term();
        #[cfg(feature = "plant")]
        let early = early && !node.config.plants(Mutation::ReadTooEarly);
        if early {
            return Err(StepError::ReadTooEarly);
        }
        let alone = node.membership().majority_has(|voter| voter == node.id());
        #[cfg(feature = "plant")]
        let alone = alone || node.config.plants(Mutation::ReadWithoutQuorum);
        if alone {
            node.outbox.reads.push(ReadState { id, index: Some(node.commit) });
        } else {
            let index = node.commit;
            #[cfg(feature = "plant")]
            let index = if node.config.plants(Mutation::ReadIndexForgotten) { LogIndex::ZERO } else { index };
            self.reads.accept(id, index);
        }
        Ok(())
    }

    fn confirm_reads(&mut self, node: &mut Node) {
        if !self.reads.has_rounds() {
            return;
        }
        let newest = self.reads.round();
        let round_of =
            |id| if id == node.id() { newest } else { self.peers.get(&id).map_or(0, |peer| peer.round) };
        let confirmed = node.membership().majority_value(round_of);
        #[cfg(feature = "plant")]
        let confirmed = if node.config.plants(Mutation::ReadByMinority) {
            self.peers.values().map(|peer| peer.round).max().unwrap_or(confirmed)
        } else {
            confirmed
        };
        self.reads.confirmed(confirmed, &mut node.outbox.reads);
    }

    // Time.

    /// Returns whether this node still leads: a leader that does not hear from a majority may have been
    /// deposed without knowing, and stands in the way of its clients. Raft thesis, section 6.2.
    pub(crate) fn tick(&mut self, node: &mut Node) -> bool {
        if let Some(transfer) = &mut self.transfer {
            transfer.elapsed += 1;
            if transfer.elapsed >= node.config.election_ticks {
                self.transfer = None;
                self.end_change(node);
            }
        }
        node.election_elapsed += 1;
        if node.election_elapsed >= node.config.election_ticks {
            node.election_elapsed = 0;
            if node.config.check_quorum && !self.hears_majority(node) {
                return false;
            }
        }
        self.heartbeat_elapsed += 1;
        if self.heartbeat_elapsed >= node.config.heartbeat_ticks {
            self.heartbeat_elapsed = 0;
            for (&to, peer) in &mut self.peers {
                peer.beat();
                send_heartbeat(node, to, peer, self.reads.round());
            }
        }
        true
    }

    fn hears_majority(&mut self, node: &Node) -> bool {
        let active = |id| id == node.id() || self.peers.get(&id).is_some_and(|peer| peer.active);
        let majority = node.membership().majority_has(active);
        for peer in self.peers.values_mut() {
            peer.active = false;
        }
        majority
    }

    // Handing over.

    pub(crate) fn transfer(&mut self, node: &mut Node, to: NodeId) -> Result<(), StepError> {
        if !node.membership().voters.contains(&to) {
            return Err(StepError::NotVoter(to));
        }
        if to != node.id() && self.transferring_to() != Some(to) {
            self.transfer = Some(Transfer { to, elapsed: 0, told: false });
            self.tell_transfer_target(node);
        }
        Ok(())
    }

    fn tell_transfer_target(&mut self, node: &mut Node) {
        let Some(transfer) = &mut self.transfer else { return };
        let up_to_date = |peer: &Progress| peer.matched == node.log.last_index();
        #[cfg(feature = "plant")]
        let up_to_date = |peer: &Progress| up_to_date(peer) || node.config.plants(Mutation::UnsafeTransfer);
        if !transfer.told && self.peers.get(&transfer.to).is_some_and(up_to_date) {
            transfer.told = true;
            node.send(transfer.to, Body::TimeoutNow);
        }
    }

    /// The last acts of a leader that takes part no more: tell the others what is committed, and the most
    /// up-to-date voter to campaign, which saves them an election timeout.
    pub(crate) fn hand_over(&mut self, node: &mut Node) {
        self.flush(node);
        let voters = &node.membership().voters;
        let best = self.peers.iter().filter(|(id, _)| voters.contains(id));
        let best = best.max_by_key(|(id, peer)| (peer.matched, Reverse(**id))).map(|(&id, _)| id);
        if let Some(to) = best {
            node.send(to, Body::TimeoutNow);
        }
    }

    // Sending.

    /// Whether [`Leader::flush`] would send anything.
    pub(crate) fn has_unsent(&self, node: &Node) -> bool {
        self.reads.has_waiting() || (self.unsent && self.peers.values().any(|peer| is_due(node, peer)))
    }

    /// Sends what the steps since the last call made due.
    pub(crate) fn flush(&mut self, node: &mut Node) {
        if self.reads.has_waiting() {
            self.reads.begin_round();
            for (&to, peer) in &self.peers {
                if node.membership().is_voter(to) {
                    send_heartbeat(node, to, peer, self.reads.round());
                }
            }
        }
        if std::mem::take(&mut self.unsent) {
            for (&to, peer) in &mut self.peers {
                while is_due(node, peer) {
                    send_append(node, to, peer);
                }
            }
        }
    }
}

impl Leader {
    /// Forgets who was heard from since the quorum was last checked.
    pub(crate) fn forget_activity(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.active = false);
    }
}

impl Rename for Leader {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        let peers = std::mem::take(&mut self.peers);
        self.peers = peers.into_iter().map(|(id, progress)| (name(id), progress)).collect();
        if let Some(transfer) = &mut self.transfer {
            transfer.to.rename(name);
        }
    }
}

/// Names no commit index that the follower is not known to hold: it could not check it.
fn send_heartbeat(node: &mut Node, to: NodeId, peer: &Progress, round: u64) {
    let commit = node.commit.min(peer.matched);
    #[cfg(feature = "plant")]
    let commit = if node.config.plants(Mutation::HeartbeatCommitNotClamped) { node.commit } else { commit };
    node.send(to, Body::Heartbeat { commit, round });
}

/// Whether an append, or an image in its stead, is to be sent now.
fn is_due(node: &Node, peer: &Progress) -> bool {
    match &peer.state {
        ProgressState::Probe { sent } => !sent,
        ProgressState::Snapshot { .. } => false,
        ProgressState::Replicate { inflight } => {
            let news = peer.next <= node.log.last_index() || peer.commit_sent < node.commit;
            peer.nudge || (news && inflight.len() < node.config.max_inflight)
        }
    }
}

fn send_append(node: &mut Node, to: NodeId, peer: &mut Progress) {
    let prev_index = peer.next.previous().expect("next is past what matched");
    let Some(prev_term) = node.log.term_at(prev_index) else {
        let meta = node.snapshot.clone();
        #[cfg(feature = "plant")]
        if node.config.plants(Mutation::NoImageSent) {
            peer.probe(peer.next, true);
            return;
        }
        peer.state = ProgressState::Snapshot { index: meta.index };
        node.send(to, Body::InstallSnapshot { meta });
        return;
    };
    let bytes_max = node.config.max_append_bytes;
    let entries = match &mut peer.state {
        ProgressState::Probe { sent } => {
            *sent = true;
            node.log.batch(peer.next, bytes_max)
        }
        ProgressState::Replicate { inflight } if inflight.len() < node.config.max_inflight => {
            let entries = node.log.batch(peer.next, bytes_max);
            if let Some(last) = entries.last() {
                inflight.push_back(last.index);
                peer.next = last.index.next();
            }
            entries
        }
        ProgressState::Replicate { .. } | ProgressState::Snapshot { .. } => Vec::new(),
    };
    peer.nudge = false;
    peer.commit_sent = node.commit;
    node.send(to, Body::Append { prev_index, prev_term, entries, commit: node.commit });
}
