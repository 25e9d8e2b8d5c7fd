//! Packets between nodes are late, lost, out of order, doubled, or held up by a slow link.
//!
//! All links of one node, or all links there are, both ways. TCP hides most of it from servers but the time
//! that it takes: heartbeats bunch up, elections start for no reason, answers come after their time limit.
//! How much is drawn from the seed: delays of 50-250 ms give or take half, loss of 5-30 %, every second to
//! fourth packet overtaking by 20-60 ms, 10-50 % doubled, 128-1024 kbit/s.
//!
//! Proof: of the packets that went over the links meanwhile, some were delayed, lost, moved or doubled, as the
//! fault says. Undone when the counters stand still and probes arrive. `netns` can do it, where the kernel hands
//! out packets (NFQUEUE): no netem is needed.

use super::{
    Effect, partition,
    strike::{Active, FaultError, Scene, Strike, Undoing, names},
};
use crate::cluster::{Cluster, Disturbance, Disturbed, Hindrance, Link, NodeIndex};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long packets may take until one of them was hit.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Shaken {
    links: BTreeSet<Link>,
    before: Disturbed,
}

impl Active for Shaken {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let cluster = &scene.cluster;
            cluster.mend(scene.planned.number).await?;
            let still_disturbed = count(cluster, &self.links);
            let probes = partition::await_open(cluster, self.links.clone()).await?;
            let after = count(cluster, &self.links);
            if after.packets != still_disturbed.packets && !(scene.others_active)() {
                return Err(FaultError::NotUndone("packets are still disturbed".to_owned()));
            }
            let probes = probes.map_err(FaultError::NotUndone)?;
            Ok(json!({"packets": difference(after, self.before), "probes": probes.len()}))
        })
    }
}

/// Disturbs links.
pub(super) async fn strike(scene: &mut Scene, effect: Effect) -> Result<Option<Strike>, FaultError> {
    let all: Vec<NodeIndex> = scene.cluster.indexes().collect();
    let whole = scene.rng.random();
    let nodes = match whole {
        true => all.clone(),
        false => {
            // Nothing is held: a node's process takes no part in it.
            let leader = scene.view.leader.filter(|_| scene.rng.random());
            vec![leader.or_else(|| all.choose(&mut scene.rng).copied()).unwrap_or(NodeIndex(0))]
        }
    };
    let pairs = all.iter().flat_map(|&a| all.iter().map(move |&b| Link::new(a, b)));
    let links: BTreeSet<Link> = pairs
        .filter(|link| link.from != link.to && (nodes.contains(&link.from) || nodes.contains(&link.to)))
        .collect();
    let disturbance = draw(effect, &mut scene.rng);
    let before = count(&scene.cluster, &links);
    let act_at = Instant::now();
    let disturbed = links.iter().map(|&link| (link, disturbance)).collect();
    scene.cluster.hinder(scene.planned.number, Hindrance { disturbed, ..Hindrance::default() }).await?;
    let proof = prove(&scene.cluster, effect, &links, before).await;
    let detail = json!({"nodes": names(&nodes), "disturbance": disturbance});
    Ok(Some(Strike { active: Box::new(Shaken { links, before }), detail, act_at, proof }))
}

fn draw(effect: Effect, rng: &mut ChaCha8Rng) -> Disturbance {
    let none = Disturbance::default();
    match effect {
        Effect::Delay => {
            let delay_ms = rng.random_range(50..=250);
            Disturbance { delay_ms, jitter_ms: delay_ms / 2, ..none }
        }
        Effect::Loss => Disturbance { loss_percent: rng.random_range(5..=30), ..none },
        Effect::Reorder => Disturbance {
            delay_ms: rng.random_range(20..=60),
            reorder_percent: rng.random_range(25..=50),
            ..none
        },
        Effect::Duplicate => Disturbance { duplicate_percent: rng.random_range(10..=50), ..none },
        Effect::Slow => Disturbance { rate_kbit: rng.random_range(128..=1024), ..none },
    }
}

async fn prove(
    cluster: &Arc<Cluster>,
    effect: Effect,
    links: &BTreeSet<Link>,
    before: Disturbed,
) -> Result<Value, FaultError> {
    let start = Instant::now();
    loop {
        // Something has to be under way for it to be hit.
        partition::probe_all(cluster, links.iter().copied()).await?;
        let seen = difference(count(cluster, links), before);
        let hit = match effect {
            Effect::Delay | Effect::Slow => seen.delayed,
            Effect::Loss => seen.lost,
            Effect::Reorder => seen.reordered,
            Effect::Duplicate => seen.duplicated,
        };
        if hit > 0 {
            return Ok(json!({"packets": seen}));
        }
        if start.elapsed() > EFFECT_TIMEOUT {
            return Err(FaultError::NotProved(format!("of {} packets none was hit", seen.packets)));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What became of the packets of these links so far.
fn count(cluster: &Cluster, links: &BTreeSet<Link>) -> Disturbed {
    let mut all = Disturbed::default();
    for (_, count) in cluster.disturbed().iter().filter(|(link, _)| links.contains(link)) {
        all.packets += count.packets;
        all.delayed += count.delayed;
        all.lost += count.lost;
        all.reordered += count.reordered;
        all.duplicated += count.duplicated;
    }
    all
}

fn difference(after: Disturbed, before: Disturbed) -> Disturbed {
    Disturbed {
        packets: after.packets - before.packets,
        delayed: after.delayed - before.delayed,
        lost: after.lost - before.lost,
        reordered: after.reordered - before.reordered,
        duplicated: after.duplicated - before.duplicated,
    }
}
