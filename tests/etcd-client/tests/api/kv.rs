use super::server::{one, refusal};
use etcd_client::{
    CompactionOptions, Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget, Txn,
    TxnOp, TxnOpResponse,
};

#[tokio::test]
async fn puts_ranges_and_deletions() {
    let (_server, mut client) = one().await;
    let first = client.put("a", "1", None).await.unwrap().header().unwrap().revision();
    for (key, value) in [("b", "3"), ("c", "2")] {
        client.put(key, value, None).await.unwrap();
    }
    let with_before = PutOptions::new().with_prev_key();
    let before = client.put("a", "5", Some(with_before)).await.unwrap();
    assert_eq!(before.prev_key().unwrap().value_str().unwrap(), "1");
    assert_eq!(before.header().unwrap().revision(), first + 3);

    let found = client.get("a", None).await.unwrap();
    let pair = &found.kvs()[0];
    assert_eq!((pair.value_str().unwrap(), pair.version()), ("5", 2));
    assert_eq!((pair.create_revision(), pair.mod_revision()), (first, first + 3));

    let old = client.get("a", Some(GetOptions::new().with_revision(first))).await.unwrap();
    assert_eq!(old.kvs()[0].value_str().unwrap(), "1");

    let sorted =
        GetOptions::new().with_all_keys().with_sort(SortTarget::Value, SortOrder::Descend).with_limit(2);
    let sorted = client.get("", Some(sorted)).await.unwrap();
    let values: Vec<&str> = sorted.kvs().iter().map(|pair| pair.value_str().unwrap()).collect();
    assert_eq!((values, sorted.more(), sorted.count()), (vec!["5", "3"], true, 3));

    let keys = GetOptions::new().with_range("c").with_keys_only().with_serializable();
    let keys = client.get("a", Some(keys)).await.unwrap();
    let keys: Vec<_> = keys.kvs().iter().map(|pair| (pair.key_str().unwrap(), pair.value())).collect();
    assert_eq!(keys, [("a", &b""[..]), ("b", b"")]);
    let count = client.get("b", Some(GetOptions::new().with_from_key().with_count_only())).await.unwrap();
    assert_eq!((count.count(), count.kvs().len()), (2, 0));
    let recent = GetOptions::new().with_all_keys().with_min_mod_revision(first + 2);
    assert_eq!(client.get("", Some(recent)).await.unwrap().kvs().len(), 2);

    let gone = client.delete("b", Some(DeleteOptions::new().with_from_key().with_prev_key())).await.unwrap();
    assert_eq!((gone.deleted(), gone.prev_kvs().len()), (2, 2));
    assert_eq!(client.delete("b", None).await.unwrap().deleted(), 0);
    let left = client.get("", Some(GetOptions::new().with_all_keys())).await.unwrap();
    assert_eq!(left.count(), 1);
}

#[tokio::test]
async fn transactions_branch_and_nest() {
    let (_server, mut client) = one().await;
    client.put("k", "old", None).await.unwrap();
    // All comparisons are made before anything is written, what is nested included.
    let inner = Txn::new()
        .when([Compare::version("k", CompareOp::Equal, 1), Compare::value("k", CompareOp::NotEqual, "new")])
        .and_then([TxnOp::get("k", None)])
        .or_else([TxnOp::put("wrong", "", None)]);
    let txn = Txn::new()
        .when([
            Compare::value("k", CompareOp::Equal, "old"),
            Compare::create_revision("none", CompareOp::Less, 1),
        ])
        .and_then([TxnOp::put("k", "new", None), TxnOp::txn(inner), TxnOp::delete("none", None)])
        .or_else([TxnOp::get("k", None)]);
    let won = client.txn(txn.clone()).await.unwrap();
    assert!(won.succeeded());
    let answers = won.op_responses();
    let [TxnOpResponse::Put(_), TxnOpResponse::Txn(nested), TxnOpResponse::Delete(deleted)] = &answers[..]
    else {
        panic!("{answers:?}");
    };
    assert!(nested.succeeded() && deleted.deleted() == 0);
    let inside = nested.op_responses();
    let [TxnOpResponse::Get(got)] = &inside[..] else { panic!("{inside:?}") };
    assert_eq!(got.kvs()[0].value_str().unwrap(), "new");
    let lost = client.txn(txn).await.unwrap();
    assert!(!lost.succeeded());
    let answers = lost.op_responses();
    let [TxnOpResponse::Get(got)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(got.kvs()[0].value_str().unwrap(), "new");
    assert_eq!(got.header().map(|header| header.revision()), lost.header().map(|header| header.revision()));

    let twice = Txn::new().and_then([TxnOp::put("k", "1", None), TxnOp::put("k", "2", None)]);
    assert_eq!(refusal(client.txn(twice).await), "etcdserver: duplicate key given in txn request");
}

#[tokio::test]
async fn what_is_compacted_is_gone() {
    let (_server, mut client) = one().await;
    client.put("k", "1", None).await.unwrap();
    let second = client.put("k", "2", None).await.unwrap().header().unwrap().revision();
    client.compact(second, Some(CompactionOptions::new().with_physical())).await.unwrap();
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    assert_eq!(client.get("k", at(second)).await.unwrap().kvs()[0].value_str().unwrap(), "2");
    let gone = refusal(client.get("k", at(second - 1)).await);
    assert_eq!(gone, "etcdserver: mvcc: required revision has been compacted");
    let future = refusal(client.get("k", at(second + 9)).await);
    assert_eq!(future, "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(refusal(client.put("", "", None).await), "etcdserver: key is not provided");
}
