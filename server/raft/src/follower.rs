//! What a leader's messages do to its followers.

#[cfg(feature = "plant")]
use crate::mutation::Mutation;
use crate::{
    input::StepError,
    message::Body,
    node::Node,
    types::{Entry, LogIndex, NodeId, SnapshotMeta, Term},
};

/// The fields of [`Body::Append`].
pub(crate) struct Append {
    pub(crate) from: NodeId,
    pub(crate) prev_index: LogIndex,
    pub(crate) prev_term: Term,
    pub(crate) entries: Vec<Entry>,
    pub(crate) commit: LogIndex,
}

impl Node {
    /// Raft paper, section 5.3 and figure 2.
    pub(crate) fn on_append(&mut self, mut request: Append) {
        self.skip_committed(&mut request);
        let Append { from, prev_index, prev_term, entries, commit } = request;
        if !self.agrees_at(prev_index, prev_term) {
            return self.reject(from, prev_index, prev_term);
        }
        // Not this node's last index: what follows may be left from another leader.
        let matched = LogIndex(prev_index.0 + entries.len() as u64);
        #[cfg(feature = "plant")]
        if self.plant_drops_append(matched, entries.len()) {
            return self.send_after(from, Body::Appended { matched });
        }
        self.append_new(entries);
        let committed = commit.min(matched).max(self.commit);
        #[cfg(feature = "plant")]
        let committed = if self.config.plants(Mutation::CommitNotClamped) {
            commit.min(self.log.last_index()).max(self.commit)
        } else {
            committed
        };
        self.commit_to(committed);
        #[cfg(feature = "plant")]
        let matched = if self.config.plants(Mutation::AckWholeLog) { self.log.last_index() } else { matched };
        self.send_after(from, Body::Appended { matched });
    }

    fn agrees_at(&self, index: LogIndex, term: Term) -> bool {
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::PrevTermUnchecked) {
            return index <= self.log.last_index();
        }
        self.log.term_at(index) == Some(term)
    }

    /// Committed entries agree with those of every leader (Raft paper, section 5.4.3), so a request that is
    /// late, or a repetition, is as good as one that begins after them. Their terms may be out of memory.
    fn skip_committed(&self, request: &mut Append) {
        if request.prev_index >= self.commit {
            return;
        }
        let known = request.entries.len().min((self.commit.0 - request.prev_index.0) as usize);
        if let Some(entry) = request.entries[..known].last()
            && let Some(term) = self.log.term_at(entry.index)
        {
            let (index, theirs) = (entry.index, entry.term);
            assert!(
                theirs == term,
                "entry {index} of term {term} is committed, but the leader has term {theirs}"
            );
        }
        request.entries.drain(..known);
        request.prev_index = self.commit;
        request.prev_term = self.log.term_at(self.commit).expect("the log holds its commit index");
    }

    /// Appends what is not there yet. Only an entry that contradicts the leader's is reason to truncate: a
    /// request may have been overtaken by one that brought more.
    fn append_new(&mut self, entries: Vec<Entry>) {
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::TruncatesAlways)
            && let Some(first) = entries.first()
            && first.index <= self.log.last_index()
        {
            self.truncate(first.index);
        }
        let known = entries.iter().take_while(|entry| self.log.term_at(entry.index) == Some(entry.term));
        let known = known.count();
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::ConflictKept)
            && entries.get(known).is_some_and(|first| first.index <= self.log.last_index())
        {
            return;
        }
        if let Some(first) = entries.get(known)
            && first.index <= self.log.last_index()
        {
            self.truncate(first.index);
        }
        for entry in entries.into_iter().skip(known) {
            self.append(entry);
        }
    }

    /// The hint lets the leader skip a whole term at once: nothing of a newer term than `prev_term` in this
    /// log can be in the leader's at or before `prev_index`. Raft paper, section 5.3.
    fn reject(&mut self, from: NodeId, prev_index: LogIndex, prev_term: Term) {
        let hint_index = self.log.last_at_most(prev_index.min(self.log.last_index()), prev_term);
        #[cfg(feature = "plant")]
        let hint_index =
            if self.config.plants(Mutation::AckWholeLog) { self.commit.min(hint_index) } else { hint_index };
        let hint_term = self.log.term_at(hint_index).unwrap_or(Term::ZERO);
        self.send(from, Body::AppendRejected { prev_index, hint_index, hint_term });
    }

    /// The leader names no commit index here that this node did not acknowledge to it.
    pub(crate) fn on_heartbeat(
        &mut self,
        from: NodeId,
        commit: LogIndex,
        round: u64,
    ) -> Result<(), StepError> {
        self.send(from, Body::HeartbeatReply { round });
        let last = self.log.last_index();
        if commit > last {
            return Err(StepError::LogLost { commit, last });
        }
        self.commit_to(commit.max(self.commit));
        Ok(())
    }

    /// Raft paper, figure 13, but for the chunks: the image was delivered before this message.
    pub(crate) fn on_install(&mut self, from: NodeId, meta: SnapshotMeta) {
        let index = meta.index;
        if index <= self.commit {
            self.send_after(from, Body::Appended { matched: self.commit });
            return;
        }
        if self.log.term_at(index) == Some(meta.term) {
            self.commit_to(index);
        } else {
            self.install(meta);
        }
        #[cfg(feature = "plant")]
        if self.config.plants(Mutation::ImageAckBeforeDurable) {
            return self.send(from, Body::Appended { matched: index });
        }
        self.send_after(from, Body::Appended { matched: index });
    }

    /// Acknowledges without appending, about every eighth entry.
    #[cfg(feature = "plant")]
    fn plant_drops_append(&mut self, matched: LogIndex, count: usize) -> bool {
        let drops = self.config.plants(Mutation::AckWithoutAppend)
            && count > 0
            && matched.0 >= self.planted.dropped.0 + 8
            && matched > self.log.last_index();
        if drops {
            self.planted.dropped = matched;
        }
        drops
    }
}
