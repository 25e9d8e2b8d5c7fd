//! What goes wrong in a world and who takes part in it, until all faults end and the cluster must be one again.

use super::{Event, World};
use crate::{
    sim::{
        clients::Process,
        disk::Part,
        faults::{FaultKind, Moment},
        member::{Member, Out},
        plan::Micros,
    },
    workload::Workload,
};
use raft::Role;
use rand::RngExt as _;
use server::proto::internal::{MemberAdd, MemberRemove, command::Request};
use std::{cmp::Reverse, collections::BTreeSet};

impl<W: Workload> World<W> {
    pub(super) fn begin(&mut self, fault: usize) {
        if self.healed {
            return;
        }
        self.note(8, fault);
        let kind = self.plan.faults[fault].kind.clone();
        self.tell(|| format!("fault {}: {kind:?}", fault + 1));
        let everyone = 0..self.members.len();
        match kind {
            FaultKind::Crash(at) => self.crash(at),
            FaultKind::Rot(at) => {
                self.crash(at);
                let part = self.part_to_damage();
                self.members[at].files.rot(&mut self.rng, part);
            }
            FaultKind::Misdirected(at) => {
                self.crash(at);
                let part = self.part_to_damage();
                self.members[at].files.misdirect(&mut self.rng, part);
            }
            FaultKind::Join { at, learner } => {
                self.outside.remove(&at);
                self.start(at);
                let member_id = self.members[at].id.0;
                let peer_urls = vec![format!("http://n{member_id}")];
                self.administer(
                    at,
                    Request::MemberAdd(MemberAdd { member_id, peer_urls, is_learner: learner }),
                );
            }
            FaultKind::Leave(at) => {
                let member_id = self.members[at].id.0;
                self.administer(at, Request::MemberRemove(MemberRemove { member_id }));
            }
            FaultKind::Pause(at) => {
                self.paused.entry(at).or_default();
            }
            FaultKind::Partition(side) => {
                for other in everyone.filter(|other| !side.contains(other)) {
                    self.cut.extend(side.iter().flat_map(|one| [(*one, other), (other, *one)]));
                }
            }
            FaultKind::OneWay(from, to) => {
                self.cut.insert((from, to));
            }
            FaultKind::Clog(extra) => self.clog_us = extra,
            FaultKind::FlushFails(at) if self.members[at].is_up() => self.members[at].files.fail_sync(),
            FaultKind::DiskFull(at) if self.members[at].is_up() => self.members[at].files.fail_append(),
            FaultKind::FlushFails(_) | FaultKind::DiskFull(_) => {}
            FaultKind::SlowFlush(at) => {
                self.stuck.insert(at, self.now + self.plan.faults[fault].for_us);
            }
            FaultKind::Struck { .. } => {
                self.striking.insert(fault);
            }
        }
    }

    fn part_to_damage(&mut self) -> Part {
        if self.rng.random_bool(0.6) { Part::Log } else { Part::Images }
    }

    /// A member has come to a moment: it may be struck.
    pub(super) fn moment(&mut self, at: usize, moment: Moment) {
        // Of several the one that began last.
        let mut kinds = self.striking.iter().rev().map(|fault| &self.plan.faults[*fault].kind);
        let found = kinds.find_map(|kind| match kind {
            FaultKind::Struck { moment: aimed, after_us, down_us } if *aimed == moment => {
                Some((*after_us, *down_us))
            }
            _ => None,
        });
        let Some((after_us, down_us)) = found else { return };
        // Leaders are few. Whoever acknowledges does so all the time, and must come to do it.
        let chance = match moment {
            Moment::Leads => 0.8,
            Moment::Votes | Moment::Images => 0.5,
            Moment::Acknowledges => 0.02,
        };
        if self.rng.random_bool(chance) {
            let (after, down_us) = (self.rng.random_range(0..=after_us), self.rng.random_range(0..=down_us));
            let life = self.members[at].lives;
            self.queue_in(after, Event::Strike { at, life, down_us });
        }
    }

    /// Power fails at a member, for a moment.
    pub(super) fn strike(&mut self, at: usize, life: u64, down_us: Micros) {
        if !self.healed && self.members[at].lives == life && self.members[at].is_up() {
            self.note(10, at);
            self.crash(at);
            self.queue_in(down_us, Event::Return(at));
        }
    }

