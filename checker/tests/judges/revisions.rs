//! The order of revisions and brute force agree on random small histories of a whole store.

use checker::Options;
use checker::budget::Budget;
use checker::history::OpId;
use checker::linearizability::Call;
use checker::revision::{self, Beginning, Outcome, Stamp, Step};
use checker::spec::kv::{Answer, Kv, KvOp, Store};
use checker::spec::kv_types::{
    DeleteRequest, KeyRange, PutRequest, RangeRequest, Request, Response, TxnRequest,
};
use checker::spec::register::{Action, Found, RegisterOp};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::brute;
use crate::engines::{answer_kv, ask_kv};
use crate::made::{self, Shape};

pub const BEGINNING: Beginning = Beginning { revision: None, shared: false };

/// What the order of revisions says of calls and of serializable ones: `None` for what it leaves open.
pub fn by_revision(calls: &[Call<KvOp>], serializable: &[Call<KvOp>], beginning: Beginning) -> Option<bool> {
    let steps = revision::from_kv(calls, serializable).expect("every answer has a revision");
    let stamps: Vec<Stamp> = steps
        .iter()
        .filter(|step| step.rev > 0 && !step.is_compaction())
        .map(|step| Stamp {
            id: step.id,
            process: 0,
            rev: step.rev,
            write: step.is_write(),
            stale_allowed: step.stale_allowed,
            invoked: step.invoked,
            returned: step.returned,
        })
        .collect();
    let ordered = revision::backwards(&stamps).is_empty() && revision::twice(&stamps).is_empty();
    let placed = revision::compactions(&steps).is_empty();
    match revision::replay(&steps, beginning, &Budget::new(&Options::default())) {
        Outcome::Fits(_) => Some(ordered && placed),
        Outcome::Wrong(..) => Some(false),
        Outcome::Undecided(..) => None,
    }
}

#[test]
fn the_order_of_revisions_agrees_with_brute_force() {
    let shapes = [
        Shape { calls: 7, processes: 3, info_percent: 0 },
        Shape { calls: 7, processes: 5, info_percent: 20 },
        Shape { calls: 7, processes: 4, info_percent: 50 },
    ];
    let mut illegal = 0;
    let rounds = made::rounds(6000);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let ask = |rng: &mut _| KvOp { request: ask_kv(rng, 0), answer: None };
        let mut calls = made::linearizable(&Kv::default(), shape, &mut rng, ask, answer_kv);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(true), "seed {seed} was made legal: {calls:#?}");
        for call in &mut calls {
            let Some(answer) = &mut call.op.answer else { continue };
            match rng.random_range(0..12) {
                0 => answer.rev = answer.rev.map(|rev| rev + 1),
                1 => answer.rev = answer.rev.map(|rev| (rev - 1).max(1)),
                2 => {
                    if let Response::Range { kvs, .. } = &mut answer.response
                        && let Some(pair) = kvs.first_mut()
                    {
                        pair.value = "9".to_owned();
                    }
                }
                3 => {
                    if let Response::Range { kvs, .. } = &mut answer.response
                        && let Some(pair) = kvs.last_mut()
                    {
                        pair.version += 1;
                    }
                }
                _ => {}
            }
        }
        let brute = brute::linearizable(&Kv::default(), &calls);
        illegal += u64::from(!brute);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(brute), "seed {seed}: {calls:#?}");
    }
    assert!(illegal > rounds / 10 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}

/// A request of a burst: deletions of ranges above all, alone and in transactions, between puts and looks at all keys.
fn ask_burst(rng: &mut ChaCha8Rng) -> Request {
    let key = ["a", "b", "c"][rng.random_range(0..3)].to_owned();
    let all = || KeyRange { key: "a".to_owned(), end: Some("\0".to_owned()) };
    let some = KeyRange { key: key.clone(), end: Some(["b", "c", "d"][rng.random_range(0..3)].to_owned()) };
    let put = |value: i64| PutRequest { key: key.clone(), value: value.to_string(), prev_kv: false };
    let delete = |keys| Request::Delete(DeleteRequest { keys, prev_kv: true });
    match rng.random_range(0..8) {
        0..2 => Request::Put(put(rng.random_range(0..3))),
        2..4 => delete(some),
        4 => delete(all()),
        5 => {
            let success = vec![delete(some), Request::Put(put(rng.random_range(0..3)))];
            Request::Txn(TxnRequest { compare: Vec::new(), success, failure: Vec::new() })
        }
        _ => Request::Range(RangeRequest { keys: all(), ..RangeRequest::default() }),
    }
}

