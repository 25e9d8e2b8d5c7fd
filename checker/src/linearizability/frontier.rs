//! Sets of configurations: which open operations have been put in the order, and the state then.
//!
//! A configuration is a row of words: bits of the open writes that are done, bits of the open reads that
//! are done, bits of the indeterminate operations that were used. Operations that are closed need no bit,
//! so a row's length depends on how many are open at once and not on the history.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::table::StateId;

/// How the words of a row are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) writes: usize,
    pub(super) reads: usize,
    pub(super) infos: usize,
}

impl Layout {
    /// The layout for so many bits of each kind.
    pub(super) fn for_bits(writes: usize, reads: usize, infos: usize) -> Layout {
        Layout { writes: writes.div_ceil(64), reads: reads.div_ceil(64), infos: infos.div_ceil(64) }
    }

    pub(super) fn stride(self) -> usize {
        self.writes + self.reads + self.infos
    }

    pub(super) fn write_bit(self, slot: usize) -> Bit {
        Bit::new(0, slot)
    }

    pub(super) fn read_bit(self, slot: usize) -> Bit {
        Bit::new(self.writes, slot)
    }

    pub(super) fn info_bit(self, slot: usize) -> Bit {
        Bit::new(self.writes + self.reads, slot)
    }
}

/// The place of one bit in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bit {
    word: usize,
    mask: u64,
}

impl Bit {
    fn new(first_word: usize, slot: usize) -> Bit {
        Bit { word: first_word + slot / 64, mask: 1 << (slot % 64) }
    }

    pub(super) fn is_set(self, row: &[u64]) -> bool {
        row[self.word] & self.mask != 0
    }

    pub(super) fn set(self, row: &mut [u64]) {
        row[self.word] |= self.mask;
    }

    pub(super) fn clear(self, row: &mut [u64]) {
        row[self.word] &= !self.mask;
    }
}

/// A set of configurations without those that another one makes superfluous.
#[derive(Clone, Debug)]
pub(super) struct Frontier {
    layout: Layout,
    rows: Vec<u64>,
    states: Vec<StateId>,
    alive: Vec<bool>,
    /// Next row with the same hash, by row.
    next: Vec<u32>,
    heads: FxHashMap<u64, u32>,
}

const NONE: u32 = u32::MAX;

impl Frontier {
    pub(super) fn new(layout: Layout) -> Frontier {
        Frontier {
            layout,
            rows: Vec::new(),
            states: Vec::new(),
            alive: Vec::new(),
            next: Vec::new(),
            heads: FxHashMap::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.states.clear();
        self.alive.clear();
        self.next.clear();
        self.heads.clear();
    }

    /// Rows, alive or not.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    pub(super) fn is_alive(&self, index: usize) -> bool {
        self.alive[index]
    }

    pub(super) fn row(&self, index: usize) -> &[u64] {
        let stride = self.layout.stride();
        &self.rows[index * stride..(index + 1) * stride]
    }

    pub(super) fn state(&self, index: usize) -> StateId {
        self.states[index]
    }

    /// The numbers of all states, to be renumbered; hashes are rebuilt by [`Frontier::rehash`].
    pub(super) fn states_mut(&mut self) -> &mut [StateId] {
        &mut self.states
    }

    /// Rebuilds the hashes after states were renumbered.
    pub(super) fn rehash(&mut self) {
        self.heads.clear();
        for index in 0..self.len() {
            let hash = self.hash(self.row(index), self.states[index]);
            self.next[index] = self.heads.insert(hash, index as u32).unwrap_or(NONE);
        }
    }

    /// Adds a configuration unless one that is there makes it superfluous: same state, same writes done, at
    /// least its reads done, and no other indeterminate operation used. Whatever can follow the one can
    /// follow the other.
    pub(super) fn insert(&mut self, row: &[u64], state: StateId) -> bool {
        let hash = self.hash(row, state);
        let head = self.heads.get(&hash).copied().unwrap_or(NONE);
        let mut at = head;
        while at != NONE {
            let index = at as usize;
            at = self.next[index];
            if !self.alive[index] || self.states[index] != state {
                continue;
            }
            if covers(self.layout, self.row(index), row) {
                return false;
            }
            if covers(self.layout, row, self.row(index)) {
                self.alive[index] = false;
            }
        }
        let index = u32::try_from(self.states.len()).expect("the budget is below 2^32 states");
        self.rows.extend_from_slice(row);
        self.states.push(state);
        self.alive.push(true);
        self.next.push(head);
        self.heads.insert(hash, index);
        true
    }

    fn hash(&self, row: &[u64], state: StateId) -> u64 {
        let mut hasher = FxHasher::default();
        (state, &row[..self.layout.writes]).hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether `a` can do all that `b` can, given equal states.
fn covers(layout: Layout, a: &[u64], b: &[u64]) -> bool {
    let (reads, infos) = (layout.writes, layout.writes + layout.reads);
    a[..reads] == b[..reads]
        && a[reads..infos].iter().zip(&b[reads..infos]).all(|(a, b)| b & !a == 0)
        && a[infos..].iter().zip(&b[infos..]).all(|(a, b)| a & !b == 0)
}
