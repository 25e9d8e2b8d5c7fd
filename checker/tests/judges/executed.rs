//! Histories of a store that really did what it was asked, of shapes that are hard on the order of revisions: bursts of
//! operations without an answer, guards that fail, looks at deleted keys and at old revisions, compactions, members that
//! lag, and others who write too. None of them is ever called wrong, whatever their size; and of those that were changed
//! afterwards exactly the ones are that another judge calls wrong.

use std::cell::{Cell, RefCell};

use checker::Options;
use checker::budget::Budget;
use checker::linearizability::{Call, Decision, search};
use checker::revision::Beginning;
use checker::spec::kv::{Kv, KvOp, Store};
use checker::spec::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, KeyValue, PutRequest, RangeRequest, Request,
    Response, TxnRequest,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::brute;
use crate::engines::{answer_kv, ask_kv};
use crate::made::{self, Shape};
use crate::revisions::{BEGINNING, by_revision};

/// Draws a request, knowing the newest revision.
type Ask = fn(&mut ChaCha8Rng, i64) -> Request;

const ASKS: [(&str, Ask); 5] = [
    ("mixed", |rng, _| ask_kv(rng, 0)),
    ("guards", guards),
    ("deleted", deleted),
    ("past", past),
    ("values", values),
];

fn key(rng: &mut ChaCha8Rng) -> String {
    ["a", "b", "c"][rng.random_range(0..3)].to_owned()
}

fn one(key: String) -> KeyRange {
    KeyRange { key, end: None }
}

fn some(rng: &mut ChaCha8Rng) -> KeyRange {
    let end = ["", "b", "c", "d", "\0"][rng.random_range(0..5)];
    KeyRange { key: key(rng), end: (!end.is_empty() || rng.random()).then(|| end.to_owned()) }
}

fn put(rng: &mut ChaCha8Rng) -> Request {
    let value = rng.random_range(0..3).to_string();
    Request::Put(PutRequest { key: key(rng), value, prev_kv: rng.random() })
}

fn delete(keys: KeyRange, prev_kv: bool) -> Request {
    Request::Delete(DeleteRequest { keys, prev_kv })
}

fn look(rng: &mut ChaCha8Rng, keys: KeyRange, revision: i64) -> Request {
    Request::Range(RangeRequest {
        keys,
        limit: if rng.random_ratio(1, 4) { rng.random_range(1..3) } else { 0 },
        revision,
        count_only: rng.random_ratio(1, 5),
        keys_only: rng.random_ratio(1, 5),
        serializable: false,
    })
}

/// Transactions, most of which fail their guards, and change something then too; some in one another.
fn guards(rng: &mut ChaCha8Rng, newest: i64) -> Request {
    fn compare(rng: &mut ChaCha8Rng, newest: i64) -> Compare {
        let near = newest - rng.random_range(-1..3);
        let target = match rng.random_range(0..5) {
            0 => CompareTarget::Version(rng.random_range(0..3)),
            1 => CompareTarget::CreateRevision(if rng.random() { 0 } else { near }),
            2 => CompareTarget::ModRevision(near),
            3 => CompareTarget::Lease(0),
            _ => CompareTarget::Value(rng.random_range(0..3).to_string()),
        };
        let ops = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less];
        let keys = if rng.random_ratio(1, 4) { some(rng) } else { one(key(rng)) };
        Compare { keys, op: ops[rng.random_range(0..4)], target }
    }
    fn branch(rng: &mut ChaCha8Rng, newest: i64, depth: u32) -> Vec<Request> {
        let request = |rng: &mut ChaCha8Rng| match rng.random_range(0..8) {
            0..3 => put(rng),
            3 => delete(one(key(rng)), rng.random()),
            4 => delete(some(rng), rng.random()),
            5 if depth == 0 => Request::Txn(txn(rng, newest, 1)),
            _ => {
                let keys = some(rng);
                look(rng, keys, 0)
            }
        };
        (0..rng.random_range(0..3)).map(|_| request(rng)).collect()
    }
    fn txn(rng: &mut ChaCha8Rng, newest: i64, depth: u32) -> TxnRequest {
        TxnRequest {
            compare: (0..rng.random_range(0..3)).map(|_| compare(rng, newest)).collect(),
            success: branch(rng, newest, depth),
            failure: branch(rng, newest, depth),
        }
    }
    match rng.random_range(0..10) {
        0..2 => put(rng),
        2 => delete(one(key(rng)), true),
        3..5 => {
            let keys = some(rng);
            look(rng, keys, 0)
        }
        _ => Request::Txn(txn(rng, newest, 0)),
    }
}

