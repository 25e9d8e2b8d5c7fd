//! What belongs together: which workloads there are, which of them run at the same time, and which go well with
//! which faults.

use crate::workload::Space;
use std::{collections::BTreeSet, fmt, str::FromStr};

/// A workload, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadName {
    /// The whole store, revisions included.
    Kv,
    /// Registers.
    Register,
    /// List-append transactions.
    Append,
    /// Sets.
    Set,
    /// Transactions over several keys.
    Txn,
    /// Transfers between accounts.
    Bank,
    /// Watches.
    Watch,
    /// Leases.
    Lease,
    /// Fenced locks.
    Lock,
    /// Locks without a fence.
    LockUnfenced,
    /// Elections.
    Election,
}

impl WorkloadName {
    /// The workloads that `all` stands for.
    pub const ALL: [WorkloadName; 6] = [
        WorkloadName::Kv,
        WorkloadName::Register,
        WorkloadName::Append,
        WorkloadName::Set,
        WorkloadName::Txn,
        WorkloadName::Bank,
    ];

    /// Workloads that run only when they are named: one is expected to fail with any store, and the others need
    /// watches and leases.
    pub const NAMED: [WorkloadName; 5] = [
        WorkloadName::Watch,
        WorkloadName::Lease,
        WorkloadName::Lock,
        WorkloadName::LockUnfenced,
        WorkloadName::Election,
    ];

    /// Every workload.
    pub fn every() -> impl Iterator<Item = WorkloadName> {
        WorkloadName::ALL.into_iter().chain(WorkloadName::NAMED)
    }

    /// The name, as on the command line, in histories and in folders.
    pub fn name(self) -> &'static str {
        match self {
            WorkloadName::Kv => "kv",
            WorkloadName::Register => "register",
            WorkloadName::Append => "append",
            WorkloadName::Set => "set",
            WorkloadName::Txn => "txn",
            WorkloadName::Bank => "bank",
            WorkloadName::Watch => "watch",
            WorkloadName::Lease => "lease",
            WorkloadName::Lock => "lock",
            WorkloadName::LockUnfenced => "lock-unfenced",
            WorkloadName::Election => "election",
        }
    }

    /// What it does and shows, in one line.
    pub fn about(self) -> &'static str {
        match self {
            WorkloadName::Kv => {
                "puts, deletes, ranges, nested transactions, compaction on ten keys; the whole store with its \
                 revisions against a sequential reference"
            }
            WorkloadName::Register => {
                "reads, writes and compare-and-swaps of many keys; linearizability, and what serializable reads \
                 promise"
            }
            WorkloadName::Append => "transactions that read lists and append to them; strict serializability",
            WorkloadName::Set => "elements added to sets by guarded writes; lost, stale and phantom elements",
            WorkloadName::Txn => {
                "transactions that read and write several keys in one request; isolation up to strict serializability"
            }
            WorkloadName::Bank => "transfers between accounts and reads of all of them; the total is kept",
            WorkloadName::Watch => {
                "watches of ranges on all members from old, new and future revisions; ordered, unique, atomic, \
                 reliable, resumable, bookmarkable"
            }
            WorkloadName::Lease => {
                "leases kept alive and left to end; never early, in time, all keys at once"
            }
            WorkloadName::Lock => "sections under a lock of a lease, with fenced writes; mutual exclusion",
            WorkloadName::LockUnfenced => {
                "the same with unfenced writes: fails with any store, since a lease ends while its holder sleeps"
            }
            WorkloadName::Election => "campaigns and observations; one leader a term, terms never go back",
        }
    }

    /// Where it keeps its keys.
    pub fn space(self, run: &str) -> Space {
        Space::new(run, self.name())
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WorkloadName {
    type Err = String;

    fn from_str(text: &str) -> Result<WorkloadName, String> {
        WorkloadName::every()
            .find(|workload| workload.name() == text)
            .ok_or_else(|| format!("there is no workload `{text}`; `assay list` shows those there are"))
    }
}

/// Workloads and faults that together look for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it catches, in one line.
    pub catches: &'static str,
    /// Workloads, as on the command line.
    pub workloads: &'static str,
    /// Faults, as on the command line.
    pub faults: &'static str,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 8] = [
        Scenario {
            name: "everything",
            catches: "what nobody thought of: all workloads under all faults",
            workloads: "all",
            faults: "all",
        },
        Scenario {
            name: "calm",
            catches: "wrong answers without any fault: the semantics of the API, revisions, compaction",
            workloads: "all",
            faults: "none",
        },
        Scenario {
            name: "lost-leader",
            catches: "reads that a deposed leader answers, acknowledged writes that its successor does not have",
            workloads: "register,append",
            faults: "kill-leader,pause-leader,partition-leader",
        },
        Scenario {
            name: "power",
            catches: "writes acknowledged before they were on disk, logs that are applied twice or not at all after a \
                      restart",
            workloads: "kv,set",
            faults: "kill",
        },
        Scenario {
            name: "split",
            catches: "two leaders at a time, votes counted twice, a majority that is none",
            workloads: "register,append",
            faults: "partition",
        },
        Scenario {
            name: "stalls",
            catches: "trust in clocks and timers: reads on an expired lease, requests that outlive their sender",
            workloads: "register,set",
            faults: "pause",
        },
        Scenario {
            name: "revisions",
            catches: "revisions lost, used twice or going back; history readable below a compaction",
            workloads: "kv",
            faults: "kill,pause,partition",
        },
        Scenario {
            name: "transactions",
            catches: "transactions that are torn, applied twice, reordered, or see half of another",
            workloads: "append,txn,bank",
            faults: "kill,partition",
        },
    ];
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Scenario, String> {
        let found = Scenario::ALL.into_iter().find(|scenario| scenario.name == text);
        found.ok_or_else(|| format!("there is no scenario `{text}`; `assay list` shows those there are"))
    }
}

