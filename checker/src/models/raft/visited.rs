//! The names of the states that were met, each with the name of the state it was met from.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A table of names that many threads fill. 16 bytes a slot, at most five slots in eight taken.
///
/// States are told apart by 64 bits: of a hundred million, two share a name with a probability of 1 in 3700,
/// and then one of them is not looked at.
pub(super) struct Visited {
    slots: Vec<AtomicU64>,
    parents: Vec<AtomicU64>,
    count: AtomicUsize,
}

impl Visited {
    /// Room for at least `states`.
    pub(super) fn new(states: usize) -> Visited {
        let size = (states.max(1 << 16) * 8 / 5).next_power_of_two();
        let empty = || std::iter::repeat_with(|| AtomicU64::new(0)).take(size).collect();
        Visited { slots: empty(), parents: empty(), count: AtomicUsize::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Whether it should grow before the next block of states.
    pub(super) fn is_crowded(&self) -> bool {
        self.len() * 8 > self.slots.len() * 5
    }

    /// Twice the room.
    pub(super) fn grow(&mut self) {
        let larger = Visited::new(self.slots.len() * 5 / 4);
        for (slot, parent) in self.slots.iter().zip(&self.parents) {
            let name = slot.load(Relaxed);
            if name != 0 {
                larger.insert(name, parent.load(Relaxed));
            }
        }
        *self = larger;
    }

    /// Takes note of a state. Returns whether it is new.
    pub(super) fn insert(&self, name: u64, parent: u64) -> bool {
        let mask = self.slots.len() - 1;
        let mut at = name as usize & mask;
        loop {
            let found = self.slots[at].load(Relaxed);
            if found == name {
                return false;
            }
            if found == 0 {
                match self.slots[at].compare_exchange(0, name, Relaxed, Relaxed) {
                    Ok(_) => {
                        self.parents[at].store(parent, Relaxed);
                        self.count.fetch_add(1, Relaxed);
                        return true;
                    }
                    Err(other) if other == name => return false,
                    Err(_) => {}
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Where a state was met from; 0 for the first.
    pub(super) fn parent(&self, name: u64) -> u64 {
        let mask = self.slots.len() - 1;
        let mut at = name as usize & mask;
        while self.slots[at].load(Relaxed) != name {
            at = (at + 1) & mask;
        }
        self.parents[at].load(Relaxed)
    }
}
