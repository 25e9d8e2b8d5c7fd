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
    /// What must be found to be clean.
    pub(super) control: Control,
    /// Kinds of broken promises that show it, where the releases have other bugs that the same run finds; any kind,
    /// where this is empty.
    pub(super) shown_by: &'static [&'static str],
    /// Arguments of `assay run`: the workload, how much of it, on how many nodes.
    pub(super) load: &'static [&'static str],
    /// The rest of them: faults, settings, time.
    pub(super) args: &'static [&'static str],
}

/// A run like those that find the bug, in which nothing may be found.
#[derive(Debug)]
pub(super) struct Control {
    /// A release that has the fix.
    pub(super) release: &'static str,
    /// What is different about the run too, where no release has it.
    pub(super) args: &'static [&'static str],
}

const fn mended_in(release: &'static str) -> Control {
    Control { release, args: &[] }
}

impl Bug {
    /// All arguments of `assay run` that are the bug's own.
    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.load.iter().chain(self.args).copied()
    }

    /// What stands after a flag.
    pub(super) fn value(&self, flag: &str) -> Option<&'static str> {
        self.words().skip_while(|word| *word != flag).nth(1)
    }
}

/// Load that every run of watches has: as many writes as three members on two processors take.
const WATCHES: &[&str] = &["--workload", "watch", "--rate", "2400", "--concurrency", "90"];

/// All that must be found, the quickest first. Between them the first releases are all that there are.
pub(super) const BUGS: &[Bug] = &[
    Bug {
        issue: 18667,
        what: "a failed transaction took effect on some members",
        releases: &["3.5.16", "3.5.30", "3.5.1", "3.5.0", "3.4.23"],
        control: Control { release: "3.5.30", args: &["--txn-revisions", "read-only"] },
        shown_by: &[],
        load: &["--workload", "kv", "--txn-revisions", "any"],
        args: &["--faults", "none", "--time-limit", "8s"],
    },
    Bug {
        issue: 15220,
        what: "progress of a watch is told before its events",
        releases: &["3.5.0", "3.5.1", "3.4.23"],
        control: mended_in("3.5.30"),
        shown_by: &["watch-bookmark-broken"],
        load: &["--workload", "watch"],
        args: &["--faults", "none", "--time-limit", "10s"],
    },
    Bug {
        issue: 14685,
        what: "a crash in a defragmentation applies entries twice",
        releases: &["3.5.0", "3.5.1"],
        control: mended_in("3.4.23"),
        shown_by: &[],
        load: &["--workload", "register,set", "--rate", "1000", "--concurrency", "30"],
        args: &["--faults", "kill-in-defrag", "--time-limit", "30s"],
    },
    Bug {
        issue: 14370,
        what: "one member: an acknowledged write is lost",
        releases: &["3.5.0", "3.5.1"],
        control: mended_in("3.4.23"),
        shown_by: &[],
        load: &["--workload", "register,set", "--nodes", "1"],
        args: &["--faults", "syscall-slow-write-kill", "--time-limit", "25s"],
    },
    Bug {
        issue: 15247,
        what: "a deposed leader revokes leases that were kept alive",
        releases: &["3.5.1", "3.5.0", "3.4.23"],
        control: mended_in("3.5.30"),
        shown_by: &["lease-expired-early"],
        load: &["--workload", "lease", "--rate", "30", "--concurrency", "60"],
        args: &["--faults", "syscall-stuck-sync", "--fault-time", "5s", "--time-limit", "25s"],
    },
    Bug {
        issue: 13766,
        what: "a crash under load parts a member's data",
        releases: &["3.5.1", "3.5.0"],
        control: mended_in("3.5.30"),
        shown_by: &["divergence"],
        load: WATCHES,
        args: &[
            "--faults",
            "kill-all,kill-one",
            "--fault-time",
            "1s",
            "--settings",
            "batch-interval=1ms",
            "--time-limit",
            "40s",
        ],
    },
    Bug {
        issue: 15271,
        what: "a watch goes back in time",
        releases: &["3.4.23"],
        control: mended_in("3.5.30"),
        shown_by: &["watch-not-ordered", "watch-duplicate"],
        load: WATCHES,
        args: &[
            "--faults",
            "partition-one",
            "--fault-time",
            "12s",
            "--settings",
            "snapshot-count=100",
            "--time-limit",
            "70s",
        ],
    },
];
