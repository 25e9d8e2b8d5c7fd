//! What an all-seeing observer remembers, to judge what no single node can.

use raft::{Entry, LogIndex, NodeId, Payload, Term};
use stateright::semantics::{
    ConsistencyTester, LinearizabilityTester,
    register::{Register, RegisterOp, RegisterRet},
};

/// An entry that was given out for applying, and the smallest term of a node that gave it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Committed {
    pub(super) entry: Entry,
    pub(super) in_term: Term,
}

/// A client's write that waits for its entry to be applied where it was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Put {
    pub(super) client: u8,
    pub(super) node: NodeId,
    pub(super) index: LogIndex,
    pub(super) term: Term,
}

/// A client's read that waits to be decided, then to be served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) client: u8,
    pub(super) node: NodeId,
    pub(super) index: Option<LogIndex>,
}

/// The observer's memory.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Ghosts {
    /// Leader of each term that had one; index 0 is term 1.
    pub(super) leaders: Vec<Option<NodeId>>,
    /// Entries given out for applying; index 0 is log index 1.
    pub(super) committed: Vec<Committed>,
    pub(super) puts: Vec<Put>,
    pub(super) reads: Vec<Read>,
    /// What clients asked and were answered.
    pub(super) clients: LinearizabilityTester<u8, Register<u8>>,
    /// An image was installed.
    pub(super) installed: bool,
    /// A read was answered by the leader of a term after the first that had one.
    pub(super) read_by_new_leader: bool,
}

impl Ghosts {
    pub(super) fn new() -> Ghosts {
        Ghosts {
            leaders: Vec::new(),
            committed: Vec::new(),
            puts: Vec::new(),
            reads: Vec::new(),
            clients: LinearizabilityTester::new(Register(0)),
            installed: false,
            read_by_new_leader: false,
        }
    }

    /// Takes note of a leader. Returns false when its term has another.
    pub(super) fn saw_leader(&mut self, term: Term, id: NodeId) -> bool {
        let at = usize::try_from(term.0).expect("few terms") - 1;
        if self.leaders.len() <= at {
            self.leaders.resize(at + 1, None);
        }
        *self.leaders[at].get_or_insert(id) == id
    }

    /// Takes note of an entry given out in `term`. Returns false when it contradicts what was.
    pub(super) fn saw_committed(&mut self, entry: &Entry, term: Term) -> bool {
        let at = usize::try_from(entry.index.0).expect("short logs") - 1;
        let held = self.committed.len();
        match self.committed.get_mut(at) {
            Some(known) => {
                known.in_term = known.in_term.min(term);
                known.entry == *entry
            }
            None => {
                self.committed.push(Committed { entry: entry.clone(), in_term: term });
                held == at
            }
        }
    }

    /// The register after applying everything up to `index`.
    pub(super) fn value_at(&self, index: LogIndex) -> Option<u8> {
        let until = usize::try_from(index.0).expect("short logs").min(self.committed.len());
        self.committed[..until].iter().rev().find_map(|known| command_value(&known.entry))
    }

    pub(super) fn invoke_put(&mut self, client: u8, value: u8) {
        self.clients.on_invoke(client, RegisterOp::Write(value)).expect("each client acts once");
    }

    pub(super) fn invoke_read(&mut self, client: u8) {
        self.clients.on_invoke(client, RegisterOp::Read).expect("each client acts once");
    }

    /// Answers the writes that wait for `entry` at `node`, and forgets those that lost their place to it.
    pub(super) fn applied_at(&mut self, node: NodeId, entry: &Entry) {
        let clients = &mut self.clients;
        self.puts.retain(|put| {
            if put.node != node || put.index != entry.index {
                return true;
            }
            if put.term == entry.term {
                clients.on_return(put.client, RegisterRet::WriteOk).expect("it was invoked");
            }
            false
        });
    }

    /// Answers the reads at `node` whose index is applied. Returns how many.
    pub(super) fn serve_reads(&mut self, node: NodeId, applied: LogIndex, value: Option<u8>) -> usize {
        let clients = &mut self.clients;
        let before = self.reads.len();
        self.reads.retain(|read| {
            let due = read.node == node && read.index.is_some_and(|index| index <= applied);
            if due {
                let answer = RegisterRet::ReadOk(value.unwrap_or(0));
                clients.on_return(read.client, answer).expect("it was invoked");
            }
            !due
        });
        before - self.reads.len()
    }

    /// Whoever waited at a node that crashed never gets an answer.
    pub(super) fn crashed(&mut self, node: NodeId) {
        self.puts.retain(|put| put.node != node);
        self.reads.retain(|read| read.node != node);
    }
}

/// What a command writes.
pub(super) fn command_value(entry: &Entry) -> Option<u8> {
    match &entry.payload {
        Payload::Command(bytes) => bytes.first().copied(),
        Payload::Empty | Payload::Membership { .. } => None,
    }
}
