//! The engines agree on random small histories of the objects beside registers and stores, and a small history of
//! each, made wrong by hand, is found.

use std::sync::Arc;

use checker::spec::SequentialSpec;
use checker::spec::counter::{Counter, CounterAction, CounterOp};
use checker::spec::log::{Log, LogAction, LogOp};
use checker::spec::members::{Members, MembersAction, MembersOp};
use checker::spec::multi_register::{MultiRegister, MultiRegisterOp, MultiRegisterStep};
use checker::spec::mutex::{Mutex, MutexAction, MutexOp};
use checker::spec::queue::{Discipline, Queue, QueueAction, QueueOp};
use checker::spec::strings::{StringAction, StringOp, Strings};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::engines::differ;

fn key(rng: &mut ChaCha8Rng) -> Arc<str> {
    Arc::from(["a", "b"][usize::from(rng.random_ratio(1, 4))])
}

fn ask_queue(rng: &mut ChaCha8Rng) -> QueueOp {
    let action =
        if rng.random() { QueueAction::Put(rng.random_range(0..4)) } else { QueueAction::TakeUnknown };
    QueueOp { key: key(rng), action }
}

fn spoil_queue(rng: &mut ChaCha8Rng, op: &mut QueueOp) {
    if let QueueAction::Take(found) = &mut op.action {
        *found = rng.random_bool(0.8).then(|| rng.random_range(0..4));
    }
}

fn queues(discipline: Discipline) {
    let answer = |state: &Vec<i64>, op: &QueueOp| {
        let action = match op.action {
            QueueAction::TakeUnknown => QueueAction::Take(match discipline {
                Discipline::Lifo => state.last().copied(),
                Discipline::Fifo | Discipline::Any => state.first().copied(),
            }),
            action @ (QueueAction::Put(_) | QueueAction::Take(_)) => action,
        };
        QueueOp { key: op.key.clone(), action }
    };
    // Parts have states of their own: the maker of histories knows one state only.
    let one = |rng: &mut ChaCha8Rng| QueueOp { key: Arc::from("q"), ..ask_queue(rng) };
    differ(&Queue { discipline }, 800, one, answer, spoil_queue);
}

#[test]
fn queues_in_order() {
    queues(Discipline::Fifo);
}

#[test]
fn stacks() {
    queues(Discipline::Lifo);
}

#[test]
fn queues_without_order() {
    queues(Discipline::Any);
}

