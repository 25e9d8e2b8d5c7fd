//! What an all-seeing observer remembers, to judge what no single node can.

use super::{Broken, local, local::Node};
use raft::{Entry, LogIndex, NodeId, Payload, Rename, Role, Term};
use stateright::semantics::{
    ConsistencyTester, LinearizabilityTester,
    register::{Register, RegisterOp, RegisterRet},
};

/// What of an act concerns the observer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// The node leads this term.
    Leads(Term),
    /// An entry was given out for applying, by a node in `term`.
    Applied { entry: Entry, term: Term },
    /// An image replaced a node's state.
    Installed,
    /// A client asked for a write.
    AskedPut { client: u8, value: u8 },
    /// A client asked for a read.
    AskedRead { client: u8 },
    /// A write was answered.
    PutDone { client: u8 },
    /// A read was answered from a state that held everything up to `applied`, by a node in `term`.
    ReadDone { client: u8, applied: LogIndex, term: Term },
    /// The node itself shows a broken promise.
    Broke(Broken),
}

/// An entry that was given out for applying, and the smallest term of a node that gave it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Committed {
    entry: Entry,
    in_term: Term,
}

/// What shows that a model is not empty, as bits.
pub(super) mod mark {
    pub(in crate::models::raft) const LED: u8 = 1;
    pub(in crate::models::raft) const PUT_ANSWERED: u8 = 2;
    pub(in crate::models::raft) const OLD_ENTRY_COMMITTED: u8 = 4;
    pub(in crate::models::raft) const READ_BY_NEW_LEADER: u8 = 8;
    pub(in crate::models::raft) const INSTALLED: u8 = 16;
}

/// The observer's memory: no more than what may still matter, so that states are equal which go on alike.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Ghosts {
    /// The first term that had a leader.
    first_led: Option<Term>,
    /// Leader of each term that had one; index 0 is term 1.
    leaders: Vec<Option<NodeId>>,
    /// Entries given out for applying; index 0 is log index 1.
    committed: Vec<Committed>,
    /// What clients asked and were answered, and how many reads are still to be. After the last of them nothing can
    /// be wrong any more: a write is answered with no more than that it is done.
    clients: Option<(LinearizabilityTester<u8, Register<u8>>, u8)>,
}

impl Rename for Ghosts {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.leaders.iter_mut().for_each(|leader| leader.rename(name));
        self.committed.iter_mut().for_each(|known| known.entry.rename(name));
    }
}

impl Ghosts {
    /// Of a world in which clients ask for so many reads at most.
    pub(super) fn new(reads: u8) -> Ghosts {
        let clients = (reads > 0).then(|| (LinearizabilityTester::new(Register(0)), reads));
        Ghosts { first_led: None, leaders: Vec::new(), committed: Vec::new(), clients }
    }

    /// Forgets what no longer matters when every node's term, in memory and on disk, is `low` or later: nobody can
    /// lead an earlier one, and whatever was committed before it every leader must have.
    pub(super) fn forget(&mut self, low: Term) {
        let past = usize::try_from(low.0).expect("few terms").saturating_sub(1).min(self.leaders.len());
        self.leaders[..past].fill(None);
        for known in self.committed.iter_mut().filter(|known| known.in_term < low) {
            known.in_term = Term(0);
        }
    }

    /// Takes note of what an act at `id` did. Gives what it showed ([`mark`]), and what it broke.
    pub(super) fn absorb(&mut self, id: NodeId, effects: &[Effect]) -> (u8, Option<Broken>) {
        let (mut marks, mut broken, mut asked) = (0, None, false);
        for effect in effects {
            let (mark, fault) = match effect {
                Effect::Leads(term) => (mark::LED, self.leads(*term, id)),
                Effect::Applied { entry, term } => self.applied(entry, *term),
                Effect::Installed => (mark::INSTALLED, None),
                Effect::AskedPut { client, value } => self.invoke(*client, RegisterOp::Write(*value)),
                Effect::AskedRead { client } => self.invoke(*client, RegisterOp::Read),
                Effect::PutDone { client } => {
                    asked = true;
                    self.returned(*client, RegisterRet::WriteOk, 0);
                    (mark::PUT_ANSWERED, None)
                }
                Effect::ReadDone { client, applied, term } => {
                    asked = true;
                    let held = self.committed.iter().map(|known| &known.entry);
                    let count = usize::try_from(applied.0).expect("short logs").min(held.len());
                    let value = local::value_of(self.committed[..count].iter().map(|known| &known.entry));
                    self.returned(*client, RegisterRet::ReadOk(value), 1);
                    (
                        if self.first_led.is_none_or(|first| *term > first) {
                            mark::READ_BY_NEW_LEADER
                        } else {
                            0
                        },
                        None,
                    )
                }
                Effect::Broke(fault) => (0, Some(fault.clone())),
            };
            marks |= mark;
            broken = broken.or(fault);
        }
        if let Some((clients, reads_left)) = &self.clients
            && asked
        {
            if !clients.is_consistent() {
                broken = broken.or(Some(Broken::Linearizability));
            } else if *reads_left == 0 {
                self.clients = None;
            }
        }
        (marks, broken)
    }

    fn leads(&mut self, term: Term, id: NodeId) -> Option<Broken> {
        self.first_led.get_or_insert(term);
        let at = usize::try_from(term.0).expect("few terms") - 1;
        if self.leaders.len() <= at {
            self.leaders.resize(at + 1, None);
        }
        (*self.leaders[at].get_or_insert(id) != id).then_some(Broken::ElectionSafety)
    }

    fn applied(&mut self, entry: &Entry, term: Term) -> (u8, Option<Broken>) {
        let at = usize::try_from(entry.index.0).expect("short logs") - 1;
        let held = self.committed.len();
        let agrees = match self.committed.get_mut(at) {
            Some(known) => {
                known.in_term = known.in_term.min(term);
                known.entry == *entry
            }
            None => {
                self.committed.push(Committed { entry: entry.clone(), in_term: term });
                held == at
            }
        };
        let mark = if term > entry.term { mark::OLD_ENTRY_COMMITTED } else { 0 };
        (mark, (!agrees).then_some(Broken::StateMachineSafety))
    }

    fn invoke(&mut self, client: u8, op: RegisterOp<u8>) -> (u8, Option<Broken>) {
        if let Some((clients, _)) = &mut self.clients {
            clients.on_invoke(client, op).expect("each client acts once");
        }
        (0, None)
    }

    /// An operation is answered, which is so many of the reads.
    fn returned(&mut self, client: u8, answer: RegisterRet<u8>, reads: u8) {
        if let Some((clients, reads_left)) = &mut self.clients {
            clients.on_return(client, answer).expect("it was invoked");
            *reads_left = reads_left.saturating_sub(reads);
        }
    }

    /// Whether a leader lacks an entry that was committed in an earlier term. Raft paper, section 5.4.
    pub(super) fn contradicts(&self, node: &Node) -> bool {
        let raft = &node.raft;
        raft.role() == Role::Leader
            && self.committed.iter().any(|known| {
                known.in_term < raft.term()
                    && known.entry.index > raft.log().base_index()
                    && raft.log().term_at(known.entry.index) != Some(known.entry.term)
            })
    }
}

/// What a command writes.
pub(super) fn command_value(entry: &Entry) -> Option<u8> {
    match &entry.payload {
        Payload::Command(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Payload::Empty | Payload::Membership { .. } => None,
    }
}
