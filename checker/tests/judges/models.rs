//! Transactions on registers without revisions, through the whole check: for every level that is asked for, the
//! verdict is what brute force says, and never valid where the check gave up.

use std::collections::BTreeMap;

use checker::history::event::{Event, What};
use checker::isolation::levels::{implies, named, names};
use checker::{History, Options, Verdict, check};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::made;
use crate::synthetic::header;

const KEYS: [&str; 3] = ["x", "y", "z"];

#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize, i64),
    Read(usize, Option<i64>),
}

#[derive(Clone, Debug)]
struct Txn {
    process: u64,
    invoked: u64,
    returned: u64,
    acts: Vec<Act>,
}

type State = [Option<i64>; KEYS.len()];

/// Transactions of three processes on snapshots that may be old.
fn make(rng: &mut ChaCha8Rng, count: usize) -> Vec<Txn> {
    let mut states: Vec<State> = vec![[None; KEYS.len()]];
    let (mut txns, mut value) = (Vec::new(), 0);
    let mut free = [0_u64; 3];
    let stale = rng.random_range(1..6);
    for at in 0..count as u64 {
        let mut after = states[states.len() - 1];
        let age = if rng.random_ratio(1, stale) { rng.random_range(0..states.len().min(3)) } else { 0 };
        let mut seen = states[states.len() - 1 - age];
        let mut acts = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let key = rng.random_range(0..KEYS.len());
            if rng.random() {
                value += 1;
                (seen[key], after[key]) = (Some(value), Some(value));
                acts.push(Act::Write(key, value));
            } else {
                acts.push(Act::Read(key, seen[key]));
            }
        }
        states.push(after);
        let process = rng.random_range(0..free.len());
        let invoked = free[process].max((10 * at).saturating_sub(rng.random_range(0..30))) + 1;
        let returned = invoked.max(10 * at) + rng.random_range(1..15);
        free[process] = returned;
        txns.push(Txn { process: process as u64, invoked, returned, acts });
    }
    txns
}

/// The history of the transactions: of equal times, calls come first.
fn history(txns: &[Txn], clock: &str) -> History {
    let steps = |txn: &Txn, answered: bool| -> Value {
        let step = |act: &Act| match *act {
            Act::Write(key, value) => json!(["w", KEYS[key], value]),
            Act::Read(key, found) => json!(["r", KEYS[key], found.filter(|_| answered)]),
        };
        txn.acts.iter().map(step).collect()
    };
    let mut events = Vec::new();
    for txn in txns {
        let (p, f) = (txn.process, || "txn".to_owned());
        events
            .push((txn.invoked, What::Invoke { p, node: None, f: f(), key: None, value: steps(txn, false) }));
        events.push((txn.returned, What::Ok { p, f: f(), key: None, value: steps(txn, true), rev: None }));
    }
    events.sort_by_key(|(at, what)| (*at, matches!(what, What::Ok { .. })));
    let mut header = header("txn");
    header.clock = clock.to_owned();
    let events = (0..).zip(events).map(|(i, (t, what))| Event { i, t, what });
    History::new(header, events)
}

/// Whether an order of the transactions that keeps `before` explains every read.
fn serial(txns: &[Txn], before: &dyn Fn(&Txn, &Txn) -> bool, done: u32, state: State) -> bool {
    let open = |at: &usize| done >> at & 1 == 0;
    let mut left = (0..txns.len()).filter(open);
    done == (1 << txns.len()) - 1
        || left.any(|at| {
            if (0..txns.len()).filter(open).any(|other| before(&txns[other], &txns[at])) {
                return false;
            }
            let mut next = state;
            let fits = txns[at].acts.iter().all(|act| match *act {
                Act::Write(key, value) => {
                    next[key] = Some(value);
                    true
                }
                Act::Read(key, found) => next[key] == found,
            });
            fits && serial(txns, before, done | 1 << at, next)
        })
}

