//! The harness: clusters, faults, workloads, reports.
pub mod driver;
pub mod recorder;
