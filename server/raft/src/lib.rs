//! A sans-IO Raft core.
pub mod message;
pub mod ready;
pub mod types;
