//! The isolation engine against brute force: small random histories under a store that isolates badly.

use checker::budget::{Budget, Stop};
use checker::history::OpId;
use checker::isolation::cycles::{Found, Order, Shape, cycles};
use checker::isolation::dependencies::{of_lists, of_registers};
use checker::isolation::graph::Graph;
use checker::isolation::levels::{Levels, levels};
use checker::isolation::registers::{self, OnRegister, Registers};
use checker::isolation::serial::{Serial, serial as any_order};
use checker::isolation::txns::{Lists, Span};
use checker::isolation::weak::{Sessions, Weak};
use checker::isolation::{Wrong, lists};
use checker::{AnomalyKind, Options};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::made;

const KEYS: [&str; 3] = ["x", "y", "z"];

#[derive(Clone, Debug)]
enum Step {
    Append(usize, i64),
    Read(usize, Vec<i64>),
}

#[derive(Clone, Debug)]
struct Txn {
    process: u64,
    invoked: u64,
    returned: u64,
    steps: Vec<Step>,
}

type State = [Vec<i64>; KEYS.len()];

/// Transactions on snapshots that may be old, without any check of conflicts; the last one reads everything.
fn make(rng: &mut ChaCha8Rng, count: usize) -> Vec<Txn> {
    let mut states: Vec<State> = vec![State::default()];
    let mut next = [0; KEYS.len()];
    let mut txns = Vec::new();
    for at in 0..count {
        let now = states.last().expect("a state").clone();
        let age = if rng.random_ratio(1, 3) { rng.random_range(0..states.len().min(3)) } else { 0 };
        let snapshot = states[states.len() - 1 - age].clone();
        let mut after = now;
        let mut own: State = State::default();
        let mut steps = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let key = rng.random_range(0..KEYS.len());
            if rng.random() {
                next[key] += 1;
                own[key].push(next[key]);
                after[key].push(next[key]);
                steps.push(Step::Append(key, next[key]));
            } else {
                steps.push(Step::Read(key, [snapshot[key].clone(), own[key].clone()].concat()));
            }
        }
        states.push(after);
        let invoked = (10 * at as u64).saturating_sub(rng.random_range(0..25)) * 100 + at as u64;
        let returned = invoked.max(1000 * at as u64) + 100 * rng.random_range(1..25) + 50 + at as u64;
        txns.push(Txn { process: rng.random_range(0..1000), invoked, returned, steps });
    }
    // Processes: whoever is free.
    txns.sort_by_key(|txn| txn.invoked);
    let mut free: Vec<(u64, u64)> = Vec::new();
    for txn in &mut txns {
        let chosen = free.iter().position(|(_, until)| *until < txn.invoked);
        let process = match chosen {
            Some(at) if rng.random() => free.swap_remove(at).0,
            Some(_) | None => txn.process + 1000 * txn.invoked,
        };
        txn.process = process;
        free.push((process, txn.returned));
    }
    let last = states.pop().expect("a state");
    let end = txns.iter().map(|txn| txn.returned).max().unwrap_or(0);
    let reads = last.into_iter().enumerate().map(|(key, found)| Step::Read(key, found)).collect();
    txns.push(Txn { process: u64::MAX, invoked: end + 1, returned: end + 2, steps: reads });
    txns
}

fn span(at: usize, txn: &Txn) -> Span {
    Span { id: OpId(at as u32), process: txn.process, invoked: txn.invoked, returned: txn.returned }
}

fn kind(shape: Shape, order: Order) -> AnomalyKind {
    use AnomalyKind as Kind;
    let table = [
        [Kind::G0, Kind::G0Process, Kind::G0Realtime],
        [Kind::G1c, Kind::G1cProcess, Kind::G1cRealtime],
        [Kind::GSingle, Kind::GSingleProcess, Kind::GSingleRealtime],
        [Kind::GNonadjacent, Kind::GNonadjacentProcess, Kind::GNonadjacentRealtime],
        [Kind::G2Item, Kind::G2ItemProcess, Kind::G2ItemRealtime],
    ];
    table[shape as usize][order as usize]
}

