//! Which key an operation is about: YCSB's distributions, with its constants.
//!
//! Sources: Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994) for the zipfian
//! draw; YCSB's generators for all constants. `zipfian` here is the true distribution over the keys there are;
//! what YCSB calls `zipfian` in its workloads is `scrambled`.

use rand::{Rng, RngExt};
use std::{fmt, str::FromStr};

/// YCSB's exponent.
const THETA: f64 = 0.99;
/// The scrambled distribution draws from so many items whatever the number of keys...
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
/// ...whose zeta YCSB has worked out once and for all.
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;
/// Share of the keys that are hot, and share of the operations that go there.
const HOT_DATA: f64 = 0.2;
const HOT_OPERATIONS: f64 = 0.8;
/// So many per cent of the operations go to that share of the keys.
const EXPONENTIAL_PERCENTILE: f64 = 95.0;
const EXPONENTIAL_SHARE: f64 = 0.857_142_857_1;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Each as likely as any other.
    #[default]
    Uniform,
    /// One after the other.
    Sequential,
    /// True zipfian over the keys there are: key 0 is the hottest.
    Zipfian,
    /// Zipfian over 10^10 items, hashed onto the keys: the hottest gets 3.78 % however many keys there are.
    Scrambled,
    /// Zipfian, the newest key being the hottest.
    Latest,
    /// 80 % of the operations on 20 % of the keys.
    Hotspot,
    /// Exponentially less likely with age.
    Exponential,
}

impl Distribution {
    /// Every distribution.
    pub const ALL: [Distribution; 7] = [
        Distribution::Uniform,
        Distribution::Sequential,
        Distribution::Zipfian,
        Distribution::Scrambled,
        Distribution::Latest,
        Distribution::Hotspot,
        Distribution::Exponential,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Sequential => "sequential",
            Distribution::Zipfian => "zipfian",
            Distribution::Scrambled => "scrambled",
            Distribution::Latest => "latest",
            Distribution::Hotspot => "hotspot",
            Distribution::Exponential => "exponential",
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(name: &str) -> Result<Distribution, String> {
        Distribution::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let names = Distribution::ALL.map(Distribution::name).join(", ");
            format!("there is no distribution `{name}`; known are {names}")
        })
    }
}

/// A zipfian draw from a number of items that may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipfian {
    items: u64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    /// Over `items` items, at least 1.
    pub(super) fn new(items: u64) -> Zipfian {
        let mut zipfian = Zipfian { items: 0, zeta: 0.0, eta: 0.0 };
        zipfian.grow(items.max(1));
        zipfian
    }

    fn with_zeta(items: u64, zeta: f64) -> Zipfian {
        let zeta_2 = 1.0 + 0.5f64.powf(THETA);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_2 / zeta);
        Zipfian { items, zeta, eta }
    }

    /// Makes it so many items; fewer than there are change nothing.
    fn grow(&mut self, items: u64) {
        if items > self.items {
            let more: f64 = (self.items + 1..=items).map(|i| 1.0 / (i as f64).powf(THETA)).sum();
            *self = Zipfian::with_zeta(items, self.zeta + more);
        }
    }

    /// An item: 0 is the most likely.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> u64 {
        let u: f64 = rng.random();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let alpha = 1.0 / (1.0 - THETA);
        let item = self.items as f64 * (self.eta * u - self.eta + 1.0).powf(alpha);
        (item as u64).min(self.items - 1)
    }
}

/// YCSB's hash: FNV-1a over the eight octets of a number, lowest first, without sign.
pub(super) fn fnv(mut number: u64) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for _ in 0..8 {
        hash ^= number & 0xff;
        hash = hash.wrapping_mul(1_099_511_628_211);
        number >>= 8;
    }
    hash.cast_signed().unsigned_abs()
}

/// Draws keys, as numbers from 0.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    distribution: Distribution,
    zipfian: Zipfian,
    next: u64,
    step: u64,
}

impl Keys {
    /// For one of `workers` workers; there are `count` keys at first.
    pub(super) fn new(distribution: Distribution, count: u64, worker: usize, workers: usize) -> Keys {
        let zipfian = match distribution {
            Distribution::Scrambled => Zipfian::with_zeta(SCRAMBLED_ITEMS, SCRAMBLED_ZETA),
            Distribution::Zipfian | Distribution::Latest => Zipfian::new(count),
            Distribution::Uniform
            | Distribution::Sequential
            | Distribution::Hotspot
            | Distribution::Exponential => Zipfian::new(1),
        };
        Keys { distribution, zipfian, next: worker as u64, step: workers as u64 }
    }

