//! Identities, as etcd computes them.

use raft::types::NodeId;
use sha1::{Digest, Sha1};

/// Identity of a first member: the first 8 bytes of the SHA-1 of its sorted peer URLs and the cluster's token.
pub fn member_id(peer_urls: &[String], token: &str) -> NodeId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    NodeId(first_8_bytes(Sha1::digest(sorted.concat() + token).as_slice()))
}

/// Identity of a member that joins later: as [`member_id`], with the second in which it was added instead of
/// the token, so that an address may be used again.
pub fn joining_member_id(peer_urls: &[String], unix_s: u64) -> NodeId {
    member_id(peer_urls, &unix_s.to_string())
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
}
