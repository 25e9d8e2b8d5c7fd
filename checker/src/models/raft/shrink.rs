//! Leaving out of a counterexample what it does not need.

use super::{Bounds, Counterexample, Replay};

/// The counterexample without the actions that can be left out, one by one or in rows, while the same
/// property still breaks. Ends at the action that breaks it.
pub fn shrink(bounds: &Bounds, counterexample: &Counterexample) -> Counterexample {
    let mut best = breaks(bounds, counterexample).unwrap_or_else(|| counterexample.clone());
    let mut row = best.actions.len() / 2;
    while row > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < best.actions.len() {
            let end = (at + row).min(best.actions.len());
            let actions = [&best.actions[..at], &best.actions[end..]].concat();
            match breaks(bounds, &Counterexample { actions, broken: best.broken.clone() }) {
                Some(found) => (best, shorter) = (found, true),
                None => at += row,
            }
        }
        if !shorter || row > 1 {
            row /= 2;
        }
    }
    best
}

/// The actions that are possible, up to the one that breaks the same property; `None` if it holds.
fn breaks(bounds: &Bounds, counterexample: &Counterexample) -> Option<Counterexample> {
    let mut replay = Replay::new(bounds);
    let mut actions = Vec::new();
    for action in &counterexample.actions {
        let Some(replayed) = replay.step(action) else { continue };
        actions.push(action.clone());
        if let Some(broken) = replayed.broken {
            let same = broken.name() == counterexample.broken.name();
            return same.then_some(Counterexample { actions, broken });
        }
    }
    None
}
