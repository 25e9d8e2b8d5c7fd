//! The harness: clusters, faults, workloads, reports.
pub mod cluster;
pub mod nemesis;
