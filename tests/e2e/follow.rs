//! Watches, leases, locks, elections and what Kubernetes asks, by gRPC: real etcd and our server must answer
//! alike.

use crate::{
    pair::Pair,
    transcript::{PATIENCE, Store, Watch, pair, prefix_end, put, revision, text},
};
use server::proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
        LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCancelRequest,
        WatchCreateRequest, WatchProgressRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        watch_create_request::FilterType,
        watch_request::RequestUnion,
    },
    v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest},
    v3lockpb::{LockRequest, UnlockRequest},
};
use tokio::runtime::Runtime;

/// Runs a script against both, and compares line by line but for `exceptions`: beginnings of lines, each with
/// the reason why they may differ.
fn compare(test: &str, script: impl AsyncFn(&mut Store), exceptions: &[(&str, &str)]) {
    let Some(pair) = Pair::start(test) else { return };
    let version = pair.etcd_version();
    let run = |endpoint: &str| {
        Runtime::new().expect("a runtime").block_on(async {
            let mut store = Store::at(endpoint).await;
            script(&mut store).await;
            store.lines
        })
    };
    let (theirs, ours) = (run(&pair.etcd.endpoint), run(&pair.ours.endpoint));
    let differs = |(at, (theirs, ours)): (usize, (&String, &String))| {
        let excepted =
            exceptions.iter().any(|(begin, _)| theirs.starts_with(begin) && ours.starts_with(begin));
        (theirs != ours && !excepted).then(|| format!("line {at}\n  etcd: {theirs}\n  ours: {ours}"))
    };
    let mut differences: Vec<String> = theirs.iter().zip(&ours).enumerate().filter_map(differs).collect();
    if theirs.len() != ours.len() {
        differences.push(format!("etcd has {} lines, ours {}", theirs.len(), ours.len()));
    }
    let first = version.lines().next().unwrap_or_default();
    assert!(differences.is_empty(), "{test}, {first}: {}", differences.join("\n"));
    assert!(theirs.len() > 10, "{test}: the script ran");
}

fn create(key: &'static str, end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), range_end: end.into(), ..WatchCreateRequest::default() }
}

async fn open(store: &mut Store, watch: &mut Watch, request: WatchCreateRequest) {
    watch.send(RequestUnion::CreateRequest(request)).await;
    store.hear(watch, 1).await;
}

async fn watches(store: &mut Store) {
    let mut watch = store.watch().await;
    open(store, &mut watch, create("w", "")).await;
    store.put_text("w", "1").await;
    store.hear(&mut watch, 1).await;
    store.put_text("w", "2").await;
    store.hear(&mut watch, 1).await;
    store.delete("none", "").await;
    store.delete("w", "").await;
    store.hear(&mut watch, 1).await;
    let cancel = |watch_id| RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
    open(store, &mut watch, create("w", "")).await;
    open(store, &mut watch, WatchCreateRequest { watch_id: 7, ..create("w", "") }).await;
    open(store, &mut watch, WatchCreateRequest { watch_id: 7, ..create("w", "") }).await;
    watch.send(cancel(7)).await;
    store.hear(&mut watch, 1).await;
    watch.send(cancel(7)).await;
    watch.send(cancel(99)).await;
    store.hear_nothing(&mut watch).await;
    open(store, &mut watch, WatchCreateRequest { watch_id: 7, ..create("w", "") }).await;
    open(store, &mut watch, create("b", "a")).await;
    open(store, &mut watch, create("b", "b")).await;
    open(store, &mut watch, WatchCreateRequest { watch_id: -1, ..create("w", "") }).await;
    store.put_text("w", "3").await;
    store.hear(&mut watch, 4).await;
    drop(watch);

    let mut watch = store.watch().await;
    open(store, &mut watch, create("f", "")).await;
    for filter in [FilterType::Noput, FilterType::Nodelete] {
        let filtered = WatchCreateRequest { filters: vec![filter.into()], prev_kv: true, ..create("f", "") };
        open(store, &mut watch, filtered).await;
    }
    store.put_text("f", "A").await;
    store.hear(&mut watch, 2).await;
    store.put_text("f", "B").await;
    store.hear(&mut watch, 2).await;
    store.delete("f", "").await;
    store.hear(&mut watch, 2).await;
    watch.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    store.hear(&mut watch, 1).await;
}

