//! Which faults there are, and their names.

use serde::{Serialize, Serializer};
use std::{collections::BTreeSet, fmt};

/// What a fault does. Faults of one family are shown and counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Processes end by SIGKILL, and start again on the data they have.
    Kill,
    /// Processes stop by SIGSTOP, and run on.
    Pause,
    /// Links between nodes are blocked. Clients reach every node all the same.
    Partition,
}

/// Which nodes' processes a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The leader.
    Leader,
    /// One node, whichever.
    One,
    /// The most that leave a majority.
    Minority,
    /// The fewest that leave no majority.
    Majority,
    /// Every node.
    All,
}

/// Which links a partition blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// One node, whichever, is alone.
    One,
    /// The leader is alone.
    Leader,
    /// A minority is apart from the majority. One node may be the whole minority.
    Minority,
    /// Every node sees a majority, and no two nodes see the same one.
    Ring,
    /// Two halves that do not see each other, and one node that sees both.
    Bridge,
    /// One node's payload does not reach the others, or theirs does not reach it; the other way all is well.
    OneWay,
}

/// A fault as a plan names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Ends processes.
    Kill(Target),
    /// Stops processes.
    Pause(Target),
    /// Blocks links.
    Partition(Shape),
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 3] = [Family::Kill, Family::Pause, Family::Partition];

    /// Its name on the command line and in a history.
    pub fn name(self) -> &'static str {
        match self {
            Family::Kill => "kill",
            Family::Pause => "pause",
            Family::Partition => "partition",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Target {
    const ALL: [Target; 5] = [Target::Leader, Target::One, Target::Minority, Target::Majority, Target::All];

    fn name(self) -> &'static str {
        match self {
            Target::Leader => "leader",
            Target::One => "one",
            Target::Minority => "minority",
            Target::Majority => "majority",
            Target::All => "all",
        }
    }
}

impl Shape {
    const ALL: [Shape; 6] =
        [Shape::One, Shape::Leader, Shape::Minority, Shape::Ring, Shape::Bridge, Shape::OneWay];

    fn name(self) -> &'static str {
        match self {
            Shape::One => "one",
            Shape::Leader => "leader",
            Shape::Minority => "minority",
            Shape::Ring => "ring",
            Shape::Bridge => "bridge",
            Shape::OneWay => "one-way",
        }
    }
}

impl Fault {
    /// Every fault, family by family.
    pub fn all() -> impl Iterator<Item = Fault> {
        let kills = Target::ALL.into_iter().map(Fault::Kill);
        let pauses = Target::ALL.into_iter().map(Fault::Pause);
        let partitions = Shape::ALL.into_iter().map(Fault::Partition);
        kills.chain(pauses).chain(partitions)
    }

    /// The family it belongs to.
    pub fn family(self) -> Family {
        match self {
            Fault::Kill(_) => Family::Kill,
            Fault::Pause(_) => Family::Pause,
            Fault::Partition(_) => Family::Partition,
        }
    }

    /// The smallest cluster in which it is what its name says.
    pub fn nodes_min(self) -> usize {
        match self {
            Fault::Kill(target) | Fault::Pause(target) => match target {
                Target::Leader | Target::One | Target::All => 1,
                Target::Majority => 2,
                Target::Minority => 3,
            },
            Fault::Partition(shape) => match shape {
                Shape::One | Shape::Leader | Shape::OneWay => 2,
                Shape::Minority | Shape::Bridge => 3,
                Shape::Ring => 4,
            },
        }
    }
}

/// Its name on the command line: the family's, and whom it hits: `kill-leader`, `partition-ring`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            Fault::Kill(target) | Fault::Pause(target) => target.name(),
            Fault::Partition(shape) => shape.name(),
        };
        write!(f, "{}-{detail}", self.family())
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name that stands for no fault. Displays with the names that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault(pub String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<&str> = Family::ALL.into_iter().map(Family::name).collect();
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
        let (possible, left_out): (BTreeSet<_>, Vec<_>) = {
            let (fit, rest): (Vec<_>, Vec<_>) = self.faults.into_iter().partition(|f| f.nodes_min() <= nodes);
            (fit.into_iter().collect(), rest)
        };
        (FaultSet { faults: possible }, left_out)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_faults_and_back() {
        for fault in Fault::all() {
            let set = FaultSet::parse(&fault.to_string()).expect("a fault's own name");
            assert_eq!(set.iter().collect::<Vec<_>>(), [fault]);
        }
        for (text, count, why) in [
            ("none", 0, "none is a name"),
            ("", 0, "nothing asked for"),
            ("kill", 5, "a family is all of it"),
            ("kill, kill-one", 5, "named twice is there once"),
            ("all", 16, "all"),
        ] {
            assert_eq!(FaultSet::parse(text).expect(text).iter().count(), count, "{why}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = FaultSet::parse("kill,earthquake").expect_err("no such fault");
        let text = error.to_string();
        assert!(text.contains("earthquake") && text.contains("partition-one-way"), "{text}");
    }

    #[test]
    fn a_small_cluster_leaves_out_what_would_not_be_what_it_is_called() {
        let (possible, left_out) = FaultSet::all().for_nodes(3);
        assert_eq!(left_out, [Fault::Partition(Shape::Ring)]);
        assert_eq!(possible.iter().count(), 15);
        let (alone, _) = FaultSet::all().for_nodes(1);
        assert_eq!(alone.families(), BTreeSet::from([Family::Kill, Family::Pause]));
    }
}