    /// A key of the `count` there are now.
    pub(super) fn draw(&mut self, count: u64, rng: &mut impl Rng) -> u64 {
        let count = count.max(1);
        match self.distribution {
            Distribution::Uniform => rng.random_range(0..count),
            Distribution::Sequential => {
                let key = self.next % count;
                self.next += self.step;
                key
            }
            Distribution::Zipfian => {
                self.zipfian.grow(count);
                self.zipfian.draw(rng)
            }
            Distribution::Scrambled => fnv(self.zipfian.draw(rng)) % count,
            Distribution::Latest => {
                self.zipfian.grow(count);
                count - 1 - self.zipfian.draw(rng).min(count - 1)
            }
            Distribution::Hotspot => {
                let hot = ((count as f64 * HOT_DATA) as u64).max(1);
                if hot == count || rng.random_bool(HOT_OPERATIONS) {
                    rng.random_range(0..hot)
                } else {
                    rng.random_range(hot..count)
                }
            }
            Distribution::Exponential => loop {
                let gamma = -(1.0 - EXPONENTIAL_PERCENTILE / 100.0).ln() / (count as f64 * EXPONENTIAL_SHARE);
                let age = (-(1.0 - rng.random::<f64>()).ln() / gamma) as u64;
                if age < count {
                    return count - 1 - age;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const DRAWS: usize = 1_000_000;

    /// How often each key was drawn.
    fn shares(distribution: Distribution, count: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut keys = Keys::new(distribution, count, 0, 1);
        let mut drawn = vec![0u32; usize::try_from(count).unwrap()];
        for _ in 0..DRAWS {
            drawn[usize::try_from(keys.draw(count, &mut rng)).unwrap()] += 1;
        }
        drawn.into_iter().map(|n| f64::from(n) / DRAWS as f64).collect()
    }

    /// Whether a share that was drawn is the true one, within five standard deviations.
    fn assert_share(got: f64, want: f64, what: &str) {
        let sigma = (want * (1.0 - want) / DRAWS as f64).sqrt();
        assert!((got - want).abs() < 5.0 * sigma, "{what}: {got:.5}, should be {want:.5}, sigma {sigma:.6}");
    }

    #[test]
    fn the_hottest_keys_get_the_shares_that_ycsb_publishes() {
        for count in [1000, 100_000] {
            let scrambled = shares(Distribution::Scrambled, count);
            // 1/zeta, and what falls on the same key by hashing: the rest of the mass, spread evenly.
            let hottest = 1.0 / SCRAMBLED_ZETA;
            let want = hottest + (1.0 - hottest) / count as f64;
            let at = usize::try_from(fnv(0) % count).unwrap();
            let got = scrambled[at];
            assert!((got - want).abs() < 0.002, "{count} keys: {got:.4}, should be near {want:.4}");
            assert!(scrambled.iter().all(|&share| share <= got), "another key is hotter");
        }
        assert_share(shares(Distribution::Zipfian, 1000)[0], 1.0 / Zipfian::new(1000).zeta, "true, 1e3");
        assert!((1.0 / Zipfian::new(1000).zeta - 0.129).abs() < 0.001);
        assert!((1.0 / Zipfian::new(100_000).zeta - 0.078).abs() < 0.001);
    }

    #[test]
    fn latest_is_zipfian_from_the_newest_and_hotspot_has_its_shares() {
        let latest = shares(Distribution::Latest, 1000);
        assert_share(latest[999], 1.0 / Zipfian::new(1000).zeta, "the newest");
        let hot: f64 = shares(Distribution::Hotspot, 1000)[..200].iter().sum();
        assert_share(hot, 0.8, "hot keys");
        let exponential = shares(Distribution::Exponential, 1000);
        // 95 % fall on 85.7 % of the keys, of what falls on any key at all.
        let newest: f64 = exponential[1000 - 857..].iter().sum();
        assert!((newest - 0.95 / (1.0 - 0.05f64.powf(1.0 / EXPONENTIAL_SHARE))).abs() < 0.002, "{newest}");
    }

    #[test]
    fn zeta_that_grows_is_the_same_as_zeta_from_scratch() {
        let mut grown = Zipfian::new(10);
        grown.grow(1000);
        let fresh = Zipfian::new(1000);
        assert!((grown.zeta - fresh.zeta).abs() < 1e-9 && (grown.eta - fresh.eta).abs() < 1e-9);
    }

    #[test]
    fn the_hash_is_ycsbs() {
        // Utils.fnvhash64(0) and (1) of YCSB.
        assert_eq!(fnv(0), 6_284_781_860_667_377_211);
        assert_eq!(fnv(1), 8_517_097_267_634_966_620);
    }

    #[test]
    fn workers_share_a_sequence() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn: Vec<u64> = Vec::new();
        for worker in 0..2 {
            let mut keys = Keys::new(Distribution::Sequential, 10, worker, 2);
            drawn.extend((0..5).map(|_| keys.draw(10, &mut rng)));
        }
        drawn.sort_unstable();
        assert_eq!(drawn, (0..10).collect::<Vec<_>>());
    }
}
