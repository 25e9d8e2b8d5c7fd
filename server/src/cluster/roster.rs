//! Who shall take part: part of the replicated state.

use super::ids::{cluster_id, member_id};
use crate::{
    codec::{self, DecodeError, Decoder},
    error::ApiError,
    proto::internal::MemberRecord,
};
use bytes::{BufMut, Bytes};
use raft::types::{Membership, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Learners that a cluster may have at once. As etcd.
const LEARNERS_MAX: usize = 1;

/// What is known of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has told it.
    pub client_urls: Vec<String>,
    /// Whether it shall have no vote.
    pub is_learner: bool,
}

impl Member {
    /// Whether it has ever started.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// Who shall take part. Every change is total: it is carried out, or refused without effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The members.
    pub members: BTreeMap<NodeId, Member>,
    /// Who was removed, and never comes back.
    pub removed: BTreeSet<NodeId>,
}

impl Roster {
    /// The members of a new cluster, from their names and peer URLs.
    pub fn of_new_cluster(members: &BTreeMap<String, Vec<String>>, token: &str) -> Roster {
        let member = |(name, urls): (&String, &Vec<String>)| {
            let member = Member { name: name.clone(), peer_urls: urls.clone(), ..Member::default() };
            (member_id(urls, token), member)
        };
        Roster { members: members.iter().map(member).collect(), removed: BTreeSet::new() }
    }

    /// The identity of the cluster that began with these members.
    pub fn cluster_id(&self) -> u64 {
        cluster_id(self.members.keys())
    }

    /// The membership to begin with: everybody votes.
    pub fn membership(&self) -> Membership {
        Membership { voters: self.members.keys().copied().collect(), ..Membership::default() }
    }

    /// The members that shall vote.
    pub fn voters(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().filter(|(_, member)| !member.is_learner).map(|(id, member)| (*id, member))
    }

    /// Whether one more voter leaves a majority of members that have started. One member alone may always get
    /// a second. As etcd.
    pub fn may_add_voter(&self) -> bool {
        let started = self.voters().filter(|(_, member)| member.is_started()).count();
        let voters = self.voters().count() + 1;
        (started == 1 && voters == 2) || started > voters / 2
    }

    /// Whether the others have a majority of members that have started, once `id` is gone. As etcd.
    pub fn may_remove_voter(&self, id: NodeId) -> bool {
        let others = self.voters().filter(|(other, _)| *other != id);
        let (voters, started) =
            others.fold((0, 0), |(all, up), (_, member)| (all + 1, up + usize::from(member.is_started())));
        started > voters / 2
    }

    /// Adds a member.
    ///
    /// # Errors
    /// [`ApiError::MemberNotFound`] if it was removed (etcd says so), [`ApiError::MemberExists`],
    /// [`ApiError::PeerUrlExists`], [`ApiError::TooManyLearners`].
    pub fn add(&mut self, id: NodeId, peer_urls: &[String], is_learner: bool) -> Result<(), ApiError> {
        if self.removed.contains(&id) {
            return Err(ApiError::MemberNotFound);
        }
        if self.members.contains_key(&id) {
            return Err(ApiError::MemberExists);
        }
        self.check_urls(None, peer_urls)?;
        let learners = self.members.values().filter(|member| member.is_learner).count();
        if is_learner && learners >= LEARNERS_MAX {
            return Err(ApiError::TooManyLearners);
        }
        let peer_urls = peer_urls.to_vec();
        self.members.insert(id, Member { peer_urls, is_learner, ..Member::default() });
        Ok(())
    }