#[test]
fn bursts_of_range_deletions_without_an_answer_agree_with_brute_force() {
    let shapes = [
        Shape { calls: 7, processes: 6, info_percent: 60 },
        Shape { calls: 8, processes: 7, info_percent: 80 },
        Shape { calls: 7, processes: 3, info_percent: 40 },
    ];
    let (rounds, mut illegal) = (made::rounds(3000), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let ask = |rng: &mut _| KvOp { request: ask_burst(rng), answer: None };
        let mut calls = made::linearizable(&Kv::default(), shape, &mut rng, ask, answer_kv);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(true), "seed {seed} was made legal: {calls:#?}");
        for call in &mut calls {
            let Some(answer) = &mut call.op.answer else { continue };
            match (rng.random_range(0..5), &mut answer.response) {
                (0, _) => answer.rev = answer.rev.map(|rev| rev + 1),
                (1, _) => answer.rev = answer.rev.map(|rev| (rev - 1).max(1)),
                (2, Response::Range { kvs, count, .. }) if !kvs.is_empty() => {
                    kvs.remove(rng.random_range(0..kvs.len()));
                    *count -= 1;
                }
                (3, Response::Delete { deleted, prevs }) if *deleted > 0 => {
                    prevs.pop();
                    *deleted -= 1;
                }
                _ => {}
            }
        }
        let brute = brute::linearizable(&Kv::default(), &calls);
        illegal += u64::from(!brute);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(brute), "seed {seed}: {calls:#?}");
    }
    assert!(illegal > rounds / 10 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}

/// A request of a look at the past: how many keys of a range there were at a revision, between writes and looks at now.
fn ask_past(rng: &mut ChaCha8Rng) -> Request {
    let key = ["a", "b"][rng.random_range(0..2)].to_owned();
    let one = KeyRange { key: key.clone(), end: None };
    let wide = KeyRange { key: key.clone(), end: Some(["b", "c"][rng.random_range(0..2)].to_owned()) };
    let value = rng.random_range(0..3).to_string();
    match rng.random_range(0..8) {
        0..3 => Request::Put(PutRequest { key, value, prev_kv: false }),
        3..5 => Request::Delete(DeleteRequest { keys: one, prev_kv: false }),
        5 => Request::Range(RangeRequest { keys: one, ..RangeRequest::default() }),
        look => {
            let revision = rng.random_range(1..5);
            let range = RangeRequest { keys: wide, revision, ..RangeRequest::default() };
            Request::Range(RangeRequest { count_only: look == 6, limit: i64::from(look == 7), ..range })
        }
    }
}

#[test]
fn looks_at_the_past_agree_with_brute_force() {
    let shapes = [
        Shape { calls: 8, processes: 6, info_percent: 50 },
        Shape { calls: 8, processes: 3, info_percent: 40 },
    ];
    let (rounds, mut illegal) = (made::rounds(3000), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let ask = |rng: &mut _| KvOp { request: ask_past(rng), answer: None };
        let mut calls = made::linearizable(&Kv::default(), shape, &mut rng, ask, answer_kv);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(true), "seed {seed} was made legal: {calls:#?}");
        for call in &mut calls {
            let (Request::Range(range), Some(answer)) = (&call.op.request, &mut call.op.answer) else {
                continue;
            };
            match &mut answer.response {
                Response::Range { kvs, count, more } if range.revision > 0 && rng.random() => {
                    *count = if *count == 0 { 1 } else { *count - 1 };
                    kvs.truncate(*count as usize);
                    *more = !range.count_only && *count > kvs.len() as i64;
                }
                _ => {}
            }
        }
        let brute = brute::linearizable(&Kv::default(), &calls);
        illegal += u64::from(!brute);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(brute), "seed {seed}: {calls:#?}");
    }
    assert!(illegal > rounds / 20 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}