fn graph_cycles(graph: Result<Graph, Stop>) -> Found {
    cycles(&graph.expect("no end"), &Budget::endless()).expect("no end")
}

fn by_graph(txns: &[Txn]) -> Levels {
    let mut lists = Lists::default();
    for (at, txn) in txns.iter().enumerate() {
        lists.txns.begin(span(at, txn));
        for step in &txn.steps {
            match step {
                Step::Append(key, element) => {
                    let key = lists.txns.key(&Arc::from(KEYS[*key]));
                    lists.append(key, *element);
                }
                Step::Read(key, found) => {
                    let key = lists.txns.key(&Arc::from(KEYS[*key]));
                    lists.read(key, found);
                }
            }
        }
    }
    let versions = lists::Versions::new(&lists, &Budget::endless()).expect("no end");
    let found = graph_cycles(of_lists(&lists, &versions, &Budget::endless()));
    assert!(!found.cut_short, "the budget suffices for small histories");
    let kinds = found.cycles.iter().map(|cycle| kind(cycle.shape, cycle.order));
    levels(kinds.chain(versions.wrong.iter().map(Wrong::kind)))
}

/// Which transactions must come before which.
type Before<'a> = &'a dyn Fn(&Txn, &Txn) -> bool;

fn apply(state: &State, txn: &Txn) -> Option<State> {
    let mut state = state.clone();
    for step in &txn.steps {
        match step {
            Step::Append(key, element) => state[*key].push(*element),
            Step::Read(key, found) if state[*key] != *found => return None,
            Step::Read(..) => {}
        }
    }
    Some(state)
}

fn serializable(txns: &[Txn], state: &State, left: u32, before: Before<'_>) -> bool {
    left == 0
        || (0..txns.len()).filter(|at| left >> at & 1 == 1).any(|at| {
            let free =
                (0..txns.len()).all(|other| left >> other & 1 == 0 || !before(&txns[other], &txns[at]));
            free && apply(state, &txns[at])
                .is_some_and(|next| serializable(txns, &next, left & !(1 << at), before))
        })
}

/// Starts and commits in any order: reads are of the start, and of two that overlap one at most writes a key.
#[derive(Clone)]
struct Snapshots<'a> {
    txns: &'a [Txn],
    state: State,
    /// Of each: not begun, begun, or committed.
    stage: Vec<u8>,
    /// Keys written by commits since each began.
    written: Vec<u8>,
}

fn writes(txn: &Txn) -> u8 {
    txn.steps.iter().fold(0, |keys, step| match step {
        Step::Append(key, _) => keys | 1 << key,
        Step::Read(..) => keys,
    })
}

fn snapshots(at: &Snapshots<'_>, before: Before<'_>) -> bool {
    if at.stage.iter().all(|stage| *stage == 2) {
        return true;
    }
    (0..at.txns.len()).any(|txn| match at.stage[txn] {
        0 => {
            let free = (0..at.txns.len())
                .all(|other| at.stage[other] == 2 || !before(&at.txns[other], &at.txns[txn]));
            if !free || apply(&at.state, &at.txns[txn]).is_none() {
                return false;
            }
            let mut next = at.clone();
            (next.stage[txn], next.written[txn]) = (1, 0);
            snapshots(&next, before)
        }
        1 => {
            let keys = writes(&at.txns[txn]);
            if keys & at.written[txn] != 0 {
                return false;
            }
            let mut next = at.clone();
            next.stage[txn] = 2;
            for step in &at.txns[txn].steps {
                if let Step::Append(key, element) = step {
                    next.state[*key].push(*element);
                }
            }
            next.written.iter_mut().for_each(|written| *written |= keys);
            snapshots(&next, before)
        }
        _ => false,
    })
}

