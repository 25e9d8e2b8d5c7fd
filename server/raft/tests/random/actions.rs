//! What can happen in a run.

use super::world::{Image, Packet, World};
use crate::dice::Dice;
use raft::{Durable, Input, MembershipChange, NodeId, SnapshotMeta};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    TickAll,
    Deliver,
    Save,
    Persisted,
    Propose,
    Read,
    Crash,
    Restart,
    Cut,
    Mend,
    Snapshot,
    Change,
    Transfer,
    Campaign,
}

/// Usual weights; a run leaves some of the rarer actions out, and does others more often.
const WEIGHTS: [(Action, usize); 15] = [
    (Action::Tick, 60),
    (Action::TickAll, 5),
    (Action::Deliver, 400),
    (Action::Save, 200),
    (Action::Persisted, 150),
    (Action::Propose, 50),
    (Action::Read, 30),
    (Action::Crash, 2),
    (Action::Restart, 12),
    (Action::Cut, 2),
    (Action::Mend, 4),
    (Action::Snapshot, 5),
    (Action::Change, 4),
    (Action::Transfer, 3),
    (Action::Campaign, 4),
];

pub fn draw_weights(dice: &mut Dice) -> Vec<(Action, usize)> {
    let draw = |(action, weight)| match action {
        Action::Tick
        | Action::Deliver
        | Action::Save
        | Action::Persisted
        | Action::Propose
        | Action::Restart
        | Action::Mend => (action, weight),
        Action::TickAll
        | Action::Read
        | Action::Crash
        | Action::Cut
        | Action::Snapshot
        | Action::Change
        | Action::Transfer
        | Action::Campaign => (action, weight * [0, 1, 1, 3][dice.below(4)]),
    };
    WEIGHTS.into_iter().map(draw).collect()
}

/// Nodes that may ever take part.
const NODES_MAX: u64 = 7;
/// More packets than this are lost.
const PACKETS_MAX: usize = 100;
/// Likewise of those that are delivered long after they were sent.
const LATE_MAX: usize = 20;

