//! Who takes part, and how that changes.
//!
//! Every change of voters goes through a joint membership, in which the old and the new majority must both
//! agree (Raft thesis, section 4.3), also a change of one voter: one path, and no need to tell which changes
//! would be safe in one step. A change that touches only learners takes a single entry, since it changes no
//! majority. One proposal begins a change; the leader of the day ends it.

use crate::{
    canonical::Rename,
    types::{LogIndex, Membership, NodeId, Payload},
};
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
};

/// What to change; every node at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MembershipChange {
    /// Become voters: new nodes, or learners that are promoted.
    pub add_voters: BTreeSet<NodeId>,
    /// Become learners: new nodes, or voters that are demoted.
    pub add_learners: BTreeSet<NodeId>,
    /// Take no part any more.
    pub remove: BTreeSet<NodeId>,
}

/// Why a change makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipError {
    /// The id 0 is nobody's.
    IdZero,
    /// The change names a node twice.
    NamedTwice(NodeId),
    /// The node is a voter already.
    AlreadyVoter(NodeId),
    /// The node is a learner already.
    AlreadyLearner(NodeId),
    /// The node to remove takes no part.
    NotMember(NodeId),
    /// No voter would be left.
    NoVoterLeft,
    /// Nothing would change.
    Nothing,
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MembershipError::IdZero => write!(f, "0 is not an id"),
            MembershipError::NamedTwice(id) => write!(f, "{id} is named twice"),
            MembershipError::AlreadyVoter(id) => write!(f, "{id} is a voter already"),
            MembershipError::AlreadyLearner(id) => write!(f, "{id} is a learner already"),
            MembershipError::NotMember(id) => write!(f, "{id} is not a member"),
            MembershipError::NoVoterLeft => write!(f, "no voter would be left"),
            MembershipError::Nothing => write!(f, "nothing would change"),
        }
    }
}

impl std::error::Error for MembershipError {}

impl Membership {
    /// A membership of voters only.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Whether a change of voters is in progress.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the node has a vote, in the new or in the old configuration.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether the node takes part at all.
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Everybody who takes part.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// The membership that begins a change: joint where voters change, else the final one.
    ///
    /// # Errors
    /// The change contradicts itself or the present membership.
    pub fn changed(&self, change: &MembershipChange) -> Result<Membership, MembershipError> {
        let mut named = BTreeSet::new();
        for &id in change.add_voters.iter().chain(&change.add_learners).chain(&change.remove) {
            if id.0 == 0 {
                return Err(MembershipError::IdZero);
            }
            if !named.insert(id) {
                return Err(MembershipError::NamedTwice(id));
            }
        }
        let mut next = Membership { outgoing: BTreeSet::new(), ..self.clone() };
        for &id in &change.add_voters {
            next.learners.remove(&id);
            if !next.voters.insert(id) {
                return Err(MembershipError::AlreadyVoter(id));
            }
        }
        for &id in &change.add_learners {
            next.voters.remove(&id);
            if !next.learners.insert(id) {
                return Err(MembershipError::AlreadyLearner(id));
            }
        }
        for &id in &change.remove {
            if !next.voters.remove(&id) && !next.learners.remove(&id) {
                return Err(MembershipError::NotMember(id));
            }
        }
        if named.is_empty() {
            return Err(MembershipError::Nothing);
        }
        if next.voters.is_empty() {
            return Err(MembershipError::NoVoterLeft);
        }
        if next.voters != self.voters {
            next.outgoing.clone_from(&self.voters);
        }
        Ok(next)
    }

    /// The membership that ends a change.
    pub fn settled(&self) -> Membership {
        Membership { outgoing: BTreeSet::new(), ..self.clone() }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &BTreeSet<NodeId>| {
            let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
            nodes.join(",")
        };
        write!(f, "{{{}}}", list(&self.voters))?;
        if self.is_joint() {
            write!(f, "&{{{}}}", list(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, "+{{{}}}", list(&self.learners))?;
        }
        Ok(())
    }
}

/// The memberships that stand in the log, after the one of the image.
///
/// Invariant: never empty; indexes increase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memberships {
    history: VecDeque<(LogIndex, Membership)>,
}

impl Memberships {
    pub(crate) fn new(index: LogIndex, membership: Membership) -> Memberships {
        Memberships { history: VecDeque::from([(index, membership)]) }
    }

    /// The one in force: the last in the log, committed or not.
    pub(crate) fn current(&self) -> &Membership {
        &self.history.back().expect("never empty").1
    }

    /// Where the one in force stands.
    pub(crate) fn current_index(&self) -> LogIndex {
        self.history.back().expect("never empty").0
    }

