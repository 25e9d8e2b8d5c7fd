//! Histories that are legal, and then are not: whatever is changed in them is found.

use checker::history::event::{Event, What};
use checker::online::{Check as _, KeyValues};
use checker::spec::kv_types::{KeyRange, PutRequest, RangeRequest, Request};
use checker::{Options, check, render};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::{made, stores, synthetic};

const CLIENTS: usize = 6;

fn legal(seed: u64, info_percent: u32) -> Vec<Event> {
    synthetic::kv(300, CLIENTS, info_percent, seed, stores::mixed(100))
}

/// Answers, by index, that say more than "ok".
fn answers(events: &[Event], f: &str) -> Vec<usize> {
    let is = |event: &Event| matches!(&event.what, What::Ok { f: found, .. } if found == f);
    (0..events.len()).filter(|index| is(&events[*index])).collect()
}

fn verdict(events: Vec<Event>) -> (&'static str, String) {
    let report = check(&synthetic::kv_history(events), &Options::default());
    (report.verdict.name(), render::report(&report))
}

/// What a check says that goes on while the history is made.
fn meanwhile(events: &[Event]) -> Option<String> {
    let mut online = KeyValues::new(1);
    let found = events.iter().find_map(|event| online.event(event));
    let seen = online.seen();
    assert!(seen.given_up.is_empty() && seen.decided > 0, "{seen:?}");
    found
}

/// Changes legal histories: all of them are found out. Gives how many there were, and how many the check has found too
/// that goes on meanwhile.
fn spoil(
    seeds: std::ops::Range<u64>,
    info_percent: u32,
    change: impl Fn(&mut ChaCha8Rng, &mut Vec<Event>) -> bool,
) -> [usize; 2] {
    let (mut spoilt, mut found_meanwhile) = (0, 0);
    for seed in seeds {
        let mut events = legal(seed, info_percent);
        let (before, text) = verdict(events.clone());
        assert_eq!(before, "valid", "seed {seed}: {text}");
        assert_eq!(meanwhile(&events), None, "seed {seed}");
        if !change(&mut made::rng(seed), &mut events) {
            continue;
        }
        for (i, event) in events.iter_mut().enumerate() {
            event.i = i as u64;
        }
        spoilt += 1;
        found_meanwhile += usize::from(meanwhile(&events).is_some());
        let (after, text) = verdict(events);
        assert_eq!(after, "anomaly", "seed {seed}: {text}");
    }
    assert!(spoilt > 5, "only {spoilt} histories were changed");
    [spoilt, found_meanwhile]
}

fn pick(rng: &mut ChaCha8Rng, all: &[usize]) -> Option<usize> {
    (!all.is_empty()).then(|| all[rng.random_range(0..all.len())])
}

#[test]
fn a_write_that_is_dropped_leaves_a_gap() {
    spoil(0..20, 0, |rng, events| {
        let puts = answers(events, "put");
        let Some(ok) = pick(rng, &puts[..puts.len() / 2]) else { return false };
        let What::Ok { p, .. } = events[ok].what else { return false };
        let invoked = |event: &Event| matches!(event.what, What::Invoke { p: other, .. } if other == p);
        let Some(invocation) = events[..ok].iter().rposition(invoked) else { return false };
        events.remove(ok);
        events.remove(invocation);
        true
    });
}

#[test]
fn a_revision_that_is_given_twice_or_is_off_is_found() {
    for by in [-1, 1] {
        let [spoilt, meanwhile] = spoil(0..15, 2, |rng, events| {
            let puts = answers(events, "put");
            let Some(ok) = pick(rng, &puts[1..puts.len() - 1]) else { return false };
            let What::Ok { rev: Some(rev), .. } = &mut events[ok].what else { return false };
            *rev += by;
            true
        });
        assert!(meanwhile * 3 >= spoilt * 2, "{meanwhile} of {spoilt}");
    }
}

#[test]
fn a_value_a_version_or_a_revision_in_an_answer_that_is_changed_is_found() {
    for field in ["version", "mod_revision", "create_revision", "value"] {
        let [spoilt, meanwhile] = spoil(0..15, 3, |rng, events| {
            let shows = |index: &usize| match &events[*index].what {
                What::Ok { value, .. } => value["range"]["kvs"][0].is_object(),
                _ => false,
            };
            let reads: Vec<usize> = answers(events, "range").into_iter().filter(shows).collect();
            let Some(read) = pick(rng, &reads) else { return false };
            let What::Ok { value, .. } = &mut events[read].what else { return false };
            let shown = &mut value["range"]["kvs"][0][field];
            *shown = match shown.as_i64() {
                Some(number) => Value::from(number + 1),
                None => Value::from("no such value"),
            };
            true
        });
        assert!(meanwhile * 2 >= spoilt, "{field}: {meanwhile} of {spoilt}");
    }
}