    /// Removes a member, for good.
    ///
    /// # Errors
    /// [`ApiError::MemberNotFound`]; [`ApiError::NotEnoughStarted`] if nobody would be left to vote.
    pub fn remove(&mut self, id: NodeId) -> Result<(), ApiError> {
        if !self.members.contains_key(&id) {
            return Err(ApiError::MemberNotFound);
        }
        if self.voters().all(|(voter, _)| voter == id) {
            return Err(ApiError::NotEnoughStarted);
        }
        self.members.remove(&id);
        self.removed.insert(id);
        Ok(())
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// [`ApiError::MemberNotFound`], [`ApiError::PeerUrlExists`].
    pub fn update(&mut self, id: NodeId, peer_urls: &[String]) -> Result<(), ApiError> {
        if !self.members.contains_key(&id) {
            return Err(ApiError::MemberNotFound);
        }
        self.check_urls(Some(id), peer_urls)?;
        let member = self.members.get_mut(&id).ok_or(ApiError::MemberNotFound)?;
        member.peer_urls = peer_urls.to_vec();
        Ok(())
    }

    /// A learner shall vote.
    ///
    /// # Errors
    /// [`ApiError::MemberNotFound`], [`ApiError::MemberNotLearner`].
    pub fn promote(&mut self, id: NodeId) -> Result<(), ApiError> {
        let member = self.members.get_mut(&id).ok_or(ApiError::MemberNotFound)?;
        if !member.is_learner {
            return Err(ApiError::MemberNotLearner);
        }
        member.is_learner = false;
        Ok(())
    }

    /// A member tells its name and client URLs. Who is none is not heard.
    pub fn publish(&mut self, id: NodeId, name: &str, client_urls: &[String]) {
        if let Some(member) = self.members.get_mut(&id) {
            member.name = name.into();
            member.client_urls = client_urls.to_vec();
        }
    }

    /// No two members share a peer URL.
    fn check_urls(&self, of: Option<NodeId>, urls: &[String]) -> Result<(), ApiError> {
        let taken = |url| self.members.iter().any(|(id, m)| Some(*id) != of && m.peer_urls.contains(url));
        if urls.iter().any(taken) { Err(ApiError::PeerUrlExists) } else { Ok(()) }
    }

    /// As records, in order of their ids.
    pub fn records(&self) -> Vec<MemberRecord> {
        let record = |(id, member): (&NodeId, &Member)| MemberRecord {
            member_id: id.0,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        };
        self.members.iter().map(record).collect()
    }

    /// From records, and the ids that were removed. `None` if an id is 0, out of order, or both there and
    /// removed.
    pub fn from_records(records: Vec<MemberRecord>, removed: Vec<u64>) -> Option<Roster> {
        let ascends = |ids: &[u64]| ids.iter().all(|id| *id != 0) && ids.windows(2).all(|p| p[0] < p[1]);
        let ids: Vec<u64> = records.iter().map(|record| record.member_id).collect();
        if !ascends(&ids) || !ascends(&removed) || removed.iter().any(|id| ids.contains(id)) {
            return None;
        }
        let member = |record: MemberRecord| {
            let MemberRecord { member_id, name, peer_urls, client_urls, is_learner } = record;
            (NodeId(member_id), Member { name, peer_urls, client_urls, is_learner })
        };
        let members = records.into_iter().map(member).collect();
        Some(Roster { members, removed: removed.into_iter().map(NodeId).collect() })
    }

    /// Names and peer URLs of the members as bytes: what a data directory keeps of the cluster's beginning.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        codec::put_count(&mut out, self.members.len());
        for (id, member) in &self.members {
            out.put_u64_le(id.0);
            codec::put_bytes(&mut out, member.name.as_bytes());
            codec::put_count(&mut out, member.peer_urls.len());
            for url in &member.peer_urls {
                codec::put_bytes(&mut out, url.as_bytes());
            }
        }
        out.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that are no roster.
    pub fn decode(bytes: Bytes) -> Result<Roster, DecodeError> {
        let mut from = Decoder::new(bytes);
        let mut roster = Roster::default();
        for _ in 0..from.count("members", 16)? {
            let (id, name) = (from.node()?, from.text()?);
            let urls = from.count("peer URLs", 4)?;
            let peer_urls = (0..urls).map(|_| from.text()).collect::<Result<_, _>>()?;
            roster.members.insert(id, Member { name, peer_urls, ..Member::default() });
        }
        from.end()?;
        Ok(roster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| url.to_string()).collect()
    }

    fn three() -> Roster {
        let member = |n: &str| (n.to_string(), vec![format!("http://{n}:2380")]);
        Roster::of_new_cluster(&["a", "b", "c"].map(member).into(), "token")
    }

    #[test]
    fn a_roster_survives_the_round_trip_and_no_cut_is_one() {
        let members = [
            ("n1".to_string(), urls(&["http://10.0.0.1:1"])),
            ("n2".to_string(), urls(&["http://b:1", "http://c:1"])),
        ];
        let roster = Roster::of_new_cluster(&members.into(), "token");
        let bytes = roster.encode();
        assert_eq!(Roster::decode(bytes.clone()).unwrap(), roster);
        for cut in 0..bytes.len() {
            assert!(Roster::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn records_carry_everything_and_disorder_is_refused() {
        let mut roster = three();
        let ids: Vec<NodeId> = roster.members.keys().copied().collect();
        roster.remove(ids[1]).unwrap();
        roster.add(NodeId(7), &urls(&["http://d:2380"]), true).unwrap();
        roster.publish(NodeId(7), "d", &urls(&["http://d:2379"]));
        let removed: Vec<u64> = roster.removed.iter().map(|id| id.0).collect();
        assert_eq!(Roster::from_records(roster.records(), removed.clone()), Some(roster.clone()));
        let mut disorder = roster.records();
        disorder.reverse();
        assert_eq!(Roster::from_records(disorder, removed), None);
        assert_eq!(Roster::from_records(roster.records(), vec![7]), None, "there and removed");
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_effect() {
        let mut roster = three();
        let first = *roster.members.keys().next().unwrap();
        let before = roster.clone();
        let url = urls(&["http://a:2380"]);
        assert_eq!(roster.add(first, &urls(&["http://d:1"]), false), Err(ApiError::MemberExists));
        assert_eq!(roster.add(NodeId(7), &url, false), Err(ApiError::PeerUrlExists));
        assert_eq!(roster.remove(NodeId(7)), Err(ApiError::MemberNotFound));
        assert_eq!(roster.update(NodeId(7), &urls(&["http://d:1"])), Err(ApiError::MemberNotFound));
        assert_eq!(roster.promote(NodeId(7)), Err(ApiError::MemberNotFound));
        assert_eq!(roster.promote(first), Err(ApiError::MemberNotLearner));
        assert_eq!(roster, before);
        roster.add(NodeId(7), &urls(&["http://d:1"]), true).unwrap();
        assert_eq!(roster.add(NodeId(8), &urls(&["http://e:1"]), true), Err(ApiError::TooManyLearners));
        roster.promote(NodeId(7)).unwrap();
        roster.remove(NodeId(7)).unwrap();
        assert_eq!(roster.add(NodeId(7), &urls(&["http://d:1"]), false), Err(ApiError::MemberNotFound));
    }

    #[test]
    fn the_last_voter_stays() {
        let mut roster = Roster::of_new_cluster(&[("a".into(), urls(&["http://a:1"]))].into(), "t");
        let only = *roster.members.keys().next().unwrap();
        assert_eq!(roster.remove(only), Err(ApiError::NotEnoughStarted));
        roster.add(NodeId(7), &urls(&["http://d:1"]), true).unwrap();
        assert_eq!(roster.remove(only), Err(ApiError::NotEnoughStarted), "a learner cannot vote");
    }

    #[test]
    fn changes_need_a_majority_that_has_started() {
        let mut roster = three();
        assert!(roster.may_add_voter());
        roster.add(NodeId(7), &urls(&["http://d:1"]), false).unwrap();
        assert!(roster.may_add_voter(), "3 of 5");
        roster.add(NodeId(8), &urls(&["http://e:1"]), false).unwrap();
        assert!(!roster.may_add_voter(), "3 of 6");
        assert!(roster.may_remove_voter(NodeId(7)), "3 of 4");
        let started = *roster.members.iter().find(|(_, member)| member.is_started()).unwrap().0;
        assert!(!roster.may_remove_voter(started), "2 of 4");
        let mut two = Roster::of_new_cluster(&[("a".into(), urls(&["http://a:1"]))].into(), "t");
        assert!(two.may_add_voter(), "one may get a second");
        two.add(NodeId(7), &urls(&["http://d:1"]), false).unwrap();
        assert!(!two.may_add_voter(), "but not a third before that has started");
    }
}
