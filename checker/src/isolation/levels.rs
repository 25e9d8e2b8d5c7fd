//! Which consistency levels an anomaly rules out.
//!
//! The lattice and what each level forbids follow Adya ("Weak Consistency", 1999), Bailis et al. ("Highly
//! Available Transactions", VLDB 2013), Cerone, Bernardi and Gotsman ("A Framework for Transactional
//! Consistency Models", CONCUR 2015), Daudjee and Salem ("Lazy Database Replication with Snapshot
//! Isolation", VLDB 2006) and <https://jepsen.io/consistency>.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::verdict::AnomalyKind;
use AnomalyKind as Kind;

/// What a level promises beside what weaker levels do.
struct Level {
    name: &'static str,
    /// Levels that it implies.
    implies: &'static [&'static str],
    /// Anomalies that it forbids and they do not.
    forbids: &'static [AnomalyKind],
}

/// The strongest level.
pub const STRONGEST: &str = "strict-serializable";

/// The strongest level that does not ask for real time.
pub const STRONGEST_OF_SESSIONS: &str = "strong-session-serializable";

/// From weak to strong.
const LEVELS: [Level; 24] = [
    Level {
        name: "read-uncommitted",
        implies: &[],
        forbids: &[Kind::G0, Kind::DuplicateElement, Kind::CyclicVersions, Kind::PhantomElement],
    },
    Level {
        name: "read-committed",
        implies: &["read-uncommitted"],
        forbids: &[Kind::G1a, Kind::G1b, Kind::G1c, Kind::DirtyUpdate, Kind::IncompatibleOrder],
    },
    Level { name: "monotonic-atomic-view", implies: &["read-committed"], forbids: &[Kind::NonMonotonicRead] },
    Level { name: "cursor-stability", implies: &["read-committed"], forbids: &[Kind::LostUpdate] },
    Level {
        name: "read-atomic",
        implies: &["monotonic-atomic-view"],
        forbids: &[Kind::Internal, Kind::FutureRead, Kind::FracturedRead],
    },
    Level { name: "causal", implies: &["read-atomic"], forbids: &[Kind::CausalViolation] },
    Level { name: "update-atomic", implies: &["read-atomic"], forbids: &[Kind::LostUpdate] },
    Level { name: "prefix", implies: &["causal"], forbids: &[] },
    Level { name: "parallel-snapshot-isolation", implies: &["causal", "update-atomic"], forbids: &[] },
    Level { name: "consistent-view", implies: &["cursor-stability"], forbids: &[Kind::GSingle] },
    Level {
        name: "snapshot-isolation",
        implies: &["consistent-view", "prefix", "parallel-snapshot-isolation"],
        forbids: &[Kind::GNonadjacent],
    },
    Level {
        name: "repeatable-read",
        implies: &["cursor-stability", "monotonic-atomic-view"],
        forbids: &[Kind::GSingle, Kind::GNonadjacent, Kind::G2Item],
    },
    Level {
        name: "serializable",
        implies: &["repeatable-read", "snapshot-isolation"],
        forbids: &[Kind::NotSerializable],
    },
    Level {
        name: "strong-session-read-uncommitted",
        implies: &["read-uncommitted"],
        forbids: &[Kind::G0Process],
    },
    Level {
        name: "strong-session-read-committed",
        implies: &["read-committed", "strong-session-read-uncommitted"],
        forbids: &[Kind::G1cProcess],
    },
    Level {
        name: "strong-session-monotonic-atomic-view",
        implies: &["monotonic-atomic-view", "strong-session-read-committed"],
        forbids: &[Kind::NonMonotonicReadProcess],
    },
    Level {
        name: "strong-session-read-atomic",
        implies: &["read-atomic", "strong-session-monotonic-atomic-view"],
        forbids: &[Kind::FracturedReadProcess],
    },
    Level {
        name: "strong-session-causal",
        implies: &["causal", "strong-session-read-atomic"],
        forbids: &[Kind::CausalViolationProcess],
    },
    Level {
        name: "strong-session-snapshot-isolation",
        implies: &["snapshot-isolation", "strong-session-causal"],
        forbids: &[Kind::GSingleProcess, Kind::GNonadjacentProcess],
    },
    Level {
        name: "strong-session-serializable",
        implies: &["serializable", "strong-session-snapshot-isolation"],
        forbids: &[Kind::G2ItemProcess, Kind::NotSerializableProcess],
    },
    Level {
        name: "strong-read-uncommitted",
        implies: &["strong-session-read-uncommitted"],
        forbids: &[Kind::G0Realtime],
    },
    Level {
        name: "strong-read-committed",
        implies: &["strong-session-read-committed", "strong-read-uncommitted"],
        forbids: &[Kind::G1cRealtime],
    },
    Level {
        name: "strong-snapshot-isolation",
        implies: &["strong-session-snapshot-isolation", "strong-read-committed"],
        forbids: &[Kind::GSingleRealtime, Kind::GNonadjacentRealtime, Kind::LostAppend],
    },
    Level {
        name: "strict-serializable",
        implies: &["strong-session-serializable", "strong-snapshot-isolation"],
        forbids: &[Kind::G2ItemRealtime, Kind::NotSerializableRealtime],
    },
];

