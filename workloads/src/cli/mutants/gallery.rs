//! Which mutants there are, which are equivalent, and which a change must still find.

use super::searches::Altitude;
use raft::Mutation;
use server::plant::{Area, Plant};
use std::fmt;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// None: what is found then is a false alarm, or a bug of our own.
    None,
    /// Of the core.
    Core(Mutation),
    /// Of the server.
    Server(Plant),
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Those of the core that concern who takes part.
const OF_MEMBERSHIP: [Mutation; 7] = [
    Mutation::NewMajorityOnly,
    Mutation::NewMajorityElects,
    Mutation::TwoChangesAtOnce,
    Mutation::ChangeTooEarly,
    Mutation::LearnerCounts,
    Mutation::MembershipNotRolledBack,
    Mutation::ImageForgetsMembership,
];

/// Bugs of the server that the model of the core can make too: its disk has them.
const IN_MODEL: [(Plant, Mutation); 1] = [(Plant::TornTailAccepted, Mutation::TornTailAccepted)];

impl Mutant {
    /// The mistake of the core, or of the disk under it, that the model can make.
    pub(super) fn core(self) -> Option<Mutation> {
        match self {
            Mutant::None => None,
            Mutant::Core(mutation) => Some(mutation),
            Mutant::Server(plant) => {
                IN_MODEL.iter().find_map(|(known, mutation)| (*known == plant).then_some(*mutation))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Mutant::None => "none",
            Mutant::Core(mutation) => mutation.name(),
            Mutant::Server(plant) => plant.name(),
        }
    }

    /// The heading that it stands under.
    pub(super) fn area(self) -> &'static str {
        match self {
            Mutant::None => "None",
            Mutant::Core(mutation) if OF_MEMBERSHIP.contains(&mutation) => "Membership",
            Mutant::Core(_) => "Raft",
            Mutant::Server(plant) => match plant.area() {
                Area::Raft => "Raft",
                Area::Disk => "Disk and log",
                Area::Image => "State images",
                Area::Read => "Reads",
                Area::Reply => "What clients are told",
                Area::Store => "Keys and history",
                Area::Lease => "Leases",
                Area::Watch => "Watches",
                Area::Members => "Membership",
            },
        }
    }

    /// Whether it has to do with changes of membership.
    pub(super) fn is_of_membership(self) -> bool {
        matches!(self, Mutant::Core(mutation) if OF_MEMBERSHIP.contains(&mutation))
    }

    /// Whether the gate plants it in real processes.
    pub(super) fn is_in_gate(self) -> bool {
        let names = [
            "local-read",
            "ack-before-commit",
            "apply-twice-after-restart",
            "cas-ignores-compare",
            "stale-range",
        ];
        names.contains(&self.name())
    }

    /// All of them. Those of the server that are the core's under another name are told there.
    pub(super) fn all() -> Vec<Mutant> {
        let (members, core): (Vec<Mutant>, Vec<Mutant>) = Mutation::ALL
            .iter()
            .filter(|mutation| IN_MODEL.iter().all(|(_, known)| known != *mutation))
            .map(|mutation| Mutant::Core(*mutation))
            .partition(|mutant| mutant.is_of_membership());
        let mut all = core;
        all.extend(members);
        let mut server: Vec<Mutant> = Plant::ALL
            .iter()
            .filter(|plant| plant.area() != Area::Raft)
            .map(|plant| Mutant::Server(*plant))
            .collect();
        server.sort_by_key(|mutant| mutant.area());
        let (members, others): (Vec<Mutant>, Vec<Mutant>) =
            server.into_iter().partition(|mutant| mutant.area() == "Membership");
        all.extend(members);
        all.extend(others);
        all
    }
}