/// The workloads of one phase: they run at the same time, each on its own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhasePlan {
    /// Which.
    pub workloads: Vec<WorkloadName>,
}

/// Divides workloads into phases, which run one after the other on one cluster.
///
/// `kv` counts every revision of the store, so nothing else may write beside it; it comes first, since a
/// request of another workload whose outcome is unknown might still take effect later. The others run
/// together.
pub fn phases(workloads: &BTreeSet<WorkloadName>) -> Vec<PhasePlan> {
    let (alone, together): (Vec<WorkloadName>, Vec<WorkloadName>) =
        workloads.iter().partition(|workload| **workload == WorkloadName::Kv);
    [alone, together]
        .into_iter()
        .filter(|workloads| !workloads.is_empty())
        .map(|workloads| PhasePlan { workloads })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_runs_first_and_alone() {
        let all = phases(&WorkloadName::ALL.into());
        let names: Vec<Vec<&str>> =
            all.iter().map(|phase| phase.workloads.iter().map(|w| w.name()).collect()).collect();
        assert_eq!(names, [vec!["kv"], vec!["register", "append", "set", "txn", "bank"]]);
        assert_eq!(phases(&[WorkloadName::Set].into()).len(), 1);
    }

    #[test]
    fn names_are_read_back() {
        for workload in WorkloadName::every() {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        assert!("banks".parse::<WorkloadName>().unwrap_err().contains("`banks`"));
    }

    #[test]
    fn every_scenario_names_workloads_and_faults_that_there_are() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name.parse(), Ok(scenario));
            if scenario.workloads != "all" {
                for name in scenario.workloads.split(',') {
                    assert!(name.parse::<WorkloadName>().is_ok(), "{}: {name}", scenario.name);
                }
            }
            let faults = crate::nemesis::FaultSet::parse(scenario.faults).expect(scenario.name);
            assert_eq!(faults.is_empty(), scenario.faults == "none", "{}", scenario.name);
        }
        assert!("calmer".parse::<Scenario>().unwrap_err().contains("`calmer`"));
    }
}
