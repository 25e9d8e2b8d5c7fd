//! The harness: clusters, faults, workloads, reports.
pub mod driver;
pub mod generator;
pub mod recorder;
pub mod workload;
