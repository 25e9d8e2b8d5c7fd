//! The harness: clusters, faults, workloads, reports.
