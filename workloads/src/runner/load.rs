//! The load: operations at their due times, by processes that are spread over all members.
//!
//! The schedule is open-loop: an operation is due at a time that follows from the rate alone, and the next
//! free process takes it. When all are busy, as in an outage, operations wait and are done as soon as
//! processes are free again; what is still waiting at the end is counted and left out.

use super::{member::Member, stop::Stop};
use crate::{
    driver::Client,
    generator::{Rate, due_ns},
    recorder::Recorder,
    report::Tally,
    workload::{Completion, Generator, Invocation, Workload},
};
use checker::history::event::{ProcessId, What};
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// How long a process whose connection was refused waits before it takes its next operation. Without this
/// the processes of a dead member, always free at once, would take most operations.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// After how long a place that was driven from its member has a client of that member again. Without this a member
/// that was cut off once would have none from then on, and nobody would see what it does after the next fault.
const RETURN_AFTER: Duration = Duration::from_secs(3);

/// How much load, for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadPlan {
    pub rate: Rate,
    pub processes: usize,
    pub duration: Duration,
    /// Bounds each operation.
    pub deadline: Duration,
}

/// What everything that runs operations needs.
pub(super) struct Context<W: Workload> {
    pub workload: Arc<W>,
    pub members: Vec<Member>,
    pub recorder: Arc<Recorder>,
    pub tally: Arc<Tally>,
    pub stop: Stop,
}

/// What became of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadOutcome {
    /// Operations that were due.
    pub due: u64,
    /// Operations that were invoked.
    pub invoked: u64,
    /// The lowest process number that is still free.
    pub next_process: ProcessId,
}

/// A place for one process at a time.
struct Slot {
    process: ProcessId,
    member: usize,
    client: Client,
    /// The member that it is for, and since when it has been with another.
    home: usize,
    away_since: Option<Instant>,
}

impl Slot {
    fn new(process: ProcessId, member: usize, client: Client) -> Slot {
        Slot { process, member, client, home: member, away_since: None }
    }

    /// Whether its next process belongs to another member than this one's, and to which: the next one after an
    /// operation of which nobody knows what it will yet do, and its own after some time elsewhere.
    fn moves_to(&self, certain: bool, members: usize, now: Instant) -> Option<usize> {
        match self.away_since {
            _ if !certain => Some((self.member + 1) % members),
            Some(since) if now.duration_since(since) >= RETURN_AFTER => Some(self.home),
            Some(_) | None => None,
        }
    }
}

impl<W: Workload> Context<W> {
    /// Runs the load to its end, or until told to stop. No operation is under way when it returns.
    ///
    /// # Errors
    /// When the history cannot be written, or an operation's code panicked: the history is incomplete.
    pub(super) async fn load(
        self: &Arc<Self>,
        generator: &mut W::Generator,
        plan: LoadPlan,
    ) -> io::Result<LoadOutcome> {
        let start = Instant::now();
        let end = start + plan.duration;
        let mut free: VecDeque<Slot> = (0..plan.processes).map(|n| self.slot(n, plan.deadline)).collect();
        let mut running: JoinSet<io::Result<Slot>> = JoinSet::new();
        let mut invoked = 0;
        loop {
            let due = start + Duration::from_nanos(due_ns(invoked, plan.rate));
            if due >= end || !self.wait_until(due, &mut free, &mut running).await? {
                break;
            }
            let Some(slot) = self.free_slot(end, &mut free, &mut running).await? else { break };
            let op = generator.next();
            self.invoke(&slot, &op)?;
            running.spawn(Arc::clone(self).run(op, slot, plan.processes));
            invoked += 1;
        }
        self.workload.wind_down();
        while let Some(done) = running.join_next().await {
            free.push_back(finished(done)?);
        }
        let elapsed = start.elapsed().min(plan.duration);
        let due = u64::try_from(elapsed.as_nanos() * u128::from(plan.rate.per_s()) / 1_000_000_000);
        let last = free.iter().map(|slot| slot.process).max().unwrap_or(0);
        Ok(LoadOutcome { due: due.unwrap_or(u64::MAX).max(invoked), invoked, next_process: last + 1 })
    }

    fn slot(&self, n: usize, deadline: Duration) -> Slot {
        let member = n % self.members.len();
        Slot::new(n as ProcessId, member, self.members[member].client(deadline))
    }

