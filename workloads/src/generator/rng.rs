//! Random numbers, all from the run's seed.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are drawn for. Each has its own stream; the numbers never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Which faults come when, and whom they hit.
    Nemesis,
    /// Operations of the `register` workload.
    Register,
    /// Operations of the `kv` workload.
    Kv,
    /// Operations of the `append` workload.
    Append,
    /// Operations of the `set` workload.
    Set,
    /// Operations of the `txn` workload.
    Txn,
    /// Operations of the `bank` workload.
    Bank,
    /// Operations of the `watch` workload.
    Watch,
    /// Operations of the `lock` workloads.
    Lock,
    /// Operations of the `election` workload.
    Election,
    /// Operations of the `lease` workload.
    Lease,
}

/// The stream of random numbers for `purpose` in the run with this seed.
pub fn rng(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let stream = match purpose {
        Purpose::Nemesis => 1,
        Purpose::Register => 2,
        Purpose::Kv => 3,
        Purpose::Append => 4,
        Purpose::Set => 5,
        Purpose::Txn => 20,
        Purpose::Bank => 21,
        Purpose::Watch => 22,
        Purpose::Lock => 23,
        Purpose::Election => 24,
        Purpose::Lease => 25,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn a_stream_follows_from_seed_and_purpose_alone() {
        let draw = |seed, purpose| -> Vec<u64> {
            let mut rng = rng(seed, purpose);
            (0..4).map(|_| rng.random()).collect()
        };
        assert_eq!(draw(7, Purpose::Kv), draw(7, Purpose::Kv));
        assert_ne!(draw(7, Purpose::Kv), draw(7, Purpose::Set));
        assert_ne!(draw(7, Purpose::Kv), draw(8, Purpose::Kv));
    }
}
