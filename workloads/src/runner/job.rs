//! A workload within a phase, whatever its type.

use super::{
    load::{Context, LoadOutcome, LoadPlan},
    member::Member,
    stop::Stop,
};
use crate::{
    generator::Rate,
    recorder::Recorder,
    report::Tally,
    scenario::WorkloadName,
    workload::{
        Append, Bank, Election, Generator, Kv, Lease, Lock, Register, Set, Space, Txn, TxnRevisions, Watch,
        WatchPace, Workload,
    },
};
use checker::history::event::ProcessId;
use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

/// A future of a job's work.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A workload within a phase.
pub(super) trait Job: Send {
    /// Runs its load to the end.
    fn load(&mut self) -> Work<'_, LoadOutcome>;

    /// Has every member read everything that was written.
    fn final_reads(&mut self, within: Duration) -> Work<'_, ()>;
}

/// What a job is made of.
pub(super) struct JobPlan {
    pub workload: WorkloadName,
    pub space: Space,
    /// Whether the store is this run's own, and so held nothing when the run began.
    pub own_store: bool,
    pub txn_revisions: TxnRevisions,
    /// The store's revision when the phase began.
    pub base: i64,
    pub seed: u64,
    pub rate: Rate,
    pub processes: usize,
    pub duration: Duration,
    pub deadline: Duration,
    pub members: Vec<Member>,
    pub recorder: Arc<Recorder>,
    pub tally: Arc<Tally>,
    pub stop: Stop,
}

impl JobPlan {
    pub(super) fn job(self) -> Box<dyn Job> {
        let space = self.space.clone();
        match self.workload {
            WorkloadName::Kv => {
                let kv = Kv::new(space, self.own_store, self.base, self.txn_revisions);
                self.of(kv)
            }
            WorkloadName::Register => self.of(Register::new(space)),
            WorkloadName::Append => self.of(Append::new(space)),
            WorkloadName::Set => self.of(Set::new(space)),
            WorkloadName::Txn => self.of(Txn::new(space)),
            WorkloadName::Bank => self.of(Bank::new(space)),
            WorkloadName::Watch => {
                let pace = WatchPace { per_s: self.rate.per_s(), processes: self.processes };
                let base = self.base;
                self.of(Watch::new(space, base, pace))
            }
            WorkloadName::Lease => self.of(Lease::new(space)),
            WorkloadName::Lock => self.of(Lock::new(space, true)),
            WorkloadName::LockUnfenced => self.of(Lock::new(space, false)),
            WorkloadName::Election => self.of(Election::new(space)),
        }
    }

    fn of<W: Workload>(self, workload: W) -> Box<dyn Job> {
        let generator = workload.generator(self.seed);
        let plan = LoadPlan {
            rate: self.rate,
            processes: self.processes,
            duration: self.duration,
            deadline: self.deadline,
        };
        let context = Arc::new(Context {
            workload: Arc::new(workload),
            members: self.members,
            recorder: self.recorder,
            tally: self.tally,
            stop: self.stop,
        });
        Box::new(TypedJob { context, generator, plan, next_process: 0 })
    }
}

struct TypedJob<W: Workload> {
    context: Arc<Context<W>>,
    generator: W::Generator,
    plan: LoadPlan,
    next_process: ProcessId,
}

impl<W: Workload> Job for TypedJob<W> {
    fn load(&mut self) -> Work<'_, LoadOutcome> {
        Box::pin(async move {
            let outcome = self.context.load(&mut self.generator, self.plan).await?;
            self.next_process = outcome.next_process;
            Ok(outcome)
        })
    }

    fn final_reads(&mut self, within: Duration) -> Work<'_, ()> {
        let reads = self.generator.final_reads();
        Box::pin(async move {
            self.context.final_reads(reads, self.next_process, self.plan.deadline, within).await
        })
    }
}
