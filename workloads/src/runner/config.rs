//! What a run is to do.

use super::member::Member;
use crate::{
    cluster::{Kind, System, Tuning},
    generator::Rate,
    nemesis::{Family, Fault, FaultSet, PlanFile},
    report::{Results, Tolerance},
    scenario::WorkloadName,
    workload::TxnRevisions,
};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// What a run is to do. Whoever makes one has looked at every part of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store.
    pub target: Target,
    /// The workloads, at least one.
    pub workloads: BTreeSet<WorkloadName>,
    /// Which transactions of `kv` may hold ranges at revisions.
    pub txn_revisions: TxnRevisions,
    /// What may strike while the load goes on; nothing, where the store is not this run's own.
    pub faults: FaultSet,
    /// Whether these were named one by one: each kind of them must strike then, while of all that a cluster can
    /// do some may not have their turn in a short run.
    pub faults_named: bool,
    /// How many faults may be under way at a time, at least 1.
    pub overlap: usize,
    /// How long each fault lasts, where that is not drawn.
    pub fault_time: Option<Duration>,
    /// What an earlier run did, to be done again in place of a plan of this run's own.
    pub replay: Option<PlanFile>,
    /// Settings of every node.
    pub tuning: Tuning,
    /// Time under load, shared by all phases.
    pub time_limit: Duration,
    /// Operations per second, shared by the workloads of a phase.
    pub rate: Rate,
    /// Processes of each workload, at least 1.
    pub concurrency: usize,
    /// Bounds each operation.
    pub deadline: Duration,
    /// All choices follow from it.
    pub seed: u64,
    /// Folder for everything that the run writes; it exists and is empty.
    pub out: PathBuf,
    /// The command that repeats the run.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What the user should know of how the run was set up.
    pub notes: Vec<String>,
    /// An earlier run that this one must not serve worse than, and by how much it may.
    pub baseline: Option<(Results, Tolerance)>,
    /// Whether workloads that can be are checked while they go on, and end at the first anomaly.
    pub online: bool,
    /// Whether to keep progress to itself.
    pub quiet: bool,
}

impl Config {
    /// The kinds of faults that are to strike.
    pub fn families(&self) -> BTreeSet<Family> {
        self.to_strike().into_iter().map(Fault::family).collect()
    }

    /// The faults that are to strike.
    pub fn to_strike(&self) -> Vec<Fault> {
        match &self.replay {
            Some(file) => file.lines.iter().map(|line| line.planned.fault).collect(),
            None => self.faults.iter().collect(),
        }
    }
}

/// The store under test.
#[derive(Clone, Debug)]
pub enum Target {
    /// A cluster that the run starts and ends.
    Start {
        /// What carries its traffic.
        kind: Kind,
        /// What its nodes run.
        system: System,
        /// How many.
        nodes: usize,
    },
    /// A store that is already there, and may hold other things: no faults, and it is left running.
    Running {
        /// Its members.
        members: Vec<Member>,
        /// What this run's keys begin with.
        prefix: String,
    },
}

impl Target {
    /// What carries the traffic.
    pub fn cluster_name(&self) -> String {
        match self {
            Target::Start { kind, .. } => kind.to_string(),
            Target::Running { .. } => "endpoints".into(),
        }
    }
}