    /// Takes back processes that have finished until `due`. False when told to stop.
    async fn wait_until(
        &self,
        due: Instant,
        free: &mut VecDeque<Slot>,
        running: &mut JoinSet<io::Result<Slot>>,
    ) -> io::Result<bool> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.stopped() => return Ok(false),
                Some(done) = running.join_next() => free.push_back(finished(done)?),
                () = tokio::time::sleep_until(due) => return Ok(true),
            }
        }
    }

    /// The process that has been free for longest. `None` when told to stop, or none is free before `end`.
    async fn free_slot(
        &self,
        end: Instant,
        free: &mut VecDeque<Slot>,
        running: &mut JoinSet<io::Result<Slot>>,
    ) -> io::Result<Option<Slot>> {
        loop {
            if let Some(slot) = free.pop_front() {
                return Ok(Some(slot));
            }
            tokio::select! {
                biased;
                () = self.stop.stopped() => return Ok(None),
                Some(done) = running.join_next() => free.push_back(finished(done)?),
                () = tokio::time::sleep_until(end) => return Ok(None),
            }
        }
    }

    /// Does one operation whose invocation is recorded, and gives the process back, or its successor.
    async fn run(self: Arc<Self>, op: W::Op, mut slot: Slot, processes: usize) -> io::Result<Slot> {
        let certain = self.complete(&op, &mut slot).await?;
        if !slot.client.is_connected() {
            tokio::select! {
                () = tokio::time::sleep(REFUSED_PAUSE) => {}
                () = self.stop.stopped() => {}
            }
        }
        if let Some(member) = slot.moves_to(certain, self.members.len(), Instant::now()) {
            // A process after whose operation nothing is certain never acts again, and no process has two members.
            slot.process += processes as ProcessId;
            let away_since = (member != slot.home).then(|| slot.away_since.unwrap_or_else(Instant::now));
            let client = self.members[member].client(slot.client.deadline());
            slot = Slot { member, client, away_since, ..slot };
        }
        Ok(slot)
    }

    /// Has every member do all of the `reads`, all members at once. A read that fails is done again, as a
    /// new operation, until `within` has passed.
    ///
    /// # Errors
    /// The member that did not answer all of them, and why; or that the history cannot be written.
    pub(super) async fn final_reads(
        self: &Arc<Self>,
        reads: Vec<W::Op>,
        first_process: ProcessId,
        deadline: Duration,
        within: Duration,
    ) -> io::Result<()> {
        let reads = Arc::new(reads);
        let end = Instant::now() + within;
        let mut running: JoinSet<io::Result<()>> = JoinSet::new();
        for (index, member) in self.members.iter().enumerate() {
            let slot = Slot::new(first_process + index as ProcessId, index, member.client(deadline));
            running.spawn(Arc::clone(self).final_reads_of(slot, Arc::clone(&reads), end));
        }
        while let Some(done) = running.join_next().await {
            finished(done)?;
        }
        Ok(())
    }

    async fn final_reads_of(
        self: Arc<Self>,
        mut slot: Slot,
        reads: Arc<Vec<W::Op>>,
        end: Instant,
    ) -> io::Result<()> {
        for op in reads.iter() {
            loop {
                self.invoke(&slot, op)?;
                let completion = self.workload.execute(op, slot.client.start_operation()).await;
                let ok = matches!(completion, Completion::Ok { .. });
                let error = match &completion {
                    Completion::Ok { .. } => String::new(),
                    Completion::Fail(error) | Completion::Info(error) => {
                        format!("{}: {}", error.kind, error.text)
                    }
                };
                self.record_completion(&self.workload.invocation(op), slot.process, completion)?;
                if ok {
                    break;
                }
                if self.stop.is_stopped() || Instant::now() >= end {
                    let member = &self.members[slot.member].name;
                    return Err(io::Error::other(format!(
                        "{member} did not answer the final reads: {error}"
                    )));
                }
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
        Ok(())
    }

    fn invoke(&self, slot: &Slot, op: &W::Op) -> io::Result<()> {
        let Invocation { f, key, value } = self.workload.invocation(op);
        let node = Some(self.members[slot.member].name.clone());
        self.tally.invoked();
        self.recorder.append(What::Invoke { p: slot.process, node, f: f.to_string(), key, value }).map(drop)
    }

    /// True when it is certain what the operation did.
    async fn complete(&self, op: &W::Op, slot: &mut Slot) -> io::Result<bool> {
        let completion = self.workload.execute(op, slot.client.start_operation()).await;
        let certain = !matches!(completion, Completion::Info(_));
        self.record_completion(&self.workload.invocation(op), slot.process, completion)?;
        Ok(certain)
    }

    fn record_completion(&self, of: &Invocation, p: ProcessId, completion: Completion) -> io::Result<()> {
        let (f, key) = (of.f.to_string(), of.key.clone());
        self.tally.completed(&completion);
        let what = match completion {
            Completion::Ok { value, rev } => What::Ok { p, f, key, value, rev },
            Completion::Fail(error) => What::Fail { p, f, key, error },
            Completion::Info(error) => What::Info { p, f, key, error },
        };
        self.recorder.append(what).map(drop)
    }
}

/// What a task came to; its panic is an error of the harness, which leaves an operation open.
fn finished<T>(done: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    done.map_err(|error| io::Error::other(format!("the harness failed within an operation: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_driven_from_its_member_has_a_client_of_it_again_after_a_while() {
        let client = || Client::new("http://127.0.0.1:1", Duration::from_secs(1)).unwrap();
        let start = Instant::now();
        let at_home = Slot::new(4, 2, client());
        let moves =
            |slot: &Slot, after| [true, false].map(|certain| slot.moves_to(certain, 3, start + after));
        assert_eq!(moves(&at_home, RETURN_AFTER * 9), [None, Some(0)]);
        let away = Slot { member: 0, away_since: Some(start), ..at_home };
        assert_eq!(moves(&away, RETURN_AFTER / 2), [None, Some(1)]);
        assert_eq!(moves(&away, RETURN_AFTER), [Some(2), Some(1)]);
    }
}
