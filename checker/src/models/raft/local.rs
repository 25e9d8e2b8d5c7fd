//! One member, and what an act does to it. Everything here depends on this member alone, so what an act does
//! to a member's state need be computed only once, however many states of the world share it.

use super::{
    Broken,
    action::Act,
    bounds::Bounds,
    ghosts::{Effect, command_value},
};
use bytes::Bytes;
use raft::{
    Body, Config, Durable, Input, LogIndex, Membership, Message, NodeId, Raft, ReadId, Ready, Rename, Role,
    StartError, StepError, Term, Write,
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A client's write that waits for its entry to be applied where it was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Put {
    client: u8,
    index: LogIndex,
    term: Term,
}

/// A client's read that waits to be decided, then to be served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read {
    client: u8,
    index: Option<LogIndex>,
}

/// A member: the core, its disk, what it has applied, who waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) raft: Raft,
    /// What the disk holds.
    pub(super) durable: Durable,
    /// Turns that wait for the disk, oldest first.
    pub(super) unsaved: VecDeque<Ready>,
    /// Applied up to here; starts from the image after a crash.
    pub(super) applied: LogIndex,
    puts: Vec<Put>,
    reads: Vec<Read>,
}

impl Rename for Node {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.raft.rename(name);
        self.durable.hard_state.rename(name);
        self.durable.snapshot.rename(name);
        self.durable.entries.rename(name);
        self.unsaved.iter_mut().for_each(|ready| ready.rename(name));
    }
}

/// What an act did.
pub(super) struct Outcome {
    pub(super) node: Node,
    pub(super) sent: Vec<Message>,
    pub(super) effects: Vec<Effect>,
}

impl Node {
    pub(super) fn new(id: NodeId, bounds: &Bounds) -> Node {
        let membership = Membership::of_voters((1..=bounds.nodes).map(NodeId));
        let durable = Durable::bootstrap(membership);
        let raft = start(id, &durable, bounds).expect("a bootstrap image is a valid start");
        Node {
            raft,
            durable,
            unsaved: VecDeque::new(),
            applied: LogIndex::ZERO,
            puts: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// The earliest term that it may still be in.
    pub(super) fn low(&self) -> Term {
        self.raft.term().min(self.durable.hard_state.term)
    }

    /// What the act does, `None` where it is refused. `slow`: writes wait for [`Act::Persist`].
    pub(super) fn act(&self, act: &Act, bounds: &Bounds, slow: bool) -> Option<Outcome> {
        let node = self.clone();
        let led = (self.raft.role() == Role::Leader).then_some(self.raft.term());
        let mut turn = Turn { node, bounds, slow, led, sent: Vec::new(), effects: Vec::new() };
        // A broken invariant of the core is a panic there and a finding here.
        match catch_unwind(AssertUnwindSafe(|| turn.take(act))) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(panic) => turn.effects.push(Effect::Broke(Broken::Invariant(panic_text(panic.as_ref())))),
        }
        let Turn { node, sent, effects, .. } = turn;
        Some(Outcome { node, sent, effects })
    }

    /// What the disk does with a turn's write.
    fn write(&mut self, write: &Write) {
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
    fn keep_image(&mut self) {
        self.durable.snapshot = Some(self.raft.snapshot().clone());
        let first = self.raft.first_index();
        self.durable.entries.retain(|entry| entry.index >= first);
    }
}

fn start(id: NodeId, durable: &Durable, bounds: &Bounds) -> Result<Raft, StartError> {
    let mut config = Config::new(id, 0);
    config.pre_vote = bounds.pre_vote;
    config.check_quorum = false;
    if !bounds.batches {
        config.max_append_bytes = 1;
    }
    #[cfg(feature = "plant")]
    {
        config.mutation = bounds.mutation;
    }
    let mut raft = Raft::new(config, durable.clone())?;
    raft.canonicalise();
    Ok(raft)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string())).unwrap_or_default()
}

