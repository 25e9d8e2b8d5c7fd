//! The leases that exist. Nothing grants one yet: outside of state images the set is empty, and every lease
//! that a put names is unknown.

use std::collections::BTreeSet;

/// The leases that exist, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    ids: BTreeSet<i64>,
}

impl Leases {
    /// Whether the lease exists.
    pub fn contains(&self, id: i64) -> bool {
        self.ids.contains(&id)
    }

    /// Adds a lease.
    pub fn insert(&mut self, id: i64) {
        self.ids.insert(id);
    }

    /// All ids, in ascending order.
    pub fn ids(&self) -> &BTreeSet<i64> {
        &self.ids
    }
}
