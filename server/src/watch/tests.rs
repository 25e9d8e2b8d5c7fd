//! The hub against a plain list of watchers.

use super::{Filters, Hub, Interest, Item, Lagging, Outbox, Ticket};
use crate::{
    proto::mvccpb::{Event, KeyValue},
    state_machine::RevisionEvents,
};
use bytes::Bytes;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

fn change(revision: i64, keys: &[u8], value_len: usize) -> RevisionEvents {
    let event = |key: &u8| Event {
        kv: Some(KeyValue {
            key: vec![*key].into(),
            value: vec![0; value_len].into(),
            mod_revision: revision,
            ..KeyValue::default()
        }),
        // Deletions now and then.
        r#type: i32::from(key.is_multiple_of(3)),
        prev_kv: None,
    };
    RevisionEvents { revision, events: keys.iter().map(event).collect() }
}

fn interest(key: u8, end: Option<u8>, next: i64) -> Interest {
    let range_end = end.map_or_else(Bytes::new, |end| vec![end].into());
    Interest { key: vec![key].into(), range_end, filters: Filters::default(), next }
}

fn take(outbox: &Outbox) -> Vec<(i64, i64, Vec<u8>)> {
    let mut told = Vec::new();
    loop {
        let mut items: Vec<Item> = Vec::new();
        outbox.take(0, &mut items);
        let Some(item) = items.pop() else { return told };
        let all: Vec<u32> = (0..item.block.events.len() as u32).collect();
        let picks = item.picks.as_deref().unwrap_or(&all);
        let keys = picks.iter().map(|at| item.block.events[*at as usize].key()[0]).collect();
        told.push((item.watch_id, item.block.revision, keys));
    }
}

#[test]
fn what_a_full_outbox_misses_is_named() {
    let hub = Hub::new(1);
    let (slow, quick) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
    let ticket = hub.join(&slow, 4, &interest(1, None, 2)).expect("nothing has passed");
    hub.join(&quick, 5, &interest(1, None, 2)).expect("nothing has passed");
    let mut told = Vec::new();
    // 5 MiB in all, and a queue takes 4.
    for revision in 2..=6 {
        hub.publish(revision, vec![change(revision, &[1], 1 << 20)]);
        hub.pass_on();
        told.extend(take(&quick));
    }
    assert_eq!(told.iter().map(|(_, revision, _)| *revision).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(slow.take_lagging().is_empty(), "what is queued comes first");
    let queued = take(&slow);
    let next = queued.last().expect("something is queued").1 + 1;
    assert!(next <= 6, "{queued:?}");
    assert_eq!(slow.take_lagging(), [Lagging { ticket, watch_id: 4, next }]);
    assert_eq!(hub.load(), (1, 1));
    assert!(hub.join(&slow, 4, &interest(1, None, next)).is_none(), "events have passed");
    hub.join(&slow, 4, &interest(1, None, 7)).expect("it has caught up");
    hub.publish(7, vec![change(7, &[1], 0)]);
    hub.pass_on();
    assert_eq!(take(&slow), [(4, 7, vec![1])]);
}

#[test]
fn revisions_without_events_send_everybody_to_history() {
    let hub = Hub::new(1);
    let outbox = Arc::new(Outbox::default());
    let ticket = hub.join(&outbox, 0, &interest(1, None, 2)).expect("nothing has passed");
    let future = hub.join(&outbox, 1, &interest(1, None, 9)).expect("nothing has passed");
    hub.publish(3, vec![change(3, &[1], 0)]);
    hub.pass_on();
    assert_eq!(outbox.take_lagging(), [Lagging { ticket, watch_id: 0, next: 2 }]);
    hub.publish(9, Vec::new());
    hub.pass_on();
    assert_eq!(outbox.take_lagging(), [Lagging { ticket: future, watch_id: 1, next: 9 }]);
    assert_eq!(*hub.delivered().borrow(), 9);
}

#[derive(Clone, Debug)]
enum Step {
    Join(u8, Option<u8>, bool),
    Leave(usize),
    Change(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6, prop::option::of(6_u8..9), any::<bool>()).prop_map(|(k, e, f)| Step::Join(k, e, f)),
        (0_usize..20).prop_map(Step::Leave),
        prop::collection::vec(0_u8..9, 1..4).prop_map(Step::Change),
        prop::collection::vec(0_u8..9, 1..4).prop_map(Step::Change),
    ]
}

proptest! {
    /// Every watcher is told exactly what matches it, in order, from when it joined until it left.
    #[test]
    fn watchers_are_told_what_they_want(steps in prop::collection::vec(step(), 1..60)) {
        let hub = Hub::new(1);
        let outbox = Arc::new(Outbox::default());
        let mut there: BTreeMap<i64, (Ticket, Interest)> = BTreeMap::new();
        let mut want: BTreeMap<i64, Vec<(i64, Vec<u8>)>> = BTreeMap::new();
        let mut revision = 1;
        for (number, step) in (0_i64..).zip(steps) {
            match step {
                Step::Join(key, end, no_delete) => {
                    let filters = Filters { no_put: false, no_delete };
                    let interest = Interest { filters, ..interest(key, end, revision + 1) };
                    let ticket = hub.join(&outbox, number, &interest).expect("it is up to date");
                    there.insert(number, (ticket, interest));
                }
                Step::Leave(place) => {
                    if let Some(id) = there.keys().nth(place).copied() {
                        let (ticket, _) = there.remove(&id).expect("it is there");
                        hub.leave(ticket);
                    }
                }
                Step::Change(mut keys) => {
                    keys.sort_unstable();
                    keys.dedup();
                    revision += 1;
                    hub.publish(revision, vec![change(revision, &keys, 3)]);
                    hub.pass_on();
                    for (id, (_, interest)) in &there {
                        let wanted = |key: &&u8| {
                            let (key, end) = (**key, interest.range_end.first());
                            let inside = end.map_or(key == interest.key[0], |end| {
                                interest.key[0] <= key && key < *end
                            });
                            inside && interest.filters.pass(key.is_multiple_of(3))
                        };
                        let keys: Vec<u8> = keys.iter().filter(wanted).copied().collect();
                        if !keys.is_empty() {
                            want.entry(*id).or_default().push((revision, keys));
                        }
                    }
                }
            }
        }
        let mut told: BTreeMap<i64, Vec<(i64, Vec<u8>)>> = BTreeMap::new();
        for (id, revision, keys) in take(&outbox) {
            told.entry(id).or_default().push((revision, keys));
        }
        prop_assert_eq!(told, want);
        prop_assert_eq!(hub.load(), (there.len(), 0));
    }
}
