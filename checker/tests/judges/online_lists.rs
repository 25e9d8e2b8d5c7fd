//! The check of lists that goes on while a history is made: of single reads and appends it says what brute force says, it
//! never calls a legal history wrong, names what is wrong, and holds little.

use checker::history::event::{Event, What};
use checker::linearizability::Call;
use checker::online::{Check as _, Lists as Online, Seen};
use checker::spec::append::{ListStep, ListTxn, Lists};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::brute;
use crate::engines::answer_lists;
use crate::made::{self, Shape};
use crate::script::{Script, error};

fn steps(txn: &ListTxn, answered: bool) -> Value {
    let step = |step: &ListStep| match step {
        ListStep::Append { key, element } => json!(["append", **key, element]),
        ListStep::Read { key, found } => json!(["r", **key, found.as_ref().filter(|_| answered)]),
    };
    Value::Array(txn.0.iter().map(step).collect())
}

/// A history as it would have been recorded: each call by a process of its own, what is never answered known at once.
fn events(calls: &[Call<ListTxn>]) -> Vec<Event> {
    let mut order: Vec<(u64, bool, usize)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        order.push((call.invoked, false, index));
        order.extend(call.returned.map(|at| (at, true, index)));
    }
    order.sort_unstable();
    let mut events: Vec<Event> = Vec::new();
    let mut push = |what| events.push(Event { i: events.len() as u64, t: events.len() as u64, what });
    for (_, returns, index) in order {
        let Call { op, returned, .. } = &calls[index];
        let (p, f) = (index as u64, "txn".to_owned());
        if returns {
            push(What::Ok { p, f, key: None, value: steps(op, true), rev: None });
        } else {
            push(What::Invoke { p, node: None, f: f.clone(), key: None, value: steps(op, false) });
            if returned.is_none() {
                push(What::Info { p, f, key: None, error: error("deadline") });
            }
        }
    }
    events
}

/// What is found first, and what was seen.
fn feed(events: &[Event]) -> (Option<String>, Seen) {
    let mut online = Online::new();
    let found = events.iter().find_map(|event| online.event(event));
    (found, online.seen())
}

/// Transactions of up to so many steps on so many lists.
fn ask(steps: usize, lists: usize, appended: &mut i64) -> impl FnMut(&mut ChaCha8Rng) -> ListTxn + '_ {
    move |rng| {
        let mut step = || {
            let key = ["x", "y", "z"][rng.random_range(0..lists)].into();
            if rng.random() {
                *appended += 1;
                return ListStep::Append { key, element: *appended };
            }
            ListStep::Read { key, found: None }
        };
        let first = step();
        let more = (1..steps).map(|_| step());
        ListTxn(std::iter::once(first).chain(more).collect())
    }
}

/// Changes what a read found.
fn spoil(rng: &mut ChaCha8Rng, calls: &mut [Call<ListTxn>], appended: i64) {
    let answered = calls.iter_mut().filter(|call| call.returned.is_some());
    let mut founds: Vec<&mut Vec<i64>> = answered
        .flat_map(|call| &mut call.op.0)
        .filter_map(|step| match step {
            ListStep::Read { found, .. } => found.as_mut(),
            ListStep::Append { .. } => None,
        })
        .collect();
    if founds.is_empty() {
        return;
    }
    let victim = rng.random_range(0..founds.len());
    let found = &mut founds[victim];
    match rng.random_range(0..4) {
        0 if found.len() > 1 => {
            let at = rng.random_range(1..found.len());
            found.swap(at - 1, at);
        }
        1 if !found.is_empty() => drop(found.remove(rng.random_range(0..found.len()))),
        2 => found.push(rng.random_range(1..appended + 2)),
        _ => drop(found.pop()),
    }
}

