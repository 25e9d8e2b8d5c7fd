//! Tests of the store: the rules one by one, and random requests against a naive model.

mod model;
mod properties;
mod random;
pub(crate) mod requests;
mod semantics;
