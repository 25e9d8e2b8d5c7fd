//! Whom a fault on processes hits.

use super::{
    Target,
    shape::{majority, minority},
};
use crate::cluster::{Cluster, NodeIndex};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a leader is waited for: about an election.
const LEADER_TIMEOUT: Duration = Duration::from_millis(1500);

/// The leader, waited for while there is none.
pub(super) async fn leader(cluster: &Cluster) -> Option<NodeIndex> {
    let give_up = Instant::now() + LEADER_TIMEOUT;
    loop {
        match cluster.leader().await {
            Some(leader) => return Some(leader),
            None if Instant::now() >= give_up => return None,
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Draws the nodes that a target stands for, out of a cluster of `nodes`, from those whose process no other
/// fault holds: none at all when other faults hold all that it could be.
pub(super) fn draw(
    target: Target,
    nodes: usize,
    leader: Option<NodeIndex>,
    held: &BTreeSet<NodeIndex>,
    rng: &mut ChaCha8Rng,
) -> Vec<NodeIndex> {
    let mut free: Vec<NodeIndex> = (0..nodes).map(NodeIndex).filter(|node| !held.contains(node)).collect();
    free.shuffle(rng);
    if target == Target::Leader
        && let Some(position) = free.iter().position(|&node| Some(node) == leader)
    {
        free.swap(0, position);
    }
    let size = match target {
        Target::Leader | Target::One => 1,
        Target::Minority => rng.random_range(1..=minority(nodes).max(1)),
        Target::Majority => majority(nodes),
        Target::All => nodes,
    };
    free.truncate(size);
    free.sort();
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn targets_are_as_many_as_their_names_say_and_never_held_by_another_fault() {
        for seed in 0..100 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut pick = |target, held: &[usize]| {
                let held = held.iter().copied().map(NodeIndex).collect();
                draw(target, 5, Some(NodeIndex(3)), &held, &mut rng)
            };
            assert_eq!(pick(Target::Leader, &[]), [NodeIndex(3)]);
            assert_ne!(pick(Target::Leader, &[3]), [NodeIndex(3)], "seed {seed}");
            assert_eq!(pick(Target::One, &[0, 1, 2, 3]), [NodeIndex(4)], "seed {seed}");
            assert!((1..=2).contains(&pick(Target::Minority, &[]).len()), "seed {seed}");
            assert_eq!(pick(Target::Majority, &[]).len(), 3);
            assert_eq!(pick(Target::All, &[]).len(), 5);
            assert_eq!(pick(Target::All, &[1]), [0, 2, 3, 4].map(NodeIndex));
            assert_eq!(pick(Target::One, &[0, 1, 2, 3, 4]), []);
        }
    }
}
