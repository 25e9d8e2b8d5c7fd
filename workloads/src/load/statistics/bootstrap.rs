//! Draws runs again from runs: whole runs first, then blocks of intervals within each.

use super::sample::{Metric, Run, Second, values};
use rand::{Rng, RngExt};

/// Draws every metric of `runs` so many times. Blocks have `block` intervals.
pub(super) fn draw(
    runs: &[Run],
    block: usize,
    times: usize,
    rng: &mut impl Rng,
) -> Vec<[f64; Metric::ALL.len()]> {
    let (mut seconds, mut counts): (Vec<&Second>, Vec<u64>) = Default::default();
    let draws = (0..times).map(|_| {
        seconds.clear();
        for _ in 0..runs.len() {
            blocks(&runs[rng.random_range(0..runs.len())], block, rng, &mut seconds);
        }
        values(&seconds, &mut counts)
    });
    draws.collect()
}

/// As many intervals as the run has, in blocks that begin anywhere and go on from the beginning at the end.
fn blocks<'a>(run: &'a Run, block: usize, rng: &mut impl Rng, out: &mut Vec<&'a Second>) {
    let length = run.seconds.len();
    let mut left = length;
    while left > 0 {
        let start = rng.random_range(0..length);
        let take = block.clamp(1, left);
        out.extend((start..start + take).map(|at| &run.seconds[at % length]));
        left -= take;
    }
}
