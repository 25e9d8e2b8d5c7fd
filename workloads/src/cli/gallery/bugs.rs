//! The bugs of the gallery, and the runs that find them.

/// A known bug of etcd.
#[derive(Debug)]
pub(super) struct Bug {
    /// Its number among etcd's issues.
    pub(super) issue: u32,
    /// What goes wrong, in a few words.
    pub(super) what: &'static str,
    /// Releases that have it.
    pub(super) releases: &'static [&'static str],
    /// A release that does not.
    pub(super) control: &'static str,
    /// Arguments of `assay run`.
    pub(super) args: &'static [&'static str],
}

/// All that must be found, the quickest first.
pub(super) const BUGS: &[Bug] = &[
    Bug {
        issue: 18667,
        what: "a failed transaction took effect on some members",
        releases: &["3.5.1", "3.5.0", "3.4.23"],
        control: "3.5.30",
        args: &["--workload", "kv", "--txn-revisions", "any", "--faults", "none", "--time-limit", "8s"],
    },
    Bug {
        issue: 14685,
        what: "a crash in a defragmentation applies entries twice",
        releases: &["3.5.1", "3.5.0"],
        control: "3.4.23",
        args: &[
            "--workload",
            "register,set",
            "--faults",
            "kill-in-defrag",
            "--time-limit",
            "30s",
            "--rate",
            "1000",
            "--concurrency",
            "30",
        ],
    },
    Bug {
        issue: 14370,
        what: "one member: an acknowledged write is lost",
        releases: &["3.5.1", "3.5.0"],
        control: "3.4.23",
        args: &[
            "--nodes",
            "1",
            "--workload",
            "register,set",
            "--faults",
            "syscall-slow-write-kill",
            "--time-limit",
            "25s",
            "--rate",
            "300",
        ],
    },
    Bug {
        issue: 13766,
        what: "a crash under load parts a member's data",
        releases: &["3.5.1", "3.5.0"],
        control: "3.4.23",
        args: &[
            "--workload",
            "register,set",
            "--faults",
            "kill-one,kill-follower",
            "--settings",
            "batch-interval=1ms",
            "--time-limit",
            "60s",
            "--rate",
            "2400",
            "--concurrency",
            "60",
        ],
    },
    Bug {
        issue: 15247,
        what: "a deposed leader revokes leases that were kept alive",
        releases: &["3.5.1", "3.5.0", "3.4.23"],
        control: "3.5.30",
        args: &[
            "--workload",
            "lease",
            "--faults",
            "syscall-stuck-sync",
            "--fault-time",
            "8s",
            "--time-limit",
            "40s",
        ],
    },
    Bug {
        issue: 15271,
        what: "a watch goes back in time",
        releases: &["3.4.23"],
        control: "3.5.30",
        args: &[
            "--workload",
            "watch",
            "--faults",
            "partition-one",
            "--fault-time",
            "8s",
            "--settings",
            "snapshot-count=100",
            "--time-limit",
            "40s",
            "--rate",
            "3000",
            "--concurrency",
            "60",
        ],
    },
];
