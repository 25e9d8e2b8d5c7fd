//! Who the members are: identities as etcd computes them, names and peer addresses.

use crate::codec::{self, DecodeError, Decoder};
use bytes::{BufMut, Bytes};
use raft::types::{Membership, NodeId};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;

/// Identity of a first member: the first 8 bytes of the SHA-1 of its sorted peer URLs and the cluster's token.
pub fn member_id(peer_urls: &[String], token: &str) -> NodeId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    NodeId(first_8_bytes(Sha1::digest(sorted.concat() + token).as_slice()))
}

/// Identity of a cluster: the first 8 bytes of the SHA-1 of its first members' identities in order.
pub fn cluster_id<'a>(members: impl IntoIterator<Item = &'a NodeId>) -> u64 {
    let mut ids: Vec<u64> = members.into_iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let mut sha1 = Sha1::new();
    for id in ids {
        sha1.update(id.to_be_bytes());
    }
    first_8_bytes(sha1.finalize().as_slice())
}

fn first_8_bytes(digest: &[u8]) -> u64 {
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-1 has 20 bytes"))
}

/// A member as the cluster was set up with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterMember {
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// The members as the cluster was set up with them, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The members.
    pub members: BTreeMap<NodeId, RosterMember>,
}

impl Roster {
    /// The members of a new cluster, from their names and peer URLs.
    pub fn of_new_cluster(members: &BTreeMap<String, Vec<String>>, token: &str) -> Roster {
        let member = |(name, urls): (&String, &Vec<String>)| {
            (member_id(urls, token), RosterMember { name: name.clone(), peer_urls: urls.clone() })
        };
        Roster { members: members.iter().map(member).collect() }
    }

    /// The cluster's identity.
    pub fn cluster_id(&self) -> u64 {
        cluster_id(self.members.keys())
    }

    /// The membership to begin with: everybody votes.
    pub fn membership(&self) -> Membership {
        Membership { voters: self.members.keys().copied().collect(), ..Membership::default() }
    }

    /// As bytes.
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
            roster.members.insert(id, RosterMember { name, peer_urls });
        }
        from.end()?;
        Ok(roster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_computes() {
        // As etcd 3.5 logs them for these flags.
        let id = member_id(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(format!("{:x}", id.0), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id([&id])), "cdf818194e3a8c32");
    }

    #[test]
    fn a_roster_survives_the_round_trip_and_no_cut_is_one() {
        let members = [
            ("n1".to_string(), vec!["http://10.0.0.1:2380".to_string()]),
            ("n2".to_string(), vec!["http://10.0.0.2:2380".to_string(), "http://n2:2380".to_string()]),
        ];
        let roster = Roster::of_new_cluster(&members.into(), "token");
        let bytes = roster.encode();
        assert_eq!(Roster::decode(bytes.clone()).unwrap(), roster);
        for cut in 0..bytes.len() {
            assert!(Roster::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