#[test]
fn the_levels_of_lists_agree_with_brute_force() {
    let (rounds, mut broken) = (made::rounds(1500), BTreeMap::new());
    let none: Before<'_> = &|_, _| false;
    let process: Before<'_> = &|one, other| one.process == other.process && one.returned < other.invoked;
    let time: Before<'_> = &|one, other| one.returned < other.invoked;
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let count = rng.random_range(2..5);
        let txns = make(&mut rng, count);
        let levels = by_graph(&txns);
        let mut judge = |name: &'static str, holds: bool| {
            let ruled_out = levels.broken.contains(&name) || levels.also_broken.contains(&name);
            assert_eq!(ruled_out, !holds, "seed {seed}: {name} of {txns:#?}: {levels:?}");
            *broken.entry(name).or_insert(0) += u64::from(!holds);
        };
        let all = (1 << txns.len()) - 1;
        let start = Snapshots {
            txns: &txns,
            state: State::default(),
            stage: vec![0; txns.len()],
            written: vec![0; txns.len()],
        };
        for (prefix, before) in [("", none), ("strong-session-", process), ("strong-", time)] {
            let serializable = serializable(&txns, &State::default(), all, before);
            let snapshots = snapshots(&start, before);
            match prefix {
                "" => judge("serializable", serializable),
                "strong-session-" => judge("strong-session-serializable", serializable),
                _ => judge("strict-serializable", serializable),
            }
            match prefix {
                "" => judge("snapshot-isolation", snapshots),
                "strong-session-" => judge("strong-session-snapshot-isolation", snapshots),
                _ => judge("strong-snapshot-isolation", snapshots),
            }
        }
    }
    for (name, broken) in broken {
        assert!(broken > rounds / 50 && broken < rounds, "{name}: {broken} of {rounds}");
    }
}

#[test]
fn any_order_of_registers_is_found_if_there_is_one() {
    let (rounds, mut broken) = (made::rounds(3000), 0);
    let budget = Budget::new(&Options::default());
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let count = rng.random_range(2..8);
        let txns = make_registers(&mut rng, count);
        let registers = registers(&txns, false);
        let versions = registers::Versions::new(&registers, &Budget::endless()).expect("no end");
        if !versions.wrong.iter().all(|wrong| matches!(wrong, Wrong::LostUpdate { .. })) {
            continue;
        }
        let legal = serial(&txns, false, &mut Vec::new(), [None; KEYS.len()]);
        match any_order(&registers, &versions, &[], &budget) {
            Serial::Yes => assert!(legal, "seed {seed}: {txns:?}"),
            Serial::No { .. } => assert!(!legal, "seed {seed}: {txns:?}"),
            Serial::Unknown(_) => panic!("seed {seed}: the budget suffices for small histories"),
        }
        broken += u64::from(!legal);
    }
    assert!(broken > rounds / 50, "{broken} of {rounds}");
}

#[derive(Clone, Debug)]
enum Act {
    Write(usize, i64),
    Read(usize, Option<i64>),
}

/// Transactions on registers, each a session's next: session, acts, and the revision.
type Acts = (u64, Vec<Act>);

fn make_registers(rng: &mut ChaCha8Rng, count: usize) -> Vec<Acts> {
    let mut states: Vec<[Option<i64>; KEYS.len()]> = vec![[None; KEYS.len()]];
    let (mut txns, mut value) = (Vec::new(), 0);
    for _ in 0..count {
        let mut after = *states.last().expect("a state");
        let mut own = [None; KEYS.len()];
        let mut acts = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let key = rng.random_range(0..KEYS.len());
            if rng.random() {
                value += 1;
                (own[key], after[key]) = (Some(value), Some(value));
                acts.push(Act::Write(key, value));
            } else {
                // Each read may be of another age.
                let age = if rng.random_ratio(1, 3) { rng.random_range(0..states.len().min(3)) } else { 0 };
                acts.push(Act::Read(key, own[key].or(states[states.len() - 1 - age][key])));
            }
        }
        states.push(after);
        txns.push((rng.random_range(0..3), acts));
    }
    txns
}