/// What is left of the consistency levels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Levels {
    /// The weakest levels that do not hold.
    pub broken: Vec<&'static str>,
    /// Levels that do not hold because one of those does not.
    pub also_broken: Vec<&'static str>,
    /// The strongest levels that nothing speaks against.
    pub possible: Vec<&'static str>,
}

/// The names of all levels, from weak to strong.
pub fn names() -> impl Iterator<Item = &'static str> {
    LEVELS.iter().map(|level| level.name)
}

/// The level of a name, as this module writes it; `linearizable` is strict serializability of single operations.
pub fn named(name: &str) -> Option<&'static str> {
    let name = if name == "linearizable" { STRONGEST } else { name };
    names().find(|level| *level == name)
}

/// Whether whatever has one level has the other: each has itself.
pub fn implies(level: &str, other: &str) -> bool {
    let weaker = LEVELS.iter().find(|row| row.name == level).map_or(&[][..], |row| row.implies);
    level == other || weaker.iter().any(|weaker| implies(weaker, other))
}

/// Whether an anomaly of that kind rules a level out.
pub fn rules_out(kind: AnomalyKind, level: &str) -> bool {
    LEVELS.iter().any(|row| row.forbids.contains(&kind) && implies(level, row.name))
}

/// What is left of the levels, given what was found.
pub fn levels(found: impl IntoIterator<Item = AnomalyKind>) -> Levels {
    let found: BTreeSet<AnomalyKind> = found.into_iter().collect();
    // A level comes after those that it implies.
    let mut out: BTreeSet<&str> = BTreeSet::new();
    let mut levels = Levels::default();
    for level in &LEVELS {
        if level.implies.iter().any(|weaker| out.contains(weaker)) {
            levels.also_broken.push(level.name);
        } else if level.forbids.iter().any(|kind| found.contains(kind)) {
            levels.broken.push(level.name);
        } else {
            continue;
        }
        out.insert(level.name);
    }
    let holds = |name: &&str| !out.contains(name);
    let implied: BTreeSet<&str> =
        LEVELS.iter().filter(|level| holds(&level.name)).flat_map(|level| level.implies).copied().collect();
    levels.possible = names().filter(|name| holds(name) && !implied.contains(name)).collect();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_comes_after_those_that_it_implies() {
        let mut before = BTreeSet::new();
        for level in &LEVELS {
            assert!(level.implies.iter().all(|weaker| before.contains(weaker)), "{}", level.name);
            before.insert(level.name);
        }
    }

    #[test]
    fn an_anomaly_rules_out_what_forbids_it_and_all_that_is_stronger() {
        let none = levels([]);
        assert_eq!((none.broken.len(), none.possible), (0, vec!["strict-serializable"]));
        let skew = levels([Kind::G2Item]);
        assert_eq!(skew.broken, ["repeatable-read"]);
        assert_eq!(skew.also_broken, ["serializable", "strong-session-serializable", "strict-serializable"]);
        assert_eq!(skew.possible, ["strong-snapshot-isolation"]);
        let stale = levels([Kind::GSingleRealtime]);
        assert_eq!(
            (stale.broken, stale.also_broken),
            (vec!["strong-snapshot-isolation"], vec!["strict-serializable"])
        );
        assert_eq!(stale.possible, ["strong-session-serializable", "strong-read-committed"]);
        assert_eq!(levels([Kind::G0]).possible, Vec::<&str>::new());
        assert_eq!(levels([Kind::LostUpdate]).broken, ["cursor-stability", "update-atomic"]);
    }

    #[test]
    fn what_a_session_needs_leaves_levels_without_sessions() {
        let late = levels([Kind::CausalViolationProcess]);
        assert_eq!(late.broken, ["strong-session-causal"]);
        assert_eq!(late.possible, ["serializable", "strong-session-read-atomic", "strong-read-committed"]);
        assert!(rules_out(Kind::NotSerializable, "strict-serializable"));
        assert!(!rules_out(Kind::NotSerializableRealtime, "strong-session-serializable"));
        assert!(implies("serializable", "causal") && !implies("causal", "serializable"));
        assert_eq!(named("linearizable"), Some(STRONGEST));
        assert_eq!((named("eventual"), named(STRONGEST_OF_SESSIONS)), (None, Some(STRONGEST_OF_SESSIONS)));
    }
}
