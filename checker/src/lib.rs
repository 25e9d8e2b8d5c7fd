//! Judges recorded histories.
pub mod history;
pub mod models;
pub mod spec;
