//! Histories of one simulated store with revisions: puts, deletes, ranges and transactions of clients without
//! pauses, some of which are never answered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use checker::history::OpId;
use checker::linearizability::Call;
use checker::spec::kv::{Answer, KvOp, Store};
use checker::spec::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, Request, TxnRequest,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KEYS: u32 = 200;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Invoke,
    Effect,
    Return,
}

/// Makes a linearizable history: of a hundred writes `info_percent` are never answered, and half of those take
/// effect.
pub fn make(operations: usize, clients: usize, info_percent: u32, seed: u64) -> Vec<Call<KvOp>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut store = Store::new();
    let mut calls: Vec<Call<KvOp>> = Vec::with_capacity(operations);
    let mut at = 0;
    let mut number = 0;
    let mut queue: BinaryHeap<Reverse<(u64, usize, Turn, usize)>> = BinaryHeap::new();
    let mut push = |queue: &mut BinaryHeap<_>, t: u64, turn: Turn, call: usize| {
        number += 1;
        queue.push(Reverse((t, number, turn, call)));
    };
    for _ in 0..clients {
        push(&mut queue, rng.random_range(0..1000), Turn::Invoke, 0);
    }
    while let Some(Reverse((t, _, turn, call))) = queue.pop() {
        match turn {
            Turn::Invoke if calls.len() == operations => {}
            Turn::Invoke => {
                let request = ask(&mut rng, calls.len());
                let info = !matches!(request, Request::Range(_)) && rng.random_ratio(info_percent, 100);
                let id = calls.len();
                let op = KvOp { request, answer: None };
                calls.push(Call { id: OpId(id as u32), op, invoked: at, returned: None });
                at += 1;
                if info {
                    if rng.random() {
                        push(&mut queue, t + rng.random_range(0..20_000), Turn::Effect, id);
                    }
                    push(&mut queue, t + 5000, Turn::Invoke, 0);
                } else {
                    let effect = t + rng.random_range(1..2000);
                    push(&mut queue, effect, Turn::Effect, id);
                    push(&mut queue, effect + rng.random_range(1..2000), Turn::Return, id);
                }
            }
            Turn::Effect => {
                let reply = store.apply(&calls[call].op.request).expect("none of these is refused");
                calls[call].op.answer = Some(Answer { response: reply.response, rev: Some(reply.rev) });
            }
            Turn::Return => {
                calls[call].returned = Some(at);
                at += 1;
                push(&mut queue, t + rng.random_range(1..250), Turn::Invoke, 0);
            }
        }
    }
    for call in calls.iter_mut().filter(|call| call.returned.is_none()) {
        call.op.answer = None;
    }
    calls
}

fn ask(rng: &mut ChaCha8Rng, number: usize) -> Request {
    let key = |number: u32| format!("k{number:03}");
    let first = rng.random_range(0..KEYS);
    let one = KeyRange { key: key(first), end: None };
    let put = |key: String| Request::Put(PutRequest { key, value: number.to_string(), prev_kv: false });
    match rng.random_range(0..10) {
        0..4 => put(one.key),
        4 => Request::Delete(DeleteRequest { keys: one, prev_kv: false }),
        5..7 => Request::Range(RangeRequest { keys: one, ..RangeRequest::default() }),
        7 => {
            let keys = KeyRange { key: one.key, end: Some(key(first + 10)) };
            Request::Range(RangeRequest { keys, ..RangeRequest::default() })
        }
        _ => {
            let other = key(rng.random_range(0..KEYS));
            let get = Request::Range(RangeRequest { keys: one.clone(), ..RangeRequest::default() });
            let target = CompareTarget::Version(0);
            let compare = vec![Compare { keys: one, op: CompareOp::Greater, target }];
            Request::Txn(TxnRequest {
                compare,
                success: vec![get, put(other)],
                failure: vec![put(key(first))],
            })
        }
    }
}
