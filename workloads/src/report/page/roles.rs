//! Who took whom for the leader, and in which term, over time.

use crate::recorder::ROLE;
use checker::History;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a node said of itself for a while.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Role {
    pub from_s: f64,
    pub to_s: f64,
    /// Whom it took for the leader.
    pub leader: Option<String>,
    pub term: Option<u64>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// By node.
pub(super) type Roles = BTreeMap<String, Vec<Role>>;

/// The roles in one history of each phase.
pub(super) fn roles<'a>(phases: impl Iterator<Item = &'a History>) -> Roles {
    let mut all = Roles::new();
    for history in phases {
        let mut of_phase = Roles::new();
        for observation in history.observations().iter().filter(|observation| observation.f == ROLE) {
            let at_s = observation.at.t as f64 / 1e9;
            let of_node = of_phase.entry(observation.node.clone()).or_default();
            if let Some(before) = of_node.last_mut() {
                before.to_s = at_s;
            }
            let text =
                |name: &str| observation.value.get(name).and_then(|value| value.as_str()).map(String::from);
            of_node.push(Role {
                from_s: at_s,
                to_s: at_s,
                leader: text("leader"),
                term: observation.value.get("term").and_then(serde_json::Value::as_u64),
                error: text("error"),
            });
        }
        // Nothing is asked any more once the load is over.
        let over =
            history.phases().iter().find(|phase| phase.f == "heal").map(|phase| phase.at.t as f64 / 1e9);
        for (node, mut roles) in of_phase {
            if let (Some(last), Some(over)) = (roles.last_mut(), over) {
                last.to_s = over.max(last.from_s);
            }
            all.entry(node).or_default().append(&mut roles);
        }
    }
    all
}

impl Role {
    /// In a few words.
    pub(super) fn describe(&self, node: &str) -> String {
        let term = self.term.map(|term| format!(", term {term}")).unwrap_or_default();
        match (&self.leader, &self.error) {
            (_, Some(error)) => format!("{node} does not answer: {error}"),
            (Some(leader), None) if leader == node => format!("{node} leads{term}"),
            (Some(leader), None) => format!("{node} follows {leader}{term}"),
            (None, None) => format!("{node} knows of no leader{term}"),
        }
    }

    /// A class of the page's style sheet.
    pub(super) fn class(&self, node: &str) -> &'static str {
        match (&self.leader, &self.error) {
            (_, Some(_)) => "silent",
            (Some(leader), None) if leader == node => "leads",
            (Some(_), None) => "follows",
            (None, None) => "leaderless",
        }
    }
}

/// When the leader changed, as its own words have it: time, name, term.
pub(super) fn elections(roles: &Roles) -> Vec<(f64, String, u64)> {
    let own = roles.iter().flat_map(|(node, all)| all.iter().map(move |role| (node, role)));
    let mut all: Vec<(f64, String, u64)> = own
        .filter(|(node, role)| role.leader.as_ref() == Some(node))
        .map(|(node, role)| (role.from_s, node.clone(), role.term.unwrap_or(0)))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // A leader that paused and came back is no other.
    all.dedup_by(|next, before| next.1 == before.1 && next.2 == before.2);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::event::{Event, Header, What};
    use serde_json::{Value, json};

    #[test]
    fn roles_last_until_the_next_and_to_the_end_of_the_load() {
        let header: Header = serde_json::from_value(json!({
            "v": 1, "seed": 1, "scenario": "set", "system": "assay", "nodes": 2, "clock": "monotonic_ns"
        }))
        .unwrap();
        let observe = |node: &str, value: Value| What::Observe { node: node.into(), f: ROLE.into(), value };
        let whats = vec![
            observe("n1", json!({ "leader": "n1", "term": 2 })),
            observe("n2", json!({ "leader": "n1", "term": 2 })),
            observe("n1", json!({ "error": "deadline" })),
            observe("n2", json!({ "leader": "n2", "term": 3 })),
            observe("n1", json!({ "leader": null, "term": 2 })),
            What::Phase { f: "heal".into() },
        ];
        let events = whats.into_iter().zip(0..).map(|(what, i)| Event { i, t: i * 1_000_000_000, what });
        let history = History::new(header, events);
        let roles = roles([&history].into_iter());
        let n1: Vec<(f64, f64, &str)> =
            roles["n1"].iter().map(|role| (role.from_s, role.to_s, role.class("n1"))).collect();
        assert_eq!(n1, [(0.0, 2.0, "leads"), (2.0, 4.0, "silent"), (4.0, 5.0, "leaderless")]);
        assert_eq!(roles["n2"][1].describe("n2"), "n2 leads, term 3");
        assert_eq!(elections(&roles), [(0.0, "n1".to_string(), 2), (3.0, "n2".to_string(), 3)]);
    }
}
