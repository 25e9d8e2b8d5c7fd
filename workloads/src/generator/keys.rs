//! Keys that rotate: a few are in use at a time, and each retires after a while.
//!
//! A key's history stays short, so that checking it stays cheap, however long the run.

use rand::{Rng, RngExt};

/// The keys in use, with state `S` for each. A retired key is replaced by a fresh one with the next number.
#[derive(Clone, Debug)]
pub struct KeyPool<S> {
    active: Vec<Slot<S>>,
    next: u64,
    uses_max: u64,
}

#[derive(Clone, Debug)]
struct Slot<S> {
    number: u64,
    uses: u64,
    state: S,
}

impl<S: Default> KeyPool<S> {
    /// A pool of `active` keys, each of which retires after `uses_max` uses. The first keys retire at
    /// different times, so that not all change at once.
    ///
    /// # Panics
    /// When either is 0.
    pub fn new(active: usize, uses_max: u64) -> KeyPool<S> {
        assert!(active > 0 && uses_max > 0, "a pool of {active} keys with {uses_max} uses each");
        let keys = active as u64;
        let slots =
            (0..keys).map(|number| Slot { number, uses: number * uses_max / keys, state: S::default() });
        KeyPool { active: slots.collect(), next: keys, uses_max }
    }

    /// Picks a key, each as likely as any other, and counts the use. Gives its number and its state.
    pub fn pick(&mut self, rng: &mut impl Rng) -> (u64, &mut S) {
        let index = rng.random_range(0..self.active.len());
        let slot = &mut self.active[index];
        if slot.uses >= self.uses_max {
            *slot = Slot { number: self.next, uses: 0, state: S::default() };
            self.next += 1;
        }
        slot.uses += 1;
        (slot.number, &mut slot.state)
    }

    /// How many keys have been in use so far: they are numbered from 0.
    pub fn used(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::{Purpose, rng};
    use std::collections::BTreeMap;

    #[test]
    fn no_key_is_used_more_often_than_allowed_and_state_is_the_keys_own() {
        let mut rng = rng(3, Purpose::Register);
        let mut pool: KeyPool<u64> = KeyPool::new(4, 10);
        let mut uses: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..1000 {
            let (key, state) = pool.pick(&mut rng);
            let count = uses.entry(key).or_default();
            assert_eq!(*state, *count, "state of key {key}");
            *count += 1;
            *state += 1;
        }
        assert!(uses.values().all(|uses| *uses <= 10), "{uses:?}");
        assert_eq!(uses.keys().last().copied(), Some(pool.used() - 1));
        assert!(pool.used() > 90, "keys hardly rotate: {uses:?}");
    }
}
