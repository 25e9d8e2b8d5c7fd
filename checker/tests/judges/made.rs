//! Random small histories: operations take effect at a point between invocation and return, or never if
//! they are indeterminate. Then some answers are changed.

use checker::history::OpId;
use checker::linearizability::Call;
use checker::spec::SequentialSpec;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator that is the same for the same seed.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// What a history is made of.
pub struct Shape {
    pub calls: usize,
    pub processes: usize,
    pub info_percent: u32,
}

/// Makes a history that is linearizable by construction: `ask` draws an operation without its answer, and
/// `answer` gives it the one that the state at its point demands.
pub fn linearizable<S: SequentialSpec, R: Rng>(
    spec: &S,
    shape: &Shape,
    rng: &mut R,
    mut ask: impl FnMut(&mut R) -> S::Op,
    mut answer: impl FnMut(&S::State, &S::Op) -> S::Op,
) -> Vec<Call<S::Op>> {
    let mut state = spec.init();
    let mut calls: Vec<Call<S::Op>> = Vec::new();
    // Open calls: index, whether done, whether it will never return.
    let mut open: Vec<(usize, bool, bool)> = Vec::new();
    let mut at = 0;
    loop {
        let can_invoke = calls.len() < shape.calls && open.len() < shape.processes;
        if !can_invoke && open.is_empty() {
            return calls;
        }
        if can_invoke && (open.is_empty() || rng.random_bool(0.5)) {
            let op = ask(rng);
            open.push((calls.len(), false, rng.random_ratio(shape.info_percent, 100)));
            calls.push(Call { id: OpId(calls.len() as u32), op, invoked: at, returned: None });
            at += 1;
            continue;
        }
        let chosen = rng.random_range(0..open.len());
        let (index, done, info) = open[chosen];
        let never = info && rng.random_bool(0.5);
        if !done && !never {
            if !info {
                calls[index].op = answer(&state, &calls[index].op);
            }
            match spec.step(&state, &calls[index].op) {
                Some(next) => state = next,
                // A read that nobody will hear the answer of.
                None => assert!(info, "the answer that the state demands is legal: {:?}", calls[index]),
            }
            open[chosen].1 = true;
        }
        // By now it is done, or it never will be.
        if info || rng.random_bool(0.5) {
            open.swap_remove(chosen);
            if !info {
                calls[index].returned = Some(at);
                at += 1;
            }
        }
    }
}