/// One act in the making.
struct Turn<'a> {
    node: Node,
    bounds: &'a Bounds,
    slow: bool,
    /// The term that the node is known to lead.
    led: Option<Term>,
    sent: Vec<Message>,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    /// Returns whether the act was possible.
    fn take(&mut self, act: &Act) -> bool {
        match act {
            Act::Campaign => self.step(Input::Campaign),
            Act::Receive(message) => {
                let taken = self.step(Input::Receive(message.clone()));
                self.judge_answers(message);
                taken
            }
            Act::Persist => self.persist(),
            Act::Reboot => self.reboot(),
            Act::Put { client, value } => self.put(*client, *value),
            Act::Read { client } => self.read(*client),
            Act::Snapshot => {
                let taken = self.step(Input::SnapshotTaken { index: self.node.applied, keep: 0 });
                self.node.keep_image();
                taken
            }
            Act::Reconfigure(change) => {
                let change = change.change();
                self.step(Input::ProposeMembership { change, context: Bytes::new() })
            }
            Act::Transfer(to) => self.step(Input::Transfer(*to)),
            Act::Beat => self.step(Input::Tick),
        }
    }

    /// Rounds of reads begin anew in each term, so an answer in another term than the question's names none.
    fn judge_answers(&mut self, message: &Message) {
        let Body::Heartbeat { .. } = message.body else { return };
        let confirms = |sent: &Message| {
            sent.term != message.term && matches!(sent.body, Body::HeartbeatReply { round } if round > 0)
        };
        if self.sent.iter().any(confirms) {
            self.effects.push(Effect::Broke(Broken::RoundOfAnotherTerm));
        }
    }

    /// The turns after it that need not reach the disk do not wait.
    fn persist(&mut self) -> bool {
        let Some(ready) = self.node.unsaved.pop_front() else { return false };
        self.save(ready);
        while self.node.unsaved.front().is_some_and(|ready| !ready.write().must_sync) {
            let ready = self.node.unsaved.pop_front().expect("there is one");
            self.save(ready);
        }
        self.settle();
        true
    }

    fn reboot(&mut self) -> bool {
        let node = &mut self.node;
        #[cfg(feature = "plant")]
        if self.bounds.mutation == Some(raft::Mutation::TornTailAccepted)
            && let Some(ready) = node.unsaved.front()
        {
            node.write(&raft::mutation::torn(ready.write()));
        }
        node.unsaved.clear();
        node.puts.clear();
        node.reads.clear();
        node.applied = node.durable.snapshot.as_ref().map_or(LogIndex::ZERO, |image| image.index);
        match start(node.raft.id(), &node.durable, self.bounds) {
            Ok(raft) => {
                node.raft = raft;
                self.settle();
            }
            Err(error) => self.effects.push(Effect::Broke(Broken::Restart(error.to_string()))),
        }
        true
    }

    fn put(&mut self, client: u8, value: u8) -> bool {
        let raft = &mut self.node.raft;
        if raft.step(Input::Propose(Bytes::from(value.to_string()))).is_err() {
            return false;
        }
        self.effects.push(Effect::AskedPut { client, value });
        self.node.puts.push(Put { client, index: raft.last_index(), term: raft.term() });
        self.settle();
        true
    }

    fn read(&mut self, client: u8) -> bool {
        if self.node.raft.step(Input::Read(ReadId(u64::from(client)))).is_err() {
            return false;
        }
        self.effects.push(Effect::AskedRead { client });
        self.node.reads.push(Read { client, index: None });
        self.settle();
        true
    }

    fn step(&mut self, input: Input) -> bool {
        match self.node.raft.step(input) {
            Ok(()) => {}
            Err(StepError::TwoLeaders { .. }) => self.effects.push(Effect::Broke(Broken::ElectionSafety)),
            Err(StepError::LogLost { .. }) => self.effects.push(Effect::Broke(Broken::DurableBeforeSent)),
            Err(_) => return false,
        }
        self.settle();
        true
    }

    /// Carries out all that the node has ready.
    fn settle(&mut self) {
        while self.node.raft.has_ready() {
            let mut ready = self.node.raft.ready();
            self.send(std::mem::take(&mut ready.messages));
            self.apply(&mut ready);
            ready.soft_state = None;
            let heard = !self.sent.is_empty() || !self.effects.is_empty();
            let waits = self.slow && ready.write().must_sync && (heard || self.bounds.unheard);
            match self.node.unsaved.back_mut() {
                Some(last) => {
                    if let Err(ready) = last.join(ready) {
                        self.node.unsaved.push_back(*ready);
                    }
                }
                None if waits => self.node.unsaved.push_back(ready),
                None => self.save(ready),
            }
        }
        let raft = &mut self.node.raft;
        raft.canonicalise();
        if raft.role() == Role::Leader && self.led != Some(raft.term()) {
            self.effects.push(Effect::Leads(raft.term()));
        }
    }

    fn save(&mut self, ready: Ready) {
        struct Done;
        impl raft::Storage for Done {
            type Error = std::convert::Infallible;
            fn save(&mut self, _: &raft::Write) -> Result<(), Self::Error> {
                Ok(())
            }
        }
        self.node.write(ready.write());
        let Ok(saved) = ready.save(&mut Done);
        self.send(saved.messages);
        self.node.raft.step(Input::Persisted(saved.mark)).expect("the mark is the node's own");
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            if !is_backed(&self.node, &message) {
                self.effects.push(Effect::Broke(Broken::DurableBeforeSent));
            }
            if let Body::InstallSnapshot { .. } = &message.body {
                let report = Input::SnapshotReport { to: message.to, ok: true };
                self.node.raft.step(report).expect("a report is always taken");
            }
            self.sent.push(message);
        }
    }

    fn apply(&mut self, ready: &mut Ready) {
        let node = &mut self.node;
        let term = node.raft.term();
        if let Some(image) = &ready.write().install {
            self.effects.push(Effect::Installed);
            node.applied = image.index;
            node.puts.retain(|put| put.index > image.index);
        }
        for entry in std::mem::take(&mut ready.committed) {
            if entry.index != node.applied.next() {
                self.effects.push(Effect::Broke(Broken::StateMachineSafety));
            }
            node.applied = entry.index;
            let waits = |put: &Put| put.index == entry.index;
            if let Some(put) = node.puts.iter().find(|put| waits(put) && put.term == entry.term) {
                self.effects.push(Effect::PutDone { client: put.client });
            }
            node.puts.retain(|put| !waits(put));
            self.effects.push(Effect::Applied { entry, term });
        }
        for decided in std::mem::take(&mut ready.reads) {
            let decides = |read: &Read| u64::from(read.client) == decided.id.0;
            match decided.index {
                None => node.reads.retain(|read| !decides(read)),
                Some(_) => node
                    .reads
                    .iter_mut()
                    .filter(|read| decides(read))
                    .for_each(|read| read.index = decided.index),
            }
        }
        let applied = node.applied;
        for read in node.reads.extract_if(.., |read| read.index.is_some_and(|index| index <= applied)) {
            self.effects.push(Effect::ReadDone { client: read.client, applied, term });
        }
    }
}

