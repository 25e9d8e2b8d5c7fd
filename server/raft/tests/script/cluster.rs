//! A cluster in which nothing happens but what it is told.

use super::format;
use crate::disk::Disk;
use raft::{Body, Config, Durable, Input, LogIndex, Membership, Message, NodeId, Raft, Ready, Role, Term};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub struct Server {
    /// `None` while crashed.
    pub raft: Option<Raft>,
    pub disk: Disk,
    config: Config,
    /// Turns that the disk has not written.
    turns: VecDeque<Ready>,
    /// The disk waits to be told to write.
    pub held: bool,
    /// Only turns that must reach the disk wait, and what comes after them.
    pub held_for_sync: bool,
    role: (Role, Term),
}

#[derive(Default)]
pub struct Cluster {
    pub servers: BTreeMap<NodeId, Server>,
    /// Messages under way, per link in the order in which they were sent.
    pub network: BTreeMap<(NodeId, NodeId), VecDeque<Message>>,
    /// All messages ever sent, per link in the order in which they were sent.
    sent: BTreeMap<(NodeId, NodeId), Vec<Message>>,
    /// Links that lose what is delivered over them, from and to.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub lines: Vec<String>,
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

impl Cluster {
    pub fn start(&mut self, config: Config, membership: &Membership) -> Outcome {
        for id in membership.nodes() {
            self.add(Config { id, ..config.clone() }, Durable::bootstrap(membership.clone()))?;
        }
        Ok(())
    }

    pub fn add(&mut self, config: Config, durable: Durable) -> Outcome {
        let raft = Raft::new(config.clone(), durable.clone())?;
        let role = (raft.role(), raft.term());
        let (disk, turns) = (Disk::new(durable), VecDeque::new());
        self.servers.insert(
            config.id,
            Server { raft: Some(raft), disk, config, turns, held: false, held_for_sync: false, role },
        );
        Ok(())
    }

    pub fn config(&self) -> Result<Config, String> {
        let server = self.servers.values().next().ok_or("no cluster was started")?;
        Ok(server.config.clone())
    }

    pub fn server(&mut self, id: NodeId) -> Result<&mut Server, String> {
        self.servers.get_mut(&id).ok_or_else(|| format!("there is no {id}"))
    }

    pub fn raft(&mut self, id: NodeId) -> Result<&mut Raft, String> {
        self.server(id)?.raft.as_mut().ok_or_else(|| format!("{id} is down"))
    }

    /// Steps a node through several inputs, which make one turn.
    pub fn step_all(&mut self, id: NodeId, inputs: impl IntoIterator<Item = Input>) -> Outcome {
        for input in inputs {
            if let Err(error) = self.raft(id)?.step(input) {
                self.lines.push(format!("{id} refuses: {error}"));
            }
        }
        self.finish_turns(id)
    }

    /// Gives out what steps produced, and, unless the disk is held, makes it durable.
    pub fn finish_turns(&mut self, id: NodeId) -> Outcome {
        loop {
            while self.raft(id)?.has_ready() {
                self.give_out(id)?;
            }
            let server = self.server(id)?;
            let Some(oldest) = server.turns.front() else { return Ok(()) };
            if server.held && (!server.held_for_sync || oldest.write().must_sync) {
                return Ok(());
            }
            self.persist_one(id)?;
        }
    }

    fn give_out(&mut self, id: NodeId) -> Outcome {
        let raft = self.raft(id)?;
        let mut ready = raft.ready();
        let role = (raft.role(), raft.term());
        let server = self.server(id)?;
        if std::mem::replace(&mut server.role, role) != role {
            self.lines.push(format!("{id} is {} of term {}", role.0, role.1));
        }
        self.send(std::mem::take(&mut ready.messages));
        if let Some(meta) = &ready.write().install {
            self.lines.push(format!("{id} takes over image {}@{}", meta.index, meta.term));
        }
        for entry in &ready.committed {
            self.lines.push(format!("{id} applies {}", format::entry(entry)));
        }
        for read in &ready.reads {
            self.lines.push(match read.index {
                Some(index) => format!("{id} read {} at {index}", read.id.0),
                None => format!("{id} read {} is lost", read.id.0),
            });
        }
        self.server(id)?.turns.push_back(ready);
        Ok(())
    }

    /// Writes the oldest turn that waits.
    pub fn persist_one(&mut self, id: NodeId) -> Outcome {
        let server = self.server(id)?;
        let Some(turn) = server.turns.pop_front() else { return Err("no turn waits".into()) };
        let line = format::write(id, turn.write());
        let saved = turn.save(&mut server.disk)?;
        self.lines.extend(line);
        self.send(saved.messages);
        self.raft(id)?.step(Input::Persisted(saved.mark))?;
        Ok(())
    }

