//! Which faults there are, and their names.

use super::{Call, Change, ClockTrouble, DiskTrouble, Effect, Family, Moment, Shape, Target, Task};
use crate::cluster::{Ability, Kind, Lack, Spec, System};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// A fault as a plan names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Ends processes.
    Kill(Target),
    /// Ends a process when it is busy.
    KillAt(Moment),
    /// Asks processes to end.
    Stop(Target),
    /// Restarts all processes, one after the other.
    Rolling,
    /// Stops processes.
    Pause(Target),
    /// Takes a node off the network, and then its process.
    Vanish(Target),
    /// Blocks links.
    Partition(Shape),
    /// Keeps clients from nodes.
    Client(Target),
    /// Disturbs packets.
    Packet(Effect),
    /// Tampers with system calls.
    Syscall(Call),
    /// Breaks a disk.
    Disk(DiskTrouble),
    /// Takes the processor away, most of the time.
    Cpu(Target),
    /// Takes all memory away that is not in use yet.
    Memory(Target),
    /// Sets a clock.
    Clock(ClockTrouble),
    /// Changes members.
    Member(Change),
    /// Does maintenance.
    Admin(Task),
}

/// Whom an operator or a signal may well hit; a whole cluster is only ever killed or paused.
const SINGLE: [Target; 2] = [Target::Leader, Target::One];

impl Family {
    /// What its faults do, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Family::Kill => "SIGKILL, and a start on the data that is left; some at a moment chosen by state",
            Family::Stop => "SIGTERM, and a start; rolling: all members in turn",
            Family::Pause => "SIGSTOP, and SIGCONT",
            Family::Vanish => "a host is gone: cut off first, then killed, so that no peer hears of it",
            Family::Partition => "links between nodes are cut, and mended",
            Family::Client => "clients do not reach a node, its peers do",
            Family::Packet => "packets between nodes are late, lost, out of order, doubled or few (NFQUEUE)",
            Family::Syscall => "system calls on the log are slow, fail or are the last (strace, any program)",
            Family::Disk => {
                "unsynced data is lost, the disk is full, read-only or slow (loop mounts, as root)"
            }
            Family::Cpu => "a process runs a tenth of the time",
            Family::Memory => "a process gets no more memory, and may end of it",
            Family::Clock => {
                "the time of day jumps (libfaketime); a start with another uptime (time namespace)"
            }
            Family::Member => "members are removed, replaced, added as learners; the leader hands over",
            Family::Admin => "defragmentation, snapshots, compaction beside the load",
        }
    }
}

impl Fault {
    /// Every fault, family by family.
    pub fn all() -> impl Iterator<Item = Fault> {
        let mut all = Vec::new();
        all.extend(Target::ALL.iter().copied().map(Fault::Kill));
        all.extend(Moment::ALL.iter().copied().map(Fault::KillAt));
        all.extend(SINGLE.map(Fault::Stop));
        all.push(Fault::Rolling);
        all.extend(Target::ALL.iter().copied().filter(|t| *t != Target::Lagging).map(Fault::Pause));
        all.extend(SINGLE.map(Fault::Vanish));
        all.extend(Shape::ALL.iter().copied().map(Fault::Partition));
        all.extend(SINGLE.map(Fault::Client));
        all.extend(Effect::ALL.iter().copied().map(Fault::Packet));
        all.extend(Call::ALL.iter().copied().map(Fault::Syscall));
        all.extend(DiskTrouble::ALL.iter().copied().map(Fault::Disk));
        all.extend(SINGLE.map(Fault::Cpu));
        all.extend(SINGLE.map(Fault::Memory));
        all.extend(ClockTrouble::ALL.iter().copied().map(Fault::Clock));
        all.extend(Change::ALL.iter().copied().map(Fault::Member));
        all.extend(Task::ALL.iter().copied().map(Fault::Admin));
        all.into_iter()
    }

    /// The family it belongs to.
    pub fn family(self) -> Family {
        match self {
            Fault::Kill(_) | Fault::KillAt(_) => Family::Kill,
            Fault::Stop(_) | Fault::Rolling => Family::Stop,
            Fault::Pause(_) => Family::Pause,
            Fault::Vanish(_) => Family::Vanish,
            Fault::Partition(_) => Family::Partition,
            Fault::Client(_) => Family::Client,
            Fault::Packet(_) => Family::Packet,
            Fault::Syscall(_) => Family::Syscall,
            Fault::Disk(_) => Family::Disk,
            Fault::Cpu(_) => Family::Cpu,
            Fault::Memory(_) => Family::Memory,
            Fault::Clock(_) => Family::Clock,
            Fault::Member(_) => Family::Member,
            Fault::Admin(_) => Family::Admin,
        }
    }

