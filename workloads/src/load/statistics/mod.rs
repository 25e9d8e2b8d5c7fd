//! Whether two benches differ: with intervals that respect how seconds depend on each other, a correction for asking
//! more than one question, and a smallest effect that matters.
//!
//! Sources: latte (effective sample size by batch means); Künsch, "The Jackknife and the Bootstrap for General
//! Stationary Observations" (moving blocks); Holm, "A Simple Sequentially Rejective Multiple Test Procedure".
mod bootstrap;
mod compare;
mod correlation;
mod sample;

pub use compare::{Comparison, Rules, Verdict, compare};
pub use correlation::correlation_time;
pub use sample::{Metric, Run};
