//! The check of sets that goes on while a history is made: it agrees with brute force and with the check of the whole,
//! names what is wrong, and holds little.

use checker::history::event::{Event, What};
use checker::linearizability::Call;
use checker::online::{Check, Sets};
use checker::spec::set::{Set, SetAction, SetOp};
use checker::{History, Options, check};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::engines::{answer_set, set_op, spoil_set};
use crate::made::{self, Shape};
use crate::script::{Script, error};
use crate::{brute, synthetic};

/// A history as it would have been recorded: each call by a process of its own, what is never answered known at once.
fn events(calls: &[Call<SetOp>]) -> Vec<Event> {
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
        let (p, key) = (index as u64, Some(op.key.to_string()));
        let (f, asked, answer) = match &op.action {
            SetAction::Add(element) => ("add".to_owned(), json!(element), Value::Null),
            SetAction::Read(found) => ("read".to_owned(), Value::Null, json!(found)),
        };
        if returns {
            push(What::Ok { p, f, key, value: answer, rev: None });
        } else {
            push(What::Invoke { p, node: None, f: f.clone(), key: key.clone(), value: asked });
            if returned.is_none() {
                push(What::Info { p, f, key, error: error("deadline") });
            }
        }
    }
    events
}

/// What is found first.
fn feed(events: &[Event]) -> Option<String> {
    let mut sets = Sets::new();
    events.iter().find_map(|event| sets.event(event))
}

/// Adds of elements that are added once, and reads.
fn ask(added: &mut i64) -> impl FnMut(&mut ChaCha8Rng) -> SetOp + '_ {
    move |rng| {
        set_op(match rng.random_range(0..2) {
            0 => {
                *added += 1;
                SetAction::Add(*added)
            }
            _ => SetAction::Read(Vec::new()),
        })
    }
}

/// A read lacks an element, or has one more.
fn spoil(rng: &mut ChaCha8Rng, calls: &mut [Call<SetOp>], added: i64) {
    let reads =
        |call: &&mut Call<SetOp>| matches!(call.op.action, SetAction::Read(_)) && call.returned.is_some();
    let mut reads: Vec<&mut Call<SetOp>> = calls.iter_mut().filter(reads).collect();
    if reads.is_empty() {
        return;
    }
    let victim = rng.random_range(0..reads.len());
    match &mut reads[victim].op.action {
        SetAction::Read(found) if rng.random() => {
            let more = rng.random_range(1..added + 2);
            if !found.contains(&more) {
                found.push(more);
                found.sort_unstable();
            }
        }
        _ => spoil_set(rng, &mut reads[victim].op),
    }
}

#[test]
fn it_agrees_with_brute_force() {
    let shapes = [
        Shape { calls: 7, processes: 3, info_percent: 0 },
        Shape { calls: 7, processes: 3, info_percent: 30 },
        Shape { calls: 7, processes: 6, info_percent: 10 },
    ];
    let rounds = made::rounds(3000);
    let mut illegal = 0;
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let mut added = 0;
        let shape = &shapes[seed as usize % shapes.len()];
        let mut calls = made::linearizable(&Set, shape, &mut rng, ask(&mut added), answer_set);
        assert_eq!(feed(&events(&calls)), None, "seed {seed} was made legal: {calls:#?}");
        spoil(&mut rng, &mut calls, added);
        let legal = brute::linearizable(&Set, &calls);
        illegal += u64::from(!legal);
        assert_eq!(feed(&events(&calls)).is_none(), legal, "seed {seed}: {calls:#?}");
    }
    assert!(illegal > rounds / 5 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}

#[test]
fn it_agrees_with_the_check_of_the_whole() {
    let shape = Shape { calls: 120, processes: 8, info_percent: 5 };
    let options = Options { ok_min: 1, ..Options::default() };
    let (rounds, mut illegal) = (made::rounds(200), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let mut added = 0;
        let mut calls = made::linearizable(&Set, &shape, &mut rng, ask(&mut added), answer_set);
        if seed % 2 == 0 {
            spoil(&mut rng, &mut calls, added);
        }
        let events = events(&calls);
        let history = History::new(synthetic::header("set"), events.clone());
        let report = check(&history, &options);
        // One that shows something before anything was added is not judged at all.
        let Some(set) = report.results.iter().find(|result| result.check == "set") else { continue };
        illegal += u64::from(!set.verdict.is_valid());
        assert_eq!(feed(&events).is_none(), set.verdict.is_valid(), "seed {seed}: {:?}", set.verdict);
    }
    assert!(illegal > rounds / 10, "{illegal} of {rounds} are illegal");
}

