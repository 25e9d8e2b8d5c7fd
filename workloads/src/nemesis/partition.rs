//! Links between nodes are blocked; clients reach every node all the same.
//!
//! A `netns` cluster drops packets in its hub with iptables, all links in one step; a `local` one holds bytes
//! back in its proxies. Connections stay open in both. A one-way partition drops only segments with payload:
//! without their acknowledgements the other direction would starve after ten segments.
//!
//! Proof: over every blocked link a probe is lost that is sent from the one node's namespace to the other's,
//! and the link's drop counter has moved; one-way, a probe the other way arrives. Undone when probes arrive
//! again; what was dropped in all goes into the history then.

use super::run::FaultError;
use crate::cluster::{Block, Cluster, Link, Probe};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// How long an opened link may take until a probe arrives.
const MEND_TIMEOUT: Duration = Duration::from_secs(5);

/// What the undoing needs to know.
#[derive(Debug)]
pub(super) struct Active {
    links: BTreeMap<Link, Block>,
    dropped_before: BTreeMap<Link, u64>,
}

/// Blocks `links` as fault `number`, and proves it.
pub(super) async fn start(
    cluster: &Arc<Cluster>,
    number: u64,
    links: BTreeMap<Link, Block>,
) -> Result<(Active, Value), FaultError> {
    let dropped_before = cluster.dropped().await?;
    cluster.cut(number, links.clone()).await?;
    let active = Active { links, dropped_before };
    match prove(cluster, &active).await {
        Ok(proof) => Ok((active, proof)),
        Err(error) => {
            cluster.mend(number).await?;
            Err(error)
        }
    }
}

async fn prove(cluster: &Arc<Cluster>, active: &Active) -> Result<Value, FaultError> {
    let blocked = cluster.blocked().await;
    let backwards: BTreeSet<Link> = active.links.keys().map(|link| Link::new(link.to, link.from)).collect();
    let open_ways: BTreeSet<Link> = backwards
        .into_iter()
        .filter(|way| !blocked.contains_key(way))
        .filter(|way| blocked.get(&Link::new(way.to, way.from)) == Some(&Block::Payload))
        .collect();
    let ways = active.links.keys().copied().chain(open_ways.iter().copied());
    let mut probes = Map::new();
    for (link, probe) in probe_all(cluster, ways).await? {
        let should_arrive = open_ways.contains(&link);
        if should_arrive != (probe == Probe::Arrived) {
            let is = if should_arrive { "open" } else { "blocked" };
            return Err(FaultError::NotProved(format!("{link} should be {is}, but a probe says {probe:?}")));
        }
        probes.insert(link.to_string(), json!(probe));
    }
    let dropped = since(&cluster.dropped().await?, active);
    if dropped.values().all(|&count| count == 0) {
        return Err(FaultError::NotProved("the counters of the blocked links do not move".to_owned()));
    }
    Ok(json!({"probes": probes, "dropped": named(&dropped)}))
}

/// Opens the links again that no other fault blocks, and proves it.
pub(super) async fn undo(cluster: &Arc<Cluster>, number: u64, active: &Active) -> Result<Value, FaultError> {
    cluster.mend(number).await?;
    let dropped = since(&cluster.dropped().await?, active);
    let start = Instant::now();
    loop {
        let blocked = cluster.blocked().await;
        // A link that is blocked one way hinders nothing but payload that way.
        let open = active.links.keys().copied().filter(|link| !hindered(&blocked, *link));
        let probes = probe_all(cluster, open).await?;
        let closed = probes.iter().find(|(_, probe)| **probe != Probe::Arrived);
        match closed {
            None => {
                let probes: Map<_, _> = probes.iter().map(|(link, p)| (link.to_string(), json!(p))).collect();
                return Ok(json!({"probes": probes, "dropped": named(&dropped)}));
            }
            // Another fault may have blocked it since.
            Some((link, _)) if hindered(&cluster.blocked().await, *link) => {}
            Some((link, probe)) if start.elapsed() > MEND_TIMEOUT => {
                return Err(FaultError::NotUndone(format!(
                    "{link} should be open, but a probe says {probe:?}"
                )));
            }
            Some(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Whether a probe over `link` cannot arrive: its payload is blocked, or every packet of the way back.
fn hindered(blocked: &BTreeMap<Link, Block>, link: Link) -> bool {
    blocked.contains_key(&link) || blocked.get(&Link::new(link.to, link.from)) == Some(&Block::Packets)
}

async fn probe_all(
    cluster: &Arc<Cluster>,
    links: impl Iterator<Item = Link>,
) -> Result<BTreeMap<Link, Probe>, FaultError> {
    let mut probes = JoinSet::new();
    for link in links {
        let cluster = Arc::clone(cluster);
        probes.spawn(async move { (link, cluster.probe(link).await) });
    }
    let mut all = BTreeMap::new();
    for (link, probe) in probes.join_all().await {
        all.insert(link, probe?);
    }
    Ok(all)
}

/// What was dropped on the links of the cut since it was made.
fn since(dropped: &BTreeMap<Link, u64>, active: &Active) -> BTreeMap<Link, u64> {
    let of = |counts: &BTreeMap<Link, u64>, link| counts.get(link).copied().unwrap_or(0);
    let links = active.links.keys();
    links.map(|link| (*link, of(dropped, link).saturating_sub(of(&active.dropped_before, link)))).collect()
}

fn named(counts: &BTreeMap<Link, u64>) -> Map<String, Value> {
    counts.iter().map(|(link, &count)| (link.to_string(), json!(count))).collect()
}