async fn history(store: &mut Store) {
    for number in 1..=4 {
        for key in ["m/1", "m/2", "n"] {
            store.put_text(key, &number.to_string()).await;
        }
    }
    store.delete("m/1", "").await;
    store.put_text("m/1", "again").await;
    let mut watch = store.watch().await;
    let from =
        |start_revision, key, end| WatchCreateRequest { start_revision, prev_kv: true, ..create(key, end) };
    open(store, &mut watch, from(2, "m/", "m0")).await;
    store.hear_events(&mut watch, 15).await;
    open(store, &mut watch, from(6, "n", "")).await;
    store.hear_events(&mut watch, 13).await;
    // As a last one of its own: who asks for the future waits.
    open(store, &mut watch, from(18, "n", "")).await;
    store.put_text("n", "16").await;
    store.hear(&mut watch, 1).await;
    store.put_text("n", "17").await;
    store.hear(&mut watch, 1).await;
    store.put_text("n", "18").await;
    store.hear(&mut watch, 2).await;
    drop(watch);
    store.compact(15).await;
    let mut watch = store.watch().await;
    open(store, &mut watch, from(14, "m/", "m0")).await;
    store.hear(&mut watch, 1).await;
    open(store, &mut watch, from(15, "m/", "m0")).await;
    store.hear_events(&mut watch, 15).await;
    open(store, &mut watch, from(1, "", "\0")).await;
    store.hear(&mut watch, 1).await;
    open(store, &mut watch, from(0, "\0", "\0")).await;
    let put = |key: &str| RequestOp { request: Some(Request::RequestPut(self::put(key, "t"))) };
    let delete =
        DeleteRangeRequest { key: "m/1".into(), range_end: "m/3".into(), ..DeleteRangeRequest::default() };
    let delete = RequestOp { request: Some(Request::RequestDeleteRange(delete)) };
    let success = vec![put("z"), delete, put("a"), put("n")];
    store.txn(TxnRequest { success, ..TxnRequest::default() }).await;
    store.hear(&mut watch, 2).await;
    // Fragments: more than two messages' worth in one revision.
    for key in ["x/1", "x/2", "x/3", "x/4"] {
        store.put_text(key, &"x".repeat(1_000_000)).await;
    }
    drop(watch);
    let mut watch = store.watch().await;
    open(store, &mut watch, WatchCreateRequest { fragment: true, prev_kv: true, ..create("x/", "x0") }).await;
    store.delete("x/", "x0").await;
    // Two events of a million bytes fit into one message.
    store.hear(&mut watch, 2).await;
}

#[test]
fn watches_answer_alike() {
    compare("watches_answer_alike", watches, &[]);
}

#[test]
fn watches_of_the_past_and_the_future_answer_alike() {
    compare("watches_of_the_past_and_the_future_answer_alike", history, &[]);
}

/// The deletion at just the compacted revision is still there for a watch from it.
async fn tombstone(store: &mut Store) {
    for value in ["1", "2", "3"] {
        store.put_text("k", value).await;
    }
    store.delete("k", "").await;
    store.put_text("other", "").await;
    store.compact(5).await;
    let mut watch = store.watch().await;
    open(store, &mut watch, WatchCreateRequest { start_revision: 5, ..create("k", "") }).await;
    store.put_text("k", "again").await;
    store.hear_events(&mut watch, 7).await;
    store.range(RangeRequest { key: "k".into(), revision: 5, ..RangeRequest::default() }).await;
}

/// etcd 3.4 drops such a tombstone with the compaction, and its watch never hears of the deletion.
#[test]
fn a_tombstone_at_the_compacted_revision_is_kept_as_by_etcd_3_5() {
    let test = "a_tombstone_at_the_compacted_revision_is_kept_as_by_etcd_3_5";
    if Pair::is_3_4() {
        eprintln!("SKIPPED {test}: etcd 3.4 loses it");
        return;
    }
    compare(test, tombstone, &[]);
}

/// etcd has changed its mind: releases up to 3.5.21 or so take a negative revision for the present.
#[test]
fn negative_start_revisions_are_refused_as_by_the_newest_etcd() {
    let test = "negative_start_revisions_are_refused_as_by_the_newest_etcd";
    let Some(pair) = Pair::start(test) else { return };
    if !pair.etcd_version().contains("3.5.30") {
        eprintln!("SKIPPED {test}: it is about etcd 3.5.30");
        return;
    }
    let say = |endpoint: &str| {
        Runtime::new().expect("a runtime").block_on(async {
            let mut store = Store::at(endpoint).await;
            let mut watch = store.watch().await;
            open(&mut store, &mut watch, WatchCreateRequest { start_revision: -7, ..create("k", "") }).await;
            store.lines
        })
    };
    assert_eq!(say(&pair.ours.endpoint), say(&pair.etcd.endpoint));
}