#[test]
fn each_way_to_be_wrong_is_named() {
    let read = |script: &mut Script, found: Value| {
        script.did(9, "read", "s", Value::Null, found, 0);
    };
    let good = || {
        let mut script = Script::new("set");
        script.did(0, "add", "s", json!(1), Value::Null, 0).did(0, "add", "s", json!(2), Value::Null, 0);
        read(&mut script, json!([1, 2]));
        script.invoke(1, "add", "s", json!(3)).info(1);
        script
    };
    let wrong = |spoil: fn(&mut Script)| {
        let mut script = good();
        assert_eq!(feed(&script.events), None);
        spoil(&mut script);
        feed(&script.events).expect("it is found")
    };
    let assert_says = |text: String, what: &str| assert!(text.contains(what), "{text}");
    assert_says(
        wrong(|script| {
            script.did(9, "read", "s", Value::Null, json!([1, 2, 2]), 0);
        }),
        "#4 has 2 twice",
    );
    assert_says(
        wrong(|script| {
            script.did(9, "read", "s", Value::Null, json!([1, 2, 4]), 0);
        }),
        "#4 has 4, which nobody had added",
    );
    assert_says(
        wrong(|script| {
            script.did(9, "read", "s", Value::Null, json!([1]), 0);
        }),
        "2 is not in #4, although #1 had told of it before that began",
    );
    assert_says(
        wrong(|script| {
            script.invoke(2, "add", "s", json!(4)).fail(2);
            script.did(9, "read", "s", Value::Null, json!([1, 2, 4]), 0);
        }),
        "#5 has 4 of #4",
    );
    // The failure is told of after the read.
    assert_says(
        wrong(|script| {
            script.invoke(2, "add", "s", json!(4));
            script.did(9, "read", "s", Value::Null, json!([1, 2, 4]), 0);
            script.fail(2);
        }),
        "4 of #4 is in the read #5",
    );
    // Both were under way when the other was.
    assert_says(
        wrong(|script| {
            script.invoke(2, "add", "s", json!(4)).invoke(3, "read", "s", Value::Null);
            script.invoke(4, "read", "s", Value::Null).ok(3, json!([1, 2, 3]), 0).ok(4, json!([1, 2, 4]), 0);
        }),
        "#6 has 4 and not 3",
    );
    // The read began before 5 was acknowledged, but it has what began only then.
    assert_says(
        wrong(|script| {
            script.invoke(2, "read", "s", Value::Null);
            script.did(3, "add", "s", json!(5), Value::Null, 0);
            script.invoke(4, "add", "s", json!(6)).ok(2, json!([1, 2, 6]), 0);
        }),
        "5 is not in #4, although #5 had told of it before that of #6, which #4 has, began",
    );
}

#[test]
fn what_it_holds_does_not_grow_with_the_number_of_sets() {
    let after = |sets: u64| {
        let mut script = Script::new("set");
        let mut judge = Sets::new();
        for set in 0..sets {
            let name = format!("s{set}");
            for element in 1..10 {
                script.did(0, "add", &name, json!(element), Value::Null, 0);
            }
        }
        // What nobody has touched for long is left alone, whatever is read of it.
        script.did(0, "read", "s0", Value::Null, json!([77]), 0);
        let found: Vec<String> = script.events.iter().filter_map(|event| judge.event(event)).collect();
        assert_eq!(found, Vec::<String>::new(), "of {sets} sets");
        judge.seen()
    };
    let (some, many) = (after(200), after(2000));
    assert_eq!(some.held_max, many.held_max);
    assert!(many.held_max < 1000 && many.given_up.is_empty(), "{many:?}");
    assert_eq!(many.decided, 2000 * 9);
    let mut twice = Script::new("set");
    twice.did(0, "add", "s", json!(1), Value::Null, 0).did(0, "add", "s", json!(1), Value::Null, 0);
    let mut judge = Sets::new();
    assert!(twice.events.iter().all(|event| judge.event(event).is_none()));
    assert_eq!(judge.seen().given_up.into_iter().collect::<Vec<_>>(), ["s"]);
}