#[test]
fn counters() {
    let key: Arc<str> = Arc::from("c");
    let ask = |rng: &mut ChaCha8Rng| {
        let action =
            if rng.random() { CounterAction::Add(rng.random_range(-1..3)) } else { CounterAction::Read(0) };
        CounterOp { key: key.clone(), action }
    };
    let answer = |state: &i64, op: &CounterOp| {
        let action = match op.action {
            CounterAction::Read(_) => CounterAction::Read(*state),
            action @ CounterAction::Add(_) => action,
        };
        CounterOp { key: op.key.clone(), action }
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut CounterOp| match &mut op.action {
        CounterAction::Read(found) | CounterAction::Add(found) => *found += rng.random_range(-1..2),
    };
    differ(&Counter, 800, ask, answer, spoil);
}

#[test]
fn locks() {
    let key: Arc<str> = Arc::from("l");
    // Asked for what the state allows, so that the maker can answer it.
    let ask = |rng: &mut ChaCha8Rng| {
        let action = if rng.random() { MutexAction::Acquire } else { MutexAction::Release };
        MutexOp { key: key.clone(), action }
    };
    let answer = |held: &bool, op: &MutexOp| {
        let action = if *held { MutexAction::Release } else { MutexAction::Acquire };
        MutexOp { key: op.key.clone(), action }
    };
    let spoil = |_: &mut ChaCha8Rng, op: &mut MutexOp| {
        op.action = match op.action {
            MutexAction::Acquire => MutexAction::Release,
            MutexAction::Release => MutexAction::Acquire,
        };
    };
    differ(&Mutex, 800, ask, answer, spoil);
}

#[test]
fn sets_by_element() {
    let ask = |rng: &mut ChaCha8Rng| {
        let action = match rng.random_range(0..3) {
            0 => MembersAction::Add(None),
            1 => MembersAction::Remove(None),
            _ => MembersAction::Contains(false),
        };
        MembersOp { element: "1".to_owned(), action }
    };
    let answer = |there: &bool, op: &MembersOp| {
        let action = match op.action {
            MembersAction::Add(_) => MembersAction::Add(Some(!there)),
            MembersAction::Remove(_) => MembersAction::Remove(Some(*there)),
            MembersAction::Contains(_) => MembersAction::Contains(*there),
        };
        MembersOp { element: op.element.clone(), action }
    };
    let spoil = |_: &mut ChaCha8Rng, op: &mut MembersOp| match &mut op.action {
        MembersAction::Add(changed) | MembersAction::Remove(changed) => *changed = changed.map(|it| !it),
        MembersAction::Contains(found) => *found = !*found,
    };
    differ(&Members, 800, ask, answer, spoil);
}

#[test]
fn logs() {
    let key: Arc<str> = Arc::from("l");
    let ask = |rng: &mut ChaCha8Rng| {
        let action = if rng.random() {
            LogAction::Append { element: rng.random_range(0..3), offset: None }
        } else {
            LogAction::Read { offset: rng.random_range(0..3), found: None }
        };
        LogOp { key: key.clone(), action }
    };
    let answer = |state: &Vec<i64>, op: &LogOp| {
        let action = match op.action {
            LogAction::Append { element, .. } if element > 0 => {
                LogAction::Append { element, offset: Some(state.len() as u64) }
            }
            action @ LogAction::Append { .. } => action,
            LogAction::Read { offset, .. } => {
                LogAction::Read { offset, found: state.get(offset as usize).copied() }
            }
        };
        LogOp { key: op.key.clone(), action }
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut LogOp| match &mut op.action {
        LogAction::Append { offset, .. } => *offset = offset.map(|offset| offset + 1),
        LogAction::Read { found, .. } => *found = Some(rng.random_range(0..3)),
    };
    differ(&Log, 800, ask, answer, spoil);
}

#[test]
fn strings() {
    let key: Arc<str> = Arc::from("s");
    let ask = |rng: &mut ChaCha8Rng| {
        let text = ["x", "y", "zz", ""][rng.random_range(0..4)].to_owned();
        let action = match rng.random_range(0..5) {
            0 => StringAction::Put(text),
            1 | 2 => StringAction::Append(text),
            _ => StringAction::Get(String::new()),
        };
        StringOp { key: key.clone(), action }
    };
    let answer = |state: &String, op: &StringOp| {
        let action = match &op.action {
            StringAction::Get(_) => StringAction::Get(state.clone()),
            action @ (StringAction::Put(_) | StringAction::Append(_)) => action.clone(),
        };
        StringOp { key: op.key.clone(), action }
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut StringOp| {
        if let StringAction::Get(found) = &mut op.action {
            if rng.random() {
                found.push('x');
            } else {
                found.pop();
            }
        }
    };
    differ(&Strings::default(), 800, ask, answer, spoil);
}

#[test]
fn registers_accessed_together() {
    let ask = |rng: &mut ChaCha8Rng| {
        let steps = (0..rng.random_range(1..3)).map(|_| {
            let key = key(rng);
            if rng.random() {
                MultiRegisterStep::Write { key, value: rng.random_range(0..3) }
            } else {
                MultiRegisterStep::Read { key, found: None }
            }
        });
        MultiRegisterOp(steps.collect())
    };
    let answer = |state: &<MultiRegister as SequentialSpec>::State, op: &MultiRegisterOp| {
        let mut now = state.clone();
        let steps = op.0.iter().map(|step| match step {
            MultiRegisterStep::Write { key, value } => {
                now.insert(key.clone(), *value);
                step.clone()
            }
            MultiRegisterStep::Read { key, .. } => {
                MultiRegisterStep::Read { key: key.clone(), found: Some(now.get(key).copied()) }
            }
        });
        MultiRegisterOp(steps.collect())
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut MultiRegisterOp| {
        for step in &mut op.0 {
            if let MultiRegisterStep::Read { found, .. } = step {
                *found = Some(Some(rng.random_range(0..3)));
            }
        }
    };
    differ(&MultiRegister::default(), 800, ask, answer, spoil);
}

/// What a string is made of is only told where no piece begins another.
#[test]
fn a_string_is_taken_apart_only_where_that_is_certain() {
    let op = |action| StringOp { key: Arc::from("s"), action };
    let get = |text: &str| op(StringAction::Get(text.to_owned()));
    let append = |text: &str| op(StringAction::Append(text.to_owned()));
    let clear = Strings::of(&[append("x1y"), append("x2y"), append("x3y")]);
    assert_eq!(clear.without(&get("x1yx2y"), &append("x1y")), Some(get("x2y")));
    assert_eq!(clear.without(&get("x1yx2y"), &append("x3y")), Some(get("x1yx2y")));
    assert_eq!(clear.without(&get("x1yx1y"), &append("x1y")), None);
    assert_eq!(clear.without(&get("nobody's"), &append("x1y")), None);
    let unclear = Strings::of(&[append("a"), append("ab"), append("b")]);
    assert_eq!(unclear.without(&get("ab"), &append("b")), None);
}