/// Deletions above all, of keys and ranges, and looks at what is left.
fn deleted(rng: &mut ChaCha8Rng, _: i64) -> Request {
    match rng.random_range(0..10) {
        0..3 => put(rng),
        3..5 => delete(one(key(rng)), rng.random()),
        5 => delete(some(rng), rng.random()),
        6 => {
            let success = vec![delete(some(rng), true), put(rng)];
            Request::Txn(TxnRequest { compare: Vec::new(), success, failure: Vec::new() })
        }
        _ => {
            let keys = some(rng);
            look(rng, keys, 0)
        }
    }
}

/// Looks at old revisions, also in transactions that write, and compactions.
fn past(rng: &mut ChaCha8Rng, newest: i64) -> Request {
    let old = (newest - rng.random_range(0..4)).max(1);
    match rng.random_range(0..10) {
        0..3 => put(rng),
        3 => delete(some(rng), rng.random()),
        4..7 => {
            let keys = some(rng);
            look(rng, keys, old)
        }
        7 => Request::Compact { revision: old },
        8 => {
            let keys = some(rng);
            let success = vec![look(rng, keys, old), put(rng)];
            Request::Txn(TxnRequest { compare: Vec::new(), success, failure: Vec::new() })
        }
        _ => {
            let keys = some(rng);
            look(rng, keys, 0)
        }
    }
}

/// Values that are mostly written once, swaps of them, and looks at single keys.
fn values(rng: &mut ChaCha8Rng, newest: i64) -> Request {
    let value = |rng: &mut ChaCha8Rng| (10 * newest + rng.random_range(-9..10)).to_string();
    let name = key(rng);
    let new = Request::Put(PutRequest { key: name.clone(), value: value(rng), prev_kv: rng.random() });
    match rng.random_range(0..6) {
        0..2 => new,
        2..4 => {
            let compare = Compare {
                keys: one(name.clone()),
                op: CompareOp::Equal,
                target: CompareTarget::Value(value(rng)),
            };
            let failure = if rng.random() { vec![look(rng, one(name), 0)] } else { Vec::new() };
            Request::Txn(TxnRequest { compare: vec![compare], success: vec![new], failure })
        }
        _ => look(rng, one(name), 0),
    }
}

/// A history that is legal by construction.
fn executed(shape: &Shape, rng: &mut ChaCha8Rng, ask: Ask) -> Vec<Call<KvOp>> {
    let newest = Cell::new(1);
    let ask = |rng: &mut ChaCha8Rng| KvOp { request: ask(rng, newest.get()), answer: None };
    let answer = |state: &Store, op: &KvOp| {
        let op = answer_kv(state, op);
        newest.set(op.answer.as_ref().and_then(|answer| answer.rev).unwrap_or(1));
        op
    };
    made::linearizable(&Kv::default(), shape, rng, ask, answer)
}

/// Changes something of an answer, if it can.
fn spoil_response(rng: &mut ChaCha8Rng, response: &mut Response) {
    match response {
        Response::Range { kvs, count, more } => match rng.random_range(0..6) {
            0 => *count += rng.random_range(-1..2),
            1 => *more ^= rng.random_ratio(1, 2),
            2 if !kvs.is_empty() => {
                kvs.remove(rng.random_range(0..kvs.len()));
                *count -= 1;
            }
            _ => spoil_pair(rng, kvs),
        },
        Response::Put { prev } => match prev {
            Some(_) if rng.random_ratio(1, 4) => *prev = None,
            Some(pair) => spoil_pair(rng, std::slice::from_mut(pair)),
            None => {}
        },
        Response::Delete { deleted, prevs } => match rng.random_range(0..3) {
            0 => *deleted = (*deleted + rng.random_range(-1..2)).max(0),
            1 if !prevs.is_empty() => {
                prevs.pop();
                *deleted -= 1;
            }
            _ => spoil_pair(rng, prevs),
        },
        Response::Txn { succeeded, responses } => {
            if rng.random_ratio(1, 4) {
                *succeeded = !*succeeded;
            } else if !responses.is_empty() {
                let at = rng.random_range(0..responses.len());
                spoil_response(rng, &mut responses[at]);
            }
        }
        Response::Compact {} => {}
    }
}