impl World {
    /// The phase in which anything may happen.
    pub fn storm(&mut self) {
        let total: usize = self.plan.weights.iter().map(|(_, weight)| weight).sum();
        for _ in 0..self.plan.steps {
            let mut at = self.dice.below(total);
            let chosen = self.plan.weights.iter().find(|(_, weight)| {
                let hit = at < *weight;
                at = at.saturating_sub(*weight);
                hit
            });
            let action = chosen.expect("the weights add up").0;
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let alive = self.alive();
        let Some(id) = self.dice.pick(&alive) else { return self.restart_one() };
        self.note(|| format!("{action:?} {id}"));
        match action {
            // Some clocks run fast.
            Action::Tick => (0..self.dice.between(1, 4)).for_each(|_| drop(self.step(id, Input::Tick))),
            Action::TickAll => alive.iter().for_each(|&id| drop(self.step(id, Input::Tick))),
            Action::Deliver => (0..self.dice.between(1, 5)).for_each(|_| self.deliver_one()),
            Action::Save => {
                let turns = self.servers[&id].turns.len();
                for _ in 0..self.dice.between(0, turns) {
                    self.save(id);
                }
            }
            Action::Persisted => {
                self.tell_persisted(id);
            }
            Action::Propose => self.propose(id),
            Action::Read => {
                let leaders = self.leaders();
                let asked = self.dice.pick(&leaders).unwrap_or(id);
                self.ask_read(asked);
            }
            Action::Crash => {
                let victim = self.leader_or(id);
                self.crash(victim);
            }
            Action::Restart => self.restart_one(),
            Action::Cut => self.cut_some(),
            Action::Mend => self.cut.clear(),
            Action::Snapshot => self.take_snapshot(id),
            Action::Change => self.change_membership(),
            Action::Transfer => {
                let to = NodeId(self.dice.between(1, NODES_MAX as usize) as u64);
                let leaders = self.leaders();
                let asked = self.dice.pick(&leaders).unwrap_or(id);
                drop(self.step(asked, Input::Transfer(to)));
            }
            Action::Campaign => drop(self.step(id, Input::Campaign)),
        }
    }

    /// Faults that hit leaders find more.
    fn leader_or(&mut self, id: NodeId) -> NodeId {
        let leaders = if self.dice.percent(60) { self.leaders() } else { Vec::new() };
        self.dice.pick(&leaders).unwrap_or(id)
    }

    fn deliver_one(&mut self) {
        while self.late.len() > LATE_MAX {
            let lost = self.dice.below(self.late.len());
            let packet = self.late.swap_remove(lost);
            self.lose(packet);
        }
        while self.network.len() > PACKETS_MAX {
            let lost = self.dice.below(self.network.len());
            let packet = self.network.remove(lost);
            self.lose(packet);
        }
        if !self.late.is_empty() && self.dice.percent(5) {
            let at = self.dice.below(self.late.len());
            let packet = self.late.swap_remove(at);
            return self.deliver(packet);
        }
        if self.network.is_empty() {
            return;
        }
        // Mostly in order, so that pipelines get anywhere.
        let among = if self.dice.percent(70) { self.network.len().min(3) } else { self.network.len() };
        let at = self.dice.below(among);
        let packet = self.network.remove(at);
        if self.dice.percent(self.plan.lose) {
            return self.lose(packet);
        }
        if self.dice.percent(self.plan.duplicate) {
            self.late.push(packet.clone());
        }
        if self.dice.percent(self.plan.delay) {
            return self.late.push(packet);
        }
        self.deliver(packet);
    }

    fn lose(&mut self, packet: Packet) {
        let (from, to) = (packet.message.from, packet.message.to);
        if packet.image.is_some() && self.raft(from).is_some() {
            drop(self.step(from, Input::SnapshotReport { to, ok: false }));
        }
    }

    pub fn propose(&mut self, id: NodeId) {
        let leaders = self.leaders();
        let asked = self.dice.pick(&leaders).unwrap_or(id);
        self.next_command += 1;
        let mut command = self.next_command.to_be_bytes().to_vec();
        command.resize(self.dice.between(8, 30), 0);
        drop(self.step(asked, Input::Propose(command.into())));
    }

    fn restart_one(&mut self) {
        let crashed: Vec<NodeId> =
            self.servers.iter().filter(|(_, server)| server.raft.is_none()).map(|(&id, _)| id).collect();
        if let Some(id) = self.dice.pick(&crashed) {
            self.note(|| format!("restart {id}"));
            self.restart(id);
        }
    }

    /// Cuts a node off, splits the cluster in two, or cuts single links one way.
    fn cut_some(&mut self) {
        let ids = self.ids();
        let side: BTreeSet<NodeId> = match self.dice.below(3) {
            0 => self.dice.pick(&ids).map(|id| self.leader_or(id)).into_iter().collect(),
            1 => ids.iter().copied().filter(|_| self.dice.percent(50)).collect(),
            _ => {
                for _ in 0..self.dice.between(1, 4) {
                    let link = (self.dice.pick(&ids), self.dice.pick(&ids));
                    if let (Some(from), Some(to)) = link {
                        self.cut.insert((from, to));
                    }
                }
                return;
            }
        };
        for &from in &ids {
            for &to in &ids {
                if side.contains(&from) != side.contains(&to) {
                    self.cut.insert((from, to));
                }
            }
        }
    }

    fn take_snapshot(&mut self, id: NodeId) {
        let keep = self.dice.below(6) as u64;
        let Some(raft) = self.raft(id) else { return };
        let app = self.servers[&id].app.clone();
        let index = app.applied;
        let Some(term) = raft.log().term_at(index) else { return };
        if index <= raft.snapshot().index {
            return;
        }
        let meta = SnapshotMeta { index, term, membership: app.membership.clone() };
        let server = self.server(id);
        server.images.insert(index, Image { meta: meta.clone(), app });
        server.disk.durable.snapshot = Some(meta.clone());
        self.step(id, Input::SnapshotTaken { index, keep }).expect("it was applied");
        assert_eq!(self.raft(id).map(|raft| raft.snapshot()), Some(&meta), "the image is not the one taken");
        self.trim_disk(id);
    }

    /// Drops what the core has dropped; now and then later than it could.
    fn trim_disk(&mut self, id: NodeId) {
        if self.dice.percent(30) {
            return;
        }
        let Some(first) = self.raft(id).map(|raft| raft.first_index()) else { return };
        self.server(id).disk.durable.entries.retain(|entry| entry.index >= first);
    }

    fn change_membership(&mut self) {
        let leaders = self.leaders();
        let Some(id) = self.dice.pick(&leaders) else { return };
        let mut change = MembershipChange::default();
        for _ in 0..self.dice.between(1, 2) {
            let node = NodeId(self.dice.between(1, NODES_MAX as usize) as u64);
            match self.dice.below(4) {
                0 => change.remove.insert(node),
                1 => change.add_learners.insert(node),
                _ => change.add_voters.insert(node),
            };
        }
        let added: Vec<NodeId> = change.add_voters.iter().chain(&change.add_learners).copied().collect();
        if self.step(id, Input::ProposeMembership { change, context: "context".into() }).is_ok() {
            for node in added {
                if !self.servers.contains_key(&node) {
                    self.add(node, Durable::default());
                }
            }
        }
    }
}