/// Mutants that break no promise, and why.
const EQUIVALENT: &[(&str, &str)] = &[
    (
        "change-too-early",
        "every change of voters is joint, and one that stands in the log uncommitted refuses the next, so what two \
         leaders begin shares the old majority; the rule is for changes of one server in one step (raft-dev, 2015)",
    ),
    (
        "commit-not-clamped",
        "hints never fall short of where two logs part, so the first append that a follower takes begins just there \
         and removes what contradicts; from then on its log is a part of the leader's, and nothing is left to commit \
         wrongly (Raft paper, section 5.3)",
    ),
    (
        "stale-rejection-believed",
        "a leader never looks for agreement below what was acknowledged, so who believes a late rejection sends once more \
         what the follower holds: time is lost, no promise broken; golden script append/late_rejection_is_ignored shows \
         the appends",
    ),
    (
        "transfer-before-caught-up",
        "who campaigns with a shorter log is not elected (Raft paper, section 5.4.1): time is lost, no promise broken",
    ),
];

/// Mutants that no search of this table finds for sure, and what does: a test, or a run.
const ELSEWHERE: &[(&str, &str)] = &[
    ("timeouts-not-random", "golden script election/timeouts_are_random, and the core's random driver"),
    ("two-changes-at-once", "golden script membership/one_change_at_a_time, and the core's random driver"),
    ("read-by-minority", "golden script read/joint_majorities"),
    ("read-without-quorum", "the core's random driver"),
    ("commits-old-term", "the core's random driver"),
    ("ack-whole-log", "the core's random driver"),
    ("own-vote-counts-unsaved", "the core's random driver"),
    ("ignores-newer-term", "the core's random driver"),
    ("new-majority-elects", "the core's random driver"),
    ("new-majority-only", "the core's random driver"),
    ("read-of-earlier-life", "the replica's test answers_to_an_earlier_life_are_not_taken"),
    ("read-joins-round", "the replica's test a_read_that_comes_while_a_round_is_under_way_is_no_part_of_it"),
    ("expiry-of-earlier-term", "the replica's test who_led_once_cannot_end_leases"),
    ("progress-too-early", "`assay run --workload watch --rate 1500 --concurrency 30`"),
];

/// What finds a mutant that the searches do not.
pub(super) fn elsewhere(name: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(known, _)| *known == name).map(|(_, by)| *by)
}

/// Why a mutant breaks no promise, if it does not.
pub(super) fn equivalent(name: &str) -> Option<&'static str> {
    EQUIVALENT.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

/// What a change must still find, and by what. The first is the canary.
pub(super) const CI: &[(&str, &[Altitude])] = &[
    ("ack-before-commit", &[Altitude::Bfs, Altitude::Walks, Altitude::Sim]),
    ("vote-not-persisted", &[Altitude::Bfs, Altitude::Walks, Altitude::Sim]),
    ("vote-without-log-check", &[Altitude::Bfs, Altitude::Walks, Altitude::Sim]),
    ("conflict-kept", &[Altitude::Bfs, Altitude::Walks]),
    ("stale-round-confirmed", &[Altitude::Bfs, Altitude::Walks]),
    ("torn-tail-accepted", &[Altitude::Sim]),
    ("flush-error-swallowed", &[Altitude::Sim]),
    ("some-turns-not-flushed", &[Altitude::Sim]),
    ("lost-delete", &[Altitude::Sim]),
    ("read-before-applied", &[Altitude::Sim]),
    ("renewal-forgotten", &[Altitude::Sim]),
    ("keys-end-apart", &[Altitude::Sim]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_lists_name_mutants() {
        let all = Mutant::all();
        let names: BTreeSet<&str> = all.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.len() >= 60, "{} mutants", all.len());
        let argued = EQUIVALENT.iter().chain(ELSEWHERE).map(|(name, _)| name);
        for name in argued.chain(CI.iter().map(|(name, _)| name)) {
            assert!(names.contains(name), "{name}");
        }
        assert!(CI.iter().all(|(name, _)| equivalent(name).is_none()));
    }
}
