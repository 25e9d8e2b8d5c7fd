//! The harness: clusters, faults, workloads, reports.
pub mod cli;
pub mod cluster;
pub mod driver;
pub mod generator;
pub mod load;
pub mod nemesis;
pub mod recorder;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod sim;
pub mod store;
pub mod workload;
