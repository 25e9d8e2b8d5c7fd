//! The dependency graph and the exact search agree on random small histories of list-append transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use checker::Options;
use checker::budget::Budget;
use checker::isolation::cycles::cycles;
use checker::isolation::dependencies::of_lists;
use checker::isolation::lists::Versions;
use checker::isolation::txns::Lists as ListTxns;
use checker::linearizability::{Call, Decision, search};
use checker::spec::append::{ListStep, ListTxn, Lists};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::engines::answer_lists;
use crate::made::{self, Shape};

fn by_graph(calls: &[Call<ListTxn>]) -> bool {
    // Every transaction is a process of its own.
    let lists = ListTxns::new(calls, &[], |id| u64::from(id.0));
    let budget = Budget::endless();
    let versions = Versions::new(&lists, &budget).expect("no end");
    assert_eq!(versions.ambiguous, None, "elements are unique");
    versions.wrong.is_empty() && {
        let graph = of_lists(&lists, &versions, &budget).expect("no end");
        cycles(&graph, &budget).expect("no end").cycles.is_empty()
    }
}

fn by_search(calls: &[Call<ListTxn>]) -> bool {
    match search(&Lists, calls, &Budget::new(&Options::default())) {
        Decision::Legal => true,
        Decision::Illegal(_) => false,
        Decision::Undecided { stop, .. } => panic!("{stop:?}"),
    }
}

#[test]
fn the_graph_agrees_with_the_search() {
    let mut unique: BTreeMap<&str, i64> = BTreeMap::new();
    let mut ask = |rng: &mut ChaCha8Rng| {
        let (steps, keys) = (rng.random_range(1..6), rng.random_range(1..4));
        let mut step = || {
            let name = ["x", "y", "z"][rng.random_range(0..keys)];
            let key: Arc<str> = Arc::from(name);
            if rng.random() {
                let element = unique.entry(name).or_default();
                *element += 1;
                ListStep::Append { key, element: *element }
            } else {
                ListStep::Read { key, found: None }
            }
        };
        ListTxn((0..steps).map(|_| step()).collect())
    };
    let shapes = [
        Shape { calls: 9, processes: 3, info_percent: 0 },
        Shape { calls: 10, processes: 5, info_percent: 10 },
        Shape { calls: 8, processes: 5, info_percent: 40 },
    ];
    let (rounds, mut illegal) = (made::rounds(4000), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let mut calls = made::linearizable(&Lists, shape, &mut rng, &mut ask, answer_lists);
        assert!(by_graph(&calls), "seed {seed} was made legal: {calls:?}");
        spoil(&mut rng, &mut calls);
        let legal = by_search(&calls);
        illegal += u64::from(!legal);
        assert_eq!(by_graph(&calls), legal, "seed {seed}: {calls:?}");
    }
    assert!(illegal > rounds / 10 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}

/// Changes reads, and moves some transactions in time.
fn spoil(rng: &mut ChaCha8Rng, calls: &mut [Call<ListTxn>]) {
    for call in calls.iter_mut() {
        for step in &mut call.op.0 {
            if let ListStep::Read { found: Some(found), .. } = step
                && rng.random_ratio(1, 12)
                && !found.is_empty()
            {
                let (one, other) = (rng.random_range(0..found.len()), rng.random_range(0..found.len()));
                match rng.random_range(0..8) {
                    0 => found.swap(one, other),
                    1 => drop(found.remove(one)),
                    2 => found.push(found[one]),
                    _ => drop(found.pop()),
                }
            }
        }
    }
    let returned: Vec<usize> = (0..calls.len()).filter(|index| calls[*index].returned.is_some()).collect();
    if rng.random_ratio(1, 3) && returned.len() > 1 {
        let (one, other) = (returned[0], returned[rng.random_range(1..returned.len())]);
        let span = (calls[one].invoked, calls[one].returned);
        (calls[one].invoked, calls[one].returned) = (calls[other].invoked, calls[other].returned);
        (calls[other].invoked, calls[other].returned) = span;
    }
}
