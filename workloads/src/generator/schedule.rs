//! When operations are due: an open-loop schedule.

use std::{fmt, num::NonZeroU64, str::FromStr};

/// Operations per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// `per_s` operations per second, or `None` for 0.
    pub fn new(per_s: u64) -> Option<Rate> {
        NonZeroU64::new(per_s).map(Rate)
    }

    /// Operations per second.
    pub fn per_s(self) -> u64 {
        self.0.get()
    }

    /// An equal share for each of `n`, at least 1 per second.
    pub fn share(self, n: usize) -> Rate {
        let share = self.per_s() / (n.max(1) as u64);
        Rate(NonZeroU64::new(share).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let per_s: u64 =
            text.parse().map_err(|_| "write a whole number of operations per second".to_string())?;
        Rate::new(per_s).ok_or_else(|| "a rate of 0 would never do anything: write 1 or more".to_string())
    }
}

/// When operation `n` is due, in ns after the start: a pure function of the rate, so that a stalled server
/// cannot push later operations back. Source: Tene, "How NOT to Measure Latency".
pub fn due_ns(n: u64, rate: Rate) -> u64 {
    let ns = u128::from(n) * 1_000_000_000 / u128::from(rate.per_s());
    u64::try_from(ns).expect("the run is shorter than 584 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_due_evenly_whatever_happened_before() {
        for (n, per_s, want) in
            [(0, 300, 0), (1, 1000, 1_000_000), (300, 300, 1_000_000_000), (1, 3, 333_333_333)]
        {
            assert_eq!(due_ns(n, Rate::new(per_s).unwrap()), want, "operation {n} at {per_s}/s");
        }
    }

    #[test]
    fn a_rate_is_a_positive_whole_number() {
        assert_eq!("250".parse::<Rate>().unwrap().per_s(), 250);
        assert!("0".parse::<Rate>().unwrap_err().contains("never do anything"));
        assert!("fast".parse::<Rate>().is_err());
        assert_eq!(Rate::new(10).unwrap().share(3).per_s(), 3);
        assert_eq!(Rate::new(2).unwrap().share(3).per_s(), 1);
    }
}
