//! Judges recorded histories of replicated key-value stores.
//!
//! A [`History`] comes from a file ([`History::load`]) or from events in memory ([`History::new`]);
//! [`check`] judges it and gives a [`CheckReport`].
pub mod answers;
pub mod budget;
mod check;
mod checks;
pub mod decode;
pub mod history;
pub mod isolation;
pub mod linearizability;
pub mod models;
pub mod online;
pub mod raft_invariants;
pub mod render;
pub mod revision;
pub mod spec;
pub mod verdict;
pub mod watch;
pub mod witness;

pub use check::{Cancel, CheckReport, Engine, Options, check};
pub use history::History;
pub use verdict::{Anomaly, AnomalyKind, CheckResult, Verdict, Why, Witness};
