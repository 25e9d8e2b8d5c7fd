//! Waiting until all members are there again and agree, and what they then say of themselves.

use super::{
    member::{Member, statuses},
    stop::Stop,
};
use crate::driver::Client;
use checker::history::event::What;
use serde_json::json;
use server::proto::etcdserverpb::{DeleteRangeRequest, HashKvResponse, RangeRequest, StatusResponse};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// A key that is never written.
const ABSENT: &str = "assay/absent";
/// Bounds each request to a member.
const DEADLINE: Duration = Duration::from_secs(2);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
/// After so long without agreement one more entry is written.
const WRITE_AGAIN: Duration = Duration::from_secs(2);

/// The store's newest revision, as a linearizable read gives it.
///
/// # Errors
/// Why no member gave it within `within`.
pub(super) async fn newest_revision(members: &[Member], within: Duration) -> Result<i64, String> {
    let end = Instant::now() + within;
    loop {
        let mut last = String::new();
        for member in members {
            let request = RangeRequest { key: ABSENT.into(), count_only: true, ..RangeRequest::default() };
            let answer = member.client(DEADLINE).range(request).await;
            match answer.and_then(|answer| crate::driver::revision(answer.header.as_ref())) {
                Ok(revision) => return Ok(revision),
                Err(error) => last = format!("{}: {error}", member.name),
            }
        }
        if Instant::now() >= end {
            return Err(format!("no member answers a linearizable read within {within:?}; {last}"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until every member answers and all have applied the same index under the same leader, and gives
/// what they said of themselves then: `status` and `hashkv` of each.
///
/// One entry is written first, for a member that was restored from a snapshot tells an old applied index
/// until the next entry. It deletes a key that does not exist, so it makes no revision.
///
/// # Errors
/// A text that says what was still missing after `within`.
pub async fn settle(members: &[Member], within: Duration, stop: &Stop) -> Result<Vec<What>, String> {
    let end = Instant::now() + within;
    let mut clients: Vec<Client> = members.iter().map(|member| member.client(DEADLINE)).collect();
    let mut written: Option<Instant> = None;
    loop {
        let missing = match look(members, &mut clients, &mut written).await {
            Ok(observations) => return Ok(observations),
            Err(missing) => missing,
        };
        if Instant::now() >= end {
            return Err(format!("after {:.0} s {missing}", within.as_secs_f64()));
        }
        if stop.is_stopped() {
            return Err(format!("told to stop while {missing}"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One look at all members: their observations, or what is missing.
async fn look(
    members: &[Member],
    clients: &mut [Client],
    written: &mut Option<Instant>,
) -> Result<Vec<What>, String> {
    let silent =
        |(name, error): (String, crate::driver::DriverError)| format!("{name} does not answer: {error}");
    let before = statuses(members, clients).await.map_err(silent)?;
    if written.is_none_or(|at| at.elapsed() > WRITE_AGAIN) {
        let request = DeleteRangeRequest { key: ABSENT.into(), ..DeleteRangeRequest::default() };
        let answer = clients[0].delete_range(request).await;
        answer.map_err(|error| format!("{} takes no write: {error}", members[0].name))?;
        *written = Some(Instant::now());
        return Err("the members have not been looked at since the last write".into());
    }
    agree(members, &before)?;
    let mut hashes = Vec::with_capacity(members.len());
    for (member, client) in members.iter().zip(&mut *clients) {
        let hash = client.hash_kv(0).await;
        hashes.push(hash.map_err(|error| format!("{} gives no hash: {error}", member.name))?);
    }
    // The hashes are of one applied index only if nothing was applied meanwhile.
    let after = statuses(members, clients).await.map_err(silent)?;
    agree(members, &after)?;
    if applied(&before) != applied(&after) {
        return Err("something is still being applied".into());
    }
    Ok(observations(members, &after, &hashes))
}

fn applied(statuses: &[StatusResponse]) -> Vec<u64> {
    statuses.iter().map(|status| status.raft_applied_index).collect()
}

/// Whether all have applied the same index, and take the same member for the leader.
fn agree(members: &[Member], statuses: &[StatusResponse]) -> Result<(), String> {
    let say = |what: &str, value: fn(&StatusResponse) -> u64| {
        let values: BTreeMap<&str, u64> =
            members.iter().map(|member| member.name.as_str()).zip(statuses.iter().map(value)).collect();
        format!("the members differ in their {what}: {values:?}")
    };
    let Some(first) = statuses.first() else { return Err("there is no member".into()) };
    if first.leader == 0 {
        return Err(format!("{} knows of no leader", members[0].name));
    }
    if statuses.iter().any(|status| status.leader != first.leader) {
        return Err(say("leader", |status| status.leader));
    }
    if statuses.iter().any(|status| status.raft_applied_index != first.raft_applied_index) {
        return Err(say("applied index", |status| status.raft_applied_index));
    }
    Ok(())
}

fn observations(members: &[Member], statuses: &[StatusResponse], hashes: &[HashKvResponse]) -> Vec<What> {
    let member_id = |status: &StatusResponse| status.header.as_ref().map_or(0, |header| header.member_id);
    let names: BTreeMap<u64, &str> =
        statuses.iter().map(member_id).zip(members.iter().map(|member| member.name.as_str())).collect();
    let mut observations = Vec::new();
    for ((member, status), hash) in members.iter().zip(statuses).zip(hashes) {
        let revision = status.header.as_ref().map_or(0, |header| header.revision);
        observations.push(What::Observe {
            node: member.name.clone(),
            f: "status".into(),
            value: json!({
                "revision": revision,
                "raft_applied_index": status.raft_applied_index,
                "raft_term": status.raft_term,
                "leader": names.get(&status.leader),
                "member_id": member_id(status),
                "version": status.version,
            }),
        });
        observations.push(What::Observe {
            node: member.name.clone(),
            f: "hashkv".into(),
            value: json!({
                "revision": hash.header.as_ref().map_or(0, |header| header.revision),
                "hash": hash.hash,
                "compact_revision": hash.compact_revision,
            }),
        });
    }
    observations
}

#[cfg(test)]
mod tests {
    use super::*;
    use server::proto::etcdserverpb::ResponseHeader;

    fn members() -> Vec<Member> {
        Member::at(&["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into()]).unwrap()
    }

    fn status(member_id: u64, leader: u64, applied: u64) -> StatusResponse {
        let header = ResponseHeader { member_id, revision: 9, ..ResponseHeader::default() };
        StatusResponse {
            header: Some(header),
            leader,
            raft_applied_index: applied,
            ..StatusResponse::default()
        }
    }

    #[test]
    fn members_agree_only_on_one_leader_and_one_applied_index() {
        for (first, second, say) in [
            (status(1, 1, 7), status(2, 1, 7), None),
            (status(1, 1, 7), status(2, 1, 6), Some("applied index: {\"n1\": 7, \"n2\": 6}")),
            (status(1, 1, 7), status(2, 2, 7), Some("leader: {\"n1\": 1, \"n2\": 2}")),
            (status(1, 0, 7), status(2, 0, 7), Some("n1 knows of no leader")),
        ] {
            match (agree(&members(), &[first, second]), say) {
                (Ok(()), None) => {}
                (Err(error), Some(say)) => assert!(error.contains(say), "{error}"),
                (other, say) => panic!("{other:?}, expected {say:?}"),
            }
        }
    }

    #[test]
    fn the_leader_is_observed_by_its_name() {
        let hash = HashKvResponse { hash: 3, ..HashKvResponse::default() };
        let all = observations(&members(), &[status(11, 22, 7), status(22, 22, 7)], &[hash, hash]);
        assert_eq!(all.len(), 4);
        let What::Observe { node, f, value } = &all[0] else { panic!("{all:?}") };
        assert_eq!((node.as_str(), f.as_str(), value["leader"].as_str()), ("n1", "status", Some("n2")));
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_said_to_be_missing() {
        let stop = Stop::default();
        let error = settle(&members(), Duration::ZERO, &stop).await.unwrap_err();
        assert!(error.contains("n1 does not answer: refused"), "{error}");
        let error = newest_revision(&members(), Duration::ZERO).await.unwrap_err();
        assert!(error.contains("no member answers"), "{error}");
    }
}