#[test]
fn a_stale_answer_is_found() {
    let [spoilt, meanwhile] = spoil(0..20, 3, |rng, events| {
        // A later read of the same range gets an earlier one's answer.
        let reads = answers(events, "range");
        let asked = |ok: usize| {
            let What::Ok { p, .. } = events[ok].what else { return None };
            events[..ok].iter().rev().find_map(|event| match &event.what {
                What::Invoke { p: other, value, .. } if *other == p => Some(value.clone()),
                _ => None,
            })
        };
        let mut stale = Vec::new();
        for (at, &later) in reads.iter().enumerate() {
            for &earlier in &reads[..at] {
                let (What::Ok { rev: old, value: was, .. }, What::Ok { rev: new, value: is, .. }) =
                    (&events[earlier].what, &events[later].what)
                else {
                    continue;
                };
                if was != is
                    && old < new
                    && asked(later).is_some_and(|asked_later| Some(&asked_later) == asked(earlier).as_ref())
                {
                    stale.push((earlier, later));
                }
            }
        }
        if stale.is_empty() {
            return false;
        }
        let (earlier, later) = stale[rng.random_range(0..stale.len())];
        let What::Ok { value: was, .. } = events[earlier].what.clone() else { return false };
        let What::Ok { value, .. } = &mut events[later].what else { return false };
        *value = was;
        true
    });
    assert!(meanwhile * 2 >= spoilt, "{meanwhile} of {spoilt}");
}

#[test]
fn what_a_check_holds_meanwhile_does_not_grow_with_the_history() {
    for (operations, info_percent) in [(2_000, 0), (20_000, 2)] {
        let events = synthetic::kv(operations, 20, info_percent, 5, stores::mixed(100));
        let mut online = KeyValues::new(1);
        assert_eq!(events.iter().find_map(|event| online.event(event)), None);
        let seen = online.seen();
        assert!(seen.held_max < 1_000 && seen.decided * 2 > operations as u64, "{operations}: {seen:?}");
    }
}

#[test]
fn in_a_shared_store_others_make_the_revisions_that_nobody_here_did() {
    let mut own = stores::mixed(100);
    let ask = move |rng: &mut ChaCha8Rng, newest: i64| {
        // A range over everything would show what others hold.
        let request = own(rng, newest);
        let all = |range: &RangeRequest| range.keys.end.as_deref() == Some("\0");
        match request {
            Request::Range(range) if all(&range) => {
                let keys = KeyRange { key: "k".to_owned(), end: Some("l".to_owned()) };
                Request::Range(RangeRequest { keys, ..range })
            }
            Request::Put(put) if rng.random_bool(0.5) => {
                Request::Put(PutRequest { key: format!("other/{}", put.key), ..put })
            }
            request => request,
        }
    };
    let all = synthetic::kv(1500, 12, 5, 3, ask);
    let others = |event: &&Event| match &event.what {
        What::Invoke { value, .. } => {
            value["put"]["key"].as_str().is_some_and(|key| key.starts_with("other/"))
        }
        _ => false,
    };
    let foreign: Vec<u64> = all
        .iter()
        .filter(others)
        .filter_map(|event| match event.what {
            What::Invoke { p, .. } => {
                let done = |other: &&Event| matches!(other.what, What::Ok { p: q, .. } | What::Info { p: q, .. } if q == p);
                let after = &all[event.i as usize..];
                Some([event.i, after.iter().find(done)?.i])
            }
            _ => None,
        })
        .flatten()
        .collect();
    let mut ours: Vec<Event> = all.into_iter().filter(|event| !foreign.contains(&event.i)).collect();
    for (i, event) in ours.iter_mut().enumerate() {
        event.i = i as u64;
    }
    let history = synthetic::kv_history(ours.clone());
    let shared = Options { shared_store: true, ..Options::default() };
    let report = check(&history, &shared);
    assert!(report.verdict.is_valid(), "{}", render::report(&report));
    let alone = check(&history, &Options::default());
    assert_eq!(alone.verdict.name(), "anomaly", "{}", render::report(&alone));
    let reads = answers(&ours, "range");
    let shows = |index: &&usize| match &ours[**index].what {
        What::Ok { value, .. } => value["range"]["kvs"][0].is_object(),
        _ => false,
    };
    let read = *reads.iter().filter(shows).nth(100).expect("a hundred reads show something");
    let What::Ok { value, .. } = &mut ours[read].what else { panic!("an answer") };
    let version = value["range"]["kvs"][0]["version"].as_i64().expect("a version");
    value["range"]["kvs"][0]["version"] = Value::from(version + 1);
    let report = check(&synthetic::kv_history(ours), &shared);
    assert_eq!(report.verdict.name(), "anomaly", "{}", render::report(&report));
}
