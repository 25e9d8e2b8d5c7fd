//! The leases that exist.

use super::TTL_S_MAX;
use crate::{error::ApiError, mvcc::Moved};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A lease, as all members know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Seconds without a renewal after which it ends.
    pub ttl_s: i64,
    /// The keys that hang from it.
    pub keys: BTreeSet<Bytes>,
}

/// What became of a lease, for whoever keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was granted.
    Granted {
        /// The lease.
        id: i64,
        /// Its TTL in seconds.
        ttl_s: i64,
    },
    /// It was revoked, or ran out.
    Ended {
        /// The lease.
        id: i64,
    },
}

/// The leases that exist, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    leases: BTreeMap<i64, Lease>,
}

impl Leases {
    /// Whether the lease exists.
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// A lease.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// All of them, by id in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// Adds a lease. The id was chosen, and the TTL raised to the least one, before this was proposed.
    ///
    /// # Errors
    /// [`ApiError::LeaseNotFound`] for id 0, [`ApiError::LeaseTtlTooLarge`], [`ApiError::LeaseExists`].
    pub fn grant(&mut self, id: i64, ttl_s: i64) -> Result<(), ApiError> {
        if id == 0 {
            return Err(ApiError::LeaseNotFound);
        }
        if ttl_s > TTL_S_MAX {
            return Err(ApiError::LeaseTtlTooLarge);
        }
        if self.contains(id) {
            return Err(ApiError::LeaseExists);
        }
        // What a log says is carried out whatever it says: a TTL below one second is one second.
        self.leases.insert(id, Lease { ttl_s: ttl_s.max(1), keys: BTreeSet::new() });
        Ok(())
    }

    /// Removes a lease, and gives the keys that hung from it.
    ///
    /// # Errors
    /// [`ApiError::LeaseNotFound`].
    pub fn revoke(&mut self, id: i64) -> Result<BTreeSet<Bytes>, ApiError> {
        self.leases.remove(&id).map(|lease| lease.keys).ok_or(ApiError::LeaseNotFound)
    }

    /// Notes that a key hangs from another lease. False if it is said to hang from one that does not exist.
    pub fn note(&mut self, moved: Moved) -> bool {
        if let Some(lease) = self.leases.get_mut(&moved.from) {
            lease.keys.remove(&moved.key);
        }
        match self.leases.get_mut(&moved.to) {
            Some(lease) => lease.keys.insert(moved.key) || moved.from == moved.to,
            None => moved.to == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_between_leases() {
        let mut leases = Leases::default();
        leases.grant(1, 5).expect("new");
        leases.grant(-2, 0).expect("negative ids are ids");
        assert_eq!(leases.grant(1, 9), Err(ApiError::LeaseExists));
        assert_eq!(leases.grant(0, 9), Err(ApiError::LeaseNotFound));
        assert_eq!(leases.grant(3, TTL_S_MAX + 1), Err(ApiError::LeaseTtlTooLarge));
        let key = Bytes::from_static(b"k");
        let moved = |from, to| Moved { key: key.clone(), from, to };
        assert!(leases.note(moved(0, 1)));
        assert!(leases.note(moved(1, -2)));
        assert!(!leases.note(moved(-2, 7)), "lease 7 does not exist");
        assert!(leases.note(moved(0, -2)));
        assert_eq!(leases.revoke(1), Ok(BTreeSet::new()));
        assert_eq!(leases.revoke(-2), Ok(BTreeSet::from([key])));
        assert_eq!(leases.revoke(-2), Err(ApiError::LeaseNotFound));
        assert!(leases.is_empty());
    }
}
