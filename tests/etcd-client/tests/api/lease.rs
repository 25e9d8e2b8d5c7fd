use super::server::{await_some, one, refusal};
use etcd_client::{Error, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions};
use std::time::Instant;

#[tokio::test]
async fn leases_hold_keys_and_let_go_of_them() {
    let (_server, mut client) = one().await;
    let granted = client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(77))).await.unwrap();
    assert_eq!((granted.id(), granted.ttl()), (77, 600));
    let again = client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(77))).await;
    assert_eq!(refusal(again), "etcdserver: lease already exists");
    client.put("held", "", Some(PutOptions::new().with_lease(77))).await.unwrap();
    assert_eq!(client.get("held", None).await.unwrap().kvs()[0].lease(), 77);

    let left = client.lease_time_to_live(77, Some(LeaseTimeToLiveOptions::new().with_keys())).await.unwrap();
    assert_eq!((left.granted_ttl(), left.keys()), (600, &[b"held".to_vec()][..]));
    assert!((1..=600).contains(&left.ttl()));
    assert_eq!(
        client.leases().await.unwrap().leases().iter().map(|lease| lease.id()).collect::<Vec<_>>(),
        [77]
    );

    let (mut keeper, mut renewals) = client.lease_keep_alive(77).await.unwrap();
    keeper.keep_alive().await.unwrap();
    let renewed = renewals.message().await.unwrap().unwrap();
    assert_eq!((renewed.id(), renewed.ttl()), (77, 600));

    client.lease_revoke(77).await.unwrap();
    assert!(client.get("held", None).await.unwrap().kvs().is_empty());
    assert_eq!(refusal(client.lease_revoke(77).await), "etcdserver: requested lease not found");
    let ended = client.lease_keep_alive(77).await;
    assert!(matches!(ended, Err(Error::LeaseKeepAliveError(_))), "{:?}", ended.err());
    let orphan = client.put("held", "", Some(PutOptions::new().with_lease(77))).await;
    assert_eq!(refusal(orphan), "etcdserver: requested lease not found");
    assert_eq!(client.lease_time_to_live(77, None).await.unwrap().ttl(), -1);
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_not_before_its_time() {
    let (_server, mut client) = one().await;
    let (asked, ttl_s) =
        (Instant::now(), client.lease_grant(1, Some(LeaseGrantOptions::new().with_id(5))).await);
    let ttl_s = ttl_s.unwrap().ttl();
    client.put("short", "", Some(PutOptions::new().with_lease(5))).await.unwrap();
    await_some("the end of the lease", async || {
        client.get("short", None).await.unwrap().kvs().is_empty().then_some(())
    })
    .await;
    assert!(asked.elapsed().as_secs_f64() >= ttl_s as f64, "after {:?} of {ttl_s} s", asked.elapsed());
}
