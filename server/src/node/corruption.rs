//! Whether all members hold the same data. They must: whoever has applied the same entries holds the same state.

use super::{
    Node,
    questions::{Question, Standing},
};
use crate::{
    backend::Backend,
    proto::{
        etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction},
        internal::command::Request,
    },
};
use raft::types::{NodeId, Role};
use std::time::Duration;

/// A member whose data differs, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    member: NodeId,
    why: String,
}

/// Compares a member with this one, `own`, by which the hashes are asked for. Revisions only grow, and every entry
/// has the same effect everywhere: so who has applied as much may lack no revision, and who has applied no more may
/// have none more.
fn compare(member: NodeId, own: Standing, theirs: Standing) -> Option<Difference> {
    let Standing { applied, revision, compact_revision, hash } = theirs;
    let differs = if applied >= own.applied && revision < own.revision {
        "lacks revisions"
    } else if applied <= own.applied && revision > own.revision {
        "has revisions that should not be"
    } else if applied == own.applied && compact_revision != own.compact_revision {
        "has another compaction"
    } else if compact_revision == own.compact_revision
        && matches!((hash, own.hash), (Some(theirs), Some(own)) if theirs != own)
    {
        "has another history"
    } else {
        return None;
    };
    let why = format!("member {:x} {differs}: it has {theirs:x?}, this one has {own:x?}", member.0);
    Some(Difference { member, why })
}

/// Asks all peers how far they are, and for their hash up to this member's revision. Who does not answer is passed
/// over.
async fn differences(node: &Node) -> Vec<Difference> {
    let (own, held) = {
        let state = node.state();
        // The sum that is kept, and what the memory holds: they differ where memory was damaged.
        (Standing::of(&state, 0), state.kv().hash())
    };
    let id = node.status().id;
    let mut found = Vec::new();
    if let Some(kept) = own.hash.filter(|kept| *kept != held) {
        let why = format!("this member's memory holds {held:08x}, and should hold {kept:08x}");
        found.push(Difference { member: id, why });
    }
    let peers: Vec<NodeId> = node.roster().members.keys().copied().filter(|peer| *peer != id).collect();
    for peer in peers {
        let Ok(answer) = node.ask(peer, Question::Standing(own.revision)).await else { continue };
        match Standing::decode(answer) {
            Ok(theirs) => found.extend(compare(peer, own, theirs)),
            Err(error) => tracing::warn!(%peer, %error, "a member does not tell how far it is"),
        }
    }
    found
}

/// Compares once, before this member serves anybody.
///
/// # Errors
/// What differs.
pub async fn compare_at_start(node: &Node) -> Result<(), String> {
    match differences(node).await.into_iter().next() {
        Some(difference) => Err(difference.why),
        None => Ok(()),
    }
}

/// Compares again and again while this member leads, and raises the alarm CORRUPT for members that differ.
pub async fn compare_again_and_again(node: Node, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if node.status().role != Role::Leader {
            continue;
        }
        for Difference { member, why } in differences(&node).await {
            tracing::error!(%member, why, "members hold different data");
            let alarm = AlarmRequest {
                action: AlarmAction::Activate.into(),
                member_id: member.0,
                alarm: AlarmType::Corrupt.into(),
            };
            if let Err(error) = node.propose(Request::Alarm(alarm)).await {
                tracing::warn!(?error, "cannot raise the alarm; tried again at the next comparison");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::types::LogIndex;

    fn of(applied: u64, revision: i64, compact_revision: i64, hash: Option<u32>) -> Standing {
        Standing { applied: LogIndex(applied), revision, compact_revision, hash }
    }

    #[test]
    fn a_member_that_differs_is_found_wherever_it_is() {
        let own = of(10, 7, 3, Some(1));
        let differs = |theirs| compare(NodeId(7), own, theirs).map(|difference| difference.why);
        for (theirs, why) in [
            (of(10, 6, 3, None), "lacks revisions"),
            (of(11, 6, 3, None), "lacks revisions"),
            (of(10, 8, 3, Some(1)), "revisions that should not be"),
            (of(9, 8, 3, Some(1)), "revisions that should not be"),
            (of(10, 7, 4, Some(2)), "another compaction"),
            (of(10, 7, 3, Some(2)), "another history"),
            (of(12, 9, 3, Some(2)), "another history"),
        ] {
            let found = differs(theirs).unwrap_or_default();
            assert!(found.contains(why), "{theirs:?}: {found:?}");
        }
        for theirs in [
            own,
            // Behind, or ahead: as members are.
            of(9, 6, 3, None),
            of(9, 7, 3, Some(1)),
            of(11, 8, 3, Some(1)),
            // What was compacted in between leaves nothing to compare.
            of(11, 7, 6, Some(2)),
            of(9, 7, -1, Some(2)),
            of(12, 12, 12, None),
        ] {
            assert_eq!(differs(theirs), None, "{theirs:?}");
        }
    }
}
