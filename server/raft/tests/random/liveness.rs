//! After a storm: everything is healed, and the cluster must get to work again within bounded time.

use super::world::World;
use raft::{Input, LogIndex, NodeId, Payload};

/// Election timeouts within which a leader must be there and have committed. Enough for several split votes
/// and for a change of membership to complete, little against for ever.
const TIMEOUTS_MAX: u32 = 60;
/// Election timeouts through which the leader must then stay.
const TIMEOUTS_CALM: u32 = 6;

impl World {
    pub fn heal_and_converge(&mut self) {
        self.note(|| "HEAL".to_string());
        self.cut.clear();
        let late = std::mem::take(&mut self.late);
        self.network.extend(late);
        for id in self.ids() {
            if self.raft(id).is_none() {
                self.restart(id);
            }
        }
        self.commit_one_everywhere();
        self.stay_calm();
    }

    fn timeouts(&self, count: u32) -> u32 {
        count * 2 * self.plan.config.election_ticks
    }

    /// A tick for everybody, then whatever comes of it until nothing moves.
    fn round(&mut self) {
        for id in self.ids() {
            drop(self.step(id, Input::Tick));
        }
        let mut moves = 0;
        loop {
            let mut moved = false;
            for id in self.ids() {
                self.take_ready(id);
                while self.save(id) {
                    moved = true;
                }
                moved |= self.tell_persisted(id);
            }
            for packet in std::mem::take(&mut self.network) {
                moved = true;
                self.deliver(packet);
            }
            if !moved {
                return;
            }
            moves += 1;
            assert!(moves < 10_000, "the nodes keep each other busy without end");
        }
    }

    /// A proposal gets committed on every member, within bounded time.
    fn commit_one_everywhere(&mut self) {
        let mut proposed: Option<Vec<u8>> = None;
        for _ in 0..self.timeouts(TIMEOUTS_MAX) {
            self.round();
            let leaders = self.leaders();
            let newest = leaders.iter().copied().max_by_key(|&id| self.raft(id).map(|raft| raft.term()));
            let Some(leader) = newest else { continue };
            if let Some(command) = &proposed
                && let Some(index) = self.find(leader, command)
                && self.members_reached(leader, index)
            {
                return;
            }
            // What an earlier leader took may be gone.
            let gone = proposed.as_ref().is_none_or(|command| self.find(leader, command).is_none());
            if gone {
                let command = format!("final {}", self.next_command).into_bytes();
                self.next_command += 1;
                if self.step(leader, Input::Propose(command.clone().into())).is_ok() {
                    proposed = Some(command);
                }
            }
        }
        for id in self.ids() {
            if let Some(raft) = self.raft(id) {
                eprintln!("{}", raft.view());
                raft.progress().for_each(|(id, progress)| eprintln!("    {id} {progress:?}"));
            }
        }
        panic!("no liveness: nothing was committed everywhere within {TIMEOUTS_MAX} election timeouts");
    }

    fn find(&self, leader: NodeId, command: &[u8]) -> Option<LogIndex> {
        let log = self.raft(leader)?.log();
        let is_it = |payload: &Payload| matches!(payload, Payload::Command(found) if found == command);
        log.entries().rev().find(|entry| is_it(&entry.payload)).map(|entry| entry.index)
    }

    fn members_reached(&self, leader: NodeId, index: LogIndex) -> bool {
        let Some(membership) = self.raft(leader).map(|raft| raft.membership()) else { return false };
        let reached = |id: NodeId| self.raft(id).is_some_and(|raft| raft.commit() >= index);
        !membership.is_joint() && membership.nodes().into_iter().all(reached)
    }

    /// A leader that works is not disturbed, not even by servers that were removed; and it serves reads.
    fn stay_calm(&mut self) {
        if !self.plan.config.pre_vote || !self.plan.config.check_quorum {
            return;
        }
        let leader = *self.leaders().first().expect("there is one");
        let term = self.raft(leader).map(|raft| raft.term());
        let served = self.ghost.reads_served;
        for _ in 0..self.timeouts(TIMEOUTS_CALM) {
            self.round();
            self.ask_read(leader);
            assert_eq!(self.raft(leader).map(|raft| raft.term()), term, "the leader was disturbed");
            assert!(self.leaders().contains(&leader), "the leader stepped down without need");
        }
        self.round();
        let asked = u64::from(self.timeouts(TIMEOUTS_CALM));
        assert_eq!(self.ghost.reads_served - served, asked, "reads at a calm leader were not served");
    }
}
