//! Deterministic simulation: the production replica with its log on disk, its state machine and its API, in
//! one thread, on virtual time, a simulated network and a simulated disk. All chance comes from one seed, so
//! every run can be repeated exactly.
//!
//! ```text
//! clients (the workloads of `assay run`) -> server::api -> Door -> server::replica -> disk::Wal on SimFiles
//!                                                            ^          |  ^
//!                                              virtual time, faults   network
//! ```
//!
//! A run has a safety phase, in which everything may fail, then a liveness phase: all faults end, and the
//! cluster must serve and converge within a bounded time. What clients saw is judged by the checkers of
//! `assay run`; the cluster by [`checker::raft_invariants`] after every step.
//!
//! Members join, get their votes, and are removed, as the roster says. Left out: sockets and threads of the real
//! node ([`server::node`]).
mod clients;
mod disk;
mod door;
mod faults;
mod member;
mod plan;
mod port;
mod run;
#[cfg(test)]
mod tests;
mod time;
mod world;

pub use faults::{Fault, FaultKind, Moment};
pub use plan::Plan;
pub use run::{Failure, Outcome, run};