/// Either of two operations without an answer made revision 3. Only a late look at that revision tells which, when all
/// that the keys hold has been shown since.
#[test]
fn what_was_shown_since_does_not_excuse_a_wrong_look_at_the_past() {
    let request = asked;
    let of = |gone: i64| {
        let asked = [
            (json!({"put": {"key": "k", "value": "1"}}), true),
            (json!({"delete": {"key": "k"}}), false),
            (json!({"put": {"key": "z", "value": "5"}}), false),
            (json!({"put": {"key": "k", "value": "2"}}), true),
            (json!({"delete": {"key": "k"}}), true),
            (json!({"range": {"key": "k"}}), true),
            (json!({"range": {"key": "k", "end": "l", "revision": 3, "count_only": true}}), true),
        ];
        let mut store = Store::new();
        let mut calls = Vec::new();
        for (at, (json, answered)) in asked.into_iter().enumerate() {
            let request = request(json);
            let mut answer = None;
            if answered || at as i64 == gone {
                let reply = store.apply(&request).expect("none is refused");
                answer = answered.then_some(Answer { response: reply.response, rev: Some(reply.rev) });
            }
            let (invoked, id) = (2 * at as u64, OpId(at as u32));
            calls.push(Call {
                id,
                op: KvOp { request, answer },
                invoked,
                returned: answered.then_some(invoked + 1),
            });
        }
        calls
    };
    for maker in [1, 2] {
        let mut calls = of(maker);
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(true), "operation {maker} made it");
        let answer = calls.last_mut().and_then(|call| call.op.answer.as_mut()).expect("it was answered");
        let Response::Range { count, .. } = &mut answer.response else { panic!("it is a range") };
        *count = 7;
        assert_eq!(by_revision(&calls, &[], BEGINNING), Some(false), "nobody can have put seven keys");
    }
}

/// A store that others write to as well, in which bursts of operations without an answer, `each` of every key, take
/// effect late, in an order that only versions and compares tell.
fn late_bursts(seed: u64, keys: usize, each: i64) -> Vec<Step<'static>> {
    let mut rng = made::rng(seed);
    let mut script = Burst { steps: Vec::new(), clock: 0, rev: 1 };
    // For each key: the revision of its newest write, its version and its value.
    let mut registers = vec![(0, 0, 0); keys];
    for burst in 1..4 {
        for (key, register) in registers.iter_mut().enumerate() {
            script.write(key, burst * 1_000, register);
        }
        // Writes, each followed by a compare-and-swap of what it wrote; nobody is answered.
        for key in 0..keys {
            for at in 1..=each {
                let value = burst * 1_000 + at;
                script.unknown(key, (at % 2 == 0).then_some(value - 1), value);
            }
        }
        for (key, register) in registers.iter_mut().enumerate() {
            script.write(key, burst * 1_000 + 500, register);
        }
        // Each key's take effect in their order, between those of the other keys and of others.
        let mut next = vec![0; keys];
        while next.iter().any(|next| *next < each) {
            let key = rng.random_range(0..keys);
            script.rev += rng.random_range(0..2);
            if next[key] < each {
                next[key] += 1;
                script.rev += 1;
                let (_, version, _) = registers[key];
                registers[key] = (script.rev, version + 1, burst * 1_000 + next[key]);
                if next[key] == each {
                    let found = registers[key];
                    script.read(key, found);
                }
            }
        }
    }
    script.steps
}

/// Builds the steps of a history, one after the other.
struct Burst {
    steps: Vec<Step<'static>>,
    clock: u64,
    rev: i64,
}

impl Burst {
    fn push(&mut self, op: RegisterOp, answered: bool) {
        self.clock += 2;
        let id = OpId(self.steps.len() as u32);
        let returned = answered.then_some(self.clock + 1);
        let call = Call { id, op, invoked: self.clock, returned };
        let rev = self.rev;
        let steps = revision::from_register(&[call], &[], |_| Some(rev)).expect("a revision is given");
        self.steps.extend(steps);
    }

    fn write(&mut self, key: usize, value: i64, register: &mut (i64, i64, i64)) {
        self.rev += 1;
        *register = (self.rev, register.1 + 1, value);
        let action = Action::Write { value, rev: None };
        self.push(RegisterOp { key: format!("k{key}").into(), action }, true);
    }

    fn unknown(&mut self, key: usize, old: Option<i64>, new: i64) {
        let action = match old {
            Some(old) => Action::Cas { old: Some(old), new, swapped: None, rev: None },
            None => Action::Write { value: new, rev: None },
        };
        self.push(RegisterOp { key: format!("k{key}").into(), action }, false);
    }

    fn read(&mut self, key: usize, (mod_revision, version, value): (i64, i64, i64)) {
        let found = Found { value, mod_revision: Some(mod_revision), version: Some(version) };
        self.push(RegisterOp { key: format!("k{key}").into(), action: Action::Read(Some(found)) }, true);
    }
}

#[test]
fn late_effects_of_many_unknown_operations_are_explained_key_by_key() {
    for seed in 0..20 {
        let steps = late_bursts(seed, 12, 6);
        let beginning = Beginning { revision: Some(1), shared: true };
        match revision::replay(&steps, beginning, &Budget::new(&Options::default())) {
            Outcome::Fits(replay) => {
                assert!(replay.taken_back < 500, "seed {seed}: {} were taken back", replay.taken_back);
            }
            other => panic!("seed {seed} was made legal: {other:?}"),
        }
    }
}

