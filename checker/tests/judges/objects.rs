//! The engines agree on random small histories of the objects beside registers and stores, and a small history of
//! each, made wrong by hand, is found.

use std::sync::Arc;

use checker::budget::Budget;
use checker::history::OpId;
use checker::linearizability::Call;
use checker::linearizability::unique::Answer;
use checker::spec::SequentialSpec;
use checker::spec::counter::{Counter, CounterAction, CounterOp};
use checker::spec::log::{Log, LogAction, LogOp};
use checker::spec::members::{Members, MembersAction, MembersOp};
use checker::spec::multi_register::{MultiRegister, MultiRegisterOp, MultiRegisterStep};
use checker::spec::mutex::{Mutex, MutexAction, MutexOp};
use checker::spec::queue::{Discipline, Queue, QueueAction, QueueOp};
use checker::spec::strings::{StringAction, StringOp, Strings, Text};
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
    let answer = |state: &Text, op: &StringOp| {
        let action = match &op.action {
            StringAction::Get(_) => StringAction::Get(state.to_string()),
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
    differ(&Strings::default(), 800, ask, &answer, &spoil);
    // The same with pieces that are each written once: the shortcut for those must agree.
    let pieces: Vec<StringOp> = (0..1000)
        .map(|number| StringOp { key: key.clone(), action: StringAction::Append(format!("<{number}>")) })
        .collect();
    let mut next = 0;
    let ask = |rng: &mut ChaCha8Rng| {
        next = (next + 1) % 1000;
        let action = match rng.random_range(0..5) {
            0 => StringAction::Put(format!("<{next}>")),
            1 | 2 => StringAction::Append(format!("<{next}>")),
            _ => StringAction::Get(String::new()),
        };
        StringOp { key: key.clone(), action }
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut StringOp| {
        let StringAction::Get(found) = &mut op.action else { return };
        let mut pieces: Vec<&str> = found.split_inclusive('>').collect();
        match (rng.random_range(0..4), pieces.len()) {
            (0, 2..) => pieces.swap(0, 1),
            (1, 1..) => drop(pieces.pop()),
            (2, 1..) => drop(pieces.remove(0)),
            _ => pieces.push("<7>"),
        }
        *found = pieces.concat();
    };
    differ(&Strings::of(&pieces), 3000, ask, &answer, spoil);
    // And with pieces that are written again and again, sometimes at a time.
    let pieces: Vec<StringOp> = pieces[..4].iter().chain(&pieces[..4]).cloned().collect();
    let mut next = 0;
    let ask = |rng: &mut ChaCha8Rng| {
        next = (next + 1) % 4;
        let action = match rng.random_range(0..5) {
            0 => StringAction::Put(format!("<{next}>")),
            1 | 2 => StringAction::Append(format!("<{next}>")),
            _ => StringAction::Get(String::new()),
        };
        StringOp { key: key.clone(), action }
    };
    let spoil = |rng: &mut ChaCha8Rng, op: &mut StringOp| {
        let StringAction::Get(found) = &mut op.action else { return };
        let mut pieces: Vec<&str> = found.split_inclusive('>').collect();
        match (rng.random_range(0..3), pieces.len()) {
            (0, 2..) => pieces.swap(0, 1),
            (1, 1..) => drop(pieces.pop()),
            _ => pieces.push("<2>"),
        }
        *found = pieces.concat();
    };
    differ(&Strings::of(&pieces), 6000, ask, &answer, spoil);
}

/// Pieces that were written twice are told apart where time and what stands around them tell.
#[test]
fn a_piece_that_is_written_again_is_told_from_the_first() {
    let op = |action| StringOp { key: Arc::from("s"), action };
    let append = |text: &str| op(StringAction::Append(text.to_owned()));
    let put = |text: &str| op(StringAction::Put(text.to_owned()));
    let get = |text: &str| op(StringAction::Get(text.to_owned()));
    let spec = Strings::of(&[append("a;"), append("a;"), append("b;"), put("p;"), put("p;")]);
    // One after the other.
    let decided = |ops: Vec<StringOp>| {
        let calls = (0..).zip(ops).map(|(at, op): (u32, _)| {
            let invoked = u64::from(2 * at);
            Call { id: OpId(at), op, invoked, returned: Some(invoked + 1) }
        });
        spec.shortcut(&calls.collect::<Vec<_>>(), &Budget::endless())
            .expect("no end")
            .map(|answer| matches!(answer, Answer::Legal))
    };
    assert_eq!(decided(vec![append("a;"), append("b;"), append("a;"), get("a;b;a;")]), Some(true));
    assert_eq!(decided(vec![append("a;"), get("a;"), append("b;"), append("a;"), get("a;b;a;")]), Some(true));
    // The second is missing; or the first, which nothing has taken away.
    assert_eq!(decided(vec![append("a;"), append("b;"), append("a;"), get("a;b;")]), Some(false));
    assert_eq!(decided(vec![append("a;"), append("b;"), append("a;"), get("b;a;")]), Some(false));
    // What is put takes all before it away, so only the later one is left.
    assert_eq!(decided(vec![append("a;"), put("p;"), append("a;"), get("p;a;")]), Some(true));
    assert_eq!(decided(vec![append("a;"), put("p;"), append("b;"), get("p;a;b;")]), Some(false));
    assert_eq!(decided(vec![put("p;"), append("a;"), put("p;"), get("p;")]), Some(true));
    assert_eq!(decided(vec![put("p;"), append("a;"), put("p;"), get("p;a;")]), Some(false));
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
                now.insert(key.clone(), Some(*value));
                step.clone()
            }
            MultiRegisterStep::Read { key, .. } => {
                MultiRegisterStep::Read { key: key.clone(), found: Some(now.get(key).copied().flatten()) }
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
    differ(&MultiRegister { unknown_start: true }, 800, ask, answer, spoil);
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
