//! Majorities, also joint ones.

use crate::types::{Membership, NodeId};
use std::collections::BTreeSet;

/// Where an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// The needed majorities said yes.
    Won,
    /// A needed majority cannot be reached any more.
    Lost,
    /// Votes are missing.
    Pending,
}

impl Membership {
    /// Where an election stands, by what each voter said so far.
    pub(crate) fn tally(&self, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
        match (tally_of(&self.voters, &vote), tally_of(&self.outgoing, &vote)) {
            // Without voters there is nobody to win an election.
            (None, _) | (_, Some(Tally::Lost)) | (Some(Tally::Lost), _) => Tally::Lost,
            (Some(Tally::Won), None | Some(Tally::Won)) => Tally::Won,
            (Some(Tally::Pending), _) | (_, Some(Tally::Pending)) => Tally::Pending,
        }
    }

    /// Whether all needed majorities have what is asked.
    pub(crate) fn majority_has(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.tally(|id| Some(has(id))) == Tally::Won
    }

    /// The largest value that all needed majorities have reached; 0 without voters.
    pub(crate) fn majority_value(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let value_of = |voters: &BTreeSet<NodeId>| majority_value_of(voters, &value);
        if self.outgoing.is_empty() {
            value_of(&self.voters)
        } else {
            value_of(&self.voters).min(value_of(&self.outgoing))
        }
    }
}

fn majority(voters: &BTreeSet<NodeId>) -> usize {
    voters.len() / 2 + 1
}

fn tally_of(voters: &BTreeSet<NodeId>, vote: &impl Fn(NodeId) -> Option<bool>) -> Option<Tally> {
    if voters.is_empty() {
        return None;
    }
    let (mut yes, mut no) = (0, 0);
    for &id in voters {
        match vote(id) {
            Some(true) => yes += 1,
            Some(false) => no += 1,
            None => {}
        }
    }
    Some(if yes >= majority(voters) {
        Tally::Won
    } else if no > voters.len() - majority(voters) {
        Tally::Lost
    } else {
        Tally::Pending
    })
}

/// Compares all pairs: for the handful of voters a cluster has that is quicker than sorting, and it
/// allocates nothing.
fn majority_value_of(voters: &BTreeSet<NodeId>, value: &impl Fn(NodeId) -> u64) -> u64 {
    let reached_by_majority =
        |floor: u64| voters.iter().filter(|&&id| value(id) >= floor).count() >= majority(voters);
    voters.iter().map(|&id| value(id)).filter(|&floor| reached_by_majority(floor)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn membership(voters: &[u64], outgoing: &[u64]) -> Membership {
        Membership { voters: ids(voters), outgoing: ids(outgoing), learners: BTreeSet::new() }
    }

    #[test]
    fn commit_index_is_the_majority_match() {
        for (matched, want, why) in [
            (&[][..], 0, "without voters nothing is reached"),
            (&[7], 7, "a lone voter is a majority"),
            (&[3, 9], 3, "two voters need both"),
            (&[9, 3, 5], 5, "three need two"),
            (&[1, 5, 5, 9], 5, "four need three"),
            (&[1, 1, 5, 9], 1, "four need three, half is no majority"),
            (&[0, 2, 4, 6, 8], 4, "five need three"),
        ] {
            let voters: Vec<u64> = (0..matched.len() as u64).collect();
            let value = membership(&voters, &[]).majority_value(|id| matched[id.0 as usize]);
            assert_eq!(value, want, "{why}: {matched:?}");
        }
    }

    #[test]
    fn joint_needs_both_majorities() {
        let joint = membership(&[1, 2, 3], &[3, 4, 5]);
        for (yes, no, want, why) in [
            (&[1, 2][..], &[][..], Tally::Pending, "only the new majority"),
            (&[4, 5], &[], Tally::Pending, "only the old majority"),
            (&[1, 3, 4], &[], Tally::Won, "both, by way of the common voter"),
            (&[1, 2, 3], &[4, 5], Tally::Lost, "the old majority is gone"),
            (&[], &[1, 2], Tally::Lost, "the new majority is gone"),
        ] {
            let (yes, no) = (ids(yes), ids(no));
            let vote = |id| if yes.contains(&id) { Some(true) } else { no.contains(&id).then_some(false) };
            assert_eq!(joint.tally(vote), want, "{why}");
        }
        let matched = |id: NodeId| [0, 9, 9, 9, 4, 2][id.0 as usize];
        assert_eq!(joint.majority_value(matched), 4, "the slower majority decides");
    }

    #[test]
    fn nobody_wins_without_voters() {
        assert_eq!(membership(&[], &[]).tally(|_| Some(true)), Tally::Lost);
        assert_eq!(membership(&[], &[1]).tally(|_| Some(true)), Tally::Lost);
    }
}