    /// The smallest cluster in which it is what its name says.
    pub fn nodes_min(self) -> usize {
        match self {
            Fault::Kill(target)
            | Fault::Stop(target)
            | Fault::Pause(target)
            | Fault::Vanish(target)
            | Fault::Client(target)
            | Fault::Cpu(target)
            | Fault::Memory(target) => match target {
                Target::Leader | Target::One | Target::All => 1,
                Target::Majority | Target::Follower | Target::Lagging => 2,
                Target::Minority => 3,
            },
            Fault::KillAt(moment) => match moment {
                Moment::Election => 3,
                Moment::Lag => 2,
                Moment::Defrag | Moment::Snapshot | Moment::Compaction | Moment::Start => 1,
            },
            Fault::Partition(shape) => match shape {
                Shape::One | Shape::Leader | Shape::OneWay | Shape::OneWayPackets | Shape::Flapping => 2,
                Shape::Minority | Shape::Bridge => 3,
                Shape::Ring => 4,
            },
            Fault::Packet(_) => 2,
            Fault::Rolling | Fault::Syscall(_) | Fault::Disk(_) | Fault::Clock(_) | Fault::Admin(_) => 1,
            Fault::Member(change) => match change {
                Change::Leader => 2,
                Change::Shrink | Change::Replace | Change::Learner => 3,
            },
        }
    }

    /// What the cluster must be able to do for it.
    pub fn needs(self) -> Option<Ability> {
        match self {
            Fault::Client(_) => Some(Ability::ClientLinks),
            Fault::Packet(_) => Some(Ability::Packets),
            Fault::Syscall(_) => Some(Ability::Syscalls),
            Fault::Disk(DiskTrouble::Slow) => Some(Ability::SlowDisks),
            Fault::Disk(_) => Some(Ability::Disks),
            Fault::Clock(ClockTrouble::Monotonic) => Some(Ability::Uptime),
            Fault::Clock(_) => Some(Ability::TimeOfDay),
            Fault::Kill(_)
            | Fault::KillAt(_)
            | Fault::Stop(_)
            | Fault::Rolling
            | Fault::Pause(_)
            | Fault::Vanish(_)
            | Fault::Partition(_)
            | Fault::Cpu(_)
            | Fault::Memory(_)
            | Fault::Member(_)
            | Fault::Admin(_) => None,
        }
    }

    /// Whether it makes the store forget revisions, which a workload that counts them all must know of.
    pub fn compacts(self) -> bool {
        matches!(self, Fault::Admin(Task::Compact) | Fault::KillAt(Moment::Compaction))
    }
}

/// Its name on the command line: the family's, and whom it hits: `kill-leader`, `partition-ring`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            Fault::Kill(target)
            | Fault::Stop(target)
            | Fault::Pause(target)
            | Fault::Vanish(target)
            | Fault::Client(target)
            | Fault::Cpu(target)
            | Fault::Memory(target) => target.name(),
            Fault::Clock(trouble) => trouble.name(),
            Fault::KillAt(moment) => moment.name(),
            Fault::Rolling => "rolling",
            Fault::Partition(shape) => shape.name(),
            Fault::Packet(effect) => effect.name(),
            Fault::Syscall(call) => call.name(),
            Fault::Disk(trouble) => trouble.name(),
            Fault::Member(change) => change.name(),
            Fault::Admin(task) => task.name(),
        };
        write!(f, "{}-{detail}", self.family())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> std::result::Result<Fault, UnknownFault> {
        Fault::all().find(|fault| fault.to_string() == name).ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Fault, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A name that stands for no fault. Displays with the names that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault(pub String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
        let faults: Vec<String> = Fault::all().map(|fault| fault.to_string()).collect();
        write!(
            f,
            "unknown fault {:?}; known are all, none, the families {}, and {}",
            self.0,
            families.join(", "),
            faults.join(", ")
        )
    }
}

impl std::error::Error for UnknownFault {}

/// Has a cluster made so that these faults can strike it: with disks and clocks that can be got at, where they need
/// those.
pub fn prepare(spec: &mut Spec, faults: impl IntoIterator<Item = Fault>) {
    for ability in faults.into_iter().filter_map(Fault::needs) {
        match ability {
            Ability::Disks | Ability::SlowDisks => spec.disks = true,
            Ability::TimeOfDay => spec.clocks = true,
            Ability::ClientLinks | Ability::Packets | Ability::Syscalls | Ability::Uptime => {}
        }
    }
}

/// Why a cluster cannot bring a fault about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The fault.
    pub fault: Fault,
    /// Why.
    pub lack: Lack,
}

/// The faults that a run was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultSet {
    faults: BTreeSet<Fault>,
}

impl FaultSet {
    /// Every fault.
    pub fn all() -> FaultSet {
        FaultSet { faults: Fault::all().collect() }
    }

