//! What a node keeps whatever its role: term and vote, log, memberships, timers, and what is to go out.

#[cfg(feature = "plant")]
use crate::mutation::Mutation;
use crate::{
    canonical::Rename,
    config::{Config, Durable, StartError},
    input::StepError,
    log::Log,
    membership::Memberships,
    message::{Body, Message},
    ready::{Mark, ReadState, Ready, SoftState, Write},
    rng::Rng,
    types::{Entry, HardState, LogIndex, Membership, NodeId, Role, SnapshotMeta, Term},
};
use std::collections::VecDeque;

/// The part of a node's state that outlives its roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    /// Leader of `term`, where known.
    pub(crate) leader: Option<NodeId>,
    pub(crate) log: Log,
    pub(crate) commit: LogIndex,
    /// Last entry given out for applying.
    pub(crate) handed: LogIndex,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) memberships: Memberships,
    /// Ticks since the timer was last reset.
    pub(crate) election_elapsed: u32,
    /// Ticks after which a follower campaigns.
    pub(crate) election_timeout: u32,
    pub(crate) outbox: Outbox,
    pub(crate) disk: Disk,
    told: SoftState,
    #[cfg(feature = "plant")]
    pub(crate) planted: crate::mutation::Planted,
}

/// What the next `Ready` will hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outbox {
    /// Promise nothing about this node's disk.
    pub(crate) messages: Vec<Message>,
    /// Promise something that is not durable yet.
    pub(crate) after: Vec<Message>,
    pub(crate) reads: Vec<ReadState>,
    /// An image that replaces state and log.
    pub(crate) install: Option<SnapshotMeta>,
}

/// What was given out to be written, and what of it is known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    /// Entries up to here were given out in the form that they have now.
    written: LogIndex,
    /// Entries up to here are durable in the form that they have now.
    persisted: LogIndex,
    /// The hard state last given out.
    hard_state: HardState,
    /// The vote that is known to be durable, with its term.
    durable_vote: (Term, Option<NodeId>),
    /// The newest mark given out, and the newest that came back.
    mark: Mark,
    persisted_mark: Mark,
    /// Turns that are not known to be durable, oldest first.
    unsaved: VecDeque<Unsaved>,
}

/// A turn that was given out to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Unsaved {
    mark: Mark,
    /// Once the turn is durable, so is the log up to here, in the form that it has now. A truncation lowers
    /// this, so that a turn never counts for entries that were rewritten after it: that a later entry may
    /// again have the same index and term as one that was truncated does not matter then.
    covers: LogIndex,
    vote: (Term, Option<NodeId>),
}

impl Disk {
    fn new(hard_state: HardState, last: LogIndex) -> Disk {
        Disk {
            written: last,
            persisted: last,
            hard_state,
            durable_vote: (hard_state.term, hard_state.vote),
            mark: Mark::default(),
            persisted_mark: Mark::default(),
            unsaved: VecDeque::new(),
        }
    }

    /// Entries up to here are durable in the form that they have now.
    pub(crate) fn persisted(&self) -> LogIndex {
        self.persisted
    }

    pub(crate) fn written(&self) -> LogIndex {
        self.written
    }

    /// Whether the vote for `id` in `term` is durable.
    pub(crate) fn holds_vote(&self, term: Term, id: NodeId) -> bool {
        self.durable_vote == (term, Some(id))
    }

    fn truncated(&mut self, last: LogIndex) {
        self.written = self.written.min(last);
        self.persisted = self.persisted.min(last);
        for turn in &mut self.unsaved {
            turn.covers = turn.covers.min(last);
        }
    }

    /// An image replaced the log: nothing of the new log is durable before that is.
    fn replaced(&mut self, last: LogIndex) {
        self.truncated(LogIndex::ZERO);
        self.written = last;
    }

    /// Starts the numbering of turns again, unless a turn waits to be saved.
    pub(crate) fn renumber(&mut self) {
        if self.unsaved.is_empty() {
            self.mark = Mark::default();
            self.persisted_mark = Mark::default();
        }
    }

