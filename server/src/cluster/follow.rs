//! How raft's membership follows the roster.

use super::{Member, Roster};
use raft::{
    Raft,
    membership::MembershipChange,
    types::{LogIndex, Membership, NodeId, Role},
};
use std::collections::BTreeMap;

/// A new member gets its vote when it is no more entries behind than this.
const VOTE_LAG_MAX: u64 = 1000;

/// What this member should propose next so that raft's membership becomes what the roster says, if it leads and
/// can; see [`next_change`].
pub fn change_to_propose(roster: &Roster, raft: &Raft) -> Option<MembershipChange> {
    if raft.role() != Role::Leader || raft.transferring_to().is_some() {
        return None;
    }
    let membership = raft.membership();
    if membership.learners.is_empty() && membership.nodes().iter().eq(roster.members.keys()) {
        return None;
    }
    let matched: BTreeMap<NodeId, LogIndex> =
        raft.progress().map(|(id, progress)| (id, progress.matched)).collect();
    let last = raft.last_index();
    let may_vote = |id: NodeId| {
        let matched = matched.get(&id).copied().unwrap_or_default();
        matched > LogIndex::ZERO && last.0 - matched.0.min(last.0) <= VOTE_LAG_MAX
    };
    next_change(roster, membership, may_vote)
}

/// What the leader should propose next so that raft's membership becomes what the roster says; `None` if it is,
/// or if nothing can be done yet. `caught_up` tells which learners hold (nearly) the whole log.
///
/// Who is added as a voter is a learner first, and gets its vote once it has caught up: a member that has not
/// been started, or is far behind, never counts towards a majority (Raft thesis, section 4.2.1). Additions and
/// promotions go before removals, which so have the majority that they need.
pub fn next_change(
    roster: &Roster,
    membership: &Membership,
    caught_up: impl Fn(NodeId) -> bool,
) -> Option<MembershipChange> {
    if membership.is_joint() {
        return None;
    }
    let mut change = MembershipChange::default();
    for (&id, member) in &roster.members {
        if !membership.contains(id) {
            change.add_learners.insert(id);
        } else if !stays_learner(member) && membership.learners.contains(&id) && caught_up(id) {
            change.add_voters.insert(id);
        }
    }
    #[cfg(feature = "plant")]
    if crate::plant::is(crate::plant::Plant::RemovedStaysVoter) {
        return (change != MembershipChange::default()).then_some(change);
    }
    if change == MembershipChange::default() {
        change.remove =
            membership.nodes().into_iter().filter(|id| !roster.members.contains_key(id)).collect();
        let left = membership.voters.difference(&change.remove).count();
        if left == 0 {
            // The last voters stay until somebody can take their place.
            change.remove.retain(|id| !membership.voters.contains(id));
        }
    }
    (change != MembershipChange::default()).then_some(change)
}

fn stays_learner(member: &Member) -> bool {
    #[cfg(feature = "plant")]
    if crate::plant::is(crate::plant::Plant::LearnerGetsVote) {
        return false;
    }
    member.is_learner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(voters: &[u64], learners: &[u64]) -> Roster {
        let member = |is_learner| Member { is_learner, ..Member::default() };
        let voters = voters.iter().map(|id| (NodeId(*id), member(false)));
        let learners = learners.iter().map(|id| (NodeId(*id), member(true)));
        Roster { members: voters.chain(learners).collect(), ..Roster::default() }
    }

    fn membership(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        Membership { voters: set(voters), outgoing: set(outgoing), learners: set(learners) }
    }

    #[test]
    fn additions_come_first_then_votes_then_removals() {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        for (roster, membership, caught_up, learners, voters, remove, why) in [
            (
                roster(&[1], &[]),
                membership(&[1], &[], &[]),
                false,
                &[][..],
                &[][..],
                &[][..],
                "nothing to do",
            ),
            (
                roster(&[1, 2], &[]),
                membership(&[1], &[], &[]),
                true,
                &[2],
                &[],
                &[],
                "a voter is a learner first",
            ),
            (roster(&[1, 2], &[]), membership(&[1], &[], &[2]), false, &[], &[], &[], "it has not caught up"),
            (roster(&[1, 2], &[]), membership(&[1], &[], &[2]), true, &[], &[2], &[], "it has caught up"),
            (roster(&[1], &[2]), membership(&[1], &[], &[2]), true, &[], &[], &[], "a learner stays one"),
            (roster(&[1, 3], &[]), membership(&[1, 2], &[], &[]), true, &[3], &[], &[], "additions first"),
            (roster(&[1], &[]), membership(&[1, 2], &[], &[3]), true, &[], &[], &[2, 3], "removals"),
            (roster(&[2], &[]), membership(&[1], &[], &[2]), false, &[], &[], &[], "the last voter stays"),
            (
                roster(&[2], &[]),
                membership(&[1, 2], &[1], &[]),
                true,
                &[],
                &[],
                &[],
                "a change is in progress",
            ),
        ] {
            let want = MembershipChange {
                add_learners: set(learners),
                add_voters: set(voters),
                remove: set(remove),
            };
            let want = (want != MembershipChange::default()).then_some(want);
            assert_eq!(next_change(&roster, &membership, |_| caught_up), want, "{why}");
        }
    }
}