    /// Reads what stands after `--faults`: faults, families, `all` or `none`, separated by commas.
    ///
    /// # Errors
    /// The first name that stands for nothing.
    pub fn parse(text: &str) -> std::result::Result<FaultSet, UnknownFault> {
        let mut faults = BTreeSet::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let before = faults.len();
            let matches =
                |fault: &Fault| name == "all" || name == fault.family().name() || fault.to_string() == name;
            faults.extend(Fault::all().filter(matches));
            let known = name == "none" || faults.len() > before || Fault::all().any(|fault| matches(&fault));
            if !known {
                return Err(UnknownFault(name.to_owned()));
            }
        }
        Ok(FaultSet { faults })
    }

    /// Parts these into what a cluster of `nodes` nodes can do, and what it is too small for.
    pub fn for_nodes(self, nodes: usize) -> (FaultSet, Vec<Fault>) {
        let (fit, rest): (BTreeSet<_>, BTreeSet<_>) =
            self.faults.into_iter().partition(|fault| fault.nodes_min() <= nodes);
        (FaultSet { faults: fit }, rest.into_iter().collect())
    }

    /// Parts these into what a cluster of this kind and system can do here, and what it cannot. For a `netns`
    /// cluster the process must have entered it.
    pub fn for_cluster(self, kind: Kind, system: &System) -> (FaultSet, Vec<LeftOut>) {
        // Each is found out once, and only where it is asked for.
        let lacks: Vec<(Ability, Option<Lack>)> = Ability::ALL
            .into_iter()
            .filter(|ability| self.iter().any(|fault| fault.needs() == Some(*ability)))
            .map(|ability| (ability, ability.lack(kind, system)))
            .collect();
        let (mut possible, mut left_out) = (BTreeSet::new(), Vec::new());
        for fault in self.faults {
            let lack = lacks.iter().find(|(ability, _)| Some(*ability) == fault.needs());
            match lack.and_then(|(_, lack)| lack.clone()) {
                Some(lack) => left_out.push(LeftOut { fault, lack }),
                None => {
                    possible.insert(fault);
                }
            }
        }
        (FaultSet { faults: possible }, left_out)
    }

    /// These without those that make the store forget revisions.
    #[must_use]
    pub fn without_compaction(&self) -> FaultSet {
        FaultSet { faults: self.iter().filter(|fault| !fault.compacts()).collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The faults, in order.
    pub fn iter(&self) -> impl Iterator<Item = Fault> {
        self.faults.iter().copied()
    }

    /// The families of the faults, in order.
    pub fn families(&self) -> BTreeSet<Family> {
        self.iter().map(Fault::family).collect()
    }
}

impl FromIterator<Fault> for FaultSet {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> FaultSet {
        FaultSet { faults: faults.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_faults_and_back() {
        for fault in Fault::all() {
            let set = FaultSet::parse(&fault.to_string()).expect("a fault's own name");
            assert_eq!(set.iter().collect::<Vec<_>>(), [fault]);
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        let every = Fault::all().count();
        for (text, count, why) in [
            ("none", 0, "none is a name"),
            ("", 0, "nothing asked for"),
            ("kill", 13, "a family is all of it"),
            ("kill, kill-one", 13, "named twice is there once"),
            ("all", every, "all"),
        ] {
            assert_eq!(FaultSet::parse(text).expect(text).iter().count(), count, "{why}");
        }
        assert_eq!(FaultSet::all().families().len(), Family::ALL.len(), "no family without a fault");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = FaultSet::parse("kill,earthquake").expect_err("no such fault");
        let text = error.to_string();
        assert!(text.contains("earthquake") && text.contains("partition-one-way"), "{text}");
    }

    #[test]
    fn a_small_cluster_leaves_out_what_would_not_be_what_it_is_called() {
        let (possible, left_out) = FaultSet::parse("kill,partition").expect("known").for_nodes(3);
        assert_eq!(left_out, [Fault::Partition(Shape::Ring)]);
        assert!(possible.iter().all(|fault| fault.nodes_min() <= 3));
        let (alone, _) = FaultSet::all().for_nodes(1);
        assert!(!alone.families().contains(&Family::Partition) && alone.families().contains(&Family::Disk));
    }

    #[test]
    fn what_a_kind_of_cluster_cannot_do_is_left_out_with_the_reason() {
        let asked = FaultSet::parse("kill-one,packet-delay,client-one").expect("known");
        let system = System::Etcd { dir: "/nowhere".into() };
        let (possible, left_out) = asked.for_cluster(Kind::Local, &system);
        assert_eq!(possible.iter().collect::<Vec<_>>(), [Fault::Kill(Target::One)]);
        assert_eq!(left_out.len(), 2);
        assert!(left_out.iter().all(|out| !out.lack.of_machine && out.lack.text.contains("--cluster netns")));
    }
}