    /// Returns whether anything became durable by it.
    fn persisted_up_to(&mut self, mark: Mark) -> Result<bool, StepError> {
        if mark > self.mark {
            return Err(StepError::UnknownMark);
        }
        self.persisted_mark = self.persisted_mark.max(mark);
        let before = self.unsaved.len();
        while self.unsaved.front().is_some_and(|turn| turn.mark <= mark) {
            if let Some(turn) = self.unsaved.pop_front() {
                self.persisted = self.persisted.max(turn.covers);
                self.durable_vote = turn.vote;
            }
        }
        Ok(self.unsaved.len() < before)
    }
}

impl Node {
    pub(crate) fn new(config: Config, durable: Durable) -> Result<Node, StartError> {
        config.validate().map_err(StartError::Config)?;
        let (hard_state, snapshot, log) = durable.recover().map_err(StartError::Durable)?;
        let mut memberships = Memberships::new(snapshot.index, snapshot.membership.clone());
        for entry in log.entries().filter(|entry| entry.index > snapshot.index) {
            memberships.appended(entry.index, &entry.payload);
        }
        let mut node = Node {
            rng: Rng::new(config.seed ^ config.id.0.rotate_left(32)),
            term: hard_state.term,
            vote: hard_state.vote,
            leader: None,
            commit: hard_state.commit,
            handed: snapshot.index,
            disk: Disk::new(hard_state, log.last_index()),
            log,
            snapshot,
            memberships,
            election_elapsed: 0,
            election_timeout: 0,
            outbox: Outbox::default(),
            told: SoftState { role: Role::Follower, term: hard_state.term, leader: None },
            #[cfg(feature = "plant")]
            planted: crate::mutation::Planted::default(),
            config,
        };
        node.draw_election_timeout();
        Ok(node)
    }

    pub(crate) fn id(&self) -> NodeId {
        self.config.id
    }

    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    /// Whether an entry of the current term is committed, so that the commit index is up to date.
    pub(crate) fn has_committed_in_term(&self) -> bool {
        self.log.term_at(self.commit) == Some(self.term)
    }

    /// Whether this node may campaign: it is a voter of the membership in force or of the committed one. The
    /// latter lets a node finish a change that removes it, when it alone holds the entry that does. Raft
    /// thesis, section 4.2.2.
    pub(crate) fn may_campaign(&self) -> bool {
        self.membership().is_voter(self.id()) || self.memberships.at(self.commit).is_voter(self.id())
    }

    /// Whether a leader was heard from so lately that elections are out of place.
    pub(crate) fn hears_from_leader(&self) -> bool {
        self.leader.is_some() && self.election_elapsed < self.config.election_ticks
    }

    /// Whether a log that ends so is at least as up to date as this node's. Raft paper, section 5.4.1.
    pub(crate) fn is_up_to_date(&self, last_index: LogIndex, last_term: Term) -> bool {
        (last_term, last_index) >= (self.log.last_term(), self.log.last_index())
    }

