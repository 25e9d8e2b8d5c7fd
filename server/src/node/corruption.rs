//! Whether all members hold the same data. They must: whoever has applied the same entries holds the same state.

use super::{
    Node,
    questions::{self, Question},
};
use crate::{
    backend::Backend,
    mvcc::HashKv,
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

/// Compares two histories, if they can be compared: up to the same revision, from the same compaction on.
fn compare(member: NodeId, own: HashKv, theirs: HashKv) -> Option<Difference> {
    if own.compact_revision != theirs.compact_revision || own.hash == theirs.hash {
        return None;
    }
    let why = format!(
        "member {:x} has hash {:08x} of the data up to revision {}, this one has {:08x}",
        member.0, theirs.hash, own.revision, own.hash
    );
    Some(Difference { member, why })
}

/// Asks all peers for their hash up to this member's revision. Who does not answer, or is not so far, is passed
/// over.
async fn differences(node: &Node) -> Vec<Difference> {
    let own = {
        let state = node.state();
        let kept = state.kv().hash_kv(0);
        // The sum that is kept, and what the memory holds: they differ where memory was damaged.
        kept.map(|kept| (kept, state.kv().hash()))
    };
    let Ok((own, held)) = own else { return Vec::new() };
    let id = node.status().id;
    let mut found = Vec::new();
    if own.hash != held {
        let why = format!("this member's memory holds {held:08x}, and should hold {:08x}", own.hash);
        found.push(Difference { member: id, why });
    }
    let peers: Vec<NodeId> = node.roster().members.keys().copied().filter(|peer| *peer != id).collect();
    for peer in peers {
        let Ok(answer) = node.ask(peer, Question::HashKv(own.revision)).await else { continue };
        match questions::decode_hash(answer) {
            Ok(Some(theirs)) => found.extend(compare(peer, own, theirs)),
            Ok(None) => tracing::debug!(%peer, revision = own.revision, "a member cannot tell its hash yet"),
            Err(error) => tracing::warn!(%peer, %error, "a member tells a hash that is none"),
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

    #[test]
    fn only_histories_from_the_same_compaction_on_are_compared() {
        let hash = |hash, compact_revision| HashKv { hash, compact_revision, revision: 9 };
        let of = |theirs| compare(NodeId(7), hash(1, 3), theirs).map(|difference| difference.member);
        assert_eq!(of(hash(1, 3)), None);
        assert_eq!(of(hash(2, 4)), None);
        assert_eq!(of(hash(2, 3)), Some(NodeId(7)));
    }
}