/// A read of an old state is explained by what was made up to it, however much was made since by operations without an
/// answer.
#[test]
fn what_was_made_later_is_not_blamed_for_a_read_of_the_past() {
    let put =
        |key: &str| Request::Put(PutRequest { key: key.to_owned(), value: "v".to_owned(), prev_kv: false });
    let delete = |key: &str| {
        let keys = KeyRange { key: key.to_owned(), end: None };
        Request::Delete(DeleteRequest { keys, prev_kv: false })
    };
    let mut asked = Vec::new();
    for at in 1..=3 {
        asked.push((put(&format!("k/a{at}")), Some((Response::Put { prev: None }, 1 + at))));
    }
    // Fourteen that nobody was answered for; the last ones are thought of first.
    asked.extend((0..8).map(|at| (put(&format!("z/{at}")), None)));
    asked.extend((1..=3).map(|at| (delete(&format!("k/a{at}")), None)));
    asked.extend((1..=3).map(|at| (put(&format!("k/b{at}")), None)));
    asked.push((put("end"), Some((Response::Put { prev: None }, 19))));
    let range = RangeRequest {
        keys: KeyRange { key: "k/".to_owned(), end: Some("k0".to_owned()) },
        revision: 7,
        count_only: true,
        ..RangeRequest::default()
    };
    let found = Response::Range { kvs: Vec::new(), count: 0, more: false };
    asked.push((Request::Range(range), Some((found, 19))));
    let calls: Vec<Call<KvOp>> = (0..)
        .zip(asked)
        .map(|(at, (request, answered))| {
            let invoked = 10 * u64::from(at) + 1;
            let returned = answered.is_some().then_some(invoked + 1);
            let answer = answered.map(|(response, rev)| Answer { response, rev: Some(rev) });
            Call { id: OpId(at), op: KvOp { request, answer }, invoked, returned }
        })
        .collect();
    let steps = revision::from_kv(&calls, &[]).expect("every answer has a revision");
    match revision::replay(&steps, BEGINNING, &Budget::new(&Options::default())) {
        Outcome::Fits(replay) => {
            assert!(replay.taken_back < 200, "{} were taken back", replay.taken_back);
        }
        other => panic!("all three are deleted first: {other:?}"),
    }
}

fn asked(request: Value) -> Request {
    serde_json::from_value(request).expect("it is a request")
}

/// Bursts of operations that nobody was answered for, of which every other one takes effect, in the order in which they
/// were asked for: as when a member takes in requests, stands still, and goes on when nobody waits any more. Between them
/// all keys are read.
fn bursts_in_order(seed: u64) -> Vec<Call<KvOp>> {
    let mut rng = made::rng(seed);
    let mut store = Store::new();
    let mut calls: Vec<Call<KvOp>> = Vec::new();
    let mut call = |request: Request, store: Option<&mut Store>, is_answered: bool| {
        let reply = store.map(|store| store.apply(&request).expect("none is refused"));
        let answer = reply.filter(|_| is_answered);
        let answer = answer.map(|reply| Answer { response: reply.response, rev: Some(reply.rev) });
        let invoked = 2 * calls.len() as u64;
        let returned = answer.is_some().then_some(invoked + 1);
        calls.push(Call { id: OpId(calls.len() as u32), op: KvOp { request, answer }, invoked, returned });
    };
    let mut values = 0;
    for _ in 0..3 {
        for unknown in [false, true] {
            for _ in 0..24 {
                let key = format!("k{}", rng.random_range(0..8));
                values += 1;
                let request = match rng.random_range(0..10) {
                    0 => json!({"delete": {"key": key, "end": format!("k{}", rng.random_range(0..9))}}),
                    1..=3 => json!({"delete": {"key": key}}),
                    _ => json!({"put": {"key": key, "value": values.to_string()}}),
                };
                let takes_effect = !unknown || rng.random_range(0..2) == 0;
                call(asked(request), takes_effect.then_some(&mut store), !unknown);
            }
        }
        call(asked(json!({"range": {"key": "k", "end": "l"}})), Some(&mut store), true);
    }
    calls
}

#[test]
fn bursts_that_take_effect_in_the_order_of_their_invocation_are_explained() {
    for seed in 0..25 {
        let calls = bursts_in_order(seed);
        let steps = revision::from_kv(&calls, &[]).expect("every answer has a revision");
        match revision::replay(&steps, BEGINNING, &Budget::new(&Options::default())) {
            Outcome::Fits(replay) => {
                assert!(replay.taken_back < 20_000, "seed {seed}: {} were taken back", replay.taken_back);
            }
            other => panic!("seed {seed} was executed: {other:?}"),
        }
    }
}
