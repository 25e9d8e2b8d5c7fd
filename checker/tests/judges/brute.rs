//! The judge that cannot be wrong: tries every order.

use checker::linearizability::Call;
use checker::spec::SequentialSpec;

/// Whether some order of the calls, without any subset of those that never returned, is legal and keeps
/// the order of real time. For at most seven calls or so.
pub fn linearizable<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>]) -> bool {
    let all: Vec<&Call<S::Op>> = calls.iter().collect();
    any_order(spec, &spec.init(), &all)
}

fn any_order<S: SequentialSpec>(spec: &S, state: &S::State, left: &[&Call<S::Op>]) -> bool {
    if left.iter().all(|call| call.returned.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let first = left[index];
        let too_late =
            left.iter().any(|other| other.returned.is_some_and(|returned| returned < first.invoked));
        if too_late {
            return false;
        }
        let rest: Vec<&Call<S::Op>> =
            left.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, call)| *call).collect();
        match spec.step(state, &first.op) {
            Some(next) => any_order(spec, &next, &rest),
            None => false,
        }
    })
}
