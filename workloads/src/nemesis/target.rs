//! Whom a fault on processes hits.

use super::{
    Target,
    shape::{majority, minority},
};
use crate::cluster::{Cluster, NodeIndex};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a leader is waited for: about an election.
const LEADER_TIMEOUT: Duration = Duration::from_millis(1500);

/// What the choice of nodes is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The leader, where one is known.
    pub leader: Option<NodeIndex>,
    /// The node that has applied least, of those that answer.
    pub lagging: Option<NodeIndex>,
}

/// Looks who leads and who lags; waits for a leader while there is none.
pub(super) async fn view(cluster: &Cluster) -> View {
    let give_up = Instant::now() + LEADER_TIMEOUT;
    loop {
        let statuses = cluster.statuses().await;
        let lagging = statuses.iter().min_by_key(|(_, status)| status.raft_applied_index);
        let view = View { leader: cluster.leader_of(&statuses), lagging: lagging.map(|(&node, _)| node) };
        if view.leader.is_some() || Instant::now() >= give_up {
            return view;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Draws the nodes that a target stands for, out of a cluster of `nodes`, from those whose process no other
/// fault holds: none at all when other faults hold all that it could be.
pub(super) fn draw(
    target: Target,
    nodes: usize,
    view: View,
    held: &BTreeSet<NodeIndex>,
    rng: &mut ChaCha8Rng,
) -> Vec<NodeIndex> {
    let mut order: Vec<NodeIndex> = (0..nodes).map(NodeIndex).collect();
    // All of them, so that what others hold changes nothing about the order of the rest.
    order.shuffle(rng);
    let first = match target {
        Target::Leader => view.leader,
        Target::Lagging => view.lagging,
        Target::Follower => order.iter().copied().find(|&node| Some(node) != view.leader),
        Target::One | Target::Minority | Target::Majority | Target::All => None,
    };
    let size = match target {
        Target::Leader | Target::Follower | Target::Lagging | Target::One => 1,
        Target::Minority => rng.random_range(1..=minority(nodes).max(1)),
        Target::Majority => majority(nodes),
        Target::All => nodes,
    };
    if let Some(position) = order.iter().position(|&node| Some(node) == first) {
        order.swap(0, position);
    }
    order.retain(|node| !held.contains(node));
    order.truncate(size);
    order.sort();
    order
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
                let view = View { leader: Some(NodeIndex(3)), lagging: Some(NodeIndex(1)) };
                draw(target, 5, view, &held, &mut rng)
            };
            assert_eq!(pick(Target::Leader, &[]), [NodeIndex(3)]);
            assert_eq!(pick(Target::Lagging, &[]), [NodeIndex(1)]);
            assert_ne!(pick(Target::Follower, &[]), [NodeIndex(3)]);
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