    /// Chance keeps split votes from repeating. Raft paper, section 5.2.
    pub(crate) fn draw_election_timeout(&mut self) {
        let ticks = self.config.election_ticks;
        self.election_elapsed = 0;
        self.election_timeout = ticks + self.rng.below(ticks);
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::TimeoutsNotRandom) {
            self.election_timeout = ticks;
        }
    }

    /// Moves to a newer term, in which this node has not voted.
    pub(crate) fn enter_term(&mut self, term: Term) {
        assert!(term > self.term, "term went from {} to {term}", self.term);
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::VoteKept) {
            (self.term, self.leader) = (term, None);
            return;
        }
        (self.term, self.vote, self.leader) = (term, None, None);
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        self.memberships.appended(entry.index, &entry.payload);
        self.log.append(entry);
    }

    /// Drops uncommitted entries from `first` on.
    pub(crate) fn truncate(&mut self, first: LogIndex) {
        assert!(first > self.commit, "truncation from {first} would undo the commit of {}", self.commit);
        self.log.truncate(first);
        self.disk.truncated(LogIndex(first.0 - 1));
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::MembershipNotRolledBack) {
            return;
        }
        self.memberships.truncated(first);
    }

    /// Raft paper, section 5.3.
    pub(crate) fn commit_to(&mut self, index: LogIndex) {
        let last = self.log.last_index();
        assert!(index <= last, "commit of {index} is past the end of the log, {last}");
        assert!(index >= self.commit, "commit went back from {} to {index}", self.commit);
        self.commit = index;
    }

    /// Replaces state and log by an image.
    pub(crate) fn install(&mut self, meta: SnapshotMeta) {
        assert!(meta.index > self.commit, "image at {} is behind commit, {}", meta.index, self.commit);
        self.log = Log::after(&meta);
        self.memberships = Memberships::new(meta.index, meta.membership.clone());
        self.disk.replaced(meta.index);
        (self.commit, self.handed) = (meta.index, meta.index);
        self.snapshot = meta.clone();
        self.outbox.install = Some(meta);
    }

    /// A state image of this node's own became durable: the log before it may go.
    pub(crate) fn snapshot_taken(&mut self, index: LogIndex, keep: u64) -> Result<(), StepError> {
        let applied = self.handed.min(self.commit);
        if index > applied {
            return Err(StepError::SnapshotAhead { index, applied });
        }
        if index <= self.snapshot.index {
            return Ok(());
        }
        let Some(term) = self.log.term_at(index) else {
            panic!("entry {index} was handed out, but is not in the log after {}", self.log.base_index());
        };
        let membership = self.memberships.at(index).clone();
        #[cfg(feature = "plant")]
        let membership = if self.config.plants(Mutation::ImageForgetsMembership) {
            self.snapshot.membership.clone()
        } else {
            membership
        };
        self.snapshot = SnapshotMeta { index, term, membership };
        self.memberships.forget_before(index);
        // The disk's log must stay without a gap, so entries on their way there stay in memory too.
        let last = LogIndex(index.0.saturating_sub(keep)).min(self.disk.written);
        self.log.drop_prefix(last);
        Ok(())
    }

    /// Returns whether anything became durable by it.
    pub(crate) fn persisted(&mut self, mark: Mark) -> Result<bool, StepError> {
        self.disk.persisted_up_to(mark)
    }

    /// Sends at once.
    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        self.send_in(self.term, to, body);
    }

    /// Sends at once, in the name of another term than the current one.
    pub(crate) fn send_in(&mut self, term: Term, to: NodeId, body: Body) {
        self.outbox.messages.push(Message { from: self.id(), to, term, body });
    }

    /// Sends once everything up to now is durable.
    pub(crate) fn send_after(&mut self, to: NodeId, body: Body) {
        let message = Message { from: self.id(), to, term: self.term, body };
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::AckBeforeDurable) {
            self.outbox.messages.push(message);
            return;
        }
        self.outbox.after.push(message);
    }

    /// Like [`Node::send_after`], in the name of another term than the current one.
    #[cfg(feature = "plant")]
    pub(crate) fn send_after_in(&mut self, term: Term, to: NodeId, body: Body) {
        self.outbox.after.push(Message { from: self.id(), to, term, body });
    }

    /// Last entry that may be applied.
    pub(crate) fn appliable(&self) -> LogIndex {
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::AckBeforeCommit) && self.leader == Some(self.id()) {
            return self.log.last_index();
        }
        self.commit.max(self.handed)
    }

    fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit }
    }

    /// What of the hard state reaches the disk: all of it.
    fn durable_part(&self, hard_state: HardState) -> HardState {
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::TermNotPersisted) {
            return HardState { term: self.log.last_term(), ..hard_state };
        }
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::VoteNotPersisted) {
            return HardState::default();
        }
        hard_state
    }

    fn soft_state(&self, role: Role) -> SoftState {
        SoftState { role, term: self.term, leader: self.leader }
    }

    pub(crate) fn has_output(&self, role: Role) -> bool {
        let Outbox { messages, after, reads, install } = &self.outbox;
        !messages.is_empty()
            || !after.is_empty()
            || !reads.is_empty()
            || install.is_some()
            || self.log.last_index() > self.disk.written
            || self.hard_state() != self.disk.hard_state
            || self.appliable() > self.handed
            || self.soft_state(role) != self.told
    }

    /// Gives out everything that waits.
    pub(crate) fn take_ready(&mut self, role: Role) -> Ready {
        let write = self.take_write();
        let appliable = self.appliable();
        let committed = self.take_committed(appliable);
        let soft_state = self.soft_state(role);
        let told = std::mem::replace(&mut self.told, soft_state);
        let Outbox { messages, after, reads, install: _ } = std::mem::take(&mut self.outbox);
        Ready {
            messages,
            committed,
            reads,
            soft_state: (soft_state != told).then_some(soft_state),
            write,
            after,
            mark: self.disk.mark,
        }
    }

    fn take_committed(&mut self, last: LogIndex) -> Vec<Entry> {
        #[cfg(feature = "plant")]
        if self.handed > self.log.last_index() {
            return Vec::new(); // What was given out too early was truncated since.
        }
        let committed = self.log.range(self.handed, last).cloned().collect();
        self.handed = last;
        committed
    }

    fn take_write(&mut self) -> Write {
        let last = self.log.last_index();
        let hard_state = self.hard_state();
        let install = self.outbox.install.take();
        let entries: Vec<Entry> = self.log.range(self.disk.written, last).cloned().collect();
        let before = self.disk.hard_state;
        let voted = (hard_state.term, hard_state.vote) != (before.term, before.vote);
        let must_sync = install.is_some() || !entries.is_empty() || voted;
        if must_sync || hard_state != before {
            self.disk.mark = Mark(self.disk.mark.0 + 1);
            self.disk.unsaved.push_back(Unsaved {
                mark: self.disk.mark,
                covers: last,
                vote: (self.term, self.vote),
            });
        }
        self.disk.written = last;
        self.disk.hard_state = hard_state;
        let hard_state = (hard_state != before).then(|| self.durable_part(hard_state));
        #[cfg(feature = "plant")]
        let entries = if self.config.plants(Mutation::EntriesNotPersisted) && entries.len() > 1 {
            entries[..entries.len() - 1].to_vec()
        } else {
            entries
        };
        Write { install, entries, hard_state, must_sync }
    }
}

