//! Shared values that remember their hash, so that a state is cloned and hashed in a few words.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// A shared immutable value with its hash.
#[derive(Debug)]
pub(super) struct Hashed<T> {
    pub(super) hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Hashed<T> {
    pub(super) fn new(value: T) -> Hashed<T> {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Hashed { hash: hasher.finish(), value: Arc::new(value) }
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Hashed<T> {
        Hashed { hash: self.hash, value: Arc::clone(&self.value) }
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Hashed<T>) -> bool {
        self.hash == other.hash && self.value == other.value
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
