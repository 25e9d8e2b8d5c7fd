//! Tests of the store: the rules one by one, and random requests against a naive model.

mod model;
#[cfg(feature = "plant")]
mod plants;
pub(crate) mod properties;
pub(crate) mod random;
pub(crate) mod requests;
mod semantics;

use super::{
    Revision,
    digest::{checksum, digest},
};

/// What a version counts for in the sums of digests.
pub(crate) fn digest_of(key: &[u8], at: Revision, numbers: [i64; 3], value: &[u8]) -> u64 {
    digest(at.main, checksum(key, at.main, at.sub, &numbers, value))
}
