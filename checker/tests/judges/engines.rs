//! Our search, stateright's tester and brute force agree on random small histories of every spec.

use std::collections::BTreeSet;
use std::sync::Arc;

use checker::Options;
use checker::budget::Budget;
use checker::linearizability::{Call, Decision, decide_part, search, search_from_width, stateright};
use checker::spec::SequentialSpec;
use checker::spec::append::{ListStep, ListTxn, Lists};
use checker::spec::kv::{Answer, Kv, KvOp, Store};
use checker::spec::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, Request, Response,
    TxnRequest,
};
use checker::spec::register::{Action, Found, Register, RegisterOp, RegisterState, Revision};
use checker::spec::set::{Set, SetAction, SetOp};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::brute;
use crate::made::{self, Shape};

const SHAPES: [Shape; 3] = [
    Shape { calls: 6, processes: 3, info_percent: 15 },
    Shape { calls: 7, processes: 5, info_percent: 10 },
    Shape { calls: 7, processes: 4, info_percent: 45 },
];

fn agree<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>], seed: u64) -> bool {
    let budget = Budget::new(&Options::default());
    let brute = brute::linearizable(spec, calls);
    let other = stateright::decide(spec, calls, &budget);
    let text = || format!("seed {seed}: {calls:#?}");
    assert_eq!(other, Ok(brute), "stateright's tester against brute force, {}", text());
    for width in [1, 2, 64] {
        match search_from_width(spec, calls, &budget, width) {
            Decision::Legal => assert!(brute, "called legal at width {width}, {}", text()),
            Decision::Illegal(_) => assert!(!brute, "called illegal at width {width}, {}", text()),
            Decision::Undecided { stop, .. } => panic!("undecided, {stop:?}, {}", text()),
        }
    }
    match decide_part(spec, calls, &budget).decision {
        Decision::Legal => assert!(brute, "called legal by a shortcut, {}", text()),
        Decision::Illegal(stuck) => {
            assert!(!brute, "called illegal by a shortcut, {}", text());
            let alone = calls.iter().filter(|call| stuck.shown_by.contains(&call.id));
            let alone: Vec<Call<S::Op>> = alone.cloned().collect();
            let shows = alone.is_empty() || matches!(search(spec, &alone, &budget), Decision::Illegal(_));
            assert!(shows, "{:?} do not show it alone, {}", stuck.shown_by, text());
        }
        Decision::Undecided { stop, .. } => panic!("undecided, {stop:?}, {}", text()),
    }
    brute
}

/// Runs `rounds` histories, each as made and once more with an answer changed.
pub fn differ<S: SequentialSpec>(
    spec: &S,
    rounds: u64,
    mut ask: impl FnMut(&mut ChaCha8Rng) -> S::Op,
    answer: impl Fn(&S::State, &S::Op) -> S::Op,
    mut spoil: impl FnMut(&mut ChaCha8Rng, &mut S::Op),
) {
    let rounds = made::rounds(rounds);
    let mut illegal = 0;
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &SHAPES[seed as usize % SHAPES.len()];
        let mut calls = made::linearizable(spec, shape, &mut rng, &mut ask, &answer);
        assert!(agree(spec, &calls, seed), "seed {seed} was made legal: {calls:#?}");
        let returned: Vec<usize> = (0..calls.len()).filter(|i| calls[*i].returned.is_some()).collect();
        if returned.is_empty() {
            continue;
        }
        for _ in 0..rng.random_range(1..3) {
            let victim = returned[rng.random_range(0..returned.len())];
            spoil(&mut rng, &mut calls[victim].op);
        }
        illegal += u64::from(!agree(spec, &calls, seed));
    }
    assert!(
        illegal > rounds / 10 && illegal < rounds * 9 / 10,
        "{illegal} of {rounds} spoilt ones are illegal"
    );
}

fn register_op(action: Action) -> RegisterOp {
    RegisterOp { key: Arc::from("k"), action }
}

pub fn ask_register(rng: &mut ChaCha8Rng) -> RegisterOp {
    let value = rng.random_range(0..3);
    register_op(match rng.random_range(0..3) {
        0 => Action::Read(None),
        1 => Action::Write { value, rev: None },
        _ => {
            let old = (rng.random_range(0..4) > 0).then(|| rng.random_range(0..3));
            Action::Cas { old, new: value, swapped: None, rev: None }
        }
    })
}

#[test]
fn registers_of_few_values() {
    differ(&Register::default(), 1500, ask_register, answer_register, spoil_register);
}