impl Rename for Node {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.config.id.rename(name);
        self.vote.rename(name);
        self.leader.rename(name);
        self.log.entries_mut().for_each(|entry| entry.rename(name));
        self.snapshot.rename(name);
        self.memberships.rename(name);
        self.told.leader.rename(name);
        let Outbox { messages, after, reads: _, install } = &mut self.outbox;
        messages.rename(name);
        after.rename(name);
        install.rename(name);
        let disk = &mut self.disk;
        disk.hard_state.rename(name);
        disk.durable_vote.1.rename(name);
        disk.unsaved.iter_mut().for_each(|turn| turn.vote.1.rename(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(disk: &mut Disk, last: u64) -> Mark {
        disk.mark = Mark(disk.mark.0 + 1);
        let (mark, covers) = (disk.mark, LogIndex(last));
        disk.unsaved.push_back(Unsaved { mark, covers, vote: (Term(1), None) });
        disk.written = covers;
        mark
    }

    /// Entry 8 of term 5 is written, replaced by one of term 6, then by that of term 5 again: only the third
    /// write makes it durable, since after the second the disk holds the other.
    #[test]
    fn a_write_does_not_count_for_what_was_rewritten_after_it() {
        let mut disk = Disk::new(HardState::default(), LogIndex(7));
        let of_term_5 = turn(&mut disk, 8);
        disk.truncated(LogIndex(7));
        let of_term_6 = turn(&mut disk, 8);
        disk.truncated(LogIndex(7));
        let of_term_5_again = turn(&mut disk, 8);
        for (mark, persisted) in [(of_term_5, 7), (of_term_6, 7), (of_term_5_again, 8)] {
            assert_eq!(disk.persisted_up_to(mark), Ok(true));
            assert_eq!(disk.persisted_up_to(mark), Ok(false), "once");
            assert_eq!(disk.persisted(), LogIndex(persisted), "after {mark:?}");
        }
    }

    #[test]
    fn nothing_of_a_replaced_log_is_durable_before_the_image_is() {
        let mut disk = Disk::new(HardState::default(), LogIndex(7));
        let before = turn(&mut disk, 9);
        disk.replaced(LogIndex(20));
        let install = turn(&mut disk, 20);
        assert_eq!(disk.persisted_up_to(before), Ok(true));
        assert_eq!(disk.persisted(), LogIndex::ZERO);
        assert_eq!(disk.persisted_up_to(install), Ok(true));
        assert_eq!(disk.persisted(), LogIndex(20));
        assert_eq!(disk.persisted_up_to(Mark(9)), Err(StepError::UnknownMark));
    }
}
