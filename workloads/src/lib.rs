//! The harness: clusters, faults, workloads, reports.
pub mod recorder;