#[test]
fn of_single_steps_it_agrees_with_brute_force() {
    let shapes = [
        Shape { calls: 7, processes: 3, info_percent: 0 },
        Shape { calls: 7, processes: 3, info_percent: 30 },
        Shape { calls: 7, processes: 6, info_percent: 10 },
    ];
    let (rounds, mut illegal) = (made::rounds(3000), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let mut appended = 0;
        let shape = &shapes[seed as usize % shapes.len()];
        let mut calls = made::linearizable(&Lists, shape, &mut rng, ask(1, 1, &mut appended), answer_lists);
        assert_eq!(feed(&events(&calls)).0, None, "seed {seed} was made legal: {calls:#?}");
        spoil(&mut rng, &mut calls, appended);
        let legal = brute::linearizable(&Lists, &calls);
        illegal += u64::from(!legal);
        assert_eq!(feed(&events(&calls)).0.is_none(), legal, "seed {seed}: {calls:#?}");
    }
    assert!(illegal > rounds / 5 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}

#[test]
fn of_transactions_it_finds_only_what_is_wrong_and_most_of_that() {
    let shapes = [
        Shape { calls: 6, processes: 3, info_percent: 0 },
        Shape { calls: 7, processes: 5, info_percent: 30 },
    ];
    let (rounds, mut illegal, mut found) = (made::rounds(3000), 0, 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let mut appended = 0;
        let shape = &shapes[seed as usize % shapes.len()];
        let mut calls = made::linearizable(&Lists, shape, &mut rng, ask(3, 2, &mut appended), answer_lists);
        assert_eq!(feed(&events(&calls)).0, None, "seed {seed} was made legal: {calls:#?}");
        spoil(&mut rng, &mut calls, appended);
        let legal = brute::linearizable(&Lists, &calls);
        let wrong = feed(&events(&calls)).0;
        assert!(!legal || wrong.is_none(), "seed {seed}: {wrong:?} of {calls:#?}");
        illegal += u64::from(!legal);
        found += u64::from(wrong.is_some());
    }
    assert!(found > illegal * 3 / 4, "{found} of {illegal} were found");
}

#[test]
fn what_it_holds_does_not_grow_with_the_number_of_lists() {
    let mut script = Script::new("append");
    for list in 0..1_000 {
        let key = format!("l{list}");
        script.did(0, "txn", "", json!([["append", key, 1]]), json!([["append", key, 1]]), 0);
        script.did(0, "txn", "", json!([["r", key, null]]), json!([["r", key, [1]]]), 0);
    }
    let (found, seen) = feed(&script.events);
    assert_eq!(found, None);
    assert!(seen.held_max < 100 && seen.decided == 2_000, "{seen:?}");
}

fn append(script: &mut Script, p: u64, element: i64) {
    let step = json!([["append", "x", element]]);
    script.did(p, "txn", "", step.clone(), step, 0);
}

fn read(script: &mut Script, p: u64, found: &[i64]) {
    script.did(p, "txn", "", json!([["r", "x", null]]), json!([["r", "x", found]]), 0);
}

#[test]
fn what_is_wrong_is_named() {
    let named = |make: &dyn Fn(&mut Script), why: &str| {
        let mut script = Script::new("append");
        append(&mut script, 0, 1);
        make(&mut script);
        let found = feed(&script.events).0.expect(why);
        assert!(found.contains(why) && found.contains(" on x, seen at "), "{found}");
    };
    named(&|script| read(script, 1, &[]), "1 is not in #1, although #0 had told of it");
    named(&|script| read(script, 1, &[7]), "#1 has 7, which nobody had appended");
    named(&|script| read(script, 1, &[1, 1]), "1 was appended once, but #1 has it twice");
    let late = |script: &mut Script| {
        append(script, 0, 2);
        read(script, 1, &[2, 1]);
    };
    named(&late, "#2 has 2 of #1 and before it no 1, of which #0 had told before #1 began");
    let forked = |script: &mut Script| {
        script.invoke(5, "txn", "", json!([["append", "x", 2]])).info(5);
        script.invoke(6, "txn", "", json!([["append", "x", 3]])).info(6);
        read(script, 1, &[1, 2]);
        read(script, 1, &[1, 3]);
    };
    named(&forked, "#4 has 3 at place 1, where a read before it has 2");
    let failed = |script: &mut Script| {
        script.invoke(5, "txn", "", json!([["append", "x", 2]])).fail(5);
        read(script, 1, &[1, 2]);
    };
    named(&failed, "what failed for certain has no effect, but #2 has 2 of #1");
    let fails = |script: &mut Script| {
        script.invoke(5, "txn", "", json!([["append", "x", 2]]));
        read(script, 1, &[1, 2]);
        script.fail(5);
    };
    named(&fails, "2 of #1 is in the read #2");
    let own = |script: &mut Script| {
        let asked = json!([["append", "x", 2], ["r", "x", null]]);
        script.did(1, "txn", "", asked, json!([["append", "x", 2], ["r", "x", [1]]]), 0);
    };
    named(&own, "a transaction sees what it has read and appended itself, but #1 reads [1]");
}

#[test]
fn what_cannot_be_read_is_left_to_the_check_of_the_whole() {
    let given_up = |make: &dyn Fn(&mut Script)| {
        let mut script = Script::new("append");
        append(&mut script, 0, 1);
        make(&mut script);
        read(&mut script, 1, &[9]);
        let (found, seen) = feed(&script.events);
        assert_eq!(found, None);
        seen.given_up
    };
    let lists = given_up(&|script| append(script, 0, 1));
    assert!(lists.contains("x"), "an element that is appended twice: {lists:?}");
    let did = |script: &mut Script, asked: Value, answered: Value| {
        script.did(2, "txn", "", asked, answered, 0);
    };
    let lists = given_up(&|script| did(script, json!("x"), json!("x")));
    assert!(lists.contains("all lists"), "no transaction: {lists:?}");
    let asked = json!([["r", "x", null]]);
    let lists = given_up(&|script| did(script, asked.clone(), json!([["r", "x", "y"]])));
    assert!(lists.contains("x"), "no list: {lists:?}");
    let lists = given_up(&|script| did(script, asked.clone(), json!([])));
    assert!(lists.contains("x"), "another number of steps: {lists:?}");
}