async fn time_to_live(store: &mut Store, id: i64) {
    let answer = store.lease.lease_time_to_live(LeaseTimeToLiveRequest { id, keys: true }).await;
    store.answer(&format!("ttl {id}"), answer, |told| {
        let mut keys: Vec<String> = told.keys.iter().map(|key| text(key)).collect();
        // etcd's come in no order.
        keys.sort();
        // A second may have passed.
        let left = if told.ttl >= told.granted_ttl - 5 { "nearly all" } else { "less" };
        format!("rev {}: {} has {left} of {}: {keys:?}", revision(&told.header), told.id, told.granted_ttl)
    });
}

async fn leases(store: &mut Store) {
    for (id, ttl) in
        [(1, 0), (2, -1), (3, 1), (-5, 60), (4, 9_000_000_000), (9, 9_000_000_001), (1, 5), (77, 600)]
    {
        store.grant(id, ttl).await;
    }
    for (key, lease) in
        [("l/2", 77), ("l/1", 77), ("l/3", 77), ("l/3", -5), ("l/4", 77), ("l/4", 0), ("l/5", 555)]
    {
        store.put(PutRequest { lease, ..put(key, "v") }).await;
    }
    time_to_live(store, 77).await;
    store.put(PutRequest { ignore_lease: true, ..put("l/1", "w") }).await;
    store.put(PutRequest { ignore_lease: true, ..put("l/9", "w") }).await;
    store.put(PutRequest { ignore_lease: true, lease: 77, ..put("l/1", "w") }).await;
    time_to_live(store, 77).await;
    time_to_live(store, -5).await;
    time_to_live(store, 555).await;
    let requests: Vec<_> = [77, 555, 77, -5].map(|id| LeaseKeepAliveRequest { id }).into();
    let mut answers =
        store.lease.lease_keep_alive(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    for _ in 0..4 {
        let next = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = next.expect("an answer").expect("one for each");
        store.note(format!("renewed {} for {} at rev {}", answer.id, answer.ttl, revision(&answer.header)));
    }
    let mut watch = store.watch().await;
    open(store, &mut watch, WatchCreateRequest { prev_kv: true, ..create("l/", "l0") }).await;
    for id in [77, 77, 4, -5, 555] {
        let answer = store.lease.lease_revoke(LeaseRevokeRequest { id }).await;
        store.answer(&format!("revoke {id}"), answer, |told| format!("rev {}", revision(&told.header)));
    }
    store.hear_events(&mut watch, 10).await;
    store.range(RangeRequest { key: "l/".into(), range_end: "l0".into(), ..RangeRequest::default() }).await;
    store.grant(88, 2).await;
    store.put(PutRequest { lease: 88, ..put("l/a", "v") }).await;
    store.put(PutRequest { lease: 88, ..put("l/b", "v") }).await;
    store.hear_events(&mut watch, 12).await;
    // It runs out.
    store.hear(&mut watch, 1).await;
    time_to_live(store, 88).await;
    store.grant(66, 600).await;
    let answer = store.lease.lease_leases(LeaseLeasesRequest {}).await;
    store.answer("leases", answer, |told| format!("{}", told.leases.iter().any(|lease| lease.id == 66)));
}

#[test]
fn leases_answer_alike() {
    compare("leases_answer_alike", leases, &[]);
}

async fn locks(store: &mut Store) {
    for id in [10, 11] {
        store.grant(id, 600).await;
    }
    let request = |lease| LockRequest { name: "lock".into(), lease };
    for lease in [10, 10, 77] {
        let answer = store.lock.lock(request(lease)).await;
        store.answer(&format!("lock {lease}"), answer, |told| {
            format!("rev {}: {}", revision(&told.header), text(&told.key))
        });
    }
    let mut other = store.lock.clone();
    let waiting = tokio::spawn(async move { other.lock(request(11)).await });
    // Until it stands in the queue.
    let key = || RangeRequest { key: "lock/b".into(), count_only: true, ..RangeRequest::default() };
    while store.kv.range(key()).await.expect("a read").into_inner().count == 0 {
        tokio::task::yield_now().await;
    }
    store.range(RangeRequest { key: "lock".into(), range_end: "m".into(), ..RangeRequest::default() }).await;
    let answer = store.lock.unlock(UnlockRequest { key: "lock/a".into() }).await;
    store.answer("unlock", answer, |told| format!("rev {}", revision(&told.header)));
    let answer = waiting.await.expect("no panic");
    store.answer("lock 11", answer, |told| format!("rev {}: {}", revision(&told.header), text(&told.key)));
    for key in ["lock/a", "nothing", ""] {
        let answer = store.lock.unlock(UnlockRequest { key: key.into() }).await;
        store.answer(&format!("unlock {key}"), answer, |told| format!("rev {}", revision(&told.header)));
    }
    let answer = store.lock.lock(LockRequest { name: "".into(), lease: 11 }).await;
    store.answer("lock without a name", answer, |told| {
        format!("rev {}: {}", revision(&told.header), text(&told.key))
    });
}

#[test]
fn locks_answer_alike() {
    compare("locks_answer_alike", locks, &[]);
}

async fn elections(store: &mut Store) {
    for id in [10, 11] {
        store.grant(id, 600).await;
    }
    let name = || LeaderRequest { name: "e".into() };
    let shown = |key: &LeaderKey| format!("{} {} {} {}", text(&key.name), text(&key.key), key.rev, key.lease);
    let answer = store.election.leader(name()).await;
    store.answer("leader", answer, |_| String::new());
    let mut observed = {
        let mut election = store.election.clone();
        // etcd sends nothing, not even headers, before somebody leads.
        tokio::spawn(async move { election.observe(name()).await })
    };
    let campaign =
        |lease, value: &'static str| CampaignRequest { name: "e".into(), lease, value: value.into() };
    for (lease, value) in [(77, "none"), (10, "one"), (10, "uno")] {
        let answer = store.election.campaign(campaign(lease, value)).await;
        store.answer(&format!("campaign {lease} {value}"), answer, |told| {
            // What a second campaign of the same leader is told is of no use, and differs by its timing.
            shown(told.leader.as_ref().expect("a leader"))
        });
    }
    let answer = store.election.leader(name()).await;
    store.answer("leader", answer, |told| {
        format!("rev {}: {}", revision(&told.header), pair(told.kv.as_ref().expect("a pair")))
    });
    let key =
        |lease, rev, hex: &str| LeaderKey { name: "e".into(), key: format!("e/{hex}").into(), rev, lease };
    for (what, leader) in [
        ("right", Some(key(10, 2, "a"))),
        ("wrong", Some(key(10, 9, "a"))),
        ("other", Some(key(11, 2, "b"))),
        ("none", None),
    ] {
        let answer = store.election.proclaim(ProclaimRequest { leader, value: what.into() }).await;
        store.answer(&format!("proclaim {what}"), answer, |told| format!("rev {}", revision(&told.header)));
    }
    let mut other = store.election.clone();
    let waiting = tokio::spawn(async move { other.campaign(campaign(11, "two")).await });
    let queued = || RangeRequest { key: "e/b".into(), count_only: true, ..RangeRequest::default() };
    while store.kv.range(queued()).await.expect("a read").into_inner().count == 0 {
        tokio::task::yield_now().await;
    }
    for leader in [Some(key(10, 2, "a")), Some(key(10, 2, "a")), None] {
        let answer = store.election.resign(ResignRequest { leader }).await;
        store.answer("resign", answer, |told| format!("rev {}", revision(&told.header)));
    }
    let answer = waiting.await.expect("no panic");
    store.answer("campaign 11", answer, |told| shown(told.leader.as_ref().expect("a leader")));
    let mut leaders = (&mut observed).await.expect("no panic").expect("a stream").into_inner();
    // How many of the values between are seen is a matter of time; the last one is.
    loop {
        let next = tokio::time::timeout(PATIENCE, leaders.message()).await.expect("in time");
        let kv = next.expect("an answer").expect("the stream goes on").kv.expect("a pair");
        if kv.value == "two" {
            store.note(format!("observed {}", pair(&kv)));
            break;
        }
    }
}

#[test]
fn elections_answer_alike() {
    compare("elections_answer_alike", elections, &[]);
}

/// The requests of kube-apiserver's storage.
async fn kubernetes(store: &mut Store) {
    let compare = |key: &str, target: CompareTarget, union| Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.to_string().into(),
        target_union: Some(union),
        ..Compare::default()
    };
    let at = |key: &str, revision| compare(key, CompareTarget::Mod, TargetUnion::ModRevision(revision));
    let op = |request| RequestOp { request: Some(request) };
    let get = |key: &str| {
        Request::RequestRange(RangeRequest { key: key.to_string().into(), ..RangeRequest::default() })
    };
    let write = |key: &str, value: &str, lease| Request::RequestPut(PutRequest { lease, ..put(key, value) });
    let delete = |key: &str| {
        Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.to_string().into(),
            ..DeleteRangeRequest::default()
        })
    };
    let guarded = |key: &str, revision, then, otherwise: bool| TxnRequest {
        compare: vec![at(key, revision)],
        success: vec![op(then)],
        failure: if otherwise { vec![op(get(key))] } else { vec![] },
    };
    let pods = "/registry/pods/default/";
    let pod = |number: usize| format!("{pods}p{number}");

    let mut watch = store.watch().await;
    let follow = WatchCreateRequest {
        key: pods.into(),
        range_end: prefix_end(pods),
        start_revision: 1,
        prev_kv: true,
        progress_notify: true,
        ..WatchCreateRequest::default()
    };
    open(store, &mut watch, follow.clone()).await;
    // Create, and create again.
    for number in 0..5 {
        store.txn(guarded(&pod(number), 0, write(&pod(number), "made", 0), false)).await;
    }
    store.txn(guarded(&pod(0), 0, write(&pod(0), "made", 0), false)).await;
    store.hear_events(&mut watch, 6).await;
    // Guarded updates and deletions, with and without the right revision.
    store.txn(guarded(&pod(1), 3, write(&pod(1), "updated", 0), true)).await;
    store.txn(guarded(&pod(1), 3, write(&pod(1), "too late", 0), true)).await;
    store.txn(guarded(&pod(2), 9, delete(&pod(2)), true)).await;
    store.txn(guarded(&pod(2), 4, delete(&pod(2)), true)).await;
    store.txn(guarded(&pod(2), 4, delete(&pod(2)), true)).await;
    store.hear_events(&mut watch, 8).await;
    // A list in pages, at the revision of its first page.
    let mut from = pods.to_string();
    for _ in 0..3 {
        let page = RangeRequest {
            key: from.clone().into(),
            range_end: prefix_end(pods),
            limit: 2,
            revision: 8,
            ..RangeRequest::default()
        };
        let kvs = store.kv.range(page.clone()).await.expect("a page").into_inner().kvs;
        store.range(page).await;
        let Some(last) = kvs.last() else { break };
        from = format!("{}\0", text(&last.key));
    }
    let all = RangeRequest { key: pods.into(), range_end: prefix_end(pods), ..RangeRequest::default() };
    store.range(RangeRequest { count_only: true, ..all.clone() }).await;
    store.range(RangeRequest { limit: 1, keys_only: true, ..all.clone() }).await;
    store.range(RangeRequest { revision: 99, ..all.clone() }).await;
    // Events hang from a lease.
    store.grant(4242, 3600).await;
    for number in 0..3 {
        let key = format!("/registry/events/default/e{number}");
        store.txn(guarded(&key, 0, write(&key, "happened", 4242), false)).await;
    }
    // Consistent reads from the cache: how far has the watch come?
    watch.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    store.hear(&mut watch, 1).await;
    // Compaction: one of the servers does it, told by a key.
    let version = |number| compare("compact_rev_key", CompareTarget::Version, TargetUnion::Version(number));
    for number in [0, 0, 1] {
        store
            .txn(TxnRequest {
                compare: vec![version(number)],
                success: vec![op(write("compact_rev_key", "8", 0))],
                failure: vec![op(get("compact_rev_key"))],
            })
            .await;
    }
    store.compact(7).await;
    store.compact(7).await;
    store.range(RangeRequest { revision: 6, ..all.clone() }).await;
    store.range(RangeRequest { revision: 7, ..all }).await;
    // A watch that resumes too late is told, and one in time goes on.
    open(store, &mut watch, WatchCreateRequest { start_revision: 6, ..follow.clone() }).await;
    store.hear(&mut watch, 1).await;
    open(store, &mut watch, WatchCreateRequest { start_revision: 7, ..follow }).await;
    store.hear_events(&mut watch, 8).await;
    store.range(RangeRequest { key: "/registry/health".into(), ..RangeRequest::default() }).await;
}

#[test]
fn what_kubernetes_asks_is_answered_alike() {
    compare("what_kubernetes_asks_is_answered_alike", kubernetes, &[]);
}