fn spoil_pair(rng: &mut ChaCha8Rng, pairs: &mut [KeyValue]) {
    if pairs.is_empty() {
        return;
    }
    let pair = &mut pairs[rng.random_range(0..pairs.len())];
    let by = if rng.random() { 1 } else { -1 };
    match rng.random_range(0..5) {
        0 => pair.value = rng.random_range(0..3).to_string(),
        1 => pair.version += by,
        2 => pair.create_revision += by,
        3 => pair.mod_revision += by,
        _ => pair.key = key(rng),
    }
}

/// Changes answers, revisions and the places of operations in time.
fn spoil(rng: &mut ChaCha8Rng, calls: &mut [Call<KvOp>]) {
    let answered: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].returned.is_some()).collect();
    if answered.is_empty() {
        return;
    }
    for _ in 0..rng.random_range(1..3) {
        let at = answered[rng.random_range(0..answered.len())];
        let other = answered[rng.random_range(0..answered.len())];
        match rng.random_range(0..8) {
            0 => {
                let span = (calls[at].invoked, calls[at].returned);
                (calls[at].invoked, calls[at].returned) = (calls[other].invoked, calls[other].returned);
                (calls[other].invoked, calls[other].returned) = span;
            }
            1 | 2 => {
                let answer = calls[at].op.answer.as_mut().expect("it was answered");
                answer.rev = answer.rev.map(|rev| (rev + [-1, 1, -2, 2][rng.random_range(0..4)]).max(1));
            }
            3 if calls[at].op.request == calls[other].op.request => {
                calls[at].op.answer = calls[other].op.answer.clone();
            }
            _ => {
                let answer = calls[at].op.answer.as_mut().expect("it was answered");
                spoil_response(rng, &mut answer.response);
            }
        }
    }
}

/// Whether an operation without an answer may have been refused for a compaction, which the replay leaves out.
fn may_be_refused(calls: &[Call<KvOp>]) -> bool {
    fn is_past(request: &Request) -> bool {
        match request {
            Request::Range(range) => range.revision > 0,
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(is_past),
            Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => false,
        }
    }
    calls.iter().any(|call| matches!(call.op.request, Request::Compact { .. }))
        && calls.iter().any(|call| call.op.answer.is_none() && is_past(&call.op.request))
}

#[test]
fn what_was_executed_is_never_called_wrong() {
    let shapes = [
        Shape { calls: 40, processes: 4, info_percent: 10 },
        Shape { calls: 60, processes: 12, info_percent: 30 },
        Shape { calls: 30, processes: 10, info_percent: 70 },
        Shape { calls: 200, processes: 20, info_percent: 5 },
    ];
    let (rounds, mut undecided) = (made::rounds(600), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let (name, ask) = ASKS[seed as usize / shapes.len() % ASKS.len()];
        let calls = executed(shape, &mut rng, ask);
        match by_revision(&calls, &[], BEGINNING) {
            Some(legal) => assert!(legal, "seed {seed}, {name}, was executed: {calls:#?}"),
            None => undecided += 1,
        }
    }
    assert!(undecided <= rounds / 20, "{undecided} of {rounds} were not decided");
}

