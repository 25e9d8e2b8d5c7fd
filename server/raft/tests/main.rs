//! The tests of the crate, in one binary: golden scripts, one behaviour each, and a seeded random driver.

mod dice;
mod disk;
mod random;
mod refusals;
mod script;
