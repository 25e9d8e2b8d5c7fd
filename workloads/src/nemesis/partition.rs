//! Links between nodes are blocked; clients reach every node all the same.
//!
//! A `netns` cluster drops packets in its hub with iptables, all links in one step; a `compose` one drops
//! them where they come in, in each machine's own network, on all machines at the same time; a `local` one
//! holds bytes back in its proxies. Connections stay open in both. A one-way partition drops only segments
//! with payload: without their acknowledgements the other direction would starve after ten segments.
//!
//! Proof: over every blocked link a probe is lost that is sent from the one node's namespace to the other's,
//! and the link's drop counter has moved; one-way, a probe the other way arrives. Undone when probes arrive
//! again; what was dropped in all goes into the history then.

use super::{
    Shape,
    repeat::Repeating,
    shape::{self, Cut},
    strike::{Active as Undo, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::{Block, Cluster, Link, Probe};
use rand::RngExt;
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

/// How long an open link may take until a probe arrives.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the links of a node that flaps stay as they are, in ms: long enough for a heartbeat or two, and at
/// times for an election.
const FLAP_MS: std::ops::RangeInclusive<u64> = 150..=1500;

/// A cut of links.
#[derive(Debug)]
struct Partition {
    number: u64,
    active: Active,
    /// What opens and blocks the links in turns, and how often it did.
    flapping: Option<Repeating<u64>>,
}

impl Undo for Partition {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let flaps = match &mut self.flapping {
                Some(flapping) => Some(flapping.end().await?),
                None => None,
            };
            let mut proof = undo(&scene.cluster, self.number, &self.active).await?;
            if let (Some(flaps), Value::Object(proof)) = (flaps, &mut proof) {
                proof.insert("turns".to_owned(), json!(flaps));
            }
            Ok(proof)
        })
    }
}

/// Blocks the links of a shape.
pub(super) async fn strike(scene: &mut Scene, shape: Shape) -> Result<Option<Strike>, FaultError> {
    let nodes = scene.cluster.nodes().len();
    let Cut { links, groups } = shape::draw(shape, nodes, scene.view.leader, &mut scene.rng);
    let number = scene.planned.number;
    let act_at = std::time::Instant::now();
    let (active, proof) = start(&scene.cluster, number, links.clone()).await?;
    let named: Vec<_> = links.keys().map(Link::to_string).collect();
    let groups: Vec<_> = groups.iter().map(|group| names(group)).collect();
    let flapping = (shape == Shape::Flapping && proof.is_ok()).then(|| flap(scene, links));
    let detail = json!({"groups": groups, "links": named});
    Ok(Some(Strike { active: Box::new(Partition { number, active, flapping }), detail, act_at, proof }))
}

/// Opens the links and blocks them again, in turns. Gives how often.
fn flap(scene: &Scene, links: BTreeMap<Link, Block>) -> Repeating<u64> {
    let (cluster, number, mut rng) = (Arc::clone(&scene.cluster), scene.planned.number, scene.rng.clone());
    Repeating::start(|mut until| async move {
        let mut turns = 0;
        while until.wait(Duration::from_millis(rng.random_range(FLAP_MS))).await {
            let changed = match turns % 2 {
                0 => cluster.mend(number).await,
                _ => cluster.cut(number, links.clone()).await,
            };
            if let Err(error) = changed {
                tracing::warn!(%error, "a link does not flap");
                break;
            }
            turns += 1;
        }
        turns
    })
}

/// What the undoing needs to know.
#[derive(Debug)]
pub(super) struct Active {
    links: BTreeMap<Link, Block>,
    dropped_before: BTreeMap<Link, u64>,
}

/// Blocks `links` as fault `number`, and proves it. What was blocked without proof is to be undone too.
pub(super) async fn start(
    cluster: &Arc<Cluster>,
    number: u64,
    links: BTreeMap<Link, Block>,
) -> Result<(Active, Result<Value, FaultError>), FaultError> {
    let dropped_before = cluster.dropped().await?;
    cluster.cut(number, links.clone()).await?;
    let active = Active { links, dropped_before };
    let proof = prove(cluster, &active).await;
    Ok((active, proof))
}

async fn prove(cluster: &Arc<Cluster>, active: &Active) -> Result<Value, FaultError> {
    let mut probes = Map::new();
    for (link, probe) in probe_all(cluster, active.links.keys().copied()).await? {
        if probe == Probe::Arrived {
            return Err(FaultError::NotProved(format!("{link} should be blocked, but a probe arrived")));
        }
        probes.insert(link.to_string(), json!(probe));
    }
    let one_way = active.links.iter().filter(|(_, block)| **block == Block::Payload);
    let backwards = one_way.map(|(link, _)| Link::new(link.to, link.from)).collect();
    let open = await_open(cluster, backwards).await?.map_err(FaultError::NotProved)?;
    probes.extend(open);
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
    let links = active.links.keys().copied().collect();
    let probes = await_open(cluster, links).await?.map_err(FaultError::NotUndone)?;
    Ok(json!({"probes": probes, "dropped": named(&dropped)}))
}

/// Waits until a probe has arrived over each of `links` that no fault blocks: what arrived, or what did not.
pub(super) async fn await_open(
    cluster: &Arc<Cluster>,
    links: BTreeSet<Link>,
) -> Result<Result<Map<String, Value>, String>, FaultError> {
    let start = Instant::now();
    let (mut waiting, mut arrived) = (links, Map::new());
    loop {
        // Another fault may have blocked some of them since.
        let blocked = cluster.blocked().await;
        waiting.retain(|&link| !hindered(&blocked, link));
        let mut last = None;
        for (link, probe) in probe_all(cluster, waiting.iter().copied()).await? {
            match probe {
                Probe::Arrived => {
                    waiting.remove(&link);
                    arrived.insert(link.to_string(), json!(probe));
                }
                Probe::NotConnected | Probe::Lost => last = Some((link, probe)),
            }
        }
        match last {
            None => return Ok(Ok(arrived)),
            Some((link, probe)) if start.elapsed() > OPEN_TIMEOUT => {
                return Ok(Err(format!("{link} should be open, but a probe says {probe:?}")));
            }
            // A loaded machine may be slow.
            Some(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Whether a probe over `link` cannot arrive: its payload is blocked, or every packet of the way back.
fn hindered(blocked: &BTreeMap<Link, Block>, link: Link) -> bool {
    blocked.contains_key(&link) || blocked.get(&Link::new(link.to, link.from)) == Some(&Block::Packets)
}

pub(super) async fn probe_all(
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
