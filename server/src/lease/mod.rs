//! The leases that the store knows. Nothing grants one yet: the set is empty, and every lease that a put
//! names is unknown.

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
}