    /// Writes all turns that wait.
    pub fn persist(&mut self, id: NodeId) -> Outcome {
        while !self.server(id)?.turns.is_empty() {
            self.persist_one(id)?;
        }
        self.finish_turns(id)
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.lines.push(format::message(&message));
            let link = (message.from, message.to);
            self.sent.entry(link).or_default().push(message.clone());
            self.network.entry(link).or_default().push_back(message);
        }
    }

    /// The next message on a link arrives, or is lost.
    pub fn deliver_one(&mut self, link: (NodeId, NodeId)) -> Outcome {
        let Some(message) = self.network.get_mut(&link).and_then(VecDeque::pop_front) else { return Ok(()) };
        let (from, to) = link;
        let arrives = !self.cut.contains(&link) && self.raft(to).is_ok();
        let image = matches!(message.body, Body::InstallSnapshot { .. });
        if arrives {
            self.step_all(to, [Input::Receive(message)])?;
        } else {
            self.lines.push(format!("lost: {}", format::message(&message)));
        }
        // Whoever carries images says what came of them.
        if image && self.raft(from).is_ok() {
            self.step_all(from, [Input::SnapshotReport { to, ok: arrives }])?;
        }
        Ok(())
    }

    /// The message that was the `number`th on a link, counted from 1, arrives, whatever became of it before.
    pub fn receive(&mut self, link: (NodeId, NodeId), number: usize) -> Outcome {
        let sent = self.sent.get(&link).and_then(|sent| sent.get(number.checked_sub(1)?)).cloned();
        let message = sent.ok_or_else(|| format!("{} sent {} no message {number}", link.0, link.1))?;
        self.step_all(link.1, [Input::Receive(message)])
    }

    /// What is under way arrives; answers to it do not yet.
    pub fn deliver(&mut self, chosen: impl Fn((NodeId, NodeId)) -> bool, count: usize) -> Outcome {
        let links: Vec<((NodeId, NodeId), usize)> = self
            .network
            .iter()
            .filter(|(link, _)| chosen(**link))
            .map(|(&link, messages)| (link, messages.len().min(count)))
            .collect();
        for (link, count) in links {
            for _ in 0..count {
                self.deliver_one(link)?;
            }
        }
        Ok(())
    }

    /// What is under way is lost.
    pub fn lose(&mut self, chosen: impl Fn((NodeId, NodeId)) -> bool) -> Outcome {
        let before = self.cut.clone();
        self.cut.extend(self.network.keys().copied().filter(|link| chosen(*link)));
        self.deliver(chosen, usize::MAX)?;
        self.cut = before;
        Ok(())
    }

    /// Everything arrives, until nothing is under way.
    pub fn settle(&mut self) -> Outcome {
        for _ in 0..1_000 {
            if self.network.values().all(VecDeque::is_empty) {
                return Ok(());
            }
            self.deliver(|_| true, usize::MAX)?;
        }
        Err("the nodes keep each other busy".into())
    }

    pub fn crash(&mut self, id: NodeId) -> Outcome {
        let server = self.server(id)?;
        server.raft = None;
        #[cfg(feature = "plant")]
        if server.config.mutation == Some(raft::Mutation::TornTailAccepted)
            && let Some(turn) = server.turns.front()
        {
            server.disk.accept_torn(turn.write());
        }
        server.turns.clear();
        (server.held, server.held_for_sync) = (false, false);
        server.disk.crash(0);
        Ok(())
    }

    pub fn restart(&mut self, id: NodeId) -> Outcome {
        let server = self.server(id)?;
        let raft = Raft::new(server.config.clone(), server.disk.durable.clone())?;
        server.role = (raft.role(), raft.term());
        server.disk.durable.snapshot = Some(raft.snapshot().clone());
        server.disk.durable.entries = raft.log().entries().cloned().collect();
        server.raft = Some(raft);
        self.finish_turns(id)
    }

    /// A state image is taken and stored, then the core is told.
    pub fn snapshot(&mut self, id: NodeId, index: LogIndex, keep: u64) -> Outcome {
        self.step_all(id, [Input::SnapshotTaken { index, keep }])?;
        let meta = self.raft(id)?.snapshot().clone();
        let first = self.raft(id)?.first_index();
        let durable = &mut self.server(id)?.disk.durable;
        durable.snapshot = Some(meta);
        durable.entries.retain(|entry| entry.index >= first);
        Ok(())
    }

    /// State Machine Safety. Raft paper, figure 3.
    pub fn check_agreement(&self) -> Result<(), String> {
        let alive: Vec<&Raft> = self.servers.values().filter_map(|server| server.raft.as_ref()).collect();
        for one in &alive {
            for other in &alive {
                let both = one.commit().min(other.commit());
                for index in (1..=both.0).map(LogIndex) {
                    if let (Some(left), Some(right)) = (one.log().get(index), other.log().get(index))
                        && left != right
                    {
                        return Err(format!("{} and {} differ at {index}", one.id(), other.id()));
                    }
                }
            }
        }
        Ok(())
    }
}
