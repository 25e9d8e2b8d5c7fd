//! Service discovery, as the example does it, on three servers that are killed, paused and cut off.

#[path = "../../examples/discovery/directory.rs"]
mod directory;

use crate::{
    fleet::{Fleet, PATIENCE, serves},
    relay::Relays,
};
use directory::{Announcement, Resolver};
use server::proto::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const TTL_S: i64 = 3;
const TTL: Duration = Duration::from_secs(3);
const ELECTION: Duration = Duration::from_secs(2);
/// A resolver hands out what it saw no longer ago than this.
const TOUCH: Duration = Duration::from_secs(2);
/// What a busy machine adds: it is about an order of events, not about speed.
const SLACK: Duration = Duration::from_secs(20);

/// Waits until a resolver that is in touch says so.
async fn until(resolver: &Resolver, what: &str, want: &[(&str, &str)]) {
    let want = want.iter().map(|(key, value)| (format!("s/{key}"), value.to_string())).collect();
    let begun = Instant::now();
    while resolver.instances().as_ref() != Some(&want) {
        assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", resolver.instances());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_handed_out_long_after_death() {
    let mut fleet = Fleet::of(3);
    for at in 0..3 {
        fleet.spawn(at, &[0, 1, 2], &[]);
    }
    for at in 0..3 {
        serves(fleet.channel(at)).await;
    }
    let urls: Vec<String> = (0..3).map(|at| fleet.client_url(at).to_string()).collect();
    let from = |at: usize| [&urls[at..], &urls[..at]].concat();
    let announce = |at: usize, name: &str| {
        Announcement::start(from(at), format!("s/{name}"), format!("address of {name}"), TTL_S)
    };
    let resolver = Resolver::start(from(1), "s/".into(), TOUCH);
    let (a, b) = (announce(0, "a"), announce(1, "b"));
    let (in_a, in_b) = (("a", "address of a"), ("b", "address of b"));
    until(&resolver, "both are seen", &[in_a, in_b]).await;
    a.withdraw().await;
    until(&resolver, "who leaves in good order is gone", &[in_b]).await;

    // A dead one is gone after its TTL, and another one takes no harm.
    let a = announce(2, "a");
    until(&resolver, "it is back", &[in_a, in_b]).await;
    let died = Instant::now();
    drop(a);
    until(&resolver, "the dead one is gone", &[in_b]).await;
    assert!(died.elapsed() <= TTL + TOUCH + SLACK, "{:?}", died.elapsed());

    // The leader dies at the same time as an instance.
    let a = announce(0, "a");
    until(&resolver, "it is back again", &[in_a, in_b]).await;
    let leader = fleet.leader(&[0, 1, 2]).await;
    fleet.kill(leader);
    drop(a);
    let died = Instant::now();
    until(&resolver, "the dead one is gone, the other has lived on", &[in_b]).await;
    assert!(died.elapsed() <= ELECTION + TTL + TOUCH + SLACK, "{:?}", died.elapsed());
    fleet.spawn(leader, &[0, 1, 2], &[]);
    serves(fleet.channel(leader)).await;

    // Without a majority the resolver is out of touch, and hands nobody out; nor does anybody's lease end.
    fleet.kill(0);
    fleet.kill(1);
    let begun = Instant::now();
    while resolver.instances().is_some() {
        assert!(begun.elapsed() < TOUCH + SLACK, "out of touch, and does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for at in [0, 1] {
        fleet.spawn(at, &[0, 1, 2], &[]);
    }
    until(&resolver, "in touch again", &[in_b]).await;
    b.withdraw().await;
    until(&resolver, "all are gone", &[]).await;
}

/// Paused servers are like servers behind a cut: their clients hear nothing, and nothing is closed.
#[tokio::test(flavor = "multi_thread")]
async fn paused_servers_keep_no_dead_instance_and_lose_no_living_one() {
    let all = [0, 1, 2];
    let mut fleet = Fleet::of(3);
    for at in all {
        fleet.spawn(at, &all, &[]);
    }
    for at in all {
        serves(fleet.channel(at)).await;
    }
    let urls: Vec<String> = all.iter().map(|at| fleet.client_url(*at).to_string()).collect();
    let from = |at: usize| [&urls[at..], &urls[..at]].concat();
    let announce = |at: usize, name: &str| {
        Announcement::start(from(at), format!("s/{name}"), format!("address of {name}"), TTL_S)
    };
    let leader = fleet.leader(&all).await;
    let resolver = Resolver::start(from(leader), "s/".into(), TOUCH);
    let (a, b) = (announce(leader, "a"), announce((leader + 1) % 3, "b"));
    let (in_a, in_b) = (("a", "address of a"), ("b", "address of b"));
    until(&resolver, "both are seen", &[in_a, in_b]).await;

    // Whoever announced and resolved through the leader goes elsewhere; the dead instance ends with its lease.
    fleet.pause(leader);
    drop(a);
    let died = Instant::now();
    until(&resolver, "the dead one is gone, the other is there", &[in_b]).await;
    assert!(died.elapsed() <= ELECTION + TTL + TOUCH + SLACK, "{:?}", died.elapsed());
    let a = announce(leader, "a");
    until(&resolver, "it is announced through another server", &[in_a, in_b]).await;
    // The old leader wakes up with deadlines that are long over, and ends nobody's lease.
    fleet.resume(leader);
    serves(fleet.channel(leader)).await;
    until(&resolver, "both live on", &[in_a, in_b]).await;

    // Two of three: nobody is handed out, whatever died or lives.
    let others: Vec<usize> = all.into_iter().filter(|at| *at != leader).collect();
    others.iter().for_each(|at| fleet.pause(*at));
    drop(a);
    let begun = Instant::now();
    while resolver.instances().is_some() {
        assert!(begun.elapsed() < TOUCH + SLACK, "out of touch, and does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    others.iter().for_each(|at| fleet.resume(*at));
    until(&resolver, "in touch again, the dead one gone", &[in_b]).await;
    b.withdraw().await;
    until(&resolver, "all are gone", &[]).await;
}

/// A member, its instance and its resolver on one side of a cut, the majority on the other.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_behind_a_cut_is_handed_out_long_after_death() {
    let all = [0, 1, 2];
    let mut fleet = Fleet::of(3);
    let relays = Relays::to(&all.map(|at| fleet.peer_url(at)));
    let members = all.map(|at| format!("n{at}={}", relays.url(at))).join(",");
    for at in all {
        let advertised = format!("--initial-advertise-peer-urls={}", relays.url(at));
        fleet.spawn_with(at, &[&format!("--initial-cluster={members}"), &advertised]);
    }
    let mut ids = Vec::new();
    for at in all {
        serves(fleet.channel(at)).await;
        let status = MaintenanceClient::new(fleet.channel(at)).status(StatusRequest {}).await.unwrap();
        ids.push(status.into_inner().header.unwrap().member_id);
    }
    relays.name(ids);
    let urls = all.map(|at| fleet.client_url(at).to_string());
    let announce = |name: &str, through: &[usize]| {
        let through = through.iter().map(|at| urls[*at].clone()).collect();
        Announcement::start(through, format!("s/{name}"), format!("address of {name}"), TTL_S)
    };
    for whom in ["leader", "follower"] {
        let leader = fleet.leader(&all).await;
        let lone = if whom == "leader" { leader } else { (leader + 1) % 3 };
        let others = [(lone + 1) % 3, (lone + 2) % 3];
        let resolve = |through: &[usize]| {
            let through = through.iter().map(|at| urls[*at].clone()).collect();
            Resolver::start(through, "s/".into(), TOUCH)
        };
        let (here, there) = (resolve(&others), resolve(&[lone]));
        // One dies at the cut, one lives and can renew nothing behind it, one is not touched by it.
        let (dead, cut_off) = (announce("dead", &[lone]), announce("cut-off", &[lone]));
        let living = announce("living", &others);
        let living_one = ("living", "address of living");
        let everybody = [("dead", "address of dead"), ("cut-off", "address of cut-off"), living_one];
        until(&here, "all are seen", &everybody).await;
        until(&there, "there too", &everybody).await;

        let died = Instant::now();
        relays.cut(lone);
        drop(dead);
        // Behind the cut nobody is handed out: what was known is stale soon, and stays so.
        let bound = ELECTION + TTL + TOUCH + SLACK;
        let mut stale = None;
        let only_living = BTreeMap::from([("s/living".to_string(), "address of living".to_string())]);
        while here.instances().as_ref() != Some(&only_living) || stale.is_none() {
            match (there.instances(), stale) {
                (None, None) => stale = Some(died.elapsed()),
                (Some(instances), Some(_)) => panic!("{whom}: in touch behind a cut: {instances:?}"),
                _ => {}
            }
            assert!(died.elapsed() <= bound, "{whom}: {:?}, stale {stale:?}", here.instances());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (gone, stale) = (died.elapsed(), stale.unwrap());
        eprintln!("{whom} cut off: the dead gone after {gone:?}, stale behind the cut after {stale:?}");
        assert!(stale <= TOUCH + SLACK, "{whom}: {stale:?}");
        for _ in 0..50 {
            assert_eq!(
                here.instances().filter(|seen| *seen != only_living),
                None,
                "{whom}: the dead are back"
            );
            assert_eq!(there.instances(), None, "{whom}: in touch behind a cut");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        // Healed, who was cut off is back, and the dead is seen on neither side.
        relays.heal();
        let both = [("cut-off", "address of cut-off"), living_one];
        until(&here, "who was cut off is back", &both).await;
        until(&there, "the resolver too", &both).await;
        cut_off.withdraw().await;
        living.withdraw().await;
        until(&here, "all are gone", &[]).await;
    }
}
