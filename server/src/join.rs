//! How a new member finds its place in a cluster that runs: it asks a member who they all are.

use crate::{
    cluster::{Origin, Roster},
    config::Config,
    disk::{Birth, Identity},
    net::{self, Address, Party, Settings},
    node::questions::{MembersAnswer, Question},
    tls::PeerTls,
};
use raft::types::{Membership, NodeId};
use std::{
    fmt, io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Members that are asked may just be restarting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before all are asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a member cannot join.
#[derive(Debug)]
pub enum JoinError {
    /// `--initial-cluster` names nobody else.
    Alone,
    /// Nobody answers.
    Silent {
        /// Who was asked.
        asked: Vec<String>,
        /// What came of the last try.
        last: io::Error,
    },
    /// The cluster has no member with these peer URLs.
    Stranger {
        /// This member's peer URLs.
        urls: Vec<String>,
        /// The members' peer URLs.
        members: Vec<String>,
    },
    /// The cluster knows this member, and that it has data.
    StartedBefore {
        /// Its identity.
        id: NodeId,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => write!(
                f,
                "--initial-cluster-state is `existing`, --data-dir holds no member, and --initial-cluster names \
                 no other member to ask. Name the members of the cluster to join, or write `new`."
            ),
            Self::Silent { asked, last } => write!(
                f,
                "--initial-cluster: no member of the cluster answers at {}: {last}. Start one of them, or \
                 correct the URLs.",
                asked.join(", ")
            ),
            Self::Stranger { urls, members } => write!(
                f,
                "--initial-cluster: the cluster has no member at {}; its members are at {}. Add this one first: \
                 etcdctl member add NAME --peer-urls={}",
                urls.join(","),
                members.join(", "),
                urls.join(",")
            ),
            Self::StartedBefore { id, name } => write!(
                f,
                "--data-dir holds no member, but the cluster knows this one as {name} ({:x}), which has voted \
                 and must not forget it. Restore its data directory, or remove it and add it again: \
                 etcdctl member remove {:x}",
                id.0, id.0
            ),
        }
    }
}

impl std::error::Error for JoinError {}

/// Finds out who this member is in the cluster that it is to join, and what its data directory is to begin with.
///
/// # Errors
/// See [`JoinError`].
pub fn join(config: &Config, tls: Option<Arc<PeerTls>>) -> Result<(Identity, Birth), JoinError> {
    let told = &config.cluster;
    let own_urls = told.roster.members.get(&told.id).map_or_else(Vec::new, |own| own.peer_urls.clone());
    let others = told.roster.members.iter().filter(|(id, _)| **id != told.id);
    let asked: Vec<String> = others.flat_map(|(_, member)| member.peer_urls.clone()).collect();
    if asked.is_empty() {
        return Err(JoinError::Alone);
    }
    let answer = ask_any(config, tls, &asked).map_err(|last| JoinError::Silent { asked, last })?;
    let (identity, contacts) = find(&own_urls, &answer)?;
    tracing::info!(node = %identity.node, cluster = identity.cluster, "joining a cluster");
    let origin = Origin { birth: answer.birth, contacts };
    // No membership: it has none until a leader sends it the log, and never campaigns before.
    Ok((identity, Birth { membership: Membership::default(), roster: origin.encode() }))
}

fn ask_any(config: &Config, tls: Option<Arc<PeerTls>>, urls: &[String]) -> io::Result<MembersAnswer> {
    let own = Party { cluster: 0, node: NodeId(0) };
    let settings = Settings {
        own,
        heartbeat: config.heartbeat,
        election: config.election,
        tls,
        metrics: Arc::default(),
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for url in urls {
            match net::ask(&Address::of_url(url), &settings, None, Question::Members.encode()) {
                Ok(answer) => match MembersAnswer::decode(answer) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = io::Error::other(error),
                },
                Err(error) => last = error,
            }
        }
        if Instant::now() >= until {
            return Err(last);
        }
        thread::sleep(PAUSE);
    }
}

/// This member among those that the cluster has.
fn find(own_urls: &[String], answer: &MembersAnswer) -> Result<(Identity, Roster), JoinError> {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    let wanted = sorted(own_urls);
    let mut members = answer.roster.members.iter();
    let Some((id, member)) = members.find(|(_, member)| sorted(&member.peer_urls) == wanted) else {
        let members = answer.roster.members.values().flat_map(|member| member.peer_urls.clone());
        return Err(JoinError::Stranger { urls: wanted, members: members.collect() });
    };
    if member.is_started() {
        return Err(JoinError::StartedBefore { id: *id, name: member.name.clone() });
    }
    let identity = Identity { cluster: answer.cluster_id, node: *id };
    Ok((identity, Roster { removed: Default::default(), ..answer.roster.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| url.to_string()).collect()
    }

    #[test]
    fn a_member_is_found_by_its_urls_and_only_before_it_has_started() {
        let birth = Roster::of_new_cluster(&[("a".to_string(), urls(&["http://a:1"]))].into(), "t");
        let mut roster = birth.clone();
        roster.add(NodeId(7), &urls(&["http://c:1", "http://b:1"]), false).expect("it is new");
        let mut answer = MembersAnswer { cluster_id: birth.cluster_id(), birth, roster };
        let (identity, contacts) = find(&urls(&["http://b:1", "http://c:1"]), &answer).expect("it was added");
        assert_eq!(identity, Identity { cluster: answer.cluster_id, node: NodeId(7) });
        assert_eq!(contacts.members.len(), 2);
        let error = find(&urls(&["http://z:1"]), &answer).expect_err("it was not").to_string();
        assert!(error.contains("http://z:1") && error.contains("http://a:1"), "{error}");
        answer.roster.publish(NodeId(7), "b", &[]);
        let error = find(&urls(&["http://b:1", "http://c:1"]), &answer).expect_err("its data is lost");
        assert!(error.to_string().contains("member remove 7"), "{error}");
    }
}
