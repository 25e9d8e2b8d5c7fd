//! The words that names of faults are made of.

/// Declares an enumeration of plain variants, each with its word on the command line.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$about])* $variant,)*
        }

        impl $name {
            /// Every one, in order.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// Its word on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}

words! {
    /// What a fault does. Faults of one family are shown and counted together, and one of a family at most is
    /// under way at a time.
    Family {
        /// Processes end by SIGKILL, and start again on the data they have.
        Kill = "kill",
        /// Processes are asked to end by SIGTERM, and start again.
        Stop = "stop",
        /// Processes stop by SIGSTOP, and run on.
        Pause = "pause",
        /// A host is gone: its links, then its process, all at once and without a word.
        Vanish = "vanish",
        /// Links between nodes are blocked. Clients reach every node all the same.
        Partition = "partition",
        /// Clients do not reach a node. Nodes reach each other all the same.
        Client = "client",
        /// Packets between nodes are late, lost, out of order or doubled.
        Packet = "packet",
        /// System calls of a process are slow, fail, or are its last.
        Syscall = "syscall",
        /// A node's disk loses its power, is full, or cannot be written.
        Disk = "disk",
        /// A process gets little of the processor.
        Cpu = "cpu",
        /// A process gets no more memory.
        Memory = "memory",
        /// A process is told another time than the others.
        Clock = "clock",
        /// Who is a member, and who leads, is changed.
        Member = "member",
        /// Maintenance goes on beside the load.
        Admin = "admin",
    }
}

words! {
    /// Which nodes a fault hits.
    Target {
        /// The leader.
        Leader = "leader",
        /// A node that does not lead.
        Follower = "follower",
        /// The node that has applied least.
        Lagging = "lagging",
        /// One node, whichever.
        One = "one",
        /// The most that leave a majority.
        Minority = "minority",
        /// The fewest that leave no majority.
        Majority = "majority",
        /// Every node.
        All = "all",
    }
}

words! {
    /// A moment at which a kill finds a server busy.
    Moment {
        /// A new leader has just been elected: it is killed too.
        Election = "after-election",
        /// A follower lags behind by many entries.
        Lag = "while-lagging",
        /// A member defragments its data.
        Defrag = "in-defrag",
        /// A member writes a snapshot for an operator.
        Snapshot = "in-snapshot",
        /// Members compact their history.
        Compaction = "in-compaction",
        /// A server has hardly started, again and again.
        Start = "loop",
    }
}

words! {
    /// Which links a partition blocks.
    Shape {
        /// One node, whichever, is alone.
        One = "one",
        /// The leader is alone.
        Leader = "leader",
        /// A minority is apart from the majority. One node may be the whole minority.
        Minority = "minority",
        /// Every node sees a majority, and no two nodes see the same one.
        Ring = "ring",
        /// Two halves that do not see each other, and one node that sees both.
        Bridge = "bridge",
        /// One node's payload does not reach the others, or theirs does not reach it; the other way all is well.
        OneWay = "one-way",
        /// One node's packets do not reach the others, or theirs do not reach it, acknowledgements included.
        OneWayPackets = "one-way-packets",
        /// One node's links go and come again, every few hundred milliseconds.
        Flapping = "flapping",
    }
}

words! {
    /// What happens to packets.
    Effect {
        /// They are late, by a time that varies.
        Delay = "delay",
        /// Some are lost.
        Loss = "loss",
        /// Some overtake others.
        Reorder = "reorder",
        /// Some arrive twice.
        Duplicate = "duplicate",
        /// A link carries little.
        Slow = "slow",
    }
}

words! {
    /// What happens to system calls that touch the log of a process.
    Call {
        /// Every sync takes longer.
        SlowSync = "slow-sync",
        /// A sync takes as long as the fault lasts: the first of each thread.
        StuckSync = "stuck-sync",
        /// Every write takes longer, and then the process is killed.
        SlowWriteKill = "slow-write-kill",
        /// One sync fails.
        FailedSync = "failed-sync",
        /// The process is killed instead of a write.
        KillAtWrite = "kill-at-write",
        /// The process is killed instead of a sync.
        KillAtSync = "kill-at-sync",
        /// One file is not renamed, to any name.
        FailedRename = "failed-rename",
        /// The process is killed instead of renaming a file.
        KillAtRename = "kill-at-rename",
    }
}

words! {
    /// What happens to a disk.
    DiskTrouble {
        /// Its power goes: what was not synced is lost.
        PowerLoss = "power-loss",
        /// It is full.
        Full = "full",
        /// It can be read, but not written.
        ReadOnly = "read-only",
        /// It does a few writes a second.
        Slow = "slow",
    }
}

words! {
    /// What happens to a clock.
    ClockTrouble {
        /// The time of day jumps ahead, by a minute to a day.
        Forward = "forward",
        /// The time of day jumps back, by a minute to a day.
        Back = "back",
        /// The time of day jumps to and fro, several times a second.
        Strobe = "strobe",
        /// The process starts anew, and its machine has been up for hours longer than before.
        Monotonic = "monotonic",
    }
}

words! {
    /// What is changed about members.
    Change {
        /// The leader hands over.
        Leader = "move-leader",
        /// A member is removed, and a new one is added in its place in the end.
        Shrink = "shrink",
        /// A member is replaced by a new one without data.
        Replace = "replace",
        /// A member is replaced by a learner without data, which is promoted in the end.
        Learner = "learner",
    }
}

words! {
    /// What an operator asks for.
    Task {
        /// Every member rewrites its data, one after the other.
        Defrag = "defrag",
        /// A member writes a snapshot.
        Snapshot = "snapshot",
        /// History is forgotten, all but a little.
        Compact = "compact",
    }
}
