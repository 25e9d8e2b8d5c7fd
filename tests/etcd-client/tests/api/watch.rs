use super::server::{HANG, one};
use etcd_client::{EventType, WatchFilterType, WatchOptions, WatchResponse, WatchStream};

/// The next message.
async fn next(stream: &mut WatchStream) -> WatchResponse {
    let message = tokio::time::timeout(HANG, stream.message()).await;
    message.expect("a message comes").expect("no error").expect("the stream goes on")
}

/// The events of one message, as kind, key and value.
fn events(message: &WatchResponse) -> Vec<(EventType, String, String)> {
    let tell = |event: &etcd_client::Event| {
        let pair = event.kv().expect("an event has a key");
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        (event.event_type(), text(pair.key()), text(pair.value()))
    };
    message.events().iter().map(tell).collect()
}

#[tokio::test]
async fn one_stream_carries_several_watches_past_and_present() {
    let (_server, mut client) = one().await;
    let first = client.put("a/1", "old", None).await.unwrap().header().unwrap().revision();
    let from_there =
        WatchOptions::new().with_prefix().with_start_revision(first).with_prev_key().with_watch_id(7);
    let mut stream = client.watch("a/", Some(from_there)).await.unwrap();
    let created = next(&mut stream).await;
    assert!(created.created() && created.watch_id() == 7);
    let past = next(&mut stream).await;
    assert_eq!(events(&past), [(EventType::Put, "a/1".into(), "old".into())]);

    client.put("a/1", "new", None).await.unwrap();
    let present = next(&mut stream).await;
    assert_eq!(events(&present), [(EventType::Put, "a/1".into(), "new".into())]);
    assert_eq!(present.events()[0].prev_kv().unwrap().value_str().unwrap(), "old");

    let no_puts = WatchOptions::new().with_watch_id(8).with_filters([WatchFilterType::NoPut]);
    stream.watch("b", Some(no_puts)).await.unwrap();
    let second = next(&mut stream).await;
    assert!(second.created() && second.watch_id() == 8);
    client.put("b", "unseen", None).await.unwrap();
    client.delete("b", None).await.unwrap();
    let gone = next(&mut stream).await;
    assert_eq!((gone.watch_id(), events(&gone)), (8, vec![(EventType::Delete, "b".into(), String::new())]));

    stream.request_progress().await.unwrap();
    let progress = next(&mut stream).await;
    assert!(progress.events().is_empty() && progress.watch_id() == -1, "{progress:?}");
    assert!(progress.header().unwrap().revision() >= gone.header().unwrap().revision());

    stream.cancel(7).await.unwrap();
    let canceled = next(&mut stream).await;
    assert!(canceled.canceled() && canceled.watch_id() == 7);
}

#[tokio::test]
async fn a_watch_of_what_is_compacted_is_canceled_and_says_from_where_on() {
    let (_server, mut client) = one().await;
    client.put("k", "1", None).await.unwrap();
    let last = client.put("k", "2", None).await.unwrap().header().unwrap().revision();
    client.compact(last, None).await.unwrap();
    let mut stream = client.watch("k", Some(WatchOptions::new().with_start_revision(1))).await.unwrap();
    let mut message = next(&mut stream).await;
    if !message.canceled() {
        message = next(&mut stream).await;
    }
    assert!(message.canceled());
    assert_eq!(message.compact_revision(), last);
}
