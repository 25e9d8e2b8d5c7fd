//! What clients do in a world: operations begin when they are due, and are written into the history.

use super::{DEADLINE_US, Event, World};
use crate::{
    sim::{clients::Process, plan::SECOND},
    workload::{Completion, Generator as _, Workload},
};
use checker::history::event::What;
use rand::RngExt as _;
use std::time::Duration;

impl<W: Workload> World<W> {
    /// The next operation is due.
    pub(super) fn due(&mut self) {
        if self.healed {
            return;
        }
        self.issued += 1;
        let next = SECOND + self.issued * SECOND / self.plan.rate;
        self.queue_at(next.max(self.now), Event::Due);
        let from = self.rng.random_range(0..self.processes.len());
        let count = self.processes.len();
        let free = (0..count).map(|offset| (from + offset) % count).find(|at| self.processes[*at].is_free());
        if let Some(process) = free {
            let op = self.generator.next();
            self.operate(process, op);
        }
    }

    fn operate(&mut self, at: usize, op: W::Op) {
        let invocation = self.workload.invocation(&op);
        let process = &mut self.processes[at];
        (process.f, process.key) = (invocation.f, invocation.key.clone());
        let (p, node) = (process.number, Some(format!("n{}", process.member + 1)));
        self.serials += 1;
        let serial = self.serials;
        process.begin(&self.workload, op, serial);
        let (f, key, value) = (invocation.f.to_string(), invocation.key, invocation.value);
        self.tell(|| format!("client {p} begins {f} {key:?} {value}"));
        self.record(What::Invoke { p, node, f, key, value });
        self.poll(at);
    }

    /// Lets a client go on as far as it can.
    pub(super) fn poll(&mut self, at: usize) {
        let Some(completion) = self.processes[at].poll() else {
            let (member, serial) = (self.processes[at].member, self.processes[at].serial);
            for wake in self.time.take_wakes() {
                self.queue_at(wake.max(self.now), Event::Wake(at, serial));
            }
            self.carry_on(member);
            return;
        };
        let process = &mut self.processes[at];
        let (p, f, key) = (process.number, process.f.to_string(), process.key.clone());
        let what = match completion {
            Completion::Ok { value, rev } => What::Ok { p, f, key, value, rev },
            Completion::Fail(error) => What::Fail { p, f, key, error },
            Completion::Info(error) => {
                process.number = self.next_process;
                self.next_process += 1;
                What::Info { p, f, key, error }
            }
        };
        self.tell(|| format!("client {p}: {what:?}"));
        self.note(9, p as usize);
        self.record(what);
    }

    /// Lets all clients of a member go on.
    pub(super) fn look_at_clients(&mut self, member: usize) {
        for at in 0..self.processes.len() {
            if self.processes[at].member == member && !self.processes[at].is_free() {
                self.poll(at);
            }
        }
    }

    /// One operation at a member, to its end. Whether it succeeded.
    pub(in crate::sim) fn operate_at(&mut self, member: usize, op: W::Op) -> bool {
        let deadline = Duration::from_micros(DEADLINE_US);
        let front = self.members[member].front.clone();
        let process = Process::new(self.next_process, member, &front, &self.time, deadline);
        self.next_process += 1;
        self.processes.push(process);
        let at = self.processes.len() - 1;
        self.operate(at, op);
        while !self.processes[at].is_free() && self.violation.is_none() {
            let Some(until) = self.next_at() else { break };
            self.run_until(until);
        }
        self.processes.pop();
        matches!(self.history.last().map(|line| &line.what), Some(What::Ok { .. }))
    }
}