fn registers(txns: &[Acts], with_revs: bool) -> Registers {
    let mut registers = Registers::default();
    let mut rev_of = BTreeMap::new();
    for (at, (_, acts)) in txns.iter().enumerate() {
        for act in acts {
            if let Act::Write(_, value) = act {
                rev_of.insert(*value, at as i64 + 2);
            }
        }
    }
    for (at, (process, acts)) in txns.iter().enumerate() {
        let place = 10 * at as u64;
        let span = Span { id: OpId(at as u32), process: *process, invoked: place, returned: place + 1 };
        registers.begin(span, if with_revs { at as i64 + 2 } else { 0 });
        for act in acts {
            match *act {
                Act::Write(key, value) => {
                    let key = registers.txns.key(&Arc::from(KEYS[key]));
                    registers.txns.step(OnRegister::Write { key, value });
                }
                Act::Read(key, found) => {
                    let key = registers.txns.key(&Arc::from(KEYS[key]));
                    let rev = found.filter(|_| with_revs).map_or(0, |value| rev_of[&value]);
                    registers.txns.step(OnRegister::Read { key, found, rev });
                }
            }
        }
    }
    registers
}

/// Whether some order of the transactions explains the reads; with `revs`, one that keeps the order of each
/// register's writes.
fn serial(txns: &[Acts], revs: bool, done: &mut Vec<usize>, state: [Option<i64>; KEYS.len()]) -> bool {
    if done.len() == txns.len() {
        return true;
    }
    (0..txns.len()).any(|at| {
        if done.contains(&at) {
            return false;
        }
        let mut next = state;
        for act in &txns[at].1 {
            match *act {
                // Values count up in the order of revisions.
                Act::Write(key, value) if revs && next[key].is_some_and(|before| before > value) => {
                    return false;
                }
                Act::Write(key, value) => next[key] = Some(value),
                Act::Read(key, found) if next[key] != found => return false,
                Act::Read(..) => {}
            }
        }
        done.push(at);
        let legal = serial(txns, revs, done, next);
        done.pop();
        legal
    })
}

#[test]
fn serializability_of_registers_with_revisions_agrees_with_brute_force() {
    let (rounds, mut broken) = (made::rounds(3000), 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let count = rng.random_range(2..7);
        let txns = make_registers(&mut rng, count);
        let registers = registers(&txns, true);
        let versions = registers::Versions::new(&registers, &Budget::endless()).expect("no end");
        let found = graph_cycles(of_registers(&registers, &versions, &Budget::endless()));
        let data = found.cycles.iter().filter(|cycle| cycle.order == Order::Data);
        let kinds =
            data.map(|cycle| kind(cycle.shape, cycle.order)).chain(versions.wrong.iter().map(Wrong::kind));
        let ruled_out = !levels(kinds).possible.contains(&"strict-serializable");
        let legal = serial(&txns, true, &mut Vec::new(), [None; KEYS.len()]);
        assert_eq!(ruled_out, !legal, "seed {seed}: {txns:?}: {:?} {:?}", versions.wrong, found.cycles);
        broken += u64::from(!legal);
    }
    assert!(broken > rounds / 20 && broken < rounds * 9 / 10, "{broken} of {rounds}");
}

#[test]
fn without_revisions_registers_are_never_accused_of_what_some_order_explains() {
    let (rounds, mut found_out, mut broken) = (made::rounds(3000), 0, 0);
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let count = rng.random_range(2..7);
        let txns = make_registers(&mut rng, count);
        let registers = registers(&txns, false);
        let mut versions = registers::Versions::new(&registers, &Budget::endless()).expect("no end");
        let sessions = Sessions::of(&registers, &versions);
        let causal = sessions.judge(Weak::Causal, &Budget::endless()).expect("no end");
        versions.learn(&registers, &causal.demands, &Budget::endless()).expect("no end");
        let found = graph_cycles(of_registers(&registers, &versions, &Budget::endless()));
        let data = found.cycles.iter().any(|cycle| cycle.order == Order::Data);
        let ruled_out = data || !versions.wrong.is_empty();
        let legal = serial(&txns, false, &mut Vec::new(), [None; KEYS.len()]);
        // Demands follow from sessions, too, which a serial order need not keep.
        if causal.demands.is_empty() {
            assert!(!(ruled_out && legal), "seed {seed}: {txns:?}: {:?} {:?}", versions.wrong, found.cycles);
        }
        broken += u64::from(!legal);
        found_out += u64::from(ruled_out && !legal);
    }
    assert!(found_out > broken / 3, "{found_out} of {broken}");
}

