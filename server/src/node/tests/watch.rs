//! Watching a cluster.

use super::{Cluster, PATIENCE, put_surely, runtime};
use crate::{
    api::{Api, Limits, streams::End, watch::Session},
    backend::Backend as _,
    node::Node,
    proto::etcdserverpb::{
        PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
    },
};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;

/// Follows all keys from the beginning until revision `until`: every event as key, value, revision.
async fn follow(node: Node, from: i64, until: i64) -> Vec<(String, String, i64)> {
    let create = WatchCreateRequest {
        key: "a".into(),
        range_end: "z".into(),
        start_revision: from,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let api = Arc::new(Api::new(node, Limits::default()));
    let end = End::new(&api, false);
    let requests = stream::iter([Ok(request)]).chain(stream::pending());
    let mut answers = Box::pin(Session::new(api, Box::pin(requests), end).into_stream());
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, _, revision)| *revision < until) {
        let next = tokio::time::timeout(PATIENCE, answers.next()).await.expect("events in time");
        let answer: WatchResponse = next.expect("the stream goes on").expect("no error").to_message();
        assert!(!answer.canceled, "{answer:?}");
        seen.extend(answer.events.into_iter().map(|event| {
            let kv = event.kv.expect("a pair");
            let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("a text");
            (text(kv.key), text(kv.value), kv.mod_revision)
        }));
    }
    seen
}

#[test]
fn all_members_tell_the_same_through_the_death_of_their_leader() {
    let mut cluster = Cluster::new(3, 1000);
    let leader = cluster.leader();
    let driver = runtime();
    put_surely(&driver, &cluster.node(leader), "k", "first");
    let first = cluster.node(leader).state().kv().revision();
    cluster.converges();
    let until = first + 200;
    let survivors = [(leader + 1) % 3, (leader + 2) % 3];
    let followers: Vec<_> = survivors
        .map(|at| {
            let node = cluster.node(at);
            std::thread::spawn(move || runtime().block_on(follow(node, 1, until)))
        })
        .into();
    let put = |node: &Node, number: i64| {
        put_surely(&driver, node, &format!("k{}", number % 7), &number.to_string())
    };
    for number in 0..100 {
        put(&cluster.node(leader), number);
    }
    cluster.kill(leader);
    let survivor = cluster.node(survivors[0]);
    let mut number = 100;
    while survivor.state().kv().revision() < until {
        put(&survivor, number);
        number += 1;
    }
    let seen: Vec<_> = followers.into_iter().map(|follower| follower.join().expect("no panic")).collect();
    assert_eq!(seen[0], seen[1]);
    let revisions: Vec<i64> = seen[0].iter().map(|(_, _, revision)| *revision).collect();
    assert_eq!(revisions, (2..=until).collect::<Vec<_>>(), "every revision once, in order");
    // A member that comes back tells it again from what it has on disk.
    cluster.start(leader);
    let back = cluster.node(leader);
    super::eventually("it has caught up", || (back.state().kv().revision() >= until).then_some(()));
    assert_eq!(driver.block_on(follow(back, 1, until)), seen[0]);
}

#[test]
fn a_watch_that_joins_while_others_write_misses_nothing() {
    let cluster = Cluster::new(1, 1000);
    cluster.leader();
    let node = cluster.node(0);
    const PUTS: i64 = 1500;
    let writer = {
        let node = node.clone();
        std::thread::spawn(move || {
            runtime().block_on(async {
                for number in 0..PUTS {
                    let put = PutRequest {
                        key: "k".into(),
                        value: number.to_string().into(),
                        ..PutRequest::default()
                    };
                    node.propose(crate::proto::internal::command::Request::Put(put)).await.expect("a put");
                }
            });
        })
    };
    // They come and go all the while, so that there are times at which nobody watches.
    let mut from = 2;
    while from < PUTS + 1 {
        let until = (from + 40).min(PUTS + 1);
        let seen = runtime().block_on(follow(node.clone(), from, until));
        let revisions: Vec<i64> = seen.iter().map(|(_, _, revision)| *revision).collect();
        let last = *revisions.last().expect("events");
        assert_eq!(revisions, (from..=last).collect::<Vec<_>>());
        from = last + 1;
    }
    writer.join().expect("no panic");
}