#[test]
fn what_is_called_wrong_is_what_another_judge_calls_wrong() {
    let shapes = [
        (Shape { calls: 7, processes: 3, info_percent: 0 }, true),
        (Shape { calls: 8, processes: 6, info_percent: 60 }, true),
        (Shape { calls: 7, processes: 4, info_percent: 30 }, true),
        (Shape { calls: 14, processes: 4, info_percent: 20 }, false),
        (Shape { calls: 12, processes: 9, info_percent: 50 }, false),
    ];
    let (rounds, mut illegal, mut undecided) = (made::rounds(6000), 0, 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let (shape, is_small) = &shapes[seed as usize % shapes.len()];
        let (name, ask) = ASKS[seed as usize / shapes.len() % ASKS.len()];
        let mut calls = executed(shape, &mut rng, ask);
        spoil(&mut rng, &mut calls);
        let legal = if *is_small {
            brute::linearizable(&Kv::default(), &calls)
        } else {
            match search(&Kv::default(), &calls, &Budget::new(&Options::default())) {
                Decision::Legal => true,
                Decision::Illegal(_) => false,
                Decision::Undecided { .. } => continue,
            }
        };
        illegal += u64::from(!legal);
        match by_revision(&calls, &[], BEGINNING) {
            Some(true) if !legal && may_be_refused(&calls) => {}
            Some(found) => assert_eq!(found, legal, "seed {seed}, {name}: {calls:#?}"),
            None => undecided += 1,
        }
    }
    assert!(illegal > rounds / 10 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
    assert!(undecided <= rounds / 50, "{undecided} of {rounds} were not decided");
}

#[test]
fn members_that_lag_are_never_called_wrong() {
    let shape = Shape { calls: 40, processes: 8, info_percent: 25 };
    for seed in 0..made::rounds(300) {
        let mut rng = made::rng(seed);
        let (name, asked) = ASKS[seed as usize % ASKS.len()];
        let newest = Cell::new(1);
        // All states so far, of which a member that lags shows any.
        let states = RefCell::new(vec![Store::new()]);
        let lag = RefCell::new(made::rng(seed));
        let ask = |rng: &mut ChaCha8Rng| {
            let mut request = asked(rng, newest.get());
            if let Request::Range(range) = &mut request {
                (range.serializable, range.revision) = (rng.random(), 0);
            }
            KvOp { request, answer: None }
        };
        let answer = |state: &Store, op: &KvOp| {
            let now = answer_kv(state, op);
            newest.set(now.answer.as_ref().and_then(|answer| answer.rev).unwrap_or(1));
            states.borrow_mut().push(state.clone());
            now
        };
        let mut calls = made::linearizable(&Kv::default(), &shape, &mut rng, ask, answer);
        let is_stale =
            |call: &Call<KvOp>| matches!(&call.op.request, Request::Range(range) if range.serializable);
        for call in calls.iter_mut().filter(|call| is_stale(call)) {
            let Some(answer) = &call.op.answer else { continue };
            let states = states.borrow();
            // What was not there yet when it was answered cannot be shown.
            let then: Vec<&Store> = states.iter().filter(|state| Some(state.rev()) <= answer.rev).collect();
            let state = then[lag.borrow_mut().random_range(0..then.len())];
            call.op = answer_kv(state, &call.op);
        }
        let (stale, calls): (Vec<_>, Vec<_>) = calls.into_iter().partition(is_stale);
        let found = by_revision(&calls, &stale, BEGINNING);
        assert_ne!(found, Some(false), "seed {seed}, {name}, was executed: {calls:#?} {stale:#?}");
    }
}

#[test]
fn others_who_write_too_are_never_blamed_on_those_who_are_judged() {
    let shape = Shape { calls: 40, processes: 8, info_percent: 30 };
    let beginning = Beginning { shared: true, ..BEGINNING };
    for seed in 0..made::rounds(300) {
        let mut rng = made::rng(seed);
        let (name, asked) = ASKS[seed as usize % ASKS.len()];
        let newest = Cell::new(1);
        let ask = |rng: &mut ChaCha8Rng| {
            let mut request = asked(rng, newest.get());
            if rng.random_ratio(1, 3) {
                let value = rng.random_range(0..3).to_string();
                request = Request::Put(PutRequest { key: "others".to_owned(), value, prev_kv: false });
            }
            within(&mut request);
            KvOp { request, answer: None }
        };
        let answer = |state: &Store, op: &KvOp| {
            let op = answer_kv(state, op);
            newest.set(op.answer.as_ref().and_then(|answer| answer.rev).unwrap_or(1));
            op
        };
        let mut calls = made::linearizable(&Kv::default(), &shape, &mut rng, ask, answer);
        calls.retain(|call| !matches!(&call.op.request, Request::Put(put) if put.key == "others"));
        let found = by_revision(&calls, &[], beginning);
        assert_ne!(found, Some(false), "seed {seed}, {name}, was executed: {calls:#?}");
    }
}

/// Bounds what a request names to the keys of those who are judged.
fn within(request: &mut Request) {
    let bound = |keys: &mut KeyRange| {
        if keys.end.as_deref() == Some("\0") {
            keys.end = Some("d".to_owned());
        }
    };
    match request {
        Request::Range(range) => bound(&mut range.keys),
        Request::Delete(delete) => bound(&mut delete.keys),
        Request::Txn(txn) => {
            txn.compare.iter_mut().for_each(|compare| bound(&mut compare.keys));
            txn.success.iter_mut().chain(&mut txn.failure).for_each(within);
        }
        Request::Put(_) | Request::Compact { .. } => {}
    }
}
