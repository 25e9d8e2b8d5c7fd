//! Service discovery, as the example does it, on three servers that are killed and paused.

#[path = "../../examples/discovery/directory.rs"]
mod directory;

use crate::fleet::{Fleet, PATIENCE, serves};
use directory::{Announcement, Resolver};
use std::time::{Duration, Instant};

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
