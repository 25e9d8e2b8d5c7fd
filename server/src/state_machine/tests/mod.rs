//! Tests of the state machine.

mod images;
mod replicas;
mod speed;

use super::{Outcome, StateMachine};
use crate::{
    cluster::{Member, Roster},
    mvcc::tests::random::{LEASE, Step},
    proto::{
        etcdserverpb::CompactionRequest,
        internal::{Command, MemberAttributes, command::Request},
    },
};
use raft::types::{LogIndex, NodeId};

/// A state that knows the one lease that random requests use, and two members.
fn state() -> StateMachine {
    let member = |name: &str| Member { name: name.into(), ..Member::default() };
    let members = [(NodeId(1), member("one")), (NodeId(2), member("two"))].into();
    let mut state = StateMachine::of_new_cluster(Roster { members, ..Roster::default() });
    state.leases.grant(LEASE, 60).expect("a new lease");
    state
}

fn command(request: Request) -> Command {
    Command { origin: 1, epoch: 2, number: 3, request: Some(request), ..Command::default() }
}

fn attributes(member_id: u64, name: &str) -> Command {
    let client_urls = vec![format!("http://{name}:2379")];
    command(Request::MemberAttributes(MemberAttributes { member_id, name: name.into(), client_urls }))
}

fn compaction(revision: i64) -> Command {
    command(Request::Compaction(CompactionRequest { revision, physical: false }))
}

/// The command that a step stands for; reads and scrubs are none.
fn to_command(state: &StateMachine, step: &Step) -> Option<Command> {
    match step {
        Step::Put(request) => Some(command(Request::Put(request.clone()))),
        Step::Delete(request) => Some(command(Request::DeleteRange(request.clone()))),
        Step::Txn(request) => Some(command(Request::Txn(request.clone()))),
        Step::Compact(below) => Some(compaction(state.kv().revision() - below)),
        Step::Range(_) | Step::Scrub(_) => None,
    }
}

fn apply(state: &mut StateMachine, command: &Command) -> Outcome {
    state.apply(LogIndex(state.applied().0 + 1), command)
}

/// Takes a step, as a node would.
fn advance(state: &mut StateMachine, step: &Step) {
    if let Some(command) = to_command(state, step) {
        // A refusal is an outcome like any other.
        let _ = apply(state, &command);
    } else if let Step::Scrub(budget) = step {
        state.scrub(*budget);
    }
}

/// A whole image, in chunks of about this size.
fn chunks(state: &StateMachine, max_bytes: usize) -> Vec<Vec<u8>> {
    let mut image = state.begin_image();
    let chunks = std::iter::from_fn(|| state.image_chunk(&mut image, max_bytes)).collect();
    state.end_image(image);
    chunks
}
