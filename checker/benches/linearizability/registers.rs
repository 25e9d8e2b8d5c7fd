//! Histories of one simulated register: clients without pauses, each operation takes effect at a random point
//! between its invocation and its return.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use checker::history::OpId;
use checker::linearizability::Call;
use checker::spec::register::{Action, Found, RegisterOp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a history is made of.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub operations: usize,
    pub clients: usize,
    /// Values that are written; `None`: each but once, half of the operations are reads and none a cas.
    pub values: Option<i64>,
    /// Of so many writes one is never answered; half of these take effect. 0: all are answered.
    pub info_one_in: u32,
    /// Whether one read, after nine tenths, is answered what it cannot have read.
    pub bad: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Invoke,
    Effect,
    Return,
}

/// Makes a history; linearizable unless `load.bad`.
pub fn make(load: Load, seed: u64) -> Vec<Call<RegisterOp>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let key: Arc<str> = Arc::from("r");
    let mut calls: Vec<Call<RegisterOp>> = Vec::with_capacity(load.operations);
    let mut state: Option<i64> = None;
    let (mut at, mut spoil) = (0, load.bad);
    // Time, number, turn, call.
    let mut queue: BinaryHeap<Reverse<(u64, usize, Turn, usize)>> = BinaryHeap::new();
    let mut number = 0;
    let mut push = |queue: &mut BinaryHeap<_>, t: u64, turn: Turn, call: usize| {
        number += 1;
        queue.push(Reverse((t, number, turn, call)));
    };
    for _ in 0..load.clients {
        push(&mut queue, rng.random_range(0..1000), Turn::Invoke, 0);
    }
    while let Some(Reverse((t, _, turn, call))) = queue.pop() {
        match turn {
            Turn::Invoke if calls.len() == load.operations => {}
            Turn::Invoke => {
                let action = ask(&mut rng, load.values, calls.len() as i64);
                let info = load.info_one_in > 0
                    && !matches!(action, Action::Read(_))
                    && rng.random_ratio(1, load.info_one_in);
                let id = calls.len();
                calls.push(Call {
                    id: OpId(id as u32),
                    op: RegisterOp { key: key.clone(), action },
                    invoked: at,
                    returned: None,
                });
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
            Turn::Effect => match &mut calls[call].op.action {
                Action::Read(found) => *found = state.map(bare),
                Action::Write { value, .. } => state = Some(*value),
                Action::Cas { old, new, swapped, .. } => {
                    let equal = state == *old;
                    *swapped = Some(equal);
                    state = if equal { Some(*new) } else { state };
                }
            },
            Turn::Return => {
                calls[call].returned = Some(at);
                at += 1;
                if spoil
                    && call >= load.operations / 10 * 9
                    && let Action::Read(found) = &mut calls[call].op.action
                {
                    *found = Some(bare(load.values.unwrap_or(i64::MAX)));
                    spoil = false;
                }
                push(&mut queue, t + rng.random_range(1..250), Turn::Invoke, 0);
            }
        }
    }
    for call in &mut calls {
        if let (None, Action::Cas { swapped, .. }) = (call.returned, &mut call.op.action) {
            *swapped = None;
        }
    }
    calls
}

fn ask(rng: &mut ChaCha8Rng, values: Option<i64>, number: i64) -> Action {
    match values {
        None if rng.random() => Action::Read(None),
        None => Action::Write { value: number, rev: None },
        Some(values) => match rng.random_range(0..3) {
            0 => Action::Read(None),
            1 => Action::Write { value: rng.random_range(0..values), rev: None },
            _ => Action::Cas {
                old: Some(rng.random_range(0..values)),
                new: rng.random_range(0..values),
                swapped: None,
                rev: None,
            },
        },
    }
}

fn bare(value: i64) -> Found {
    Found { value, mod_revision: None, version: None }
}