pub fn answer_register(state: &RegisterState, op: &RegisterOp) -> RegisterOp {
    register_op(match op.action {
        Action::Read(_) => {
            Action::Read(state.value.map(|value| Found { value, mod_revision: None, version: None }))
        }
        Action::Write { .. } => op.action.clone(),
        Action::Cas { old, new, .. } => {
            Action::Cas { old, new, swapped: Some(state.value == old), rev: None }
        }
    })
}

/// Values that are each written once tell the order; the shortcut for them must agree with the search.
#[test]
fn registers_whose_values_are_written_once() {
    let mut next = 0;
    let ask = |rng: &mut ChaCha8Rng| {
        next += 1;
        register_op(match rng.random_range(0..4) {
            0 | 1 => Action::Read(None),
            2 => Action::Write { value: next, rev: None },
            _ => {
                let old = (rng.random_range(0..4) > 0).then(|| next - rng.random_range(1..4));
                Action::Cas { old, new: next, swapped: None, rev: None }
            }
        })
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut RegisterOp| match &mut op.action {
        Action::Read(found) => {
            let value = found.map_or(1, |found| found.value) + rng.random_range(-2..3);
            *found = rng.random_bool(0.9).then_some(Found { value, mod_revision: None, version: None });
        }
        Action::Write { .. } => {}
        Action::Cas { old, swapped, .. } => {
            if rng.random() {
                *old = old.map(|old| old + rng.random_range(-1..2));
            } else {
                *swapped = swapped.map(|swapped| !swapped);
            }
        }
    };
    differ(&Register::default(), 3000, ask, answer_register, spoil);
}

fn spoil_register(rng: &mut ChaCha8Rng, op: &mut RegisterOp) {
    match &mut op.action {
        Action::Read(found) => {
            let value = rng.random_range(0..3);
            *found = (value > 0).then_some(Found { value, mod_revision: None, version: None });
        }
        Action::Write { value, .. } => *value = (*value + 1) % 3,
        Action::Cas { swapped, .. } => *swapped = swapped.map(|swapped| !swapped),
    }
}

#[test]
fn registers_that_count_versions() {
    let answer = |state: &RegisterState, op: &RegisterOp| {
        let next = state.version + 1;
        register_op(match op.action {
            Action::Read(_) => Action::Read(state.value.map(|value| {
                let mod_revision = match state.revision {
                    Revision::Exactly(revision) => Some(revision),
                    Revision::Above(_) => None,
                };
                Found { value, mod_revision, version: Some(state.version) }
            })),
            Action::Write { value, .. } => Action::Write { value, rev: Some(10 * next) },
            Action::Cas { old, new, .. } => {
                let swapped = state.value == old;
                Action::Cas { old, new, swapped: Some(swapped), rev: swapped.then_some(10 * next) }
            }
        })
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut RegisterOp| match &mut op.action {
        Action::Read(Some(found)) if rng.random_bool(0.5) => {
            found.version = found.version.map(|version| version + 1);
        }
        Action::Read(Some(found)) if rng.random_bool(0.5) => found.mod_revision = Some(10),
        Action::Read(_) | Action::Write { .. } | Action::Cas { .. } => spoil_register(rng, op),
    };
    differ(&Register { versions: true }, 1500, ask_register, answer, spoil);
}

pub fn set_op(action: SetAction) -> SetOp {
    SetOp { key: Arc::from("s"), action }
}

pub fn ask_set(rng: &mut ChaCha8Rng) -> SetOp {
    set_op(match rng.random_range(0..2) {
        0 => SetAction::Add(rng.random_range(0..5)),
        _ => SetAction::Read(Vec::new()),
    })
}

pub fn answer_set(state: &BTreeSet<i64>, op: &SetOp) -> SetOp {
    set_op(match op.action {
        SetAction::Add(element) => SetAction::Add(element),
        SetAction::Read(_) => SetAction::Read(state.iter().copied().collect()),
    })
}

pub fn spoil_set(rng: &mut ChaCha8Rng, op: &mut SetOp) {
    match &mut op.action {
        SetAction::Add(element) => *element = (*element + 1) % 5,
        SetAction::Read(found) if found.is_empty() => found.push(1),
        SetAction::Read(found) => {
            found.remove(rng.random_range(0..found.len()));
        }
    }
}

#[test]
fn sets() {
    differ(&Set, 1000, ask_set, answer_set, spoil_set);
}

#[test]
fn lists() {
    let mut unique = 0;
    let ask = |rng: &mut ChaCha8Rng| {
        let step = |rng: &mut ChaCha8Rng, unique: &mut i64| {
            let key: Arc<str> = Arc::from(["x", "y"][rng.random_range(0..2)]);
            *unique += 1;
            match rng.random_range(0..2) {
                0 => ListStep::Append { key, element: *unique },
                _ => ListStep::Read { key, found: None },
            }
        };
        ListTxn((0..rng.random_range(1..4)).map(|_| step(rng, &mut unique)).collect())
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut ListTxn| {
        for step in &mut op.0 {
            if let ListStep::Read { found: Some(found), .. } = step
                && rng.random_bool(0.7)
            {
                match found.pop() {
                    Some(_) => {}
                    None => found.push(1),
                }
            }
        }
    };
    differ(&Lists, 1000, ask, answer_lists, spoil);
}

pub fn answer_lists(state: &<Lists as SequentialSpec>::State, txn: &ListTxn) -> ListTxn {
    let mut now = state.clone();
    let steps = txn.0.iter().map(|step| match step {
        ListStep::Append { key, element } => {
            now.entry(key.clone()).or_default().push(*element);
            step.clone()
        }
        ListStep::Read { key, .. } => {
            let found = Some(now.get(key).cloned().unwrap_or_default());
            ListStep::Read { key: key.clone(), found }
        }
    });
    ListTxn(steps.collect())
}

/// A random request over keys `a` and `b`.
pub fn ask_kv(rng: &mut ChaCha8Rng, depth: u32) -> Request {
    let key = ["a", "b"][rng.random_range(0..2)].to_owned();
    let keys = KeyRange { key: key.clone(), end: rng.random_bool(0.4).then(|| "\0".to_owned()) };
    match rng.random_range(0..if depth == 0 { 10 } else { 7 }) {
        0..3 => {
            Request::Put(PutRequest { key, value: rng.random_range(0..3).to_string(), prev_kv: rng.random() })
        }
        3 => Request::Delete(DeleteRequest { keys, prev_kv: rng.random() }),
        4..7 => Request::Range(RangeRequest {
            keys,
            limit: rng.random_range(0..3),
            revision: if rng.random_bool(0.2) { rng.random_range(1..4) } else { 0 },
            count_only: rng.random_bool(0.2),
            keys_only: rng.random_bool(0.2),
            serializable: false,
        }),
        7 => Request::Compact { revision: rng.random_range(1..4) },
        _ => {
            let target = match rng.random_range(0..5) {
                0 => CompareTarget::Version(rng.random_range(0..2)),
                1 => CompareTarget::CreateRevision(rng.random_range(0..3)),
                2 => CompareTarget::ModRevision(rng.random_range(0..4)),
                3 => CompareTarget::Lease(0),
                _ => CompareTarget::Value(rng.random_range(0..3).to_string()),
            };
            let ops = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less];
            Request::Txn(TxnRequest {
                compare: vec![Compare { keys, op: ops[rng.random_range(0..4)], target }],
                success: (0..rng.random_range(0..3)).map(|_| ask_kv(rng, depth + 1)).collect(),
                failure: (0..rng.random_range(0..2)).map(|_| ask_kv(rng, depth + 1)).collect(),
            })
        }
    }
}

/// The answer that a store demands; a refusal becomes a request that is always answered.
pub fn answer_kv(state: &Store, op: &KvOp) -> KvOp {
    let mut next = state.clone();
    match next.apply(&op.request) {
        Ok(reply) => KvOp {
            request: op.request.clone(),
            answer: Some(Answer { response: reply.response, rev: Some(reply.rev) }),
        },
        Err(_) => {
            let request =
                Request::Put(PutRequest { key: "c".to_owned(), value: "r".to_owned(), prev_kv: false });
            answer_kv(state, &KvOp { request, answer: None })
        }
    }
}

#[test]
fn whole_stores() {
    let ask = |rng: &mut ChaCha8Rng| KvOp { request: ask_kv(rng, 0), answer: None };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut KvOp| {
        let Some(answer) = &mut op.answer else { return };
        match &mut answer.response {
            Response::Range { count, .. } => *count += rng.random_range(0..2),
            Response::Delete { deleted, .. } => *deleted += rng.random_range(0..2),
            Response::Txn { succeeded, .. } => *succeeded ^= rng.random::<bool>(),
            Response::Put { .. } | Response::Compact {} => {}
        }
        answer.rev = match rng.random_range(0..3) {
            0 => answer.rev.map(|rev| rev + 1),
            1 => None,
            _ => answer.rev,
        };
    };
    differ(&Kv::default(), 1000, ask, answer_kv, spoil);
}
