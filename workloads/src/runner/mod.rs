//! Runs: a cluster, load and faults on it, and a verdict.
//!
//! ```text
//! start the cluster
//! each phase:  base revision -> load beside faults -> heal -> wait for agreement -> final reads -> observe
//! stop the cluster -> check every history -> results and report
//! ```
//!
//! Whatever goes wrong on the way, panics included, ends up as a doubt in the results: the verdict is then
//! unknown at best, never valid, and everything that was recorded is kept and reported.

mod config;
mod job;
mod judge;
mod load;
mod member;
mod online;
mod phase;
mod roles;
mod run;
mod settle;
mod stop;

pub use config::{Config, Target};
pub use judge::{conclude, judge};
pub use member::Member;
pub use run::{RunError, run};
pub use settle::settle;
pub use stop::Stop;
