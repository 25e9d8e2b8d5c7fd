//! Judges recorded histories.
pub mod history;
pub mod spec;
