//! Every layer ends soon after it is asked to, or its time is over, wherever it is: limits are generous, they tell
//! hanging from working.

use std::sync::Arc;
use std::time::{Duration, Instant};

use checker::budget::{Budget, Stop};
use checker::history::OpId;
use checker::isolation::cycles::cycles;
use checker::isolation::dependencies::of_lists;
use checker::isolation::lists::Versions;
use checker::isolation::txns::{Lists, Span};
use checker::isolation::weak::{Sessions, Weak};
use checker::linearizability::{Call, Decision, decide_parts, search, split, unique};
use checker::revision::{self, Beginning, Outcome};
use checker::spec::kv::{Answer, KvOp};
use checker::spec::kv_types::{PutRequest, Request, Response};
use checker::spec::register::{Action, Found, Register, RegisterOp};
use checker::{Cancel, History, Options, check};
use serde_json::json;

use crate::script::Script;

/// Much more than a layer takes between two looks, on a machine that does other things.
const SOON: Duration = Duration::from_secs(2);
const SIZE: usize = 60_000;

/// A layer at work on a history that it was given: what stopped it, if something did.
type Work<'a> = dyn Fn(&Budget) -> Option<Stop> + 'a;

/// Writes and reads of registers, each overlapping the next.
fn registers(keys: usize, values: i64) -> Vec<Call<RegisterOp>> {
    let call = |at: usize| {
        let (key, turn) = (at % keys, at / keys);
        let value = (turn / 2) as i64 % values;
        let action = if turn.is_multiple_of(2) {
            Action::Write { value, rev: None }
        } else {
            Action::Read(Some(Found { value, mod_revision: None, version: None }))
        };
        let op = RegisterOp { key: format!("k{key}").into(), action };
        Call { id: OpId(at as u32), op, invoked: 3 * at as u64, returned: Some(3 * at as u64 + 2) }
    };
    (0..SIZE).map(call).collect()
}

/// Each transaction appends to one of a few lists and reads another; a few of them read one too few.
fn lists() -> Lists {
    let mut lists = Lists::default();
    let mut held: Vec<(u32, Vec<i64>)> = Vec::new();
    for at in 0..SIZE as u64 {
        let place = at as usize % 8;
        if held.len() < 8 || held[place].1.len() == 20 {
            let fresh = (lists.txns.key(&Arc::from(format!("l{at}"))), Vec::new());
            if held.len() < 8 { held.push(fresh) } else { held[place] = fresh }
        }
        let id = OpId(at as u32);
        lists.txns.begin(Span { id, process: at % 5, invoked: 10 * at, returned: 10 * at + 15 });
        let place = place.min(held.len() - 1);
        let element = held[place].1.len() as i64;
        held[place].1.push(element);
        lists.append(held[place].0, element);
        let (key, found) = &held[(place + 3) % held.len()];
        let seen = found.len().saturating_sub(usize::from(at.is_multiple_of(97)));
        lists.read(*key, &found[..seen]);
    }
    lists
}

/// Transactions of many sessions that read what others wrote.
fn sessions() -> Sessions {
    let mut sessions = Sessions::new(100);
    let initial = u32::MAX;
    let mut newest = vec![initial; 100];
    for at in 0..SIZE / 2 {
        let (read, write) = (at * 7 % 100, at * 13 % 100);
        let reads = Some((read as u32, newest[read])).filter(|(_, by)| *by != initial);
        newest[write] = sessions.push(at % 200, reads, [write as u32]);
    }
    sessions
}

/// Puts in the order of their revisions; every fourth has no answer.
fn puts() -> Vec<Call<KvOp>> {
    let call = |at: usize| {
        let put = PutRequest { key: format!("k{}", at % 50), value: at.to_string(), prev_kv: false };
        let answered = !at.is_multiple_of(4);
        let answer =
            answered.then(|| Answer { response: Response::Put { prev: None }, rev: Some(at as i64 + 2) });
        let op = KvOp { request: Request::Put(put), answer };
        let at = at as u64;
        Call { id: OpId(at as u32), op, invoked: 2 * at, returned: answered.then_some(2 * at + 1) }
    };
    (0..SIZE).map(call).collect()
}

fn stop_of<State>(decision: Decision<State>) -> Option<Stop> {
    match decision {
        Decision::Undecided { stop, .. } => Some(stop),
        Decision::Legal => None,
        Decision::Illegal(_) => panic!("it was made legal"),
    }
}

