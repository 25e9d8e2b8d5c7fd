//! The tests of the crate, in one binary.

use raft::{
    Config, Durable, Input, LogIndex, Mark, Membership, NodeId, Raft, ReadId, Ready, Role, Storage, Write,
};

/// Keeps what was written.
#[derive(Default)]
struct Memory(Durable);

impl Storage for Memory {
    type Error = std::convert::Infallible;

    fn save(&mut self, write: &Write) -> Result<(), Self::Error> {
        if let Some(first) = write.entries.first() {
            self.0.entries.retain(|entry| entry.index < first.index);
            self.0.entries.extend(write.entries.iter().cloned());
        }
        if let Some(hard_state) = write.hard_state {
            self.0.hard_state = hard_state;
        }
        Ok(())
    }
}

#[test]
fn three_nodes_elect_and_commit() {
    let ids = [1, 2, 3].map(NodeId);
    let mut nodes: Vec<(Raft, Memory)> = ids
        .iter()
        .map(|&id| {
            let durable = Durable::bootstrap(Membership::of_voters(ids));
            (Raft::new(Config::new(id, 7), durable).expect("it is valid"), Memory::default())
        })
        .collect();
    nodes[0].0.step(Input::Campaign).expect("a voter may campaign");
    run(&mut nodes);
    assert_eq!(nodes[0].0.role(), Role::Leader);
    nodes[0].0.step(Input::Propose("x".into())).expect("the leader takes proposals");
    nodes[0].0.step(Input::Read(ReadId(1))).expect("the leader takes reads");
    run(&mut nodes);
    for (raft, memory) in &nodes {
        assert_eq!(raft.commit(), LogIndex(2), "{}", raft.view());
        assert_eq!(memory.0.entries.len(), 2);
    }
}

fn run(nodes: &mut [(Raft, Memory)]) {
    let mut messages = Vec::new();
    loop {
        for (raft, memory) in nodes.iter_mut() {
            while raft.has_ready() {
                let ready: Ready = raft.ready();
                messages.extend(ready.messages.iter().cloned());
                let Ok(saved) = ready.save(memory);
                let mark: Mark = saved.mark;
                messages.extend(saved.messages);
                raft.step(Input::Persisted(mark)).expect("the mark is its own");
            }
        }
        if messages.is_empty() {
            return;
        }
        for message in std::mem::take(&mut messages) {
            let to = usize::try_from(message.to.0).expect("small") - 1;
            nodes[to].0.step(Input::Receive(message)).expect("peers are honest");
        }
    }
}
