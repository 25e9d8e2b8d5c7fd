//! What must hold over a whole cluster and its history. Names and definitions: Raft paper, figure 3.

use super::world::{App, Server};
use raft::{Entry, LogIndex, Message, NodeId, Payload, Raft, ReadId, Role, Term};
use std::collections::BTreeMap;

/// What an omniscient observer remembers.
#[derive(Default)]
pub struct Ghost {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// The entry before each entry that ever stood in a log, and its payload.
    entries: BTreeMap<(LogIndex, Term), (Term, Payload)>,
    /// Every entry that any node ever knew to be committed, and the term of that node then.
    committed: Vec<(Entry, Term)>,
    /// The state after each entry.
    states: BTreeMap<LogIndex, App>,
    /// For each read that was asked for, what was committed anywhere at that time.
    reads: BTreeMap<ReadId, LogIndex>,
    pub reads_served: u64,
    /// How often things happened that a driver must bring about to be worth anything.
    pub seen: BTreeMap<&'static str, u64>,
}

impl Ghost {
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    pub fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub fn read_asked(&mut self, id: ReadId) {
        let committed = self.committed();
        self.reads.insert(id, committed);
    }

    /// Linearizability of reads: what was committed before a read was asked for is seen by it.
    pub fn read_decided(&mut self, id: ReadId, index: Option<LogIndex>) {
        let asked_at = self.reads.remove(&id).unwrap_or_else(|| panic!("{id:?} was answered twice"));
        if let Some(index) = index {
            self.reads_served += 1;
            self.saw("a read is served");
            assert!(
                index >= asked_at,
                "stale read: {id:?} is served at {index}, but {asked_at} was committed when it was asked for"
            );
        }
    }

    /// One vote a term, also across crashes.
    pub fn sent(&mut self, message: &Message) {
        match message.body {
            raft::Body::InstallSnapshot { .. } => self.saw("an image is sent"),
            raft::Body::TimeoutNow => self.saw("leadership is handed over"),
            raft::Body::AppendRejected { .. } => self.saw("an append is rejected"),
            _ => {}
        }
        if let raft::Body::VoteReply { granted: true } = message.body {
            let candidate = *self.votes.entry((message.from, message.term)).or_insert(message.to);
            let (voter, term) = (message.from, message.term);
            assert_eq!(candidate, message.to, "two votes: {voter} in term {term}");
        }
    }

    /// Log Matching: entries of the same index and term are equal, and so are all before them.
    pub fn written(&mut self, raft: &Raft, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let before = LogIndex(first.index.0 - 1);
        let mut prev = raft.log().term_at(before).expect("the log holds what it writes");
        for entry in entries {
            let seen = self
                .entries
                .entry((entry.index, entry.term))
                .or_insert_with(|| (prev, entry.payload.clone()));
            assert!(
                *seen == (prev, entry.payload.clone()),
                "log matching: {} has {entry:?} after term {prev}, elsewhere that is {seen:?}",
                raft.id()
            );
            prev = entry.term;
        }
    }

    /// Election Safety, Leader Completeness, State Machine Safety, after a step of one node.
    pub fn stepped(&mut self, raft: &Raft, commit_before: LogIndex, servers: &BTreeMap<NodeId, Server>) {
        self.check_commit(raft, commit_before, servers);
        if raft.role() == Role::Leader {
            self.check_leader(raft);
        }
    }

    fn check_leader(&mut self, raft: &Raft) {
        let (id, term) = (raft.id(), raft.term());
        let known = self.leaders.get(&term).copied();
        if let Some(known) = known {
            assert_eq!(known, id, "election safety: two leaders of term {term}");
            return;
        }
        self.leaders.insert(term, id);
        self.saw("an election is won");
        for (entry, committed_in) in &self.committed {
            // What was committed in this term or later says nothing about this election.
            if *committed_in < term && entry.index > raft.log().base_index() {
                let held = raft.log().term_at(entry.index);
                assert!(
                    held == Some(entry.term),
                    "leader completeness: {id} leads term {term} with {held:?} at {}, where term {} was \
                     committed in term {committed_in}",
                    entry.index,
                    entry.term
                );
            }
        }
    }

    fn check_commit(&mut self, raft: &Raft, before: LogIndex, servers: &BTreeMap<NodeId, Server>) {
        let (id, commit) = (raft.id(), raft.commit());
        if commit == before {
            return;
        }
        for index in before.0 + 1..=commit.0 {
            let index = LogIndex(index);
            // What an image brought was compared when the image was made.
            let Some(entry) = raft.log().get(index) else { continue };
            match self.committed.get(index.0 as usize - 1) {
                Some((known, _)) => assert!(
                    known == entry,
                    "state machine safety: {id} commits {entry:?}, elsewhere that is {known:?}"
                ),
                None => {
                    assert_eq!(index, self.committed().next(), "{id} commits out of order");
                    self.committed.push((entry.clone(), raft.term()));
                }
            }
        }
        if raft.role() == Role::Leader {
            check_durable_on_majority(raft, servers);
            self.saw("a leader commits");
            if raft.membership().is_joint() {
                self.saw("a leader commits during a change of membership");
            }
            if !raft.membership().is_voter(id) {
                self.saw("a leader commits that is being removed");
            }
        }
    }

    /// Every node is in the same state after the same entry, whether it applied all entries or began from an
    /// image; that goes for the membership too.
    pub fn reached(&mut self, id: NodeId, app: &App) {
        let known = self.states.entry(app.applied).or_insert_with(|| app.clone());
        assert!(known == app, "state machine safety: {id} reached {app:?}, elsewhere that is {known:?}");
    }

    /// State Machine Safety, where it matters: what is applied is what was committed.
    pub fn applied(&mut self, id: NodeId, entry: &Entry) {
        let known = self.committed.get(entry.index.0 as usize - 1).map(|(known, _)| known);
        assert!(known == Some(entry), "state machine safety: {id} applies {entry:?}, committed is {known:?}");
    }
}

/// What a leader commits is on the disks of the majorities that its membership asks for.
fn check_durable_on_majority(raft: &Raft, servers: &BTreeMap<NodeId, Server>) {
    let commit = raft.commit();
    let term = raft.log().term_at(commit);
    let holds = |id: &NodeId| {
        let Some(server) = servers.get(id) else { return false };
        let durable = &server.disk.durable;
        let in_image = durable.snapshot.as_ref().is_some_and(|meta| meta.index >= commit);
        in_image
            || durable
                .entries
                .iter()
                .rev()
                .take_while(|entry| entry.index >= commit)
                .any(|entry| entry.index == commit && Some(entry.term) == term)
    };
    let membership = raft.membership();
    for voters in [&membership.voters, &membership.outgoing] {
        let holders = voters.iter().filter(|id| holds(id)).count();
        assert!(
            voters.is_empty() || holders > voters.len() / 2,
            "{} commits {commit} of term {term:?}, which is durable on {holders} of {voters:?}",
            raft.id()
        );
    }
}
