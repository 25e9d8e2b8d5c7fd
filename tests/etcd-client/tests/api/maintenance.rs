use super::server::{Cluster, await_some, one};
use etcd_client::{AlarmAction, AlarmType, Client};

#[tokio::test]
async fn a_member_tells_of_itself_and_hands_out_its_state() {
    let (_server, mut client) = one().await;
    for n in 0..50 {
        client.put(format!("k{n}"), vec![b'v'; 1000], None).await.unwrap();
    }
    let status = client.status().await.unwrap();
    let members = client.member_list().await.unwrap();
    assert_eq!(members.members().len(), 1);
    assert_eq!(status.leader(), members.members()[0].id());
    assert!(status.version().starts_with("3.") && status.db_size() > 0 && status.raft_term() > 0);
    assert!(status.raft_applied_index() <= status.raft_index() && status.errors().is_empty());
    assert!(!status.is_learner());

    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap();
    assert!(alarms.alarms().is_empty());
    client.defragment().await.unwrap();
    let hash = client.hash_kv(0).await.unwrap();
    assert_eq!(hash.hash(), client.hash_kv(0).await.unwrap().hash());
    client.put("k0", "other", None).await.unwrap();
    assert_ne!(hash.hash(), client.hash_kv(0).await.unwrap().hash());
    client.hash().await.unwrap();

    let (mut snapshot, mut length, mut left) = (client.snapshot().await.unwrap(), 0, None);
    while let Some(part) = snapshot.message().await.unwrap() {
        length += part.blob().len();
        left = Some(part.remaining_bytes());
    }
    assert_eq!(left, Some(0));
    assert!(length > 50_000, "{length} bytes hold no fifty values");
}

/// The member that leads, and whether it is the one that is asked.
async fn leader(client: &mut Client) -> u64 {
    await_some("a leader", async || Some(client.status().await.unwrap().leader()).filter(|id| *id != 0)).await
}

#[tokio::test]
async fn leadership_moves_to_where_it_is_sent() {
    let cluster = Cluster::start(3).await;
    let mut clients = Vec::new();
    for at in 0..3 {
        clients.push(cluster.client(at).await);
    }
    let old = leader(&mut clients[0]).await;
    let members = clients[0].member_list().await.unwrap();
    assert_eq!(members.members().len(), 3);
    let other = members.members().iter().map(|member| member.id()).find(|id| *id != old).expect("two follow");
    // Only who leads can hand it on.
    for client in &mut clients {
        let asked = client.status().await.unwrap().header().unwrap().member_id();
        let moved = client.move_leader(other).await;
        assert_eq!(moved.is_ok(), asked == old, "{moved:?}");
        if asked == old {
            break;
        }
    }
    for client in &mut clients {
        await_some("the new leader", async || {
            (client.status().await.unwrap().leader() == other).then_some(())
        })
        .await;
    }
    let written = clients[0].put("k", "v", None).await.unwrap().header().unwrap().revision();
    for client in &mut clients {
        let read = client.get("k", None).await.unwrap();
        assert_eq!(read.kvs()[0].mod_revision(), written);
    }
}