/// Whether the sender's disk holds what the message promises.
fn is_backed(node: &Node, message: &Message) -> bool {
    let disk = &node.durable;
    let newer = disk.hard_state.term > message.term;
    match &message.body {
        Body::VoteReply { granted: true } => {
            newer || (disk.hard_state.term == message.term && disk.hard_state.vote == Some(message.to))
        }
        Body::Appended { matched } => {
            let image = disk.snapshot.as_ref().map_or(LogIndex::ZERO, |image| image.index);
            let last = disk.entries.last().map_or(image, |entry| entry.index.max(image));
            // A newer term may have cut the log after this was promised in an older one.
            newer || last >= *matched
        }
        Body::VoteReply { granted: false }
        | Body::PreVote { .. }
        | Body::PreVoteReply { .. }
        | Body::Vote { .. }
        | Body::Append { .. }
        | Body::AppendRejected { .. }
        | Body::Heartbeat { .. }
        | Body::HeartbeatReply { .. }
        | Body::InstallSnapshot { .. }
        | Body::TimeoutNow => true,
    }
}

/// From the last index at which both have the same term on, everything before must be the same.
pub(super) fn logs_match(left: &Raft, right: &Raft) -> bool {
    let (left, right) = (left.log(), right.log());
    let first = left.base_index().max(right.base_index());
    let mut index = left.last_index().min(right.last_index());
    let mut agree = false;
    while index > first {
        match (left.get(index), right.get(index)) {
            (Some(a), Some(b)) if agree || a.term == b.term => {
                if a != b {
                    return false;
                }
                agree = true;
            }
            _ => {}
        }
        index = LogIndex(index.0 - 1);
    }
    true
}

/// The value that a log's commands up to `index` leave in the register.
pub(super) fn value_of<'a>(entries: impl DoubleEndedIterator<Item = &'a raft::Entry>) -> u8 {
    entries.rev().find_map(command_value).unwrap_or(0)
}
