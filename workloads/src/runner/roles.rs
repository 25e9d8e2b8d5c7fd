//! Who takes whom for the leader, over time: asked of every member while the load goes on, for the report.

use super::{member::Member, stop::Stop};
use crate::recorder::{ROLE, Record, Recorder};
use checker::history::event::What;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Between two questions to a member.
const EVERY: Duration = Duration::from_millis(200);
/// Bounds each question.
const DEADLINE: Duration = Duration::from_millis(600);

/// Members' numbers and the names that they go by, as answers have told them.
type Names = Arc<Mutex<BTreeMap<u64, String>>>;

/// Asks every member until `until`, and records what has changed since its last answer.
pub(super) async fn observe_roles(members: &[Member], recorders: &[Arc<Recorder>], until: &Stop) {
    let names = Names::default();
    // Dropped at the end, and all of them with it.
    let mut watches = JoinSet::new();
    for member in members {
        watches.spawn(observe(member.clone(), Arc::clone(&names), recorders.to_vec()));
    }
    until.stopped().await;
}

async fn observe(member: Member, names: Names, recorders: Vec<Arc<Recorder>>) {
    let mut client = member.client(DEADLINE);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Value::Null;
    loop {
        ticks.tick().await;
        let role = match client.status().await {
            Ok(status) => {
                let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(header) = &status.header {
                    names.insert(header.member_id, member.name.clone());
                }
                // A leader that has not answered yet goes by its number.
                let name = |id: u64| names.get(&id).cloned().unwrap_or_else(|| format!("{id:x}"));
                let leader = (status.leader != 0).then(|| name(status.leader));
                json!({ "leader": leader, "term": status.raft_term })
            }
            Err(error) => json!({ "error": error.kind() }),
        };
        if role == last {
            continue;
        }
        let what = What::Observe { node: member.name.clone(), f: ROLE.into(), value: role.clone() };
        // The recorders tell of what fails again when the phase ends.
        if let Err(error) = recorders.record(what) {
            tracing::error!(%error, "an observation is missing from a history");
        }
        last = role;
    }
}