/// Every layer, with a history that keeps it busy.
fn on_every_layer(judge: impl Fn(&str, &Work<'_>)) {
    let spec = Register::default();
    let once = registers(1, i64::MAX);
    let accesses: Vec<unique::Access> = once
        .iter()
        .map(|call| {
            let did = match call.op.action {
                Action::Write { value, .. } => unique::Did::Wrote(value),
                Action::Read(found) => unique::Did::Read(found.map(|found| found.value)),
                Action::Cas { .. } => unreachable!("there is none"),
            };
            unique::Access { id: call.id, did, invoked: call.invoked, returned: call.returned }
        })
        .collect();
    judge("unique values", &|budget: &Budget| unique::decide(&accesses, budget).err());
    let parts = split(&spec, registers(20_000, 3));
    let many = |budget: &Budget| {
        decide_parts(&spec, &parts, 1, budget).into_iter().find_map(|decided| stop_of(decided.decision))
    };
    judge("parts", &many);
    let few = registers(1, 4);
    judge("search", &|budget: &Budget| stop_of(search(&spec, &few, budget)));
    let lists = lists();
    judge("versions", &|budget: &Budget| Versions::new(&lists, budget).err());
    let versions = Versions::new(&lists, &Budget::endless()).expect("no end");
    judge("graph", &|budget: &Budget| of_lists(&lists, &versions, budget).err());
    let graph = of_lists(&lists, &versions, &Budget::endless()).expect("no end");
    judge("cycles", &|budget: &Budget| cycles(&graph, budget).err());
    assert!(
        cycles(&graph, &Budget::endless()).expect("no end").components > 0,
        "there are cycles to look for"
    );
    let sessions = sessions();
    for level in [Weak::ReadCommitted, Weak::ReadAtomic, Weak::Causal] {
        let name = format!("{level:?}");
        judge(&name, &|budget: &Budget| sessions.judge(level, budget).err());
    }
    let puts = puts();
    let steps = revision::from_kv(&puts, &[]).expect("every answer has a revision");
    let replay = |budget: &Budget| match revision::replay(
        &steps,
        Beginning { revision: Some(1), shared: false },
        budget,
    ) {
        Outcome::Fits(_) => None,
        Outcome::Undecided(stop, _) => Some(stop),
        Outcome::Wrong(wrong, _) => panic!("it was made legal: {wrong:?}"),
    };
    judge("replay", &replay);
}

#[test]
fn every_layer_ends_when_it_is_told_to() {
    on_every_layer(|name, work| {
        let cancel = Cancel::default();
        let budget =
            Budget::new(&Options { cancel: cancel.clone(), time_limit: Duration::MAX, ..Options::default() });
        assert_eq!(work(&budget), None, "{name} goes to its end by itself");
        cancel.cancel();
        let started = Instant::now();
        assert_eq!(work(&budget), Some(Stop::Cancelled), "{name}");
        assert!(started.elapsed() < SOON, "{name}: {:?}", started.elapsed());
    });
}

#[test]
fn every_layer_ends_with_its_time_and_with_its_memory() {
    on_every_layer(|name, work| {
        for time_limit in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5)] {
            let started = Instant::now();
            // A fast machine is done before.
            let stop = work(&Budget::new(&Options { time_limit, ..Options::default() }));
            assert!(stop.is_none() && !time_limit.is_zero() || stop == Some(Stop::Time), "{name}: {stop:?}");
            assert!(started.elapsed() < time_limit + SOON, "{name}: {:?}", started.elapsed());
        }
        let budget = Budget::new(&Options { memory_max: Some(0), ..Options::default() });
        // More than the process held when the budget was made, whatever other tests give back meanwhile.
        let more = std::hint::black_box(vec![1_u8; 512 << 20]);
        assert_eq!(work(&budget), Some(Stop::Memory), "{name}");
        drop(more);
    });
}

#[test]
fn a_check_that_is_cancelled_is_never_valid_and_says_so() {
    let cancelled = Options { ok_min: 1, ..Options::default() };
    cancelled.cancel.cancel();
    let unknown = |history: &History| {
        let report = check(history, &cancelled);
        assert_eq!(report.verdict.name(), "unknown", "{:?}", report.verdict);
        assert!(format!("{:?}", report.verdict).contains("Cancelled"), "{:?}", report.verdict);
    };
    let mut register = Script::new("register");
    let mut append = Script::new("append");
    let mut txn = Script::new("txn");
    for at in 1..50 {
        register.write(0, "k", at, at + 1).read(1, "k", Some((at, at + 1, at)), at + 1);
        let appended = json!([["append", "l", at]]);
        append.did(0, "txn", "", appended.clone(), appended, 0);
        let read = (1..=at).collect::<Vec<i64>>();
        append.did(1, "txn", "", json!([["r", "l", null]]), json!([["r", "l", read]]), 0);
        let wrote = json!([["w", "x", at]]);
        txn.did(0, "txn", "", wrote.clone(), wrote, at + 1);
        let found = json!([["r", "x", {"value": at, "mod_revision": at + 1}]]);
        txn.did(1, "txn", "", json!([["r", "x", null]]), found, at + 1);
    }
    for script in [&register, &append, &txn] {
        script.assert_valid();
    }
    unknown(&register.history());
    unknown(&append.history());
    unknown(&txn.history());
}
