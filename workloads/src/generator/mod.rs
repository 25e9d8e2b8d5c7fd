//! What operations are made of: seeded choices, keys that rotate, and the time at which each is due.
//!
//! Everything follows from the run's seed. Each purpose draws from a stream of its own, so that a change in
//! one workload does not change another's operations.

mod keys;
mod rng;
mod schedule;

pub use keys::KeyPool;
pub use rng::{Purpose, rng};
pub use schedule::{Rate, due_ns};
