//! Locks and elections.

use super::server::{HANG, await_some, one, refusal};
use etcd_client::{Client, LeaderResponse, LockOptions, ObserveStream, ProclaimOptions, ResignOptions};

async fn lease(client: &mut Client) -> i64 {
    client.lease_grant(600, None).await.unwrap().id()
}

/// Waits until somebody has queued up at this key.
async fn queued(client: &mut Client, place: &str) {
    await_some("the second in the queue", async || {
        (!client.get(place, None).await.unwrap().kvs().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lock_is_held_by_one_and_handed_on() {
    let (_server, mut client) = one().await;
    let (first, second) = (lease(&mut client).await, lease(&mut client).await);
    let with = |lease| Some(LockOptions::new().with_lease(lease));
    let held = client.lock("l", with(first)).await.unwrap();
    assert_eq!(held.key(), format!("l/{:x}", first).as_bytes());
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("l", with(second)).await });
    let place = format!("l/{:x}", second);
    queued(&mut client, &place).await;
    assert!(!waiting.is_finished(), "two hold the lock");
    client.unlock(held.key()).await.unwrap();
    let taken = tokio::time::timeout(HANG, waiting).await.expect("it is handed on").unwrap().unwrap();
    assert_eq!(taken.key(), place.as_bytes());
    // Whose lease ends, lets go.
    client.lease_revoke(second).await.unwrap();
    let again = tokio::time::timeout(HANG, client.lock("l", with(first))).await;
    again.expect("nobody holds it").unwrap();
}

async fn observed(stream: &mut ObserveStream) -> String {
    let message = tokio::time::timeout(HANG, stream.message()).await;
    leader(&message.expect("it is told").unwrap().expect("the stream goes on"))
}

fn leader(response: &LeaderResponse) -> String {
    response.kv().expect("there is a leader").value_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_leader_proclaims_is_observed_and_resigns() {
    let (_server, mut client) = one().await;
    let (first, second) = (lease(&mut client).await, lease(&mut client).await);
    let won = client.campaign("e", "one", first).await.unwrap();
    let key = won.leader().unwrap().clone();
    assert_eq!((key.name(), key.lease()), (&b"e"[..], first));
    assert_eq!(leader(&client.leader("e").await.unwrap()), "one");

    let mut observer = client.observe("e").await.unwrap();
    assert_eq!(observed(&mut observer).await, "one");
    client.proclaim("uno", Some(ProclaimOptions::new().with_leader(key.clone()))).await.unwrap();
    assert_eq!(observed(&mut observer).await, "uno");

    let mut other = client.clone();
    let campaign = tokio::spawn(async move { other.campaign("e", "two", second).await });
    queued(&mut client, &format!("e/{:x}", second)).await;
    assert!(!campaign.is_finished(), "two lead");
    client.resign(Some(ResignOptions::new().with_leader(key.clone()))).await.unwrap();
    let won = tokio::time::timeout(HANG, campaign).await.expect("there is a new leader").unwrap().unwrap();
    assert!(won.leader().unwrap().rev() >= key.rev());
    assert_eq!(observed(&mut observer).await, "two");
    let stale = client.proclaim("me", Some(ProclaimOptions::new().with_leader(key))).await;
    assert_eq!(refusal(stale), "election: not leader");
}
