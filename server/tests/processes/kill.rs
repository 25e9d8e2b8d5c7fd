//! `kill -9` under load loses nothing that was acknowledged.
//!
//! `ASSAY_KILLS` says how many kills (default 6).

use crate::fleet::{Fleet, Writers, has_all, serves};
use std::time::Duration;

const MEMBERS: [usize; 3] = [0, 1, 2];
const FLAGS: &[&str] = &["--snapshot-count=500"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let kills: usize = std::env::var("ASSAY_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let mut fleet = Fleet::of(MEMBERS.len());
    for at in MEMBERS {
        fleet.spawn(at, &MEMBERS, FLAGS);
    }
    for at in MEMBERS {
        serves(fleet.channel(at)).await;
    }
    let urls = MEMBERS.map(|at| fleet.client_url(at).to_string());
    let writers = Writers::start(6, urls.into());
    let mut rejoins = Vec::new();
    let mut random: u64 = 42;
    for _ in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 40) as usize % MEMBERS.len();
        tokio::time::sleep(Duration::from_millis(random >> 56)).await;
        fleet.kill(victim);
        fleet.spawn(victim, &MEMBERS, FLAGS);
        rejoins.push(serves(fleet.channel(victim)).await);
    }
    let acknowledged = writers.stop().await;
    rejoins.sort();
    eprintln!(
        "{} acknowledged, {kills} kills, served again after {:?} (median), {:?} (longest)",
        acknowledged.len(),
        rejoins.get(rejoins.len() / 2),
        rejoins.last()
    );
    assert!(acknowledged.len() > 10 * kills, "only {} writes were acknowledged", acknowledged.len());
    for at in MEMBERS {
        has_all(fleet.channel(at), &acknowledged, &format!("n{at}")).await;
    }
}
