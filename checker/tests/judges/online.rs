//! A check that goes on while a history is made says the same as one of the whole, and holds little.

use checker::Options;
use checker::budget::Budget;
use checker::linearizability::{Call, Found, Online};
use checker::spec::SequentialSpec;
use checker::spec::register::{Action, Found as Value, Register, RegisterOp};

use crate::brute;
use crate::engines::{answer_register, ask_register};
use crate::made::{self, Shape};

/// What was found first, and the most operations held.
type Fed<S> = (Option<Found<<S as SequentialSpec>::Op, <S as SequentialSpec>::State>>, usize);

/// Feeds a history as it would have happened.
fn feed<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>]) -> Fed<S> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        events.push((call.invoked, false, index));
        events.extend(call.returned.map(|at| (at, true, index)));
    }
    events.sort_unstable();
    let mut online = Online::new(spec, Budget::new(&Options::default()), 1000);
    let mut held = 0;
    for (at, returns, index) in events {
        let Call { id, op, returned, .. } = &calls[index];
        let found = if returns {
            online.returned("k", *id, op.clone(), at)
        } else {
            online.invoked("k", *id, at);
            // It is known at once here that nobody will hear of it.
            if returned.is_none() { online.lost("k", *id, op.clone()) } else { None }
        };
        held = held.max(online.held());
        if found.is_some() {
            return (found, held);
        }
    }
    (None, held)
}

#[test]
fn it_agrees_with_brute_force() {
    let shapes = [
        Shape { calls: 7, processes: 2, info_percent: 10 },
        Shape { calls: 7, processes: 3, info_percent: 30 },
    ];
    let rounds = made::rounds(2000);
    let mut illegal = 0;
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let spec = Register::default();
        let mut calls = made::linearizable(&spec, shape, &mut rng, ask_register, answer_register);
        assert_eq!(feed(&spec, &calls).0, None, "seed {seed} was made legal: {calls:#?}");
        let spoilt = calls.iter_mut().filter(|call| call.returned.is_some()).nth(seed as usize % 4);
        if let Some(Call { op: RegisterOp { action: Action::Read(found), .. }, .. }) = spoilt {
            *found = Some(Value { value: (seed % 3) as i64, mod_revision: None, version: None });
        }
        let legal = brute::linearizable(&spec, &calls);
        illegal += u64::from(!legal);
        match feed(&spec, &calls).0 {
            None => assert!(legal, "seed {seed}: not found, {calls:#?}"),
            Some(Found::Anomaly { .. }) => assert!(!legal, "seed {seed}: found, {calls:#?}"),
            Some(Found::Undecided { stop, .. }) => panic!("seed {seed}: undecided, {stop:?}"),
        }
    }
    assert!(illegal > rounds / 20, "{illegal} of {rounds} are illegal");
}

#[test]
fn what_it_holds_does_not_grow_with_the_history() {
    let spec = Register::default();
    let make = |calls| {
        let shape = Shape { calls, processes: 3, info_percent: 0 };
        made::linearizable(&spec, &shape, &mut made::rng(1), ask_register, answer_register)
    };
    let (short, long) = (feed(&spec, &make(300)), feed(&spec, &make(3000)));
    assert_eq!((short.0, long.0), (None, None));
    assert!(long.1 < 300, "{} of 3000 operations were held at once", long.1);
}

#[test]
fn a_part_that_is_never_at_rest_is_given_up_and_said_so() {
    let spec = Register::default();
    let mut online = Online::new(&spec, Budget::new(&Options::default()), 10);
    let read = |found| RegisterOp { key: "k".into(), action: Action::Read(found) };
    online.invoked("k", checker::history::OpId(0), 0);
    let mut found = Vec::new();
    for id in 1..30 {
        online.invoked("k", checker::history::OpId(id), u64::from(2 * id));
        found.extend(online.returned("k", checker::history::OpId(id), read(None), u64::from(2 * id + 1)));
    }
    assert!(matches!(found[..], [Found::Undecided { .. }]), "{found:?}");
}