/// The definition itself: is there an order of commits that keeps sessions and reads, and in which whatever a
/// level makes visible to a reader comes before what it read instead?
fn weak_by_brute_force(txns: &[Acts], level: Weak) -> bool {
    let writer: BTreeMap<i64, usize> = (0..txns.len())
        .flat_map(|at| txns[at].1.iter().map(move |act| (at, act)))
        .filter_map(|(at, act)| match act {
            Act::Write(_, value) => Some((*value, at)),
            Act::Read(..) => None,
        })
        .collect();
    // External reads: key and writer.
    let reads: Vec<Vec<(usize, Option<usize>)>> = txns
        .iter()
        .map(|(_, acts)| {
            let mut own = [false; KEYS.len()];
            let mut reads = Vec::new();
            for act in acts {
                match *act {
                    Act::Write(key, _) => own[key] = true,
                    Act::Read(key, found) if !own[key] => {
                        reads.push((key, found.map(|value| writer[&value])))
                    }
                    Act::Read(..) => {}
                }
            }
            reads
        })
        .collect();
    let writes = |at: usize, key: usize| {
        txns[at].1.iter().any(|act| matches!(act, Act::Write(other, _) if *other == key))
    };
    let mut happened = vec![vec![false; txns.len()]; txns.len()];
    for to in 0..txns.len() {
        for from in 0..txns.len() {
            let session = from < to && txns[from].0 == txns[to].0;
            happened[from][to] = session || reads[to].iter().any(|(_, by)| *by == Some(from));
        }
    }
    let direct = happened.clone();
    for via in 0..txns.len() {
        for from in 0..txns.len() {
            for to in 0..txns.len() {
                happened[from][to] |= happened[from][via] && happened[via][to];
            }
        }
    }
    let mut must = direct.clone();
    for reader in 0..txns.len() {
        for (at, (key, by)) in reads[reader].iter().enumerate() {
            for other in (0..txns.len()).filter(|other| writes(*other, *key) && Some(*other) != *by) {
                let visible = other != reader
                    && match level {
                        Weak::ReadCommitted => {
                            reads[reader][..at].iter().any(|(_, earlier)| *earlier == Some(other))
                        }
                        Weak::ReadAtomic => direct[other][reader],
                        Weak::Causal => happened[other][reader],
                    };
                match by {
                    Some(by) if visible => must[other][*by] = true,
                    // Before the initial transaction there is nothing.
                    None if visible => return false,
                    Some(_) | None => {}
                }
            }
        }
    }
    // An order exists if there is no cycle.
    let mut left: Vec<usize> = (0..txns.len()).collect();
    while !left.is_empty() {
        let Some(first) = left.iter().position(|to| left.iter().all(|from| !must[*from][*to])) else {
            return false;
        };
        left.remove(first);
    }
    true
}

#[test]
fn the_weak_levels_agree_with_their_definition() {
    let rounds = made::rounds(4000);
    let mut broken = [0; 3];
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let count = rng.random_range(2..9);
        let txns = make_registers(&mut rng, count);
        let registers = registers(&txns, false);
        let versions = registers::Versions::new(&registers, &Budget::endless()).expect("no end");
        let sessions = Sessions::of(&registers, &versions);
        for level in [Weak::ReadCommitted, Weak::ReadAtomic, Weak::Causal] {
            let holds = sessions.judge(level, &Budget::endless()).expect("no end").cycle.is_empty();
            assert_eq!(holds, weak_by_brute_force(&txns, level), "seed {seed}: {level:?} of {txns:?}");
            broken[level as usize] += u64::from(!holds);
        }
    }
    assert!(broken[0] > 0 && broken[0] < broken[1] && broken[1] < broken[2], "{broken:?} of {rounds}");
}