    pub(super) fn end(&mut self, fault: usize) {
        if self.healed {
            return;
        }
        let kind = self.plan.faults[fault].kind.clone();
        self.tell(|| format!("fault {} ends", fault + 1));
        match kind {
            FaultKind::Crash(at) | FaultKind::Rot(at) | FaultKind::Misdirected(at) => self.start(at),
            FaultKind::Join { .. } | FaultKind::Leave(_) => {}
            FaultKind::FlushFails(at) | FaultKind::DiskFull(at) => {
                self.crash(at);
                self.start(at);
            }
            FaultKind::Pause(at) => self.resume(at),
            FaultKind::Partition(_) | FaultKind::OneWay(..) => self.cut.clear(),
            FaultKind::Clog(_) => self.clog_us = 0,
            FaultKind::SlowFlush(at) => {
                self.stuck.remove(&at);
            }
            FaultKind::Struck { .. } => {
                self.striking.remove(&fault);
            }
        }
    }

    /// Asks somebody else than `but` for a change of the roster.
    fn administer(&mut self, but: usize, request: Request) {
        let up: Vec<usize> = (0..self.members.len())
            .filter(|at| *at != but && self.members[*at].is_up() && !self.paused.contains_key(at))
            .collect();
        if up.is_empty() {
            return;
        }
        let asked = up[self.rng.random_range(0..up.len())];
        self.tell(|| format!("n{} is asked: {request:?}", asked + 1));
        self.members[asked].administer(request);
        self.follow(asked, Out::default());
    }

    /// A member that was removed is gone.
    pub(super) fn leave(&mut self, at: usize) {
        self.tell(|| format!("n{} was removed", at + 1));
        self.crash(at);
        self.outside.insert(at);
    }

    /// Ends all faults, for good.
    pub(in crate::sim) fn heal(&mut self) {
        self.healed = true;
        self.cut.clear();
        self.clog_us = 0;
        self.stuck.clear();
        self.striking.clear();
        for at in 0..self.members.len() {
            let disk_may_be_bad = self.plan.faults.iter().any(|fault| {
                matches!(&fault.kind, FaultKind::FlushFails(of) | FaultKind::DiskFull(of) if *of == at)
            });
            self.resume(at);
            if disk_may_be_bad {
                self.crash(at);
            }
            self.start(at);
        }
    }

    /// Whether all that take part and can run have applied the same, know the same leader, which is one of them, and
    /// are who shall take part.
    pub(in crate::sim) fn has_converged(&self) -> bool {
        let part = self.part();
        let members = || part.iter().map(|at| &self.members[*at]);
        let applied: BTreeSet<u64> = members().map(|member| member.door.state().applied().0).collect();
        let leaders: BTreeSet<_> =
            members().map(|member| member.raft().and_then(|raft| raft.view().leader)).collect();
        members().all(Member::is_up)
            && applied.len() == 1
            && leaders.len() == 1
            && leaders.first().is_some_and(|leader| members().any(|member| Some(member.id) == *leader))
            && self.membership_is_settled()
            && self.processes.iter().all(Process::is_free)
    }

    /// Who shall take part, as those say who know most; the places of those that can.
    pub(in crate::sim) fn part(&self) -> BTreeSet<usize> {
        let newest = self
            .members
            .iter()
            .filter(|member| member.is_up())
            .max_by_key(|member| (member.door.state().applied(), Reverse(member.id)));
        let Some(newest) = newest else { return BTreeSet::new() };
        let roster = newest.door.state().roster().clone();
        let named = (0..self.members.len()).filter(|at| roster.members.contains_key(&self.members[*at].id));
        named.filter(|at| !self.spoilt.contains(at)).collect()
    }

    /// Whether raft's membership is what the roster says, by whoever leads.
    fn membership_is_settled(&self) -> bool {
        let leads = |member: &&Member| member.raft().is_some_and(|raft| raft.role() == Role::Leader);
        let settled = |member: &Member| {
            let state = member.door.state();
            let voters = state.roster().voters().map(|(id, _)| id);
            member.raft().is_some_and(|raft| {
                let membership = raft.membership();
                !membership.is_joint()
                    && membership.voters.iter().copied().eq(voters)
                    && membership.nodes().iter().eq(state.roster().members.keys())
            })
        };
        self.members.iter().filter(leads).all(settled)
    }
}