    /// The one that was in force at `index`, which must not be before the image.
    pub(crate) fn at(&self, index: LogIndex) -> &Membership {
        let (_, membership) = self
            .history
            .iter()
            .rev()
            .find(|(from, _)| *from <= index)
            .unwrap_or_else(|| panic!("the membership at {index} is forgotten"));
        membership
    }

    /// Takes note of an entry that was appended.
    pub(crate) fn appended(&mut self, index: LogIndex, payload: &Payload) {
        if let Payload::Membership { membership, .. } = payload {
            self.history.push_back((index, membership.clone()));
        }
    }

    /// Rolls back to what was in force before `first`.
    pub(crate) fn truncated(&mut self, first: LogIndex) {
        while self.history.len() > 1 && self.current_index() >= first {
            self.history.pop_back();
        }
    }

    /// Forgets what is not needed to answer [`Memberships::at`] from `index` on.
    pub(crate) fn forget_before(&mut self, index: LogIndex) {
        while self.history.get(1).is_some_and(|(from, _)| *from <= index) {
            self.history.pop_front();
        }
    }
}

impl Rename for Memberships {
    fn rename(&mut self, name: &dyn Fn(NodeId) -> NodeId) {
        self.history.iter_mut().for_each(|(_, membership)| membership.rename(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn change(add_voters: &[u64], add_learners: &[u64], remove: &[u64]) -> MembershipChange {
        MembershipChange { add_voters: ids(add_voters), add_learners: ids(add_learners), remove: ids(remove) }
    }

    #[test]
    fn changes_of_voters_are_joint() {
        let old = Membership { voters: ids(&[1, 2, 3]), outgoing: ids(&[]), learners: ids(&[7]) };
        for (change, want, why) in [
            (change(&[4], &[], &[]), "{n1,n2,n3,n4}&{n1,n2,n3}+{n7}", "a new voter"),
            (change(&[7], &[], &[]), "{n1,n2,n3,n7}&{n1,n2,n3}", "a learner promoted"),
            (change(&[], &[], &[1]), "{n2,n3}&{n1,n2,n3}+{n7}", "a voter removed"),
            (change(&[], &[2], &[]), "{n1,n3}&{n1,n2,n3}+{n2,n7}", "a voter demoted"),
            (change(&[], &[8], &[]), "{n1,n2,n3}+{n7,n8}", "a learner needs no joint membership"),
            (change(&[], &[], &[7]), "{n1,n2,n3}", "nor does its removal"),
            (change(&[4, 5], &[8], &[1, 2]), "{n3,n4,n5}&{n1,n2,n3}+{n7,n8}", "all at once"),
        ] {
            let next = old.changed(&change).map(|next| next.to_string());
            assert_eq!(next, Ok(want.to_string()), "{why}");
        }
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let old = Membership { voters: ids(&[1, 2]), outgoing: ids(&[]), learners: ids(&[7]) };
        for (change, want) in [
            (change(&[0], &[], &[]), MembershipError::IdZero),
            (change(&[4], &[4], &[]), MembershipError::NamedTwice(NodeId(4))),
            (change(&[1], &[], &[]), MembershipError::AlreadyVoter(NodeId(1))),
            (change(&[], &[7], &[]), MembershipError::AlreadyLearner(NodeId(7))),
            (change(&[], &[], &[9]), MembershipError::NotMember(NodeId(9))),
            (change(&[], &[], &[1, 2]), MembershipError::NoVoterLeft),
            (change(&[], &[], &[]), MembershipError::Nothing),
        ] {
            assert_eq!(old.changed(&change), Err(want));
        }
    }

    #[test]
    fn memberships_roll_back_and_are_forgotten() {
        let entry = |voters: &[u64]| Payload::Membership {
            membership: Membership::of_voters(ids(voters)),
            context: bytes::Bytes::new(),
        };
        let mut memberships = Memberships::new(LogIndex(0), Membership::of_voters(ids(&[1])));
        memberships.appended(LogIndex(3), &entry(&[1, 2]));
        memberships.appended(LogIndex(4), &Payload::Empty);
        memberships.appended(LogIndex(5), &entry(&[2]));
        assert_eq!(memberships.at(LogIndex(4)).to_string(), "{n1,n2}");
        memberships.truncated(LogIndex(5));
        assert_eq!(memberships.current().to_string(), "{n1,n2}");
        memberships.forget_before(LogIndex(3));
        memberships.truncated(LogIndex(1));
        assert_eq!(memberships.current().to_string(), "{n1,n2}", "what the image holds cannot roll back");
    }
}