#[test]
fn each_level_that_is_asked_for_is_decided_as_brute_force_does() {
    let rounds = made::rounds(150);
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let count = rng.random_range(2..8);
        let txns = make(&mut rng, count);
        let none = |_: &Txn, _: &Txn| false;
        let process = |a: &Txn, b: &Txn| a.process == b.process && a.returned < b.invoked;
        let time = |a: &Txn, b: &Txn| a.returned < b.invoked;
        let start = [None; KEYS.len()];
        let truth = [
            ("serializable", serial(&txns, &none, 0, start)),
            ("strong-session-serializable", serial(&txns, &process, 0, start)),
            ("strict-serializable", serial(&txns, &time, 0, start)),
        ];
        for clock in ["monotonic_ns", "sessions"] {
            let history = history(&txns, clock);
            assert_eq!(history.problems(), [], "seed {seed}");
            for model in names() {
                let options = Options { ok_min: 0, model: Some(model), ..Options::default() };
                let report = check(&history, &options);
                let told = format!("seed {seed}, {clock}, {model}: {txns:?}\n{:#?}", report.verdict);
                let count = counts.entry(model).or_default();
                match &report.verdict {
                    Verdict::Valid => {
                        count[0] += 1;
                        // It cannot hold if something weaker than it does not.
                        let broken = truth.iter().any(|(level, holds)| implies(model, level) && !holds);
                        assert!(!broken, "{told}");
                        assert!(
                            clock != "sessions" || implies("strong-session-serializable", model),
                            "{told}"
                        );
                    }
                    Verdict::Anomaly(_) => {
                        count[1] += 1;
                        // It cannot be broken if something stronger holds.
                        let holds = truth.iter().any(|(level, holds)| implies(level, model) && *holds);
                        assert!(!holds, "{told}");
                    }
                    Verdict::Unknown(_) => {
                        count[2] += 1;
                        let decidable = truth.iter().any(|(level, _)| *level == model);
                        assert!(
                            !decidable || clock == "sessions" && model == "strict-serializable",
                            "{told}"
                        );
                    }
                }
            }
        }
    }
    for (level, _) in [("serializable", ()), ("strong-session-serializable", ()), ("strict-serializable", ())]
    {
        let [valid, anomaly, _] = counts[level];
        assert!(valid > rounds / 20 && anomaly > rounds / 20, "{level}: {counts:?}");
    }
}

/// A history of many transactions that is in order: each writes one register and reads another, three at a time.
fn large(count: u64) -> History {
    let mut state: State = [None; KEYS.len()];
    let mut txns = Vec::new();
    for at in 0..count {
        let (write, read) = (at as usize % KEYS.len(), (at / 2) as usize % KEYS.len());
        let found = state[read];
        state[write] = Some(at as i64 + 1);
        let acts = vec![Act::Read(read, found), Act::Write(write, at as i64 + 1)];
        txns.push(Txn { process: at % 3, invoked: 10 * at, returned: 10 * at + 25, acts });
    }
    history(&txns, "monotonic_ns")
}

#[test]
fn more_transactions_than_orders_are_tried_of_are_decided_or_unknown_but_never_let_pass() {
    let history = large(6_000);
    let options = Options { ok_min: 0, ..Options::default() };
    assert_eq!(check(&history, &options).verdict, Verdict::Valid);
    // Without room for the search nobody knows.
    let Verdict::Unknown(why) = check(&history, &Options { states_max: 1, ..options.clone() }).verdict else {
        panic!("a search without room decided");
    };
    let text: Vec<String> = why.iter().map(ToString::to_string).collect();
    assert!(text[0].contains("orders of up to 4000 transactions are tried, of 6000 here"), "{text:?}");
    assert!(text[1].contains("the limit of 1 states was reached"), "{text:?}");
    // What needs no order is decided all the same.
    let causal = Options { states_max: 1, model: named("strong-session-causal"), ..options };
    assert_eq!(check(&history, &causal).verdict, Verdict::Valid);
}

#[test]
fn a_level_is_only_asked_of_transactions() {
    let model = named("causal");
    for scenario in ["register", "set", "bank"] {
        let history = History::new(header(scenario), []);
        let report = check(&history, &Options { ok_min: 0, model, ..Options::default() });
        let Verdict::Unknown(why) = report.verdict else { panic!("{scenario}: {:?}", report.verdict) };
        assert!(why[0].to_string().contains(&format!("not of {scenario}")), "{why:?}");
    }
}
